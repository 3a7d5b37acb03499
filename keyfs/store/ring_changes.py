"""Changes of key rings: each is read, verified, changed, signed and switched in one step, under Acra's lock.

Acra's lock (`.lock` in the store) is held besides keyfs's own. It is taken once for a whole change where the
ring's name is known when the store is locked, so that what was looked at is what is changed.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import replace
from functools import partial
from typing import Final, Protocol

from keyfs.core.rings import (
    DESTROYED,
    LIFETIME_S,
    NEW_SUFFIX,
    PAIR_FORMAT,
    PRE_ACTIVE,
    Ring,
    RingKey,
    half_name,
    is_ring_name,
    parse_contents,
    parse_half_name,
    ring_path,
)
from keyfs.core.stamps import NANOSECONDS
from keyfs.errors import KeyfsError, KeyNotFound, OperationRefused, RingInvalid, StoreBusy
from keyfs.store.base import Blob, Replacement, Store

LOCK_NAME: Final = ".lock"
RING_MODE: Final = 0o600
SIZE_LIMIT: Final = 1 << 20
"""Of a ring, in bytes: some thousand versions. A larger file is no key file to a directory."""
_Edit = Callable[[Ring], Ring | None]


class ForeignLock(Protocol):
    """A lock that other programs take as well; held."""

    def demand(self) -> None:
        """Nothing, if it was ours all the time since we took it, and is for long enough to write.

        Raises:
            StoreBusy: it was not, or will not be.
        """


class RingMedium(Store, Protocol):
    """A store with a lock for other programs."""

    def foreign_lock(self, name: str) -> AbstractContextManager[ForeignLock]:
        """Hold the lock that other programs know under this name in the store.

        Raises:
            StoreBusy: another one held it for longer than the driver waits.
            ReadOnly, AccessDenied: it cannot be taken.
        """


class RingCodec(Protocol):
    """From bytes to rings and back. Errors as of `keyfs.seal.rings.SignedRings`."""

    def look(self, path: str, data: bytes) -> Ring:
        """The ring in *data*, for a listing."""

    def open(self, path: str, data: bytes) -> Ring:
        """The ring in *data*, verified."""

    def seal(self, path: str, ring: Ring, now_ns: int) -> bytes:
        """The signed file of *ring*."""


class RingChanges:
    """Carries changes out."""

    def __init__(self, medium: RingMedium, codec: RingCodec, is_pair: Callable[[str], bool]) -> None:
        self._medium = medium
        self._codec = codec
        self._is_pair = is_pair
        self._held: ForeignLock | None = None  # for a whole change; whoever made it so holds keyfs's lock

    @contextmanager
    def held(self) -> Iterator[None]:
        """Hold Acra's lock for all that is changed until the end."""
        with self._medium.foreign_lock(LOCK_NAME) as held:
            self._held = held
            try:
                yield
            finally:
                self._held = None

    def supersede(self, replacements: Iterable[Replacement]) -> None:
        """See `Store.supersede`. A version that the ring has not is added, and current if it is the newest.

        Each ring is switched once, with all that is new in it. One that is named itself gets what the note
        says: a table of contents, of which `Ring.saying` tells what counts.

        Raises:
            RingInvalid: the ring that is there does not verify; it is never overwritten.
            OperationRefused: it is no part of a ring.
            As `Store.supersede`.
        """
        plan: dict[str, list[Replacement]] = {}
        for item in replacements:
            plan.setdefault(item.name if _is_note(item) else _part(item.name)[0], []).append(item)
        for ring_name, items in plan.items():
            edit = partial(_with_halves, items=items, is_pair=self._is_pair(ring_path(ring_name)))
            self._change(ring_name, edit, makes=True)

    def rewrite(self, names: Sequence[str], expected: bytes, data: bytes) -> bool:
        """See `Store.rewrite`: number, dates and state stay. *names* are halves in one ring, or the ring.

        Raises:
            RingInvalid: a ring does not verify, the old one or the new one.
            As `Store.rewrite`.
        """
        if len(names) == 1 and is_ring_name(names[0]):
            return self._swap(names[0], expected, data)
        [ring_name] = {_part(name)[0] for name in names}
        is_done = False

        def edit(ring: Ring) -> Ring | None:
            nonlocal is_done
            edited = _rewritten(ring, names, expected, data)
            is_done = edited is not None
            return edited

        try:
            self._change(ring_name, edit)
        except KeyNotFound:
            return False
        return is_done

    def destroy(self, grouped: Mapping[str, Iterable[str]]) -> None:
        """Destroy versions, given by the names of all their halves, by ring.

        Raises:
            OperationRefused: only one of two halves is named.
            As `Store.delete`.
        """
        for ring_name, names in grouped.items():
            with suppress(KeyNotFound):
                self._change(ring_name, partial(_destroyed, ring_name=ring_name, names=frozenset(names)))

    def set_state(self, ring_name: str, seqnum: int, state: int) -> None:
        """Let a version have this state; nothing else of it changes.

        Raises:
            KeyNotFound: there is none.
            As `Store.supersede`.
        """
        self._change(ring_name, partial(_in_state, seqnum=seqnum, state=state))

    def edit(self, ring_name: str, edit: Callable[[Ring], Ring]) -> None:
        """Any change of one ring, in one step. *edit* is told the ring as it is under the lock.

        Raises:
            KeyNotFound: there is none.
            As `Store.supersede`, and as *edit*.
        """
        self._change(ring_name, edit)

    def _change(self, ring_name: str, edit: _Edit, *, makes: bool = False) -> None:
        """One ring, read and switched under the lock; *edit* gives the new one, None for no change."""
        with self._locked() as held:
            held.demand()
            path, old = ring_path(ring_name), self._read(ring_name)
            if old is None and not makes:
                raise KeyNotFound(f"there is no {ring_name}")
            try:
                ring = Ring(path.encode()) if old is None else self._codec.open(path, old.data)
            except RingInvalid as exc:
                raise RingInvalid(f"{ring_name}: {exc}: nothing was changed") from exc
            edited = edit(ring)
            if edited is None or edited == ring:
                return
            now_ns = self._medium.now_ns()
            data = self._codec.seal(path, edited, now_ns)
            self._codec.open(path, data)  # what would not verify is not written
            if len(data) > SIZE_LIMIT:
                raise OperationRefused(
                    f"{ring_name} would have more than {SIZE_LIMIT} bytes: nothing was changed"
                )
            held.demand()
            self._switch(Replacement(ring_name, data, RING_MODE, now_ns, None), old)
            self._clear(path)

    def _swap(self, ring_name: str, expected: bytes, data: bytes) -> bool:
        """Let a whole ring be what somebody has made of it; whether it is."""
        path = ring_path(ring_name)
        self._codec.open(path, data)
        with self._locked() as held:
            held.demand()
            old = self._read(ring_name)
            if old is None or old.data not in (expected, data):
                return False
            self._codec.open(path, old.data)  # what does not verify is never overwritten
            held.demand()
            is_done = self._medium.rewrite([ring_name], old.data, data)
            self._clear(path)
            return is_done

    def _switch(self, item: Replacement, old: Blob | None) -> None:
        """Where the medium keeps no time that would have to be new, only if the old ring is still there."""
        if old is None or old.stat.mtime_ns is not None:
            self._medium.supersede([item])
        elif not self._medium.rewrite([item.name], old.data, item.data):
            raise StoreBusy(f"someone else wrote {item.name} at the same moment, nothing was changed: retry")

    def _clear(self, path: str) -> None:
        """Under the lock, what Acra would have renamed is left over; and it would keep Acra from writing."""
        left = path + NEW_SUFFIX
        with suppress(KeyfsError):  # what was to be changed is; a check tells of what is left
            if self._medium.stat(left) is not None:
                self._medium.set_aside(left)

    def _read(self, ring_name: str) -> Blob | None:
        try:
            return self._medium.get(ring_name)
        except KeyNotFound:
            return None

    @contextmanager
    def _locked(self) -> Iterator[ForeignLock]:
        if self._held is not None:
            yield self._held
            return
        with self._medium.foreign_lock(LOCK_NAME) as held:
            yield held


def _part(name: str) -> tuple[str, int, bool]:
    half = parse_half_name(name)
    if half is None:
        raise OperationRefused(f"{name} is no part of a key ring, and nothing else is written here")
    return half


def _is_note(item: Replacement) -> bool:
    return is_ring_name(item.name) and bool(item.note)


def _with_halves(ring: Ring, items: Sequence[Replacement], *, is_pair: bool) -> Ring:
    """The ring with new halves; a version that gets a secret half is from that moment."""
    current = ring.current
    for item in items:
        if _is_note(item):
            continue
        _, seqnum, is_public = _part(item.name)
        since_ns = item.mtime_ns // NANOSECONDS * NANOSECONDS
        until_ns = since_ns + LIFETIME_S * NANOSECONDS
        key = ring.key(seqnum) or RingKey(seqnum, PRE_ACTIVE, since_ns, until_ns, ())
        if key.state == DESTROYED:
            raise OperationRefused(f"version {seqnum} was destroyed: its number is not used again")
        if is_public:
            ring = ring.with_key(key.holding(key.secret, item.data, is_pair=is_pair))
        else:
            new = key.holding(item.data, key.public, is_pair=is_pair)
            ring = ring.with_key(replace(new, since_ns=since_ns, until_ns=until_ns))
    for item in filter(_is_note, items):
        ring = ring.saying(parse_contents(item.note), current)
    return ring


def _rewritten(ring: Ring, names: Iterable[str], expected: bytes, data: bytes) -> Ring | None:
    """The ring where all *names* hold *data*; None if one of them holds neither that nor *expected*."""
    for name in names:
        _, seqnum, is_public = _part(name)
        key = ring.key(seqnum)
        now = None if key is None else key.public if is_public else key.secret
        if key is None or now not in (expected, data):
            return None
        if now != data:
            is_pair = any(item.format == PAIR_FORMAT for item in key.data)
            halves = (key.secret, data) if is_public else (data, key.public)
            ring = ring.with_key(key.holding(*halves, is_pair=is_pair))
    return ring


def _in_state(ring: Ring, seqnum: int, state: int) -> Ring:
    key = ring.key(seqnum)
    if key is None:
        raise KeyNotFound(f"there is no version {seqnum}")
    return ring.with_key(replace(key, state=state, raw=b""))


def _destroyed(ring: Ring, ring_name: str, names: Collection[str]) -> Ring:
    """The ring without the material of the versions whose halves are all among *names*."""
    keys = []
    for key in ring.keys:
        halves = ((key.secret, False), (key.public, True))
        own = {half_name(ring_name, key.seqnum, is_public=p) for data, p in halves if data is not None}
        if not own.intersection(names):
            keys.append(key)
        elif own.issubset(names):
            keys.append(key.destroyed())
        else:
            raise OperationRefused(f"a half of version {key.seqnum} cannot be removed without the other")
    return replace(ring, keys=tuple(keys))
