"""File names of key store v1: what each can hold, what is no key, and why."""

import pytest

from keyfs.core import purposes as p
from keyfs.core.names import Half, KeyRef
from keyfs.core.purposes import Purpose
from keyfs.layout.base import Slot
from keyfs.layout.v1_names import is_leftover, is_public, public_name, secret_name, slots_of, stray_reason

STAMP = "2026-11-24T02:46:25.574915812"
NO_KEYS = [
    "README.md",
    "lost+found",
    "core",
    "",
    ".",
    "bob",  # too short for a client id
    "a.b.c_storage",
    "alice_storage.pub.pub",
    "alice_storage.old",
    ".poison_key",
    ".poison_key/alice_storage",
    ".poison_key/secure_log_key",
    ".poison_key/poison_key_sym.pub",
    "subdir/alice_storage",
    "subdir/secure_log_key",
    "\u0442\u0435\u0441\u04421_storage",
    "alice\n_storage",
    "x" * 257,
]


@pytest.mark.parametrize(
    ("name", "purpose", "client", "half"),
    [
        ("alice_storage", p.STORAGE, "alice", Half.SECRET),
        ("alice_storage.pub", p.STORAGE, "alice", Half.PUBLIC),
        ("alice_storage_sym", p.STORAGE_SYM, "alice", Half.SECRET),
        ("alice_hmac", p.HMAC_SYM, "alice", Half.SECRET),
        ("secure_log_key", p.AUDIT_LOG, None, Half.SECRET),
        (".poison_key/poison_key", p.POISON_RECORD, None, Half.SECRET),
        (".poison_key/poison_key.pub", p.POISON_RECORD, None, Half.PUBLIC),
        (".poison_key/poison_key_sym", p.POISON_RECORD_SYM, None, Half.SECRET),
        # Exactly one suffix is stripped, the longest that fits.
        ("alice_storage_storage_sym", p.STORAGE_SYM, "alice_storage", Half.SECRET),
        ("bob_hmac_storage", p.STORAGE, "bob_hmac", Half.SECRET),
        ("x_storage_sym_storage", p.STORAGE, "x_storage_sym", Half.SECRET),
        ("x_storage_sym_hmac", p.HMAC_SYM, "x_storage_sym", Half.SECRET),
        ("secure_log_key_storage", p.STORAGE, "secure_log_key", Half.SECRET),
        ("poison_key_storage_sym", p.STORAGE_SYM, "poison_key", Half.SECRET),
        ("auth_key_hmac", p.HMAC_SYM, "auth_key", Half.SECRET),
        ("     _storage", p.STORAGE, "     ", Half.SECRET),
        ("-----_storage.pub", p.STORAGE, "-----", Half.PUBLIC),
        ("______storage", p.STORAGE, "_____", Half.SECRET),
    ],
)
def test_a_modern_name_has_one_reading(name: str, purpose: Purpose, client: str | None, half: Half) -> None:
    ref = KeyRef(purpose, client)
    assert slots_of(name) == (Slot(ref, half, None),)
    assert slots_of(f"{name}.old/{STAMP}") == (Slot(ref, half, STAMP),)
    assert (public_name(ref) if half is Half.PUBLIC else secret_name(ref)) == name


@pytest.mark.parametrize(
    ("name", "readings"),
    [
        ("alice", ["legacy-connector/alice"]),
        ("alice.pub", ["legacy-connector/alice"]),
        ("alice_server", ["legacy-server/alice", "legacy-connector/alice_server"]),
        ("alice_server.pub", ["legacy-server/alice", "legacy-connector/alice_server"]),
        ("alice_translator", ["legacy-translator/alice", "legacy-connector/alice_translator"]),
        ("zone1_zone", ["legacy-zone/zone1", "legacy-connector/zone1_zone"]),
        ("zone1_zone_sym", ["legacy-zone-sym/zone1", "legacy-connector/zone1_zone_sym"]),
        ("auth_key", ["legacy-auth/@global", "legacy-connector/auth_key"]),
        ("poison_key", ["legacy-connector/poison_key"]),
        ("abc_server", ["legacy-connector/abc_server"]),
        # What looks modern but cannot be: too short a client id, a public half of a symmetric key.
        ("a_storage", ["legacy-connector/a_storage"]),
        ("alice_hmac.pub", ["legacy-connector/alice_hmac"]),
        ("alice_storage_sym.pub", ["legacy-connector/alice_storage_sym"]),
    ],
)
def test_a_legacy_name_has_all_readings_that_are_possible(name: str, readings: list[str]) -> None:
    assert [str(slot.ref) for slot in slots_of(name)] == readings
    assert [(str(slot.ref), slot.stamp) for slot in slots_of(f"{name}.old/{STAMP}")] == [
        (reading, STAMP) for reading in readings
    ]


@pytest.mark.parametrize("name", ["alice_storage", "secure_log_key", "alice_server_storage", "client_hmac"])
def test_the_modern_reading_wins(name: str) -> None:
    """The connector key of a client `a_storage` is named as the storage key of `a`."""
    assert not any(slot.ref.purpose.is_legacy for slot in slots_of(name))


@pytest.mark.parametrize("name", NO_KEYS, ids=lambda name: repr(name[:20]))
def test_what_is_no_key(name: str) -> None:
    assert slots_of(name) == ()
    assert stray_reason(name, legacy=False) == "its name is not that of a key"
    assert slots_of(f"{name}.old/{STAMP}") == ()


@pytest.mark.parametrize(
    "label",
    [
        "README.md",
        "",
        STAMP + "Z",
        STAMP + "0",
        "2026-11-24T02:46:25.",
        "2026-11-24",
        "2026-13-24T02:46:25",
        "a/b",
    ],
)
def test_a_history_holds_only_stamps(label: str) -> None:
    name = f"alice_storage.old/{label}"
    assert slots_of(name) == ()
    assert stray_reason(name, legacy=False) != "legacy key, shown only with --legacy"


def test_a_history_lies_one_level_deep() -> None:
    assert slots_of(f"alice_storage.old/{STAMP}.old/{STAMP}") == ()
    assert slots_of(f"alice_storage.old.old/{STAMP}") == ()


@pytest.mark.parametrize(
    "name",
    [
        "alice_storage_sym7491238890363647508",
        "alice_storage1",
        "alice_storage.pub3523201360",
        "alice_hmac2794352155",
        "secure_log_key0",
        ".poison_key/poison_key7",
        ".poison_key/poison_key.pub7",
        ".poison_key/poison_key_sym7",
    ],
)
def test_a_temporary_of_an_interrupted_write(name: str) -> None:
    assert is_leftover(name)
    assert not any(not slot.ref.purpose.is_legacy for slot in slots_of(name))
    for legacy in (False, True):
        assert stray_reason(name, legacy=legacy) == "left-over temporary of an interrupted write"


@pytest.mark.parametrize(
    "name",
    [
        "alice_storage",
        "alice1",
        "README1",
        "1234567890",
        "abc_hmac7",
        "x/alice_hmac7",
        f"alice_hmac.old/{STAMP}",
    ],
)
def test_what_is_no_temporary(name: str) -> None:
    assert not is_leftover(name)


def test_a_legacy_key_is_a_stray_that_says_how_to_see_it() -> None:
    assert stray_reason("alice", legacy=False) == "legacy key, shown only with --legacy"
    assert stray_reason("alice", legacy=True) == "opens as no legacy key"


@pytest.mark.parametrize(
    ("name", "public"),
    [
        ("alice_storage.pub", True),
        (f"alice_storage.pub.old/{STAMP}", True),
        ("alice_storage.pub.old", True),
        (".poison_key/poison_key.pub", True),
        (f".poison_key/poison_key.pub.old/{STAMP}", True),
        ("alice_storage", False),
        (f"alice_storage.old/{STAMP}", False),
        (".poison_key/poison_key_sym", False),
        (".poison_key", False),
    ],
)
def test_which_directory_a_name_belongs_to(name: str, public: bool) -> None:
    assert is_public(name) == public
