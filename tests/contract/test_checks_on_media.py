"""`check` on real media: each damage has its code, a repair mends it and loses nothing, then all is clean."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from damaged_sites import CASES, Case, Site, Template, make_template

from keyfs.broker.check import check
from keyfs.broker.findings import Report
from keyfs.testing.redis_servers import RedisServer, redis_server

LOGS = {"states-damaged": pytest.mark.expects_log(r"states\.unreadable")}
# What a repair writes anew, so that the bytes before are only kept in part.
REWRITTEN = {"pair", "states-orphan", "lock"}
EVERY = [
    pytest.param(name, layout, medium, id=f"{name}, {layout}, {medium}", marks=LOGS.get(case.code, ()))
    for name, case in CASES.items()
    for layout in case.layouts.split()
    for medium in case.media.split()
]


@pytest.fixture(scope="module")
def server() -> Iterator[RedisServer]:
    with redis_server() as server:
        yield server


@pytest.fixture(scope="module")
def templates(
    tmp_path_factory: pytest.TempPathFactory, server: RedisServer
) -> dict[tuple[str, str], Template]:
    """By layout and medium."""
    made = {}
    for layout in ("v1", "v2"):
        for medium in ("directory", "redis"):
            place = tmp_path_factory.mktemp(layout + medium)
            made[layout, medium] = make_template(place, layout, server if medium == "redis" else None)
            assert checked(made[layout, medium].site).findings == ()
    return made


def checked(site: Site, *, repairs: bool = False) -> Report:
    with site.opened() as (keys, writer):
        return check(keys, writer if repairs else None, settle_s=0)


def codes(report: Report) -> set[str]:
    return {finding.code for finding in report.findings}


@pytest.mark.parametrize(("name", "layout", "medium"), EVERY)
def test_damage_is_called_by_its_code_and_mended_without_a_loss(
    name: str, layout: str, medium: str, tmp_path: Path, templates: dict[tuple[str, str], Template]
) -> None:
    case, site = CASES[name], templates[layout, medium].copy(tmp_path)
    case.damage(site)
    values, everything = site.values(), site.everything()
    report = checked(site)
    assert codes(report) == {case.code}
    assert {finding.is_note for finding in report.findings} == {case.is_note}
    assert report.is_clean is case.is_note
    assert site.everything() == everything, "looking changes nothing"
    assert_mends(site, case)
    after = site.values()
    assert values.items() <= after.items()
    assert set(everything.values()) <= set(site.everything().values()) or case.code in REWRITTEN


def assert_mends(site: Site, case: Case) -> None:
    before = site.everything()
    report = checked(site, repairs=True)
    assert codes(report) == {case.code}
    assert {finding.is_repaired for finding in report.findings} == {case.is_mended}
    if not case.is_mended:
        assert site.everything() == before
        assert codes(checked(site)) == {case.code}
        return
    assert report.is_clean
    for finding in report.findings:
        assert finding.set_aside or finding.code == "lock"
        assert not finding.set_aside or site.is_there(finding.set_aside), finding
    assert checked(site).findings == ()
