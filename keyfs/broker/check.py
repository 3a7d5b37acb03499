"""`keyfs check`: every blob opens, every name parses, nothing is left over. And its repair.

A repair never deletes bytes: what does not belong is moved beside the store.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from keyfs.broker.keystore import KeyStore
from keyfs.broker.reader import BlobReader
from keyfs.broker.second_names import second_names
from keyfs.broker.writer import RingWriter
from keyfs.core.names import CURRENT, Half, KeyRef
from keyfs.core.stamps import NANOSECONDS, parse_stamp
from keyfs.errors import (
    InvalidSettings,
    KeyfsError,
    KeyNotFound,
    KeyServiceUnavailable,
    MasterKeyUnavailable,
    MasterKeyWrong,
    MaterialCorrupt,
    UnsealFailed,
)
from keyfs.layout.base import KeyRing, KeyVersion

PROOF_TRIES: Final = 64  # blobs tried before a master key is called wrong; a guess
# An Acra tool takes no lock. For less than a millisecond of its rotation the store looks half-done; what
# looks so for this long is left over.
SETTLE_S: Final = 2.0
PAUSE_S: Final = 0.02
LEFTOVER: Final = "left-over"
NOTES: Final = ("legacy", "not declared")  # how reasons begin that are no faults

Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is not as it should be. Notes are no faults."""

    code: str
    where: str
    message: str
    is_note: bool = False
    is_repaired: bool = False


@dataclass(frozen=True, slots=True)
class Report:
    """What a check saw."""

    rings: int
    blobs: int
    findings: tuple[Finding, ...]

    @property
    def is_clean(self) -> bool:
        """Whether nothing is wrong, or everything wrong was mended."""
        return all(f.is_note or f.is_repaired for f in self.findings)


def verify_master_key(keys: KeyStore, reader: BlobReader | None = None) -> None:
    """Try the master key on current blobs until one opens.

    Args:
        keys: loaded.
        reader: has the master key that is tried; that of *keys* when None.

    Raises:
        MasterKeyWrong: there are blobs, and it opens none of those tried.
        MasterKeyUnavailable: a KMS has no key for any of those tried, or does not let us use them.
        KeyServiceUnavailable: a KMS does not answer.
        InvalidSettings: it turns out that there is no way to a KMS.
    """
    tried: dict[str, KeyfsError] = {}
    for ring in keys.rings():
        try:
            if _opens(reader or keys.reader, ring):
                return
        except (UnsealFailed, MasterKeyUnavailable) as exc:
            tried[str(ring.ref)] = exc
        if len(tried) >= PROOF_TRIES:
            break
    for refusal in tried.values():
        if isinstance(refusal, MasterKeyUnavailable):
            raise refusal
    if not tried:
        _demand_a_valid_ring(keys)
    else:
        raise MasterKeyWrong(
            f"the master key opens none of the {len(tried)} keys tried (first: {min(tried)}): "
            f"it is not the one this key store was sealed with"
        )


def _demand_a_valid_ring(keys: KeyStore) -> None:
    """Nothing, unless there are key rings and not one of them verifies.

    Raises:
        MasterKeyWrong: so it is.
    """
    invalid = [name for name in keys.index.strays if keys.layout.ring_named(name) is not None]
    if invalid and not len(keys.index):
        raise MasterKeyWrong(
            f"none of the key rings here verifies, of {len(invalid)} (first: {min(invalid)}): the signature "
            f"key is not the one this key store was signed with"
        )


def _opens(reader: BlobReader, ring: KeyRing) -> bool:
    """Whether the current version opens; not where nothing can be told from it.

    Raises:
        UnsealFailed, MasterKeyUnavailable, KeyServiceUnavailable, InvalidSettings: it does not.
    """
    version = ring.current
    if version is None or version.secret is None or not version.secret.is_sealed:
        return False
    try:
        reader.open(ring.ref, version, Half.SECRET).material.wipe()
    except (UnsealFailed, MasterKeyUnavailable, KeyServiceUnavailable, InvalidSettings):
        raise
    except MaterialCorrupt:
        return True  # it opened; what is wrong with it, check tells
    except KeyfsError:
        return False
    return True


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
    findings: list[Finding] = list(_strays(keys, writer, settle_s))
    rings = sorted(keys.rings(), key=lambda ring: str(ring.ref))
    blobs = 0
    for done, ring in enumerate(rings, 1):
        parts = [part for v in ring.versions for part in (v.secret, v.public) if part is not None]
        blobs += len(parts)
        keys.reader.prefetch(parts)  # together: where one blob has all versions, it is read once
        findings += _half_done(keys, ring, writer, settle_s)
        findings += _unreadable(keys, ring.ref)
        progress(done, len(rings))
    return Report(len(rings), blobs, tuple(findings))


def _strays(keys: KeyStore, writer: RingWriter | None, settle_s: float) -> Iterator[Finding]:
    for name, reason in sorted(keys.index.strays.items()):
        if not reason.startswith(LEFTOVER):
            yield Finding("stray", name, reason, is_note=reason.startswith(NOTES))
        elif _stays(keys, name, settle_s):
            if writer is not None:
                _set_aside(keys, name)
            yield Finding("left-over", name, reason, is_repaired=writer is not None)


def _unreadable(keys: KeyStore, ref: KeyRef) -> Iterator[Finding]:
    """Looks at the ring as it is now: a repair may just have mended it."""
    try:
        ring = keys.ring(ref)
    except KeyNotFound:
        return  # destroyed since the listing
    if ring.current is None:
        yield Finding(
            "no-current", str(ring.ref), "only retired versions are left, and Acra does not read those", True
        )
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
        if writer is not None:
            _set_orphan_aside(keys, ring, name)
        message = "the blob of another version, a second time: a rotation stopped half-way"
        yield Finding("half-done", name, message, is_repaired=writer is not None)
    for version in broken:
        mend = writer if version.id == CURRENT else None
        if mend is not None:
            mend.mend_public(ring.ref)
        where = f"{ring.ref}/{version.id}"
        yield Finding(
            "pair", where, "its public half is not that of its private half", False, mend is not None
        )


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
        elif _age_s(_last_change_ns(ring, copies)) >= settle_s or time.monotonic() - since >= settle_s:
            return ring, copies, broken
        else:
            time.sleep(PAUSE_S)


def _stays(keys: KeyStore, name: str, settle_s: float) -> bool:
    """Whether a left-over is one: the temporary file of a living program goes away soon."""
    give_up_at = time.monotonic() + settle_s
    while (stat := keys.store.stat(name)) is not None:
        if _age_s(stat.mtime_ns or 0) >= settle_s or time.monotonic() >= give_up_at:
            return True
        time.sleep(PAUSE_S)
    keys.index.apply(name, None)
    return False


def _last_change_ns(ring: KeyRing, copies: list[str]) -> int:
    times = [parse_stamp(name.rpartition("/")[2]) for name in copies]
    return max([*times, (ring.current.created_ns or 0) if ring.current is not None else 0])


def _age_s(time_ns: int) -> float:
    return (time.time_ns() - time_ns) / NANOSECONDS


def _set_orphan_aside(keys: KeyStore, ring: KeyRing, name: str) -> None:
    """Move an orphan beside the store, unless a writer finished meanwhile what had stopped."""
    with keys.lock(ring.ref):
        now = keys.relist(ring.ref)
        if now is not None and name in _copies(keys, now):
            keys.store.set_aside(name)
            keys.index.apply(name, None)


def _set_aside(keys: KeyStore, name: str) -> None:
    """Move a left-over beside the store, unless the keyfs whose temporary it was renamed it meanwhile."""
    with keys.store.lock(name):
        if keys.store.stat(name) is not None:
            keys.store.set_aside(name)
        keys.index.apply(name, None)
