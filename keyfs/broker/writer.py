"""`RingWriter`: the one way to new and to destroyed versions.

Every change is: take the lock, look at the store itself, decide, seal, prove that it opens, switch, look
again. A change that is refused on the way has changed nothing.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from itertools import takewhile

from keyfs.broker.keystore import KeyStore
from keyfs.broker.material import generate, normalise, public_half
from keyfs.broker.removal import destroy, remove
from keyfs.broker.sealing import sealed
from keyfs.core.names import CURRENT, Half, KeyRef
from keyfs.core.secret import Secret
from keyfs.errors import (
    KeyExists,
    KeyfsError,
    KeyNotFound,
    RotationConflict,
)
from keyfs.layout.base import KeyRing, KeyVersion, NewHalves
from keyfs.logs import event
from keyfs.store.base import Replacement

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Written:
    """The current version after a change. Not *is_new*: it was there before, and nothing was changed."""

    version: KeyVersion
    is_new: bool

    @property
    def identity(self) -> str:
        """What tells this version from the next; only who made a version may amend it."""
        return _identity(self.version)


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
        return self._generate(ref, must_exist=False)

    def rotate(self, ref: KeyRef, expected: str | None = None) -> KeyVersion:
        """Generate the next version; the one before, *expected* if that is given, stays under its stamp.

        Raises:
            KeyNotFound: there is no key to rotate.
            RotationConflict, StoreBusy, StoreFull, ReadOnly, AccessDenied, OperationRefused.
        """
        return self._generate(ref, must_exist=True, expected=expected)

    def import_material(
        self,
        ref: KeyRef,
        data: bytes,
        *,
        must_exist: bool | None = None,
        expected: str | None = None,
        amend: str | None = None,
        begun_on: str | None = None,
    ) -> Written:
        """Make *data* the next version. The same bytes as the current version change nothing.

        Args:
            ref: the key.
            must_exist: whether there must be a current version (True), must not be (False), or either.
            data: as `keyfs.broker.material.normalise` takes it.
            expected: identity of the current version that *data* was made from.
            amend: identity of a current version that is replaced without being archived, because the
                same file handle wrote it a moment ago.
            begun_on: identity of what was current when a process that died began this very call; what it may
                have made is not made again.

        Raises:
            InvalidMaterial: wrong length or form.
            KeyNotFound, KeyExists: against *must_exist*.
            RotationConflict: *expected* is not current any more.
            StoreBusy, StoreFull, ReadOnly, AccessDenied, OperationRefused, ClientIdTooLong.
        """
        material = normalise(ref.purpose, data)

        def decide(ring: KeyRing | None) -> Secret | None:
            if ring is not None and self._is_current(ring, material):
                return None
            if ring is not None and begun_on is not None and self._is_since(ring, begun_on, material):
                return None
            return _unless_rotated(ref, ring, expected, material)

        with material:
            return self._write(ref, decide, must_exist=must_exist, amend=amend)

    def destroy(self, ref: KeyRef, version_id: str, *, is_forced: bool = False) -> None:
        """Remove one version for good.

        Raises:
            KeyNotFound: there is no such version.
            OperationRefused: others would become unreadable for Acra, and *is_forced* is not said.
            StoreBusy, ReadOnly, AccessDenied.
        """
        destroy(self._keys, ref, lambda _ring: version_id, is_forced=is_forced)

    def mend_public(self, ref: KeyRef) -> str:
        """Write the public half that belongs to the current private half, if the stored one does not.

        Returns:
            Where the other one was set aside; empty if it was not.

        Raises:
            StoreBusy, StoreFull, ReadOnly, AccessDenied, UnsealFailed, MaterialCorrupt.
        """
        with self._keys.lock(ref):
            ring = self._keys.relist(ref, quick=True)
            public = None if ring is None else self._missing_public(ring)
            return "" if ring is None or public is None else self._mend(ring, public)[1]

    def _generate(self, ref: KeyRef, *, must_exist: bool, expected: str | None = None) -> KeyVersion:
        """With material made before the lock is taken: an RSA key takes a while."""
        with generate(ref.purpose) as new:
            made = self._write(
                ref, lambda ring: _unless_rotated(ref, ring, expected, new), must_exist=must_exist
            )
            return made.version

    def _write(
        self,
        ref: KeyRef,
        decide: Callable[[KeyRing | None], Secret | None],
        *,
        must_exist: bool | None = None,
        amend: str | None = None,
    ) -> Written:
        """The one way to a new version: look, decide, seal, prove, switch, look again.

        *decide* gets the ring as it is under the lock and returns the new material, None for no change.
        """
        self._keys.layout.check_writable(ref, self._keys.store.name_limit)
        with self._keys.lock(ref), self._keys.being_written(ref):
            ring = self._keys.relist(ref, quick=True)
            _check_existence(ref, ring, must_exist)
            ring = self._mended(ring)
            material = decide(ring)
            if material is not None:
                self._switch(ring or KeyRing(ref, ()), material, amend)
                self._forget_oldest(ref)
            return Written(self._keys.ring(ref).version(CURRENT), material is not None)

    def _switch(self, ring: KeyRing, material: Secret, amend: str | None) -> None:
        ref, is_amended = ring.ref, amend is not None and amend == identity(ring)
        name = self._keys.layout.next_name(ring, self._clock, is_amended=is_amended)
        with material:
            blob, public = sealed(self._keys, ref, name, material), public_half(ref.purpose, material)
        plan = self._keys.layout.plan(ring, NewHalves(blob, public, name, is_amended), self._clock())
        after = self._supersede(ref, plan)
        retired = after.versions[-2].id if after is not None and len(after.versions) > 1 else None
        event(_log, logging.INFO, "rotation.committed", key=str(ref), retired=retired or "-")

    def _forget_oldest(self, ref: KeyRef) -> None:
        """Destroy the retired versions that are not to be kept. If that fails, the rotation has happened."""
        kept = None if ref.purpose.own is None else ref.purpose.own.history
        retired = self._keys.ring(ref).versions[:-1]
        if kept is None or len(retired) <= kept:
            return
        oldest = retired[: len(retired) - kept]
        try:
            remove(self._keys, ref, oldest)
        except KeyfsError as exc:
            event(_log, logging.WARNING, "history.not_cut", key=str(ref), versions=len(oldest), reason=exc)

    def _supersede(self, ref: KeyRef, plan: tuple[Replacement, ...]) -> KeyRing | None:
        self._keys.store.supersede(plan)
        return self._keys.relist(ref, [item.archive for item in plan if item.archive is not None])

    def _mended(self, ring: KeyRing | None) -> KeyRing | None:
        """The ring once a rotation that stopped between the two halves is finished.

        Else the next one would archive the public half of an older version as that of this one.
        """
        try:
            public = None if ring is None else self._missing_public(ring)
        except KeyfsError:
            return ring  # a private half that cannot be read is archived as it is
        return ring if ring is None or public is None else self._mend(ring, public)[0]

    def _missing_public(self, ring: KeyRing) -> bytes | None:
        """The public half that belongs to the current private half and is not stored; None for none."""
        current = ring.current
        if not ring.ref.purpose.is_pair or current is None or current.secret is None:
            return None
        if current.public is not None and self._keys.reader.stored_matches(ring.ref, current):
            return None
        with self._keys.reader.open(ring.ref, current, Half.SECRET).material as private:
            return public_half(ring.ref.purpose, private)

    def _mend(self, ring: KeyRing, public: bytes) -> tuple[KeyRing | None, str]:
        """Write the missing public half. What it supersedes is archived only with its private half.

        Returns:
            The ring after that; and where the other public half was set aside, if it was.
        """
        (switch,) = self._keys.layout.plan(ring, NewHalves(None, public), self._clock())
        after = self._supersede(ring.ref, (switch,))
        for version in () if after is None else after.versions:
            part = version.public
            if part is not None and part.name == switch.archive and not self._is_proved(ring.ref, version):
                place = self._keys.store.set_aside(part.name)
                return self._keys.relist(ring.ref, [part.name]), place
        return after, ""

    def _is_proved(self, ref: KeyRef, version: KeyVersion) -> bool:
        if version.secret is None:
            return False
        try:
            return self._keys.reader.stored_matches(ref, version)
        except KeyfsError:
            return True  # a private half that cannot be read now may be readable another day

    def _is_since(self, ring: KeyRing, begun_on: str, material: Secret) -> bool:
        """Whether a version that is newer than *begun_on* holds *material*."""
        newer = takewhile(lambda version: _identity(version) != begun_on, reversed(ring.versions))
        return any(self._holds(ring, version, material) for version in newer)

    def _is_current(self, ring: KeyRing, material: Secret) -> bool:
        return self._holds(ring, ring.current, material)

    def _holds(self, ring: KeyRing, version: KeyVersion | None, material: Secret) -> bool:
        if version is None or version.secret is None:
            return False
        try:
            with self._keys.reader.open(ring.ref, version, Half.SECRET).material as known:
                return known == material
        except KeyfsError:
            return False  # what cannot be read is superseded, and stays archived as it is


def identity(ring: KeyRing | None) -> str:
    """What tells one current version from the next; empty when there is none."""
    return _identity(None if ring is None else ring.current)


def _identity(version: KeyVersion | None) -> str:
    part = None if version is None else (version.secret or version.public)
    return "" if part is None else part.stat.identity


def _unless_rotated(ref: KeyRef, ring: KeyRing | None, expected: str | None, material: Secret) -> Secret:
    if expected is not None and identity(ring) != expected:
        raise RotationConflict(f"{ref} was rotated by someone else since it was looked at")
    return material


def _check_existence(ref: KeyRef, ring: KeyRing | None, must_exist: bool | None) -> None:
    exists = ring is not None and ring.current is not None
    if must_exist is True and not exists:
        raise KeyNotFound(f"there is no key {ref} to rotate: make it with keyfs generate {ref}")
    if must_exist is False and exists:
        raise KeyExists(f"{ref} exists: make its next version with keyfs rotate {ref}")
