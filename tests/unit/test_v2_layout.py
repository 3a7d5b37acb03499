"""Layout v2: names and keys, contexts, and the order of versions."""

import pytest

from keyfs.core.names import CURRENT, Half, KeyRef, parse_key_ref
from keyfs.core.purposes import PURPOSES
from keyfs.core.rings import DESTROYED, Ring, contents_note
from keyfs.core.secret import Secret
from keyfs.errors import ClientIdTooLong, KeyNotFound, MasterKeyUnavailable
from keyfs.layout.base import NewHalves, RingPlaces, Slot
from keyfs.layout.v2 import LayoutV2
from keyfs.layout.v2_names import stray_reason
from keyfs.seal.protection import CellProtection, Protections
from keyfs.seal.pure import PureSealer
from keyfs.store.base import BlobStat
from keyfs.testing.ring_stores import SINCE_NS, YEAR_NS, ring_key

LAYOUT = LayoutV2()
PAIR = parse_key_ref("storage/with space 7")
RING = "client/with space 7/storage.keyring"
SEALED = BlobStat(89, SINCE_NS, 0o600, "a")
PUBLIC = BlobStat(45, SINCE_NS, 0o644, "b")


def blobs(ring: Ring, *stamps: str) -> dict[Slot, tuple[str, BlobStat]]:
    found = {Slot(PAIR, Half.PUBLIC, None): (RING, BlobStat(0, None, 0o600, "", contents_note(ring)))}
    for stamp in stamps:
        found[Slot(PAIR, Half.SECRET, stamp)] = (f"{RING}#{stamp}", SEALED)
        found[Slot(PAIR, Half.PUBLIC, stamp)] = (f"{RING}.pub#{stamp}", PUBLIC)
    return found


@pytest.mark.parametrize(
    ("name", "label", "half", "stamp"),
    [
        ("client/alice/storage.keyring#3", "storage/alice", Half.SECRET, "3"),
        ("client/alice/storage.keyring.pub#12", "storage/alice", Half.PUBLIC, "12"),
        ("client/client/storage-sym.keyring#1", "storage-sym/client", Half.SECRET, "1"),
        ("client/     /hmac-sym.keyring#1", "hmac-sym/     ", Half.SECRET, "1"),
        ("poison-record.keyring.pub#1", "poison-record", Half.PUBLIC, "1"),
        ("poison-record-sym.keyring#1", "poison-record-sym", Half.SECRET, "1"),
        ("audit-log.keyring", "audit-log", Half.PUBLIC, None),
    ],
)
def test_what_names_mean(name: str, label: str, half: Half, stamp: str | None) -> None:
    ref = parse_key_ref(label)
    assert LAYOUT.reading(name) == (ref.purpose, ref.client, half, stamp)
    assert LAYOUT.places(ref) == RingPlaces((), (name.partition(".keyring")[0] + ".keyring",))


@pytest.mark.parametrize(
    "name",
    [
        "version",
        ".keyring",
        "client/alice/.keyring",
        "client/alice/storage",
        "client/alice/storage.keyring#0",
        "client/alice/storage.keyring#01",
        "client/alice/storage.keyring#-1",
        f"client/alice/storage.keyring#{2**63}",
        f"client/alice/storage.keyring#{'9' * 10_000}",
        "client/alice/storage.keyring.new",
        "client/alice/storage-sym.keyring.pub#1",
        "client/alice/audit-log.keyring#1",
        "client/abcd/storage.keyring#1",
        "storage.keyring#1",
        "client/alice/transport.keyring#1",
    ],
)
def test_what_means_no_key(name: str) -> None:
    assert LAYOUT.reading(name) is None
    assert LAYOUT.slots(name) == ()
    assert stray_reason(name)


@pytest.mark.parametrize("name", ["a/b.keyring.new", "client/alice/storage.keyring7491238890"])
def test_what_is_left_over(name: str) -> None:
    assert stray_reason(name) == "left-over temporary of an interrupted write"


def test_the_context_binds_path_kind_and_number() -> None:
    label = LAYOUT.label(PAIR, f"{RING}#7")
    assert label.context == b"AKSv2 keystore: key ring client/with space 7/storage: private key 7"
    assert label.key_name == ""
    label = LAYOUT.label(parse_key_ref("audit-log"), "audit-log.keyring#1")
    assert label.context == b"AKSv2 keystore: key ring audit-log: symmetric key 1"


def test_versions_in_order_and_what_is_known_of_each() -> None:
    keys = (ring_key(1), ring_key(2, DESTROYED), ring_key(10), ring_key(9), ring_key(11))
    ring = LAYOUT.ring(PAIR, blobs(Ring(b"", keys, 10), "1", "9", "10", "11"))
    assert [(v.id, v.number) for v in ring.versions] == [
        ("1", "1"),
        ("2", "2"),
        ("9", "9"),
        ("11", "11"),
        (CURRENT, "10"),
    ]
    assert ring.version("10") is ring.version(CURRENT) is ring.current
    assert [v.retired_ns is None for v in ring.versions] == [False, False, False, True, True]
    gone = ring.version("2")
    assert (gone.secret, gone.public, gone.state) == (None, None, DESTROYED)
    assert (gone.created_ns, gone.until_ns) == (SINCE_NS, SINCE_NS + YEAR_NS)
    with pytest.raises(KeyNotFound, match="version 2 was destroyed"):
        gone.part(Half.SECRET)
    with pytest.raises(KeyNotFound):
        ring.version("")
    assert ring.version("1").part(Half.SECRET).size == 45


@pytest.mark.parametrize("current", [-1, 99])
def test_a_ring_without_a_current_version(current: int) -> None:
    ring = LAYOUT.ring(PAIR, blobs(Ring(b"", (ring_key(1),), current), "1"))
    assert ring.current is None
    assert [v.id for v in ring.versions] == ["1"]


def test_people_know_what_is_current_by_two_names() -> None:
    found = blobs(Ring(b"", (ring_key(1), ring_key(2)), 2), "1", "2")
    shown = LAYOUT.shown(found)
    assert {(slot.half, slot.stamp) for slot in shown} == {
        (half, stamp) for half in Half for stamp in (None, "1", "2")
    }
    assert shown[Slot(PAIR, Half.SECRET, None)] == shown[Slot(PAIR, Half.SECRET, "2")]


def test_the_next_number_is_after_the_largest() -> None:
    ring = LAYOUT.ring(PAIR, blobs(Ring(b"", (ring_key(5, DESTROYED), ring_key(3)), 3), "3"))
    assert LAYOUT.next_name(ring, lambda: 0, is_amended=False) == f"{RING}#6"
    assert LAYOUT.next_name(ring, lambda: 0, is_amended=True) == f"{RING}#3"
    plan = LAYOUT.plan(ring, NewHalves(b"s", b"p", f"{RING}#6"), 7)
    assert [(item.name, item.archive) for item in plan] == [(f"{RING}#6", None), (f"{RING}.pub#6", None)]
    [mended] = LAYOUT.plan(ring, NewHalves(None, b"p"), 7)
    assert mended.name == f"{RING}.pub#3"


def test_a_client_is_a_directory() -> None:
    long = KeyRef(PAIR.purpose, "L" * 256)
    LAYOUT.check_fits(long, None)
    with pytest.raises(ClientIdTooLong):
        LAYOUT.check_writable(long, 255)
    LAYOUT.check_writable(KeyRef(PAIR.purpose, "L" * 255), 255)


def test_legacy_keys_are_not_in_it() -> None:
    assert LAYOUT.purposes == tuple(purpose for purpose in PURPOSES if not purpose.is_legacy)


def test_a_master_key_of_layout_v1_signs_nothing() -> None:
    with pytest.raises(MasterKeyUnavailable, match="layout v2 needs a master key of its own"):
        Protections([CellProtection(PureSealer(Secret(b"k" * 32)))]).signers()
