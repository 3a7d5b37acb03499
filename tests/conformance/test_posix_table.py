"""The conformance table holds on a real mount: every call, every kind of node, read-write and read-only."""

import errno
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from posix_actor import CALLS
from posix_table import LABELS, MODES, Site, expected, posix_site, read_table

from keyfs.testing.mounted import run_keyfs

ROOT = Path(__file__).parents[2]
# What any file system answers there needs no reason.
PLAIN = frozenset({"ENOENT", "EISDIR", "ENOTDIR", "EBADF", "EEXIST"})
TABLES = {mode: read_table(mode) for mode in MODES}


def retired(site: Site) -> dict[str, bytes]:
    """The oldest version of each key."""
    return {label: next(iter(site.live.versions(label).values())) for label in LABELS}


@pytest.fixture(scope="module")
def sites(tmp_path_factory: pytest.TempPathFactory, fuse_required: None) -> Iterator[dict[str, Site]]:
    """A mount in each mode; at the end they answer, no version is lost, the key store is sound."""
    with ExitStack() as stack:
        made = {mode: stack.enter_context(posix_site(tmp_path_factory.mktemp(mode), mode)) for mode in MODES}
        before = {mode: retired(site) for mode, site in made.items()}
        yield made
        for mode, site in made.items():
            assert retired(site) == before[mode]
            checked = run_keyfs("check", environment=site.live.environment)
            assert checked.returncode == 0, checked.stdout.decode()
            assert not site.live.logged("request.bug")
            assert not site.live.logged("request.late")


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("mode", MODES)
def test_a_call_comes_to_what_the_table_says(sites: dict[str, Site], mode: str, call: str) -> None:
    assert sites[mode].call(call) == expected(TABLES[mode], call)


@pytest.mark.parametrize("mode", MODES)
def test_the_table_has_every_call_and_each_node_once(mode: str) -> None:
    assert list(TABLES[mode]) == list(CALLS)
    kinds = {tuple(sorted(kind for entry in row for kind in entry.kinds)) for row in TABLES[mode].values()}
    assert len(kinds) == 1
    assert all(len(set(row)) == len(row) for row in kinds)


@pytest.mark.parametrize("mode", MODES)
def test_a_refusal_has_its_reason(mode: str) -> None:
    assert not [
        (call, entry.outcome)
        for call, row in TABLES[mode].items()
        for entry in row
        if entry.outcome in set(errno.errorcode.values()) - PLAIN and not entry.reason
    ]


def test_the_readme_says_what_the_table_says() -> None:
    section = (ROOT / "README.md").read_text().partition("## What a program may do")[2].partition("\n## ")[0]
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in section.splitlines() if "|" in line]
    assert len(rows) > 10
    assert [(call, kind, answer) for call, kind, answer, _ in rows[2:]] == [
        (call, kind, expected(TABLES["read-write"], call)[kind]) for call, kind, *_ in rows[2:]
    ]
    kinds = expected(TABLES["read-write"], "read")
    assert f"have {len(CALLS)} calls on\n{len(kinds)} kinds of nodes" in section
