"""Acra key store v1: one file per key half, history beside it in `NAME.old/STAMP`."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Final

from keyfs.core.label import Label
from keyfs.core.names import CURRENT, Half, KeyRef
from keyfs.core.purposes import AUDIT_LOG, POISON_RECORD, POISON_RECORD_SYM, PURPOSES
from keyfs.core.stamps import FOLLOWED_NS, format_stamp, parse_stamp
from keyfs.errors import ClientIdTooLong, InsecurePermissions, OperationRefused
from keyfs.layout.base import KeyRing, NewHalves, Part, RingPlaces, Slot, one_slot
from keyfs.layout.v1_names import (
    history_directory,
    modern_reading,
    public_name,
    secret_name,
    slots_of,
    stray_reason,
)
from keyfs.layout.v1_ring import build_ring, ring_of_one, size_of
from keyfs.layout.v1_tail import ring_after
from keyfs.store.base import BlobStat, Replacement

PRIVATE_MODE: Final = 0o600
PUBLIC_MODE: Final = 0o644
# Acra names its temporary files NAME plus up to ten random digits; a longer id could not be rotated by it.
TEMPORARY_DIGITS: Final = 10
# Acra stamps the public half 0.1 to 0.4 ms after the private half.
PUBLIC_STAMP_DELAY_NS: Final = 100_000
# Whose key in a KMS seals the keys without a client.
_KMS_OWNERS: Final = {POISON_RECORD: "poison", POISON_RECORD_SYM: "poison", AUDIT_LOG: "audit_log"}


class LayoutV1:
    """The v1 layout; with *legacy*, keys of programs that Acra no longer ships are shown too."""

    name = "v1"
    reading = staticmethod(modern_reading)

    def __init__(self, *, legacy: bool = False) -> None:
        self._legacy = legacy
        self.purposes = tuple(p for p in PURPOSES if legacy or not p.is_legacy)

    def slots(self, name: str) -> tuple[Slot, ...]:
        """See `Layout.slots`; legacy readings only in the legacy view."""
        return slots_of(name) if self._legacy else one_slot(modern_reading(name))

    def needs_proof(self, slots: tuple[Slot, ...]) -> bool:
        """Modern names are one to one with keys; legacy ones, all readings of them, only opening can tell."""
        return bool(slots) and slots[0].ref.purpose.is_legacy

    def ring_named(self, name: str) -> None:
        """See `Layout.ring_named`: there is no such blob."""

    def stray_reason(self, name: str) -> str:
        """See `Layout.stray_reason`."""
        return stray_reason(name, legacy=self._legacy)

    def places(self, ref: KeyRef) -> RingPlaces:
        """The file, its public twin for pairs, and their `.old` directories."""
        names = (secret_name(ref), public_name(ref)) if ref.purpose.is_pair else (secret_name(ref),)
        return RingPlaces(names, tuple(history_directory(name) for name in names))

    def ring(self, ref: KeyRef, blobs: Mapping[Slot, tuple[str, BlobStat]]) -> KeyRing:
        """See `Layout.ring`."""
        return build_ring(ref, blobs)

    def ring_of_one(self, ref: KeyRef, half: Half, name: str, stat: BlobStat) -> KeyRing:
        """See `Layout.ring_of_one`."""
        return ring_of_one(ref, half, name, stat)

    def size_of_one(self, ref: KeyRef, half: Half, blob_size: int) -> int:
        """See `Layout.size_of_one`."""
        return size_of(ref, half, blob_size)

    def ring_after(
        self,
        ring: KeyRing,
        blobs: Mapping[Slot, tuple[str, BlobStat]],
        changes: Mapping[Slot, tuple[str, BlobStat] | None],
    ) -> KeyRing | None:
        """See `Layout.ring_after`."""
        return ring_after(ring, blobs, changes)

    def shown(self, blobs: Mapping[Slot, tuple[str, BlobStat]]) -> Mapping[Slot, tuple[str, BlobStat]]:
        """See `Layout.shown`: in the places where they lie."""
        return blobs

    def label(self, ref: KeyRef, name: str = "") -> Label:
        """Context: the client id, or the fixed relative path of a global key; never purpose or version.

        Acra's KMS key: `acra_` and the client id, for every kind of key that a client has; both poison keys
        share one, and legacy keys have none.
        """
        context = secret_name(ref) if ref.client is None else ref.client
        owner = _KMS_OWNERS.get(ref.purpose, ref.client or "")
        is_without = ref.purpose.is_legacy or not owner
        return Label(context.encode("ascii"), "" if is_without else f"acra_{owner}")

    def check_writable(self, ref: KeyRef, name_limit: int | None) -> None:
        """See `Layout.check_writable`."""
        if ref.purpose.is_legacy:
            raise OperationRefused(f"{ref}: legacy keys are only read")
        self.check_fits(ref, name_limit)

    def check_fits(self, ref: KeyRef, name_limit: int | None) -> None:
        """See `Layout.check_fits`; Acra must be able to rotate the key too."""
        longest = self.places(ref).names[-1]
        room = None if name_limit is None else name_limit - TEMPORARY_DIGITS
        if ref.client is not None and room is not None and len(longest) > room:
            limit = room - len(longest) + len(ref.client)
            raise ClientIdTooLong(
                f"client id of {len(ref.client)} bytes is too long for {ref.purpose} here: "
                f"at most {limit} fit, because Acra's file names may have {name_limit} bytes"
            )

    def check_readable(self, ref: KeyRef, part: Part) -> None:
        """Private halves of pairs must not have a mode number above 0600, as in Acra."""
        if ref.purpose.is_pair and part.is_sealed and part.stat.mode > PRIVATE_MODE:
            raise InsecurePermissions(
                f"{part.name} has mode {part.stat.mode:04o}; Acra refuses private keys above 0600: "
                f"run chmod 600 on it"
            )

    def why_kept(self, ring: KeyRing, version_id: str) -> str:
        """See `Layout.why_kept`: without the current file Acra reads no older version, though it is there."""
        retired = len(ring.versions) - 1
        if version_id != CURRENT:
            return ""
        if not retired:
            return "it is the only version of its key"
        return f"without it Acra reads no retired version, and there are {retired}"

    def next_name(self, ring: KeyRing, clock: Callable[[], int], *, is_amended: bool) -> str:
        """See `Layout.next_name`: always the same."""
        return secret_name(ring.ref)

    def plan(self, ring: KeyRing, new: NewHalves, now_ns: int) -> tuple[Replacement, ...]:
        """Private before public; each half's history stamp is its own and later than all before it."""
        stamp_ns = max(now_ns, _last_stamp_ns(ring) + 1)
        plan: list[Replacement] = []
        if new.secret is not None:
            name = secret_name(ring.ref)
            archive = _orphan(ring, name) or _archive(name, stamp_ns)
            plan.append(Replacement(name, new.secret, PRIVATE_MODE, stamp_ns, archive))
        if new.public is not None:
            name = public_name(ring.ref)
            private_ns = _stamp_of(plan[0].archive) if plan else _unpaired_ns(ring) or stamp_ns
            public_archive = _public_archive(ring, name, private_ns)
            plan.append(Replacement(name, new.public, PUBLIC_MODE, stamp_ns, public_archive))
        return tuple(replace(item, archive=None) for item in plan) if new.is_amended else tuple(plan)


def _archive(name: str, retired_ns: int) -> str:
    return f"{history_directory(name)}/{format_stamp(retired_ns)}"


def _orphan(ring: KeyRing, name: str) -> str | None:
    """The archived copy of *name* that a stopped rotation left, to be used again."""
    left = [orphan for orphan in ring.orphans if orphan.startswith(history_directory(name) + "/")]
    return left[-1] if left else None


def _public_archive(ring: KeyRing, name: str, private_ns: int) -> str | None:
    """Where a superseded public half goes: near the stamp of its private half, later than all before it.

    None when it is archived already, by a rotation that stopped between its two switches.
    """
    parts = [version.public for version in ring.versions if version.public is not None]
    current = ring.current.public if ring.current is not None else None
    archived = [part for part in parts if part is not current]
    if current is not None and any(part.stat.identity == current.stat.identity for part in archived):
        return None
    after_ns = _stamp_of(max((part.name for part in archived), default=None))
    retired_ns = max(private_ns + PUBLIC_STAMP_DELAY_NS, after_ns + 1)
    return _orphan(ring, name) or _archive(name, retired_ns)


def _unpaired_ns(ring: KeyRing) -> int | None:
    """When the last version retired, if its public half is not archived: it is still the current one."""
    retired = [version for version in ring.versions if version.secret is not None and version.retired_ns]
    return retired[-1].retired_ns if retired and retired[-1].public is None else None


def _stamp_of(name: str | None) -> int:
    return 0 if name is None else parse_stamp(name.rpartition("/")[2])


def _last_stamp_ns(ring: KeyRing) -> int:
    """The latest moment the ring knows of; a clock that was set back must not reorder versions.

    A file's time may lie where no stamp can follow it. It is not followed.
    """
    times = [0]
    for version in ring.versions[-2:]:  # what is older was written, and retired, before the last one retired
        times += [t for t in (version.created_ns, version.retired_ns) if t is not None and t < FOLLOWED_NS]
    if ring.ref.purpose.is_pair:
        publics = [v.public.name for v in ring.versions if v.public is not None and v.retired_ns is not None]
        times.append(_stamp_of(max(publics, default=None)))  # the order of names is that of stamps
    times += [_stamp_of(orphan) for orphan in ring.orphans]
    return max(times)
