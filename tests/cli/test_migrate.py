"""`keyfs migrate`: either layout to either layout, on either medium; nothing of the source is touched."""

from pathlib import Path

import pytest
from migration_site import Spot, asked, migrate, new_spot, opened
from two_layouts import filled, versions_in

from keyfs.core.names import KeyRef
from keyfs.core.own import OwnKind, OwnSpec
from keyfs.core.purposes import Purpose, Shape
from keyfs.testing.redis_servers import RedisServer

LABELS = ("storage/bob_hmac", "storage-sym/-- --", "hmac-sym/a_storage_sym", "poison-record-sym")
TOKEN = Purpose("token", Shape.OWN, own=OwnSpec(OwnKind.OPAQUE))
OWN = KeyRef(TOKEN, "www.example.org")
KINDS = [(layout, medium) for layout in ("v1", "v2") for medium in ("directory", "redis")]


@pytest.fixture(scope="module")
def sources(server: RedisServer, tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, str], Spot]:
    """Each has keys of several purposes, three versions of each, and a key of an own purpose."""
    found = {}
    for layout, medium in KINDS:
        place = tmp_path_factory.mktemp(f"{layout}-{medium}")
        spot = new_spot(place, "here", layout, server if medium == "redis" else None)
        filled(spot.place, *LABELS)
        with opened(spot, TOKEN) as (_, writer):
            for data in (b"first", bytes(1), b"third\n"):
                writer.import_material(OWN, data)
        found[layout, medium] = spot
    return found


def created(spot: Spot) -> list[tuple[str, int | None]]:
    """Since when each version is current, in whole seconds."""
    with opened(spot) as (keys, _):
        rings = sorted(keys.rings(), key=lambda ring: str(ring.ref))
        times = [(str(ring.ref), version.created_ns) for ring in rings for version in ring.versions]
    return [(key, None if time_ns is None else time_ns // 10**9) for key, time_ns in times]


def writes_to(server: RedisServer) -> int:
    return int(server.ask("INFO", "persistence")["rdb_changes_since_last_save"])


@pytest.mark.parametrize("to", KINDS, ids="-".join)
@pytest.mark.parametrize("begin", KINDS, ids="-".join)
def test_every_pair_of_layouts_and_media(
    begin: tuple[str, str],
    to: tuple[str, str],
    sources: dict[tuple[str, str], Spot],
    server: RedisServer,
    tmp_path: Path,
) -> None:
    source = sources[begin]
    layout, medium = to
    target = new_spot(tmp_path, "there", layout, server if medium == "redis" else None)
    before, writes = source.fingerprint(), writes_to(server)
    first = migrate(source, target, "--json")
    assert first.code == 0, first.err
    report = asked(first)
    assert report["verified"] == {"keys": 5, "versions": 15, "halves": 18}
    assert report["counts"]["add"] == len(report["versions"]) == 15
    assert (report["failed"], report["left_out"]) == ({}, {})
    assert versions_in(target.place) == versions_in(source.place)
    if to != ("v1", "redis") and begin != ("v1", "redis"):  # which has no times
        assert created(target) == created(source)
    assert target.run("check").code == 0
    again = asked(migrate(source, target, "--json"))
    assert again["counts"]["equal"] == 15
    assert [row["there"] for row in again["versions"]] == [row["there"] for row in report["versions"]]
    assert source.fingerprint() == before
    assert medium == "redis" or writes_to(server) == writes
