"""A store in which every half of every version in a key ring is a blob, on a store where rings are blobs.

A ring, `R.keyring`, shows as `R.keyring#1`, `R.keyring.pub#1` and so on, and as itself: the signed file, with
its table of contents in its facts; a version that was destroyed is in the table alone. A half's bytes and
identity follow from the one element of the ring that it is: other versions may come and go. Nothing that does
not verify is read, and nothing is left out of a listing in silence: what cannot be shown is a stray, with the
reason.

Reading takes no lock: a file is renamed, and a value set, in one step, and the signature tells the rest.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from hashlib import blake2b
from typing import Final, Protocol

from keyfs.core.rings import (
    Ring,
    RingKey,
    contents_note,
    half_name,
    is_ring_name,
    parse_half_name,
    parse_whole_name,
    ring_path,
    rings_of,
)
from keyfs.errors import KeyfsError, KeyNotFound, OperationRefused, RingInvalid, StoreUnavailable
from keyfs.store.base import Blob, BlobStat, Listing, Page, Pages, Replacement
from keyfs.store.facts import DIGEST_SIZE, pack, pack_digest, whole
from keyfs.store.ring_changes import LOCK_NAME, RingChanges, RingCodec, RingMedium
from keyfs.store.ring_withdrawal import Withdrawals
from keyfs.store.watching import Watch

OWN_NAMES: Final = frozenset({"version", LOCK_NAME})
"""What belongs to the format and is neither a key nor a stray."""
PRIVATE_MODE: Final = 0o600
PUBLIC_MODE: Final = 0o644
BATCH: Final = 200  # rings that are fetched together for a listing
_RingOrError = Ring | KeyfsError


class _Look(Protocol):
    def __call__(self, path: str, data: bytes) -> Ring: ...


class RingStore:
    """See this module's first lines.

    Args:
        medium: where the rings are.
        codec: parses and verifies them.
        is_pair: whether the ring of a path holds key pairs.
    """

    def __init__(self, medium: RingMedium, codec: RingCodec, is_pair: Callable[[str], bool]) -> None:
        self._medium = medium
        self._codec = codec
        self._changes = RingChanges(medium, codec, is_pair)
        self._withdrawals = Withdrawals(self._changes, codec)
        self.name_limit = medium.name_limit
        self.lists_directories = True  # a ring is one, and asking for it costs one blob
        self.now_ns = medium.now_ns
        self.describe = medium.describe
        self.read_beside = medium.read_beside
        self.write_beside = medium.write_beside
        self.append_beside = medium.append_beside
        self.rewrite = self._changes.rewrite
        self.set_state = self._changes.set_state
        self.break_lock = medium.break_lock

    def list_pages(self) -> Pages:
        """See `Store.list_pages`. Without a master key signatures are not checked here."""
        with closing(self._medium.list_pages()) as pages:
            for page in pages:
                names = list(page.blobs)
                yield _without_rings(page)
                rings = [name for name in names if is_ring_name(name)]
                for begin in range(0, len(rings), BATCH):
                    yield self._page(rings[begin : begin + BATCH])

    def list_all(self) -> Listing:
        """See `Store.list_all`."""
        return whole(self.list_pages())

    def list_under(self, directory: str) -> dict[str, BlobStat]:
        """See `Store.list_under`; a ring is a directory, and in itself.

        Raises:
            RingInvalid: the ring does not verify.
        """
        if not is_ring_name(directory):
            found = self._medium.list_under(directory)
            return {name: stat for name, stat in found.items() if not _is_ours(name)}
        ring = self._rings([directory], self._codec.look)[directory]
        if isinstance(ring, KeyNotFound):
            return {}
        if isinstance(ring, KeyfsError):
            raise ring
        return {name: stat for name, stat, _ in _halves(directory, ring)} | {directory: _ring_stat(ring)}

    def mark(self, directory: str) -> object:
        """See `Store.mark`; nothing tells of what is in a ring."""
        return None if is_ring_name(directory) else self._medium.mark(directory)

    def stat(self, name: str) -> BlobStat | None:
        """See `Store.stat`."""
        return self.stat_many([name]).get(name)

    def stat_many(self, names: Iterable[str]) -> dict[str, BlobStat]:
        """See `Store.stat_many`. Of a ring that does not verify nothing is there."""
        asked = list(names)
        grouped = rings_of(asked)
        found = self._medium.stat_many(name for name in asked if not _is_ours(name))
        for ring_name, ring in self._rings(grouped, self._codec.look).items():
            if isinstance(ring, Ring):
                there = {name: stat for name, stat, _ in _halves(ring_name, ring)}
                there[ring_name] = _ring_stat(ring)
                found.update((name, there[name]) for name in grouped[ring_name] if name in there)
            elif isinstance(ring, StoreUnavailable):
                raise ring
        return found

    def get(self, name: str) -> Blob:
        """See `Store.get`.

        Raises:
            RingInvalid: the ring does not verify.
            MasterKeyUnavailable: there is no key to verify it with.
            KeyNotFound: there is no such version, or it was destroyed.
        """
        blob = self.get_many([name])[name]
        if isinstance(blob, KeyfsError):
            raise blob
        return blob

    def get_many(self, names: Iterable[str]) -> dict[str, Blob | KeyfsError]:
        """See `Store.get_many`: each ring is fetched once. Errors as of `get`."""
        asked = list(names)
        found = self._medium.get_many(name for name in asked if not _is_ours(name))
        found |= {name: KeyNotFound(f"there is no {name}") for name in asked if name in OWN_NAMES}
        grouped = rings_of(asked)
        for ring_name, ring in self._rings(grouped, self._codec.open).items():
            blobs = {} if isinstance(ring, KeyfsError) else _blobs(ring_name, ring)
            for name in grouped[ring_name]:
                found[name] = blobs.get(name) or self._whole(name, ring) or _absence(name, ring)
        return found

    def supersede(self, replacements: Iterable[Replacement]) -> None:
        """See `Store.supersede`, and `RingChanges.supersede`; a whole version is put back as it was."""
        plan = list(replacements)
        for item in plan:
            if parse_whole_name(item.name) is not None:
                self._withdrawals.put_back(item)
        self._changes.supersede(item for item in plan if parse_whole_name(item.name) is None)

    def channel(self) -> None:
        """See `Store.channel`: there is none. What would come is a ring, and has to be taken apart."""

    def delete(self, names: Iterable[str]) -> None:
        """See `Store.delete`; a version is destroyed: its number, dates and state stay in the ring.

        Of one that is named as a whole nothing stays: it has been put elsewhere, and may come back.
        """
        asked = list(names)
        self._medium.delete(name for name in asked if not _is_ours(name))
        self._changes.destroy(rings_of(name for name in asked if parse_whole_name(name) is None))
        self._withdrawals.withdraw(name for name in asked if parse_whole_name(name) is not None)

    def set_aside(self, name: str) -> str:
        """See `Store.set_aside`: whole rings, or what is none.

        Raises:
            OperationRefused: it is a part of a ring.
        """
        if parse_half_name(name) is not None:
            raise OperationRefused(f"{name} is a part of a key ring, and is not moved out of it")
        return self._medium.set_aside(name)

    def stuck_locks(self, *names: str) -> tuple[str, ...]:
        """See `Store.stuck_locks`: Acra's is one of them."""
        return self._medium.stuck_locks(LOCK_NAME, *names)

    @contextmanager
    def lock(self, name: str = "") -> Iterator[None]:
        """See `Store.lock`. Who locks one ring, or what is to be one, excludes Acra too, until the end."""
        ring_names = list(rings_of([name.removesuffix(".new")]))
        with self._medium.lock(name):
            if not ring_names:
                yield
                return
            with self._changes.held():
                yield

    def watch(self) -> Watch:
        """See `Store.watch`. It tells of rings, not of what is in them."""
        return self._medium.watch()

    def close(self) -> None:
        """See `Store.close`."""
        self._medium.close()

    def _rings(self, names: Iterable[str], look: _Look) -> dict[str, _RingOrError]:
        """The rings of these names, or why there is none."""
        found: dict[str, _RingOrError] = {}
        for name, blob in self._medium.get_many(names).items():
            try:
                found[name] = blob if isinstance(blob, KeyfsError) else look(ring_path(name), blob.data)
            except RingInvalid as exc:
                found[name] = RingInvalid(f"{name}: {exc}")
            except KeyfsError as exc:
                found[name] = exc
        return found

    def _whole(self, name: str, ring: _RingOrError) -> Blob | None:
        """A version on its own, which is not listed, and has no identity."""
        found = None if isinstance(ring, KeyfsError) else self._withdrawals.apart(name, ring)
        return None if found is None else Blob(found[0], BlobStat(len(found[0]), found[1], PRIVATE_MODE, ""))

    def _page(self, names: Sequence[str]) -> Page:
        page = Page({}, {})
        for name, ring in self._rings(names, self._codec.look).items():
            if isinstance(ring, KeyNotFound):
                continue  # gone since it was listed
            if isinstance(ring, StoreUnavailable):
                raise ring
            if isinstance(ring, KeyfsError):
                page.strays[name] = str(ring).removeprefix(f"{name}: ")
                continue
            page.blobs.update((half, _packed(stat, digest)) for half, stat, digest in _halves(name, ring))
            page.blobs[name] = pack(_ring_stat(ring))
            for place, key in enumerate(ring.hidden()):
                page.strays[f"{name}#{key.seqnum}?{place}"] = "its number is another version's, or is none"
        return page


def _without_rings(page: Page) -> Page:
    """What is no ring and nothing of the format's own; a file that is called as a ring's part is a stray."""
    blobs = {name: facts for name, facts in page.blobs.items() if not _is_ours(name)}
    parts = [
        name for name in page.blobs if _is_ours(name) and not is_ring_name(name) and name not in OWN_NAMES
    ]
    strays = {f"./{name}": "a file that is called as a version in a key ring" for name in parts}
    return Page(blobs, page.strays | strays)


def _is_ours(name: str) -> bool:
    return name in OWN_NAMES or bool(rings_of([name]))


def _halves(ring_name: str, ring: Ring) -> Iterator[tuple[str, BlobStat, bytes]]:
    """Every half that has material: its name, its facts, and the digest that is its identity."""
    for seqnum, key in ring.shown().items():
        for data, is_public in ((key.secret, False), (key.public, True)):
            if data is not None:
                digest = _digest(key, is_public=is_public)
                mode = PUBLIC_MODE if is_public else PRIVATE_MODE
                name = half_name(ring_name, seqnum, is_public=is_public)
                yield name, BlobStat(len(data), key.since_ns, mode, digest.hex()), digest


def _digest(key: RingKey, *, is_public: bool) -> bytes:
    return blake2b(key.raw, digest_size=DIGEST_SIZE, key=b"public" if is_public else b"").digest()


def _packed(stat: BlobStat, digest: bytes) -> bytes:
    return pack_digest(stat.size, stat.mtime_ns, stat.mode, digest)


def _ring_stat(ring: Ring) -> BlobStat:
    digest = blake2b(ring.file, digest_size=DIGEST_SIZE).hexdigest()
    return BlobStat(len(ring.file), None, PRIVATE_MODE, digest, contents_note(ring))


def _blobs(ring_name: str, ring: Ring) -> dict[str, Blob]:
    stats = {name: stat for name, stat, _ in _halves(ring_name, ring)}
    found = {ring_name: Blob(ring.file, _ring_stat(ring))}
    for name, stat in stats.items():
        half = parse_half_name(name)
        key = None if half is None else ring.key(half[1])
        data = None if key is None or half is None else key.public if half[2] else key.secret
        if data is not None:
            found[name] = Blob(data, stat)
    return found


def _absence(name: str, ring: _RingOrError) -> KeyfsError:
    if isinstance(ring, KeyfsError):
        return ring
    return KeyNotFound(f"there is no {name}: no such version, or it was destroyed")
