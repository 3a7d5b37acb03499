"""Backups of layout v2: to v1 and from it, in a directory and in Redis, in Acra's format too."""

import json
from pathlib import Path

import pytest
from bundle_site import Site
from two_layouts import filled, new_place, versions_in

from keyfs.testing.redis_servers import RedisServer

ORDERS = [("v1", "v2"), ("v2", "v1"), ("v2", "v2")]


@pytest.mark.parametrize(("source", "target"), ORDERS)
@pytest.mark.parametrize("medium", ["directory", "redis"])
def test_a_backup_goes_into_either_layout(
    source: str, target: str, medium: str, server: RedisServer, tmp_path: Path
) -> None:
    server.ask("FLUSHALL")
    here = Site(filled(new_place(tmp_path, "here", source)), tmp_path / "keys.bundle")
    uri = server.unix_uri() if medium == "redis" else None
    there = here.at(new_place(tmp_path, "there", target, uri))
    assert here.export().code == 0
    assert here.verify("--store", here.place.uri).code == 0
    for action in ("add", "equal"):
        ran = there.restore("--json")
        assert ran.code == 0, ran.err
        assert {row["action"] for row in json.loads(ran.out)["versions"]} == {action}
        assert versions_in(there.place) == versions_in(here.place)
    assert there.place.check().returncode == 0
    back = Site(there.place, tmp_path / "back.bundle")
    again = back.at(new_place(tmp_path, "again", source))
    assert back.export().code == 0
    assert back.at(again.place).restore().code == 0
    assert versions_in(again.place) == versions_in(here.place)


def test_numbers_and_times_of_v2_are_kept(tmp_path: Path) -> None:
    here = Site(filled(new_place(tmp_path, "here", "v2")), tmp_path / "keys.bundle")
    there = here.at(new_place(tmp_path, "there", "v2"))
    here.export()
    there.restore()
    listed = [site.run("list", "--versions", "--json").out for site in (here, there)]
    assert listed[0] == listed[1]


def test_acras_bundle_of_v2_holds_everything(tmp_path: Path) -> None:
    here = Site(filled(new_place(tmp_path, "here", "v2")), tmp_path / "keys.bundle")
    assert here.export("--format", "acra").code == 0
    assert set(json.loads(here.key.read_bytes())) == {"encryption", "signature"}
    assert here.verify("--store", here.place.uri).code == 0
    for layout in ("v2", "v1"):
        there = here.at(new_place(tmp_path, f"there-{layout}", layout))
        assert there.restore().code == 0
        assert versions_in(there.place) == versions_in(here.place)


def test_what_is_current_there_is_superseded_and_kept(tmp_path: Path) -> None:
    here = Site(filled(new_place(tmp_path, "here", "v1")), tmp_path / "keys.bundle")
    there = here.at(filled(new_place(tmp_path, "there", "v2")))
    ours, theirs = versions_in(there.place), versions_in(here.place)
    here.export()
    assert there.restore().code == 5
    assert versions_in(there.place) == ours
    there.restore("--on-conflict", "newer-version")
    for key, versions in versions_in(there.place).items():
        assert all(version in versions for version in ours[key])
        assert versions[-1] in (ours[key][-1], theirs[key][-1])
