"""The files of one key, as a medium would list them, without a medium."""

from keyfs.core.names import Half, KeyRef, parse_key_ref
from keyfs.core.stamps import format_stamp
from keyfs.layout.base import KeyRing, Slot
from keyfs.layout.v1_names import history_directory, public_name, secret_name
from keyfs.layout.v1_ring import build_ring
from keyfs.store.base import BlobStat

PAIR = parse_key_ref("storage/alice")
SYMMETRIC = parse_key_ref("storage-sym/alice")
NOON_NS = 1_795_521_600 * 10**9
MINUTE_NS = 60 * 10**9
SIZES = {(PAIR, Half.SECRET): 89, (PAIR, Half.PUBLIC): 45, (SYMMETRIC, Half.SECRET): 76}

# A version's private half, its public half; None where there is none.
Pair = tuple[str | None, str | None]


def stamp(minutes: float, *, public: bool = False) -> str:
    """A rotation that many minutes after noon; the public half follows 0.1 ms later."""
    return format_stamp(NOON_NS + int(minutes * MINUTE_NS) + 100_000 * public)


class Files:
    """The files of one key. The content stands for the identity that the medium tells."""

    def __init__(self, ref: KeyRef, *, keeps_times: bool = True) -> None:
        self.ref = ref
        self.keeps_times = keeps_times
        self.blobs: dict[Slot, tuple[str, BlobStat]] = {}

    def secret(self, content: str, label: str | None = None, written: float = 0) -> "Files":
        return self._add(Half.SECRET, content, label, written)

    def public(self, content: str, label: str | None = None, written: float = 0) -> "Files":
        return self._add(Half.PUBLIC, content, label, written)

    def ring(self) -> KeyRing:
        return build_ring(self.ref, self.blobs)

    def _add(self, half: Half, content: str, label: str | None, written: float) -> "Files":
        name = public_name(self.ref) if half is Half.PUBLIC else secret_name(self.ref)
        path = name if label is None else f"{history_directory(name)}/{label}"
        mtime_ns = NOON_NS + int(written * MINUTE_NS) if self.keeps_times else None
        facts = BlobStat(SIZES[self.ref, half], mtime_ns, 0o600, content)
        self.blobs[Slot(self.ref, half, label)] = (path, facts)
        return self


def contents(ring: KeyRing) -> dict[str, Pair]:
    """What each version is made of."""
    return {
        version.id: (
            version.secret.stat.identity if version.secret else None,
            version.public.stat.identity if version.public else None,
        )
        for version in ring.versions
    }
