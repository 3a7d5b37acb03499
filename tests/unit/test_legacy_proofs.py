"""Legacy names are ambiguous: a blob is the key as which it opens, and a stray when it opens as none."""

import pytest

from keyfs.core.names import CURRENT, KeyRef, parse_key_ref
from keyfs.core.purposes import LEGACY_AUTH, LEGACY_CONNECTOR, LEGACY_ZONE
from keyfs.errors import (
    AccessDenied,
    MaterialCorrupt,
    StoreUnavailable,
)
from keyfs.seal.keypair import generate_pair
from keyfs.testing.builders import EVERY_REF, Keys, full_medium, in_memory, new_material
from keyfs.testing.faults import failing
from keyfs.testing.medium import Medium


@pytest.fixture
def medium() -> Medium:
    return full_medium()


def legacy(medium: Medium) -> Keys:
    return in_memory(medium, legacy=True)


def put_legacy(medium: Medium, name: str, ref: KeyRef) -> None:
    keys = in_memory(Medium())
    medium.put(name, keys.sealed(ref, new_material(ref)))


@pytest.mark.parametrize(
    ("name", "ref"),
    [
        ("alice_zone", KeyRef(LEGACY_ZONE, "alice")),
        ("alice_zone", KeyRef(LEGACY_CONNECTOR, "alice_zone")),
        ("alice_server", parse_key_ref("legacy-server/alice")),
        ("alice_translator", parse_key_ref("legacy-translator/alice")),
        ("alice_zone_sym", parse_key_ref("legacy-zone-sym/alice")),
        ("bobby", KeyRef(LEGACY_CONNECTOR, "bobby")),
    ],
)
def test_a_legacy_name_is_the_key_that_opens(medium: Medium, name: str, ref: KeyRef) -> None:
    put_legacy(medium, name, ref)
    assert ref in set(legacy(medium).keys.index.refs())


def test_a_plain_legacy_key_is_known_by_its_length(medium: Medium) -> None:
    medium.put("auth_key", b"x" * 32)
    assert legacy(medium).secret(KeyRef(LEGACY_AUTH, None)) == b"x" * 32
    medium.put("auth_key", b"x" * 31)
    assert "auth_key" in legacy(medium).keys.index.strays


def test_a_public_legacy_half_is_proved_by_its_private_half(medium: Medium) -> None:
    ref = KeyRef(LEGACY_CONNECTOR, "bobby")
    medium.put("bobby.pub", generate_pair()[1])
    assert "bobby.pub" in legacy(medium).keys.index.strays
    put_legacy(medium, "bobby", ref)
    assert legacy(medium).keys.ring(ref).version(CURRENT).public is not None


def test_a_retired_legacy_version_is_proved_by_itself_or_by_the_current_one(medium: Medium) -> None:
    ref = KeyRef(LEGACY_CONNECTOR, "bobby")
    put_legacy(medium, "bobby.old/2026-01-01T00:00:00", ref)
    assert legacy(medium).versions(ref) == ["2026-01-01T00:00:00"]
    put_legacy(medium, "bobby", ref)
    medium.put("bobby.old/2026-01-02T00:00:00", b"damaged")
    assert legacy(medium).versions(ref) == ["2026-01-01T00:00:00", "2026-01-02T00:00:00", CURRENT]


@pytest.mark.parametrize("error", [AccessDenied("not yours"), MaterialCorrupt("too large")])
def test_one_blob_that_cannot_be_read_does_not_hide_the_others(
    medium: Medium, error: AccessDenied | MaterialCorrupt
) -> None:
    put_legacy(medium, "bobby", KeyRef(LEGACY_CONNECTOR, "bobby"))
    keys = legacy(medium)
    keys.store.before("get", failing(error), None)
    keys.keys.load()
    assert "bobby" in keys.keys.index.strays
    assert len(keys.keys.index) == len(EVERY_REF)


def test_a_store_that_is_away_proves_nothing(medium: Medium) -> None:
    """Else a short outage would make strays of keys."""
    put_legacy(medium, "bobby", KeyRef(LEGACY_CONNECTOR, "bobby"))
    keys = legacy(medium)
    keys.store.before("get", failing(StoreUnavailable("away")), None)
    with pytest.raises(StoreUnavailable):
        keys.keys.load()
