"""The part of a check that looks at key rings: their files in layout v2, and which version is current."""

from collections.abc import Collection, Iterator

from keyfs.broker.findings import Finding
from keyfs.broker.keystore import KeyStore
from keyfs.broker.sealed_rings import ring_blob
from keyfs.broker.settling import Patience
from keyfs.core.rings import NO_BYTES, NO_SIGNATURE, WRONG_SIGNATURE, is_ring_name, parse_half_name
from keyfs.core.states import KeyState
from keyfs.errors import KeyfsError
from keyfs.layout.base import KeyRing, KeyVersion
from keyfs.store.base import Blob

EMPTY = "empty-ring"


def is_in_stray(name: str, strays: Collection[str]) -> bool:
    """Whether it is a part of a ring that is a stray itself, and told of as one."""
    half = parse_half_name(name)
    return half is not None and half[0] in strays


def code_of(keys: KeyStore, name: str, reason: str) -> str | None:
    """What a stray that is a ring without validity is called; None for any other stray."""
    if keys.layout.name != "v2" or not is_ring_name(name) or reason == keys.layout.stray_reason(name):
        return None
    if reason == NO_BYTES:
        return EMPTY
    is_unsigned = reason.startswith((NO_SIGNATURE, WRONG_SIGNATURE))
    return "ring-signature" if is_unsigned else "ring-form"


def invalid(keys: KeyStore, finding: Finding, patience: Patience, *, repairs: bool) -> Iterator[Finding]:
    """A ring that is not valid; only one without a byte can be mended."""
    if finding.code != EMPTY:
        yield finding
        return
    yield from _empty(keys, finding, patience, repairs=repairs)


def versions(keys: KeyStore, ring: KeyRing, patience: Patience, *, repairs: bool) -> Iterator[Finding]:
    """What is wrong with the versions there are, but for their bytes."""
    where, current, ring_name = str(ring.ref), ring.current, ring_blob(keys, ring.ref)
    if not ring.versions and ring_name is not None and keys.layout.name == "v2":
        empty = Finding(EMPTY, ring_name, "it has no versions")
        yield from _empty(keys, empty, patience, repairs=repairs)
    elif current is None:
        yield Finding("no-current", where, _why_no_current(ring), is_note=True)
    elif current.state is KeyState.DESTROYED:
        yield Finding("no-current", where, "its current version was destroyed", is_note=True)
    for version in ring.versions if current is not None else ():
        if _is_newer(version, current):
            message = "it came after the current version, and is not current"
            yield Finding("newer", f"{where}/{version.id}", message, is_note=True)


def keep_public(keys: KeyStore, version: KeyVersion) -> str:
    """Keep a public half that a repair will overwrite, because a ring archives none; returns where."""
    part = version.public
    if part is None or parse_half_name(part.name) is None:
        return ""
    name = f"public-half-{keys.store.now_ns()}"
    keys.store.write_beside(name, keys.store.get(part.name).data)
    return f"{name} beside the key store"


def _empty(keys: KeyStore, finding: Finding, patience: Patience, *, repairs: bool) -> Iterator[Finding]:
    """An empty ring; unless it gets its first version soon, which Acra writes after it."""
    name, place = finding.where, ""
    patience.wait()
    if not _is_empty(keys, name):
        return
    if repairs:
        with keys.store.lock(name):
            if _is_empty(keys, name):
                place = keys.store.set_aside(name)
                _forget(keys, name)
    yield Finding(EMPTY, name, finding.message, is_repaired=repairs, set_aside=place)


def _forget(keys: KeyStore, name: str) -> None:
    ref = keys.layout.ring_named(name)
    if ref is None:
        keys.index.apply(name, None)
    else:
        keys.relist(ref)


def _is_empty(keys: KeyStore, name: str) -> bool:
    """Whether there is a ring of that name with nothing in it, in the store itself."""
    found = keys.store.get_many([name])[name]
    if isinstance(found, KeyfsError):
        return str(found).endswith(NO_BYTES)
    return isinstance(found, Blob) and len(keys.store.list_under(name)) == 1


def _why_no_current(ring: KeyRing) -> str:
    if ring.versions and ring.versions[-1].number:
        return "none of its versions is current"
    return "only retired versions are left, and Acra does not read those"


def _is_newer(version: KeyVersion, current: KeyVersion | None) -> bool:
    if current is None or not version.number or version.state is KeyState.DESTROYED:
        return False
    return int(version.number) > int(current.number)
