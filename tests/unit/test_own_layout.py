"""The layout of own purposes: which names are versions, what is current, what is a stray and why."""

import pytest

from keyfs.core.names import CURRENT, Half
from keyfs.core.purposes import STORAGE
from keyfs.layout.base import NewHalves, Slot
from keyfs.layout.joined import JoinedLayout
from keyfs.layout.own import OwnLayout
from keyfs.layout.v1 import LayoutV1
from keyfs.store.base import ANNEX, BlobStat
from keyfs.testing.own import PURPOSES, own_ref

LAYOUT = OwnLayout(tuple(PURPOSES.values()))
EVERYTHING = OwnLayout((), undeclared=True)
TLS = own_ref("tls")
STAMP = "2026-11-24T12:00:00.000000001"
LATER = "2026-11-24T12:00:00.000000012"


def name(stamp: str = STAMP, ref: str = "tls/www.example.org") -> str:
    return f"{ANNEX}{ref}/{stamp}"


def stat(size: int = 144) -> BlobStat:
    return BlobStat(size, None, 0o600, "x")


def test_a_name_is_one_version_of_one_key() -> None:
    assert LAYOUT.slots(name()) == (Slot(TLS, Half.SECRET, STAMP),)
    assert LAYOUT.slots(name(ref="site/@global")) == (Slot(own_ref("site", None), Half.SECRET, STAMP),)


NO_VERSIONS = {
    "": "its name is not that of a key",
    "tls": "its name is not that of a key",
    "tls/www": "its name is not that of a key",
    f"tls/www/{STAMP}/x": "its name is not that of a key",
    "tls/www/current": "its name is not that of a key",
    "tls/www/2026-11-24T12:00:00": "its name is not that of a key",
    "tls/www/2026-11-24T12:00:00.5": "its name is not that of a key",
    "tls/www/2026-11-24T12:00:00.000000010": "its name is not that of a key",
    "tls/www/2026-02-30T12:00:00.000000001": "its name is not that of a key",
    "tls/www/9999-12-31T23:59:59.999999999": "its name is not that of a key",
    f"tls/www/{STAMP}.pub": "its name is not that of a key",
    f"tls/www/{STAMP}7": "left-over temporary of an interrupted write",
    f"tls/www/{STAMP}1234567890": "left-over temporary of an interrupted write",
    f"tls/-www/{STAMP}": "its name is not that of a key",
    f"tls/@global/{STAMP}": "not declared: the configuration has no [purpose.tls] for it",
    f"site/www/{STAMP}": "not declared: the configuration has no [purpose.site] for it",
    f"other/www/{STAMP}": "not declared: the configuration has no [purpose.other] for it",
    f"Other/www/{STAMP}": "its name is not that of a key",
}


@pytest.mark.parametrize(("rest", "reason"), NO_VERSIONS.items())
def test_what_is_no_version_is_a_stray(rest: str, reason: str) -> None:
    assert LAYOUT.slots(ANNEX + rest) == ()
    assert LAYOUT.stray_reason(ANNEX + rest) == reason


def test_undeclared_keys_are_keys_for_whoever_wants_all() -> None:
    for rest, reason in NO_VERSIONS.items():
        assert bool(EVERYTHING.slots(ANNEX + rest)) is reason.startswith("not declared")
    [slot] = EVERYTHING.slots(name())
    assert EVERYTHING.label(slot.ref, name()) == LAYOUT.label(TLS, name())


def test_the_newest_version_is_current() -> None:
    blobs = {Slot(TLS, Half.SECRET, s): (name(s), stat()) for s in (LATER, STAMP)}
    ring = LAYOUT.ring(TLS, blobs)
    assert [version.id for version in ring.versions] == [STAMP, CURRENT]
    assert [version.part(Half.SECRET).name for version in ring.versions] == [name(), name(LATER)]
    assert [version.part(Half.SECRET).size for version in ring.versions] == [100, 100]
    first, second = ring.versions
    assert (first.retired_ns, second.retired_ns) == (second.created_ns, None)
    assert set(LAYOUT.shown(blobs)) == {Slot(TLS, Half.SECRET, STAMP), Slot(TLS, Half.SECRET, None)}


@pytest.mark.parametrize(
    ("last", "now_ns", "stamp"),
    [
        (None, 1, "1970-01-01T00:00:00.000000001"),
        (None, 10, "1970-01-01T00:00:00.000000011"),
        (STAMP, 0, "2026-11-24T12:00:00.000000002"),
        ("2026-11-24T12:00:00.000000009", 0, "2026-11-24T12:00:00.000000011"),
        ("2026-11-24T12:00:00.999999999", 0, "2026-11-24T12:00:01.000000001"),
    ],
)
def test_the_next_name_is_later_than_all(last: str | None, now_ns: int, stamp: str) -> None:
    blobs = {} if last is None else {Slot(TLS, Half.SECRET, last): (name(last), stat())}
    ring = LAYOUT.ring(TLS, blobs)
    made = LAYOUT.next_name(ring, lambda: now_ns, is_amended=False)
    assert made == name(stamp)
    assert LAYOUT.slots(made)
    [switch] = LAYOUT.plan(ring, NewHalves(b"blob", None, made), 0)
    assert (switch.name, switch.mode, switch.archive) == (made, 0o600, None)
    if last is not None:
        assert LAYOUT.next_name(ring, lambda: now_ns, is_amended=True) == name(last)


def test_a_joined_layout_asks_the_one_that_knows() -> None:
    joined = JoinedLayout(LayoutV1(), LAYOUT)
    assert joined.purposes == (*LayoutV1().purposes, *PURPOSES.values())
    assert joined.slots(name()) == LAYOUT.slots(name())
    assert joined.slots("alice_storage") == LayoutV1().slots("alice_storage")
    assert joined.slots("tls/www.example.org/" + STAMP) == ()
    [slot] = joined.slots("alice_storage")
    assert slot.ref.purpose is STORAGE
    assert joined.label(slot.ref, "alice_storage") == LayoutV1().label(slot.ref)
    assert not joined.needs_proof(())
