"""The part of a check that looks at what is kept beside the key store: locks, states, the archive."""

from collections.abc import Collection, Iterator

from keyfs.broker.archive import archived
from keyfs.broker.findings import Finding
from keyfs.broker.keystore import KeyStore
from keyfs.broker.states import anchored
from keyfs.core.archived import NAME as ARCHIVE
from keyfs.core.names import KeyRef, parse_key_ref
from keyfs.core.state_records import Record, as_text, salvaged
from keyfs.core.states import KeyState
from keyfs.errors import AccessDenied, InvalidName, KeyNotFound, MaterialCorrupt, RingInvalid
from keyfs.layout.base import KeyRing
from keyfs.store.base import STATES_BESIDE


def locks(keys: KeyStore, *, repairs: bool) -> Iterator[Finding]:
    """Locks that nobody will ever let go of. To be looked at first: they keep a repair from its work."""
    try:
        stuck = keys.store.stuck_locks()
    except AccessDenied:  # a user who may not ask how long a lock lasts
        return
    for lock in stuck:
        is_repaired = repairs and keys.store.break_lock(lock)
        yield Finding("lock", lock, "it has no end", is_repaired=is_repaired)


def beside(keys: KeyStore, *, repairs: bool) -> Iterator[Finding]:
    """What is wrong with the files there."""
    labels: Collection[str] | None = None
    try:
        labels = archived(keys)
    except MaterialCorrupt as exc:
        yield Finding("archive-damaged", ARCHIVE, str(exc))
    try:
        records = keys.states.fetch()
    except MaterialCorrupt as exc:
        yield _damaged_states(keys, str(exc), repairs=repairs)
        return
    if labels is not None:  # else nobody can tell what is in the archive
        yield from _orphans(keys, records, labels, repairs=repairs)


def _damaged_states(keys: KeyStore, message: str, *, repairs: bool) -> Finding:
    if not repairs:
        return Finding("states-damaged", STATES_BESIDE, message)
    with keys.store.lock():
        text = keys.store.read_beside(STATES_BESIDE) or b""
        kept = salvaged(text)
        if kept is None:
            return Finding("states-damaged", STATES_BESIDE, message)
        place = _keep(keys, "damaged", text)
        keys.store.write_beside(STATES_BESIDE, as_text(kept), is_locked=True)
    keys.reload_states()
    return Finding("states-damaged", STATES_BESIDE, message, is_repaired=True, set_aside=place)


def _orphans(
    keys: KeyStore, records: Collection[Record], labels: Collection[str], *, repairs: bool
) -> Iterator[Finding]:
    found = [record for record in records if _is_orphan(keys, record, labels)]
    place = ""
    if found and repairs:
        with keys.store.lock():
            kept = keys.states.fetch()
            found = [record for record in kept if record in found and _is_orphan(keys, record, labels)]
            place = _keep(keys, "orphans", as_text(found))
            left = as_text(record for record in kept if record not in found)
            keys.store.write_beside(STATES_BESIDE, left, is_locked=True)
        keys.reload_states()
    for record in found:
        where = f"{record.key}/{record.anchor.stamp or 'current'}"
        yield Finding("states-orphan", where, "there is no such version", True, repairs, place)


def _is_orphan(keys: KeyStore, record: Record, labels: Collection[str]) -> bool:
    """Not of what was destroyed, or may come back; nor where nobody can tell."""
    if record.state is KeyState.DESTROYED or f"{record.key}/{record.anchor.stamp}" in labels:
        return False
    try:
        ref = parse_key_ref(record.key, keys.layout.purposes)
    except InvalidName:
        return False
    return not anchored(_ring(keys, ref), record.anchor) and not _is_hidden(keys, ref)


def _ring(keys: KeyStore, ref: KeyRef) -> KeyRing:
    """As it is in the store itself: others may have changed it since it was listed."""
    try:
        return keys.relist(ref) or KeyRing(ref, ())
    except RingInvalid:
        return KeyRing(ref, ())


def _is_hidden(keys: KeyStore, ref: KeyRef) -> bool:
    try:
        keys.ring(ref)
    except KeyNotFound:
        return False
    except RingInvalid:
        return True
    return False


def _keep(keys: KeyStore, what: str, text: bytes) -> str:
    """Keep *text* beside the store, under a name that is no other's."""
    name = f"{STATES_BESIDE}.{what}-{keys.store.now_ns()}"
    keys.store.write_beside(name, text)
    return f"{name} beside the key store"
