"""`keyfs check`: every blob opens, every name parses, nothing is left over. And its repair.

A repair never deletes bytes: what does not belong is moved beside the store. It runs under the locks of the
key store, Acra's included, and looks once more when it holds them.
"""

import time
from collections.abc import Callable, Iterator
from typing import Final

from keyfs.broker import check_beside, check_rings
from keyfs.broker.findings import Finding, Report
from keyfs.broker.keystore import KeyStore
from keyfs.broker.second_names import second_names
from keyfs.broker.settling import PAUSE_S, SETTLE_S, Patience
from keyfs.broker.writer import RingWriter
from keyfs.core.names import CURRENT, Half, KeyRef
from keyfs.core.stamps import parse_stamp
from keyfs.errors import KeyfsError, KeyNotFound
from keyfs.layout.base import KeyRing, KeyVersion

LEFTOVER: Final = "left-over"
NOTES: Final = ("legacy", "not declared")  # how reasons begin that are no faults

Progress = Callable[[int, int], None]


def check(
    keys: KeyStore,
    writer: RingWriter | None = None,
    progress: Progress = lambda _done, _all: None,
    settle_s: float = SETTLE_S,
) -> Report:
    """Open every blob and look at every name; with *writer*, mend what can be mended safely.

    Args:
        keys: loaded.
        writer: None to look only.
        progress: told the number of rings done and of all rings.
        settle_s: how old something must be to count as left over.

    Raises:
        StoreUnavailable, StoreBusy, ReadOnly, AccessDenied: the store cannot be read, or mended.
    """
    patience, repairs = Patience(settle_s), writer is not None
    findings = list(check_beside.locks(keys, repairs=repairs))
    findings += _strays(keys, patience, repairs=repairs)
    rings = sorted(keys.rings(), key=lambda ring: str(ring.ref))
    blobs = 0
    for done, ring in enumerate(rings, 1):
        parts = [part for v in ring.versions for part in (v.secret, v.public) if part is not None]
        blobs += len(parts)
        keys.reader.prefetch(parts)  # together: where one blob has all versions, it is read once
        findings += _half_done(keys, ring, writer, settle_s)
        findings += check_rings.versions(keys, ring, patience, repairs=repairs)
        findings += _unreadable(keys, ring.ref)
        progress(done, len(rings))
    findings += check_beside.beside(keys, repairs=repairs)
    return Report(len(rings), blobs, tuple(findings))


def _strays(keys: KeyStore, patience: Patience, *, repairs: bool) -> Iterator[Finding]:
    strays = dict(keys.index.strays)
    for name, reason in sorted(strays.items()):
        if check_rings.is_in_stray(name, strays):
            continue
        code = check_rings.code_of(keys, name, reason)
        if code is not None:
            yield from check_rings.invalid(keys, Finding(code, name, reason), patience, repairs=repairs)
        elif not reason.startswith(LEFTOVER):
            yield Finding("stray", name, reason, is_note=reason.startswith(NOTES))
        elif _stays(keys, name, patience):
            place = _set_aside(keys, name) if repairs else ""
            yield Finding("left-over", name, reason, is_repaired=repairs, set_aside=place)


def _unreadable(keys: KeyStore, ref: KeyRef) -> Iterator[Finding]:
    """Looks at the ring as it is now: a repair may just have mended it."""
    try:
        ring = keys.ring(ref)
    except KeyNotFound:
        return  # destroyed since the listing
    for version in ring.versions:
        for half in _halves(version):
            try:
                keys.reader.open(ring.ref, version, half).material.wipe()
            except KeyNotFound:
                continue  # destroyed since the listing
            except KeyfsError as exc:
                yield Finding("unreadable", f"{ring.ref}/{version.id}", str(exc))


def _half_done(
    keys: KeyStore, found: KeyRing, writer: RingWriter | None, settle_s: float
) -> Iterator[Finding]:
    ring, names, broken = _settled(keys, found, settle_s)
    for name in names:
        place = "" if writer is None else _set_orphan_aside(keys, ring, name)
        message = "the blob of another version, a second time: a rotation stopped half-way"
        yield Finding("half-done", name, message, is_repaired=writer is not None, set_aside=place)
    for version in broken:
        mend = writer if version.id == CURRENT else None
        place = "" if mend is None else check_rings.keep_public(keys, version)
        if mend is not None:
            place = mend.mend_public(ring.ref) or place
        where, message = f"{ring.ref}/{version.id}", "its public half is not that of its private half"
        yield Finding("pair", where, message, is_repaired=mend is not None, set_aside=place)


def _broken_pairs(keys: KeyStore, ring: KeyRing) -> list[KeyVersion]:
    if not ring.ref.purpose.is_pair:
        return []
    return [v for v in ring.versions if v.secret is not None and not _pair_is_whole(keys, ring, v)]


def _pair_is_whole(keys: KeyStore, ring: KeyRing, version: KeyVersion) -> bool:
    """False only for what is certain: a private half that cannot be opened is another finding."""
    if version.public is None:
        return version.id != CURRENT
    try:
        return keys.reader.stored_matches(ring.ref, version)
    except KeyfsError:
        return True


def _halves(version: KeyVersion) -> Iterator[Half]:
    if version.secret is not None:
        yield Half.SECRET
    if version.public is not None:
        yield Half.PUBLIC


def _copies(keys: KeyStore, ring: KeyRing) -> list[str]:
    """Second names of what is current, public ones first."""
    return [*ring.orphans, *second_names(keys, ring)]


def _settled(keys: KeyStore, ring: KeyRing, settle_s: float) -> tuple[KeyRing, list[str], list[KeyVersion]]:
    """The ring, its copies and its broken pairs, when it looks whole or has looked half-done for long enough.

    Whoever rotates meanwhile makes halves of two versions look like a pair: only what is the same before
    and after a look was seen.
    """
    since = time.monotonic()
    while True:
        looked_at, copies, broken = ring, _copies(keys, ring), _broken_pairs(keys, ring)
        if not broken and not copies:
            return ring, [], []
        ring = keys.relist(ring.ref) or KeyRing(ring.ref, ())
        if ring != looked_at:
            since = time.monotonic()
        elif Patience(settle_s).is_old(_last_change_ns(ring, copies)) or time.monotonic() - since >= settle_s:
            return ring, copies, broken
        else:
            time.sleep(PAUSE_S)


def _stays(keys: KeyStore, name: str, patience: Patience) -> bool:
    """Whether a left-over is one: the temporary file of a living program goes away soon."""
    while (stat := keys.store.stat(name)) is not None:
        if patience.is_old(stat.mtime_ns):
            return True
        time.sleep(PAUSE_S)
    keys.index.apply(name, None)
    return False


def _last_change_ns(ring: KeyRing, copies: list[str]) -> int:
    times = [parse_stamp(name.rpartition("/")[2]) for name in copies]
    return max([*times, (ring.current.created_ns or 0) if ring.current is not None else 0])


def _set_orphan_aside(keys: KeyStore, ring: KeyRing, name: str) -> str:
    """Move an orphan beside the store, unless a writer finished meanwhile what had stopped; returns where."""
    place = ""
    with keys.lock(ring.ref):
        now = keys.relist(ring.ref)
        if now is not None and name in _copies(keys, now):
            place = keys.store.set_aside(name)
            keys.index.apply(name, None)
    return place


def _set_aside(keys: KeyStore, name: str) -> str:
    """Move a left-over beside the store, unless the program that made it renamed it; returns where."""
    place = ""
    with keys.store.lock(name):
        if keys.store.stat(name) is not None:
            place = keys.store.set_aside(name)
        keys.index.apply(name, None)
    return place
