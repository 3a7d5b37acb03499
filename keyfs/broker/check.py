"""`keyfs check`: every blob opens, every name parses, nothing is left over. And its repair.

A repair never deletes bytes: what does not belong is moved beside the store.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from keyfs.broker.keystore import KeyStore
from keyfs.broker.second_names import second_names
from keyfs.broker.writer import RingWriter
from keyfs.core.names import CURRENT, Half
from keyfs.core.stamps import NANOSECONDS, parse_stamp
from keyfs.errors import KeyfsError, MasterKeyWrong, UnsealFailed
from keyfs.layout.base import KeyRing, KeyVersion

PROOF_TRIES: Final = 64  # blobs tried before a master key is called wrong; a guess
# An Acra tool takes no lock. For less than a millisecond of its rotation the store looks half-done; what
# looks so for this long is left over.
SETTLE_S: Final = 2.0
LEFTOVER: Final = "left-over"

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


def verify_master_key(keys: KeyStore) -> None:
    """Try the master key on current blobs until one opens.

    Raises:
        MasterKeyWrong: there are blobs, and it opens none of those tried.
    """
    tried: list[str] = []
    for ring in keys.rings():
        version = ring.current
        if version is None or version.secret is None or not version.secret.is_sealed:
            continue
        try:
            keys.reader.open(ring.ref, version, Half.SECRET).material.wipe()
        except UnsealFailed:
            tried.append(str(ring.ref))
        except KeyfsError:
            continue
        else:
            return
        if len(tried) >= PROOF_TRIES:
            break
    if tried:
        raise MasterKeyWrong(
            f"the master key opens none of the {len(tried)} keys tried (first: {min(tried)}): "
            f"it is not the one this key store was sealed with"
        )


def check(
    keys: KeyStore, writer: RingWriter | None = None, progress: Progress = lambda _done, _all: None
) -> Report:
    """Open every blob and look at every name; with *writer*, mend what can be mended safely.

    Args:
        keys: loaded.
        writer: None to look only.
        progress: told the number of rings done and of all rings.

    Raises:
        StoreUnavailable, StoreBusy, ReadOnly, AccessDenied: the store cannot be read, or mended.
    """
    findings: list[Finding] = list(_strays(keys, writer))
    rings = sorted(keys.rings(), key=lambda ring: str(ring.ref))
    blobs = 0
    for done, ring in enumerate(rings, 1):
        blobs += sum((v.secret is not None) + (v.public is not None) for v in ring.versions)
        findings += _unreadable(keys, ring)
        findings += _half_done(keys, ring, writer)
        progress(done, len(rings))
    return Report(len(rings), blobs, tuple(findings))


def _strays(keys: KeyStore, writer: RingWriter | None) -> Iterator[Finding]:
    for name, reason in sorted(keys.index.strays.items()):
        if reason.startswith(LEFTOVER):
            if writer is not None:
                _set_aside(keys, name)
            yield Finding("left-over", name, reason, is_repaired=writer is not None)
        else:
            yield Finding("stray", name, reason, is_note=reason.startswith("legacy"))


def _unreadable(keys: KeyStore, ring: KeyRing) -> Iterator[Finding]:
    if ring.current is None:
        yield Finding(
            "no-current", str(ring.ref), "only retired versions are left, and Acra does not read those", True
        )
    for version in ring.versions:
        for half in _halves(version):
            try:
                keys.reader.open(ring.ref, version, half).material.wipe()
            except KeyfsError as exc:
                yield Finding("unreadable", f"{ring.ref}/{version.id}", str(exc))


def _half_done(keys: KeyStore, ring: KeyRing, writer: RingWriter | None) -> Iterator[Finding]:
    for name in (*ring.orphans, *second_names(keys, ring)):
        if writer is not None:
            _wait_until_settled(name)
            _set_aside(keys, name)
        message = "second name of the current version: a rotation stopped half-way"
        yield Finding("half-done", name, message, is_repaired=writer is not None)
    for version in ring.versions:
        if not ring.ref.purpose.is_pair or version.secret is None or _pair_is_whole(keys, ring, version):
            continue
        mend = writer if version.id == CURRENT else None
        if mend is not None:
            mend.mend_public(ring.ref)
        where = f"{ring.ref}/{version.id}"
        yield Finding(
            "pair", where, "its public half is not that of its private half", False, mend is not None
        )


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


def _wait_until_settled(name: str) -> None:
    age_s = (time.time_ns() - parse_stamp(name.rpartition("/")[2])) / NANOSECONDS
    if 0 <= age_s < SETTLE_S:
        time.sleep(SETTLE_S - age_s)


def _set_aside(keys: KeyStore, name: str) -> None:
    """Move one blob beside the store, if it still is what it was when it was found."""
    with keys.store.lock():
        for slot in keys.layout.slots(name)[:1]:
            ring = keys.relist(slot.ref)
            if ring is None or name not in (*ring.orphans, *second_names(keys, ring)):
                return
        if keys.store.stat(name) is not None:
            keys.store.set_aside(name)
        keys.index.apply(name, None)
