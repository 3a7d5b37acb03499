"""Opening blobs: from a place in the store to key material that is checked before anyone gets it."""

import logging
from collections.abc import Collection
from typing import Final, NamedTuple

from keyfs.broker.material import check_read, public_half
from keyfs.broker.recent import Recent
from keyfs.core.names import Half, KeyRef
from keyfs.core.purposes import SYMMETRIC_SIZE, Shape
from keyfs.core.secret import LateSecret, Secret
from keyfs.errors import (
    AccessDenied,
    InsecurePermissions,
    KeyNotFound,
    MasterKeyUnavailable,
    MaterialCorrupt,
    UnsealFailed,
)
from keyfs.layout.base import KeyVersion, Layout, Part, Slot
from keyfs.logs import event
from keyfs.seal.protection import Protections
from keyfs.store.base import Blob, BlobStat, Store

# Sealed bytes only; a key file has at most a few hundred.
CACHE_BYTES: Final = 32 << 20
ENTRY_BYTES: Final = 400  # what one entry costs beside its bytes; a guess
DERIVED_ENTRIES: Final = 65536
_log = logging.getLogger(__name__)


class Opened(NamedTuple):
    """Key material, and the facts about the blob it came from."""

    material: Secret
    stat: BlobStat


class BlobReader:
    """Reads, caches (sealed) and opens blobs.

    The cache is never asked what is current: the caller brings the facts that the index knows, and only a
    blob with those facts is taken from memory.
    """

    def __init__(self, store: Store, layout: Layout, protection: Protections | None) -> None:
        self._store = store
        self._layout = layout
        self._protection = protection
        self._cache: Recent[Blob] = Recent(CACHE_BYTES, lambda blob: len(blob.data) + ENTRY_BYTES)
        # Public halves by the name of the private one, with its facts: a medium gives the identity of a blob
        # that is gone to another key.
        self._derived: Recent[tuple[BlobStat, bytes]] = Recent(DERIVED_ENTRIES)

    def is_warm(self, version: KeyVersion, half: Half) -> bool:
        """Whether `open` would answer from memory, without asking the store."""
        if self.cached(version.part(half)) is None:
            return False
        if half is Half.SECRET or version.secret is None:
            return True
        return self._known(version.secret) is not None or self.cached(version.secret) is not None

    def refetch(self, version: KeyVersion) -> bool:
        """Fetch this version's blobs again; whether one is not what was in memory.

        Raises:
            StoreUnavailable, AccessDenied: as `Store.get_many`.
        """
        parts = [part for part in (version.secret, version.public) if part is not None]
        before = {part.name: self.cached(part) for part in parts}
        for part in parts:
            self._cache.drop(part.name)
            self._derived.drop(part.name)
        self.prefetch(parts)
        after = {part.name: self.cached(part) for part in parts}
        return any(blob is not None and blob != after[name] for name, blob in before.items())

    def cached(self, part: Part) -> Blob | None:
        """The blob, if it is in memory."""
        blob = self._cache.get(part.name)
        return blob if blob is not None and blob.stat == part.stat else None

    def keep(self, name: str, blob: Blob) -> None:
        """Bring a blob into memory that somebody else has fetched."""
        self._cache.put(name, blob)

    def fetch(self, part: Part) -> Blob:
        """The blob as it is, from memory when the index's identity matches.

        Raises:
            KeyNotFound: it went away since the index saw it.
            StoreUnavailable, AccessDenied: as `Store.get`.
        """
        blob = self.cached(part)
        if blob is None:
            blob = self._store.get(part.name)
            self.keep(part.name, blob)
        return blob

    def prefetch(self, parts: Collection[Part]) -> None:
        """Bring blobs into memory in one round trip; one that cannot be read is left for `fetch` to tell.

        Those in memory are not asked for: who waited for its turn may have got them meanwhile.

        Raises:
            StoreUnavailable: as `Store.get_many`.
        """
        names = [part.name for part in parts if self.cached(part) is None]
        if not names:
            return
        for name, blob in self._store.get_many(names).items():
            if isinstance(blob, Blob):
                self.keep(name, blob)

    def open_warm(self, ref: KeyRef, version: KeyVersion, half: Half) -> Opened | None:
        """As `open`, if that needs nothing but memory; else None.

        Raises:
            As `open`.
        """
        part = version.part(half)
        blob = self.cached(part)
        if blob is None:
            return None
        if half is Half.SECRET or version.secret is None:
            return self._open_part(ref, half, part, blob)
        derived = self._known(version.secret)
        if derived is not None:
            return self._proven(ref, part, blob, derived)
        secret = self.cached(version.secret)
        return None if secret is None else self._open_public(ref, version.secret, part, (blob, secret))

    def open(self, ref: KeyRef, version: KeyVersion, half: Half) -> Opened:
        """One half of a version, checked to be a key of its kind.

        The public half of a pair is what belongs to the private half: where the stored one is sound but
        another's (a rotation is half-way through), the right one is derived.

        Raises:
            KeyNotFound, InsecurePermissions, MasterKeyUnavailable, UnsealFailed, MaterialCorrupt,
            StoreUnavailable, AccessDenied: see those classes.
        """
        part = version.part(half)
        if half is Half.PUBLIC and version.secret is not None:
            return self._open_public(ref, version.secret, part, (self.fetch(part), None))
        return self._open_part(ref, half, part)

    def proves(self, name: str, slots: tuple[Slot, ...]) -> Slot | None:
        """Which of the keys that an ambiguous name can hold its private part opens as; None for none."""
        for slot in slots:
            places = self._layout.places(slot.ref)
            is_private_name = slot.half is Half.SECRET and slot.stamp is not None
            candidates = (name, places.names[0]) if is_private_name else (places.names[0],)
            if any(self._opens(slot.ref, candidate) for candidate in candidates):
                return slot
        return None

    def stored_matches(self, ref: KeyRef, version: KeyVersion) -> bool:
        """Whether the stored public half belongs to the private half.

        Raises:
            KeyNotFound: the version has not both.
            KeyfsError: one of them cannot be read.
        """
        public = self.fetch(version.part(Half.PUBLIC))
        return self._derive(ref, version.part(Half.SECRET)) == public.data

    def _open_part(self, ref: KeyRef, half: Half, part: Part, blob: Blob | None = None) -> Opened:
        self._layout.check_readable(ref, part)
        blob = blob or self.fetch(part)
        material = self._unseal(ref, part.name, blob.data) if part.is_sealed else Secret(blob.data)
        try:
            check_read(ref.purpose, half, material)
        except MaterialCorrupt as exc:
            raise MaterialCorrupt(f"{part.name}: {exc}") from exc
        return Opened(material, blob.stat)

    def _open_public(self, ref: KeyRef, secret: Part, part: Part, blobs: tuple[Blob, Blob | None]) -> Opened:
        """*blobs* are the stored public half, and the private one if it is at hand."""
        blob, sealed = blobs
        try:
            derived = self._derive(ref, secret, sealed)
        except (KeyNotFound, InsecurePermissions, MasterKeyUnavailable, UnsealFailed, MaterialCorrupt):
            return self._open_part(ref, Half.PUBLIC, part, blob)
        return self._proven(ref, part, blob, derived)

    def _proven(self, ref: KeyRef, part: Part, blob: Blob, derived: bytes) -> Opened:
        """The public half that belongs to the private one; *blob* is the stored one."""
        if blob.data != derived:
            self._open_part(ref, Half.PUBLIC, part, blob)  # damage is never hidden behind a derived key
            event(_log, logging.INFO, "pair.mismatch", key=str(ref), name=part.name)
        return Opened(Secret(derived), blob.stat)

    def late(self, ref: KeyRef, version: KeyVersion) -> LateSecret | None:
        """The secret half of a version, opened when somebody looks; None if it is not in memory."""
        part = version.part(Half.SECRET)
        blob = self.cached(part)
        if blob is None:
            return None
        return LateSecret(lambda: self._open_part(ref, Half.SECRET, part, blob).material)

    def _known(self, secret: Part) -> bytes | None:
        """The public half that was derived from this private one."""
        known = self._derived.get(secret.name)
        return known[1] if known is not None and known[0] == secret.stat else None

    def _derive(self, ref: KeyRef, secret: Part, blob: Blob | None = None) -> bytes:
        known = self._known(secret)
        if known is not None:
            return known
        opened = self._open_part(ref, Half.SECRET, secret, blob)
        derived = public_half(ref.purpose, opened.material)
        opened.material.wipe()
        assert derived is not None  # noqa: S101 - only pairs have a public part
        self._derived.put(secret.name, (opened.stat, derived))
        return derived

    def _unseal(self, ref: KeyRef, name: str, blob: bytes) -> Secret:
        if self._protection is None:
            raise MasterKeyUnavailable(f"{ref} is sealed: give the master key with --master-key")
        try:
            return self._protection.unseal(blob, self._layout.label(ref, name))
        except UnsealFailed as exc:
            raise UnsealFailed(f"{name} does not open: it is damaged, or sealed for another key") from exc

    def _opens(self, ref: KeyRef, name: str) -> bool:
        try:
            data = self._store.get(name).data
            if ref.purpose.shape is Shape.PLAIN:
                return len(data) == SYMMETRIC_SIZE
            with self._unseal(ref, name, data) as secret:
                check_read(ref.purpose, Half.SECRET, secret)
        except (KeyNotFound, AccessDenied, UnsealFailed, MaterialCorrupt):
            return False
        return True
