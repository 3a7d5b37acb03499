"""`RingWriter`: the one way to new and to destroyed versions.

Every change is: take the lock, look at the store itself, decide, seal, prove that it opens, switch, look
again. A change that is refused on the way has changed nothing.
"""

import logging
from collections.abc import Callable

from keyfs.broker.keystore import KeyStore
from keyfs.broker.material import generate, normalise, public_half
from keyfs.core.names import CURRENT, Half, KeyRef
from keyfs.core.purposes import Shape
from keyfs.core.secret import Secret
from keyfs.errors import (
    KeyExists,
    KeyfsError,
    KeyNotFound,
    MasterKeyUnavailable,
    OperationRefused,
    RotationConflict,
    UnsealFailed,
)
from keyfs.layout.base import KeyRing, KeyVersion
from keyfs.logs import event
from keyfs.store.base import Replacement

_log = logging.getLogger(__name__)


class RingWriter:
    """Writes to one key store.

    Args:
        keystore: what is written to, and looked at before and after.
        clock: nanoseconds since 1970; the store's own clock, which all hosts share, when None.
    """

    def __init__(self, keystore: KeyStore, clock: Callable[[], int] | None = None) -> None:
        self._keys = keystore
        self._clock = clock or keystore.store.now_ns

    def generate(self, ref: KeyRef) -> KeyVersion:
        """Make the first version of a key.

        Raises:
            KeyExists: there is one.
            ClientIdTooLong, OperationRefused, StoreBusy, StoreFull, ReadOnly, AccessDenied.
        """
        return self._write(ref, lambda ring: generate(ref.purpose), must_exist=False)

    def rotate(self, ref: KeyRef) -> KeyVersion:
        """Generate the next version; the one before stays readable under its stamp.

        Raises:
            KeyNotFound: there is no key to rotate.
            StoreBusy, StoreFull, ReadOnly, AccessDenied, OperationRefused.
        """
        return self._write(ref, lambda ring: generate(ref.purpose), must_exist=True)

    def import_material(
        self,
        ref: KeyRef,
        data: bytes,
        *,
        must_exist: bool | None = None,
        expected: str | None = None,
        amend: str | None = None,
    ) -> KeyVersion:
        """Make *data* the next version. The same bytes as the current version change nothing.

        Args:
            ref: the key.
            must_exist: whether there must be a current version (True), must not be (False), or either.
            data: as `keyfs.broker.material.normalise` takes it.
            expected: identity of the current version that *data* was made from.
            amend: identity of a current version that is replaced without being archived, because the
                same file handle wrote it a moment ago.

        Raises:
            InvalidMaterial: wrong length or form.
            KeyNotFound, KeyExists: against *must_exist*.
            RotationConflict: *expected* is not current any more.
            StoreBusy, StoreFull, ReadOnly, AccessDenied, OperationRefused, ClientIdTooLong.
        """
        material = normalise(ref.purpose, data)

        def decide(ring: KeyRing | None) -> Secret | None:
            if expected is not None and identity(ring) != expected:
                raise RotationConflict(f"{ref} was rotated by someone else since it was opened")
            return None if ring is not None and self._is_current(ring, material) else material

        return self._write(ref, decide, must_exist=must_exist, amend=amend)

    def destroy(self, ref: KeyRef, version_id: str) -> None:
        """Remove one retired version for good.

        Raises:
            KeyNotFound: there is no such version.
            OperationRefused: it is the current version; without it Acra reads none of the others.
            StoreBusy, ReadOnly, AccessDenied.
        """
        if version_id == CURRENT:
            raise OperationRefused(f"the current version of {ref} is never destroyed: rotate it first")
        with self._keys.store.lock():
            self._keys.relist(ref)
            version = self._keys.ring(ref).version(version_id)
            names = [part.name for part in (version.secret, version.public) if part is not None]
            self._keys.store.delete(names)
            self._keys.relist(ref, names)
        event(_log, logging.INFO, "version.destroyed", key=str(ref), version=version_id)

    def mend_public(self, ref: KeyRef) -> None:
        """Write the public half that belongs to the current private half, if the stored one does not.

        Raises:
            StoreBusy, StoreFull, ReadOnly, AccessDenied, UnsealFailed, MaterialCorrupt.
        """
        with self._keys.store.lock():
            self._keys.relist(ref)
            ring = self._keys.ring(ref)
            opened = self._keys.reader.open(ref, ring.version(CURRENT), Half.SECRET)
            public = public_half(ref.purpose, opened.material)
            self._supersede(ref, self._keys.layout.plan(ring, None, public, self._clock()))

    def _write(
        self,
        ref: KeyRef,
        decide: Callable[[KeyRing | None], Secret | None],
        *,
        must_exist: bool | None = None,
        amend: str | None = None,
    ) -> KeyVersion:
        """The one way to a new version: look, decide, seal, prove, switch, look again.

        *decide* gets the ring as it is under the lock and returns the new material, None for no change.
        """
        self._keys.layout.check_writable(ref, self._keys.store.name_limit)
        with self._keys.store.lock(), self._keys.being_written(ref):
            ring = self._keys.relist(ref)
            _check_existence(ref, ring, must_exist)
            material = decide(ring)
            if material is not None:
                self._switch(ref, ring, material, amend)
            return self._keys.ring(ref).version(CURRENT)

    def _switch(self, ref: KeyRef, ring: KeyRing | None, material: Secret, amend: str | None) -> None:
        plan = self._keys.layout.plan(
            ring or KeyRing(ref, ()),
            self._sealed(ref, material),
            public_half(ref.purpose, material),
            self._clock(),
        )
        material.wipe()
        if amend is not None and amend == identity(ring):
            plan = tuple(Replacement(r.name, r.data, r.mode, r.mtime_ns, None) for r in plan)
        after = self._supersede(ref, plan)
        retired = after.versions[-2].id if after is not None and len(after.versions) > 1 else None
        event(_log, logging.INFO, "rotation.committed", key=str(ref), retired=retired or "-")

    def _supersede(self, ref: KeyRef, plan: tuple[Replacement, ...]) -> KeyRing | None:
        self._keys.store.supersede(plan)
        return self._keys.relist(ref, [item.archive for item in plan if item.archive is not None])

    def _sealed(self, ref: KeyRef, material: Secret) -> bytes:
        """The blob for *material*, proved to open again before anything is switched to it."""
        if self._keys.sealer is None:
            raise MasterKeyUnavailable(f"{ref} cannot be sealed: give the master key with --master-key")
        context = self._keys.layout.context(ref)
        blob = self._keys.sealer.seal(material, context)
        if self._keys.sealer.unseal(blob, context) != material:
            raise UnsealFailed(
                f"the new blob for {ref} does not open to what was sealed: nothing was changed"
            )
        return blob

    def _is_current(self, ring: KeyRing, material: Secret) -> bool:
        current = ring.current
        if current is None or current.secret is None or ring.ref.purpose.shape is Shape.PLAIN:
            return False
        try:
            return self._keys.reader.open(ring.ref, current, Half.SECRET).material == material
        except KeyfsError:
            return False  # what cannot be read is superseded, and stays archived as it is


def identity(ring: KeyRing | None) -> str:
    """What tells one current version from the next; empty when there is none."""
    current = None if ring is None else ring.current
    part = None if current is None else (current.secret or current.public)
    return "" if part is None else part.stat.identity


def _check_existence(ref: KeyRef, ring: KeyRing | None, must_exist: bool | None) -> None:
    exists = ring is not None and ring.current is not None
    if must_exist is True and not exists:
        raise KeyNotFound(f"there is no key {ref} to rotate: make it with keyfs generate {ref}")
    if must_exist is False and exists:
        raise KeyExists(f"{ref} exists: make its next version with keyfs rotate {ref}")
