"""Own purposes: one blob for each version, `PURPOSE/CLIENT/STAMP` in the annex of the key store.

The stamp has Acra's form and says when the version became current; the newest one is. A blob never changes
its name, and its bytes only when it is sealed anew. Purpose, client and stamp are bound as associated data,
so that no blob opens in another one's place. Acra's tools see none of it: the annex lies beside their store.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from keyfs.core.label import Label
from keyfs.core.names import CURRENT, GLOBAL, Half, KeyRef, check_client
from keyfs.core.own import OwnKind, OwnSpec, is_own_name
from keyfs.core.purposes import Purpose, Shape
from keyfs.core.stamps import FOLLOWED_NS, format_stamp, is_stamp, parse_stamp
from keyfs.errors import InvalidName
from keyfs.layout.base import KeyRing, KeyVersion, NewHalves, Part, Reading, RingPlaces, Slot, one_slot
from keyfs.seal.cell import plaintext_size
from keyfs.store.base import ANNEX, BlobStat, Replacement

FORMAT: Final = b"keyfs own key 1"
MODE: Final = 0o600
_DIGITS: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{8}[1-9]", re.ASCII)
_SIZE: Final = len("YYYY-MM-DDTHH:MM:SS.nnnnnnnnn")
_LEVELS: Final = 3


class OwnLayout:
    """The layout of the annex.

    Args:
        purposes: those declared.
        undeclared: whether keys of other purposes are taken for keys, too: for whoever seals or copies all.
    """

    name = "own"

    def __init__(self, purposes: Sequence[Purpose], *, undeclared: bool = False) -> None:
        self.purposes = tuple(purposes)
        self._known = {(purpose.name, purpose.is_global): purpose for purpose in purposes}
        self._undeclared = undeclared

    def reading(self, name: str) -> Reading | None:
        """See `Layout.reading`."""
        parts = name.removeprefix(ANNEX).split("/")
        if len(parts) != _LEVELS or not _is_version(parts[2]):
            return None
        ref = self._ref(parts[0], parts[1])
        return None if ref is None else (ref.purpose, ref.client, Half.SECRET, parts[2])

    def slots(self, name: str) -> tuple[Slot, ...]:
        """See `Layout.slots`: at most one."""
        return one_slot(self.reading(name))

    def needs_proof(self, slots: tuple[Slot, ...]) -> bool:
        """See `Layout.needs_proof`: a name is one key's."""
        return False

    def ring_named(self, name: str) -> None:
        """See `Layout.ring_named`: there is no such blob."""

    def stray_reason(self, name: str) -> str:
        """See `Layout.stray_reason`."""
        purpose, _, rest = name.removeprefix(ANNEX).partition("/")
        base = rest.rpartition("/")[2]
        if _is_version(base[:_SIZE]) and base[_SIZE:].isascii() and base[_SIZE:].isdecimal():
            return "left-over temporary of an interrupted write"
        if is_own_name(purpose) and OwnLayout((), undeclared=True).slots(name):
            return f"not declared: the configuration has no [purpose.{purpose}] for it"
        return "its name is not that of a key"

    def places(self, ref: KeyRef) -> RingPlaces:
        """See `Layout.places`: no name is known before it is listed."""
        return RingPlaces((), (_directory(ref),))

    def ring_of_one(self, ref: KeyRef, half: Half, name: str, stat: BlobStat) -> None:
        """See `Layout.ring_of_one`: each has a stamp."""

    def size_of_one(self, ref: KeyRef, half: Half, blob_size: int) -> None:
        """See `Layout.size_of_one`."""

    def ring(self, ref: KeyRef, blobs: Mapping[Slot, tuple[str, BlobStat]]) -> KeyRing:
        """See `Layout.ring`: each version retired when the next one came."""
        found = sorted((slot.stamp or "", *blob) for slot, blob in blobs.items())
        times = [parse_stamp(stamp) for stamp, _, _ in found]
        last = len(found) - 1
        return KeyRing(
            ref,
            tuple(
                KeyVersion(
                    CURRENT if rank == last else stamp,
                    Part(name, stat, is_sealed=True, size=plaintext_size(stat.size)),
                    None,
                    times[rank],
                    None if rank == last else times[rank + 1],
                )
                for rank, (stamp, name, stat) in enumerate(found)
            ),
        )

    def ring_after(
        self,
        ring: KeyRing,
        blobs: Mapping[Slot, tuple[str, BlobStat]],
        changes: Mapping[Slot, tuple[str, BlobStat] | None],
    ) -> None:
        """See `Layout.ring_after`: it has to be listed, too, before anything is written."""

    def shown(self, blobs: Mapping[Slot, tuple[str, BlobStat]]) -> Mapping[Slot, tuple[str, BlobStat]]:
        """See `Layout.shown`: the newest one is current."""
        newest = max((slot.stamp or "" for slot in blobs), default="")
        return {
            Slot(s.ref, s.half, None if s.stamp == newest else s.stamp): blob for s, blob in blobs.items()
        }

    def label(self, ref: KeyRef, name: str) -> Label:
        """See `Layout.label`: format, purpose, client, stamp, each behind its length. No KMS has a key."""
        parts = (FORMAT, *(part.encode() for part in (ref.purpose.name, ref.client_label, _stamp_of(name))))
        return Label(b"".join(len(part).to_bytes(4, "big") + part for part in parts), "")

    def check_writable(self, ref: KeyRef, name_limit: int | None) -> None:
        """See `Layout.check_writable`."""

    def check_fits(self, ref: KeyRef, name_limit: int | None) -> None:
        """See `Layout.check_fits`: all names are short enough."""

    def check_readable(self, ref: KeyRef, part: Part) -> None:
        """See `Layout.check_readable`: Acra demands nothing of what it does not see."""

    def why_kept(self, ring: KeyRing, version_id: str) -> str:
        """See `Layout.why_kept`: where the newest is current, the one before would become so again."""
        return "what retired before it would be current again" if version_id == CURRENT else ""

    def next_name(self, ring: KeyRing, clock: Callable[[], int], *, is_amended: bool) -> str:
        """See `Layout.next_name`: the stamp is later than all before it, whatever the clock says."""
        current = ring.current
        if is_amended and current is not None and current.secret is not None:
            return current.secret.name
        last_ns = 0 if current is None else current.created_ns or 0
        return f"{_directory(ring.ref)}/{format_stamp(_stampable(max(clock(), last_ns + 1)))}"

    def plan(self, ring: KeyRing, new: NewHalves, now_ns: int) -> tuple[Replacement, ...]:
        """See `Layout.plan`: one blob is made, and what was current stays where it is."""
        if new.secret is None:
            return ()
        return (Replacement(new.name, new.secret, MODE, parse_stamp(_stamp_of(new.name)), None),)

    def _ref(self, name: str, client: str) -> KeyRef | None:
        is_global = client == GLOBAL
        purpose = self._known.get((name, is_global))
        if purpose is None and self._undeclared and is_own_name(name):
            purpose = Purpose(name, Shape.OWN, is_global, own=OwnSpec(OwnKind.OPAQUE))
        if purpose is None:
            return None
        try:
            return KeyRef(purpose, None if is_global else check_client(purpose, client))
        except InvalidName:
            return None


def _directory(ref: KeyRef) -> str:
    return f"{ANNEX}{ref}"


def _stamp_of(name: str) -> str:
    return name.rpartition("/")[2]


def _is_version(text: str) -> bool:
    """Whether a version can be called so: nine digits behind the dot, the last of them no zero.

    So one moment has one name; and the name of a temporary file, which has more digits, is no version's.
    """
    return _DIGITS.fullmatch(text) is not None and is_stamp(text) and parse_stamp(text) < FOLLOWED_NS


def _stampable(time_ns: int) -> int:
    """This moment, or the first one after it that a version can be called by."""
    return time_ns if time_ns % 10 else time_ns + 1
