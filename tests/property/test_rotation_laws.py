"""Laws of the rotation policy, the lease and the archive: whatever times, keys and hosts there are."""

import json
from contextlib import suppress

from hypothesis import given
from hypothesis import strategies as st

from keyfs.core import archived, lease
from keyfs.core.archived import Archived, ArchivedBlob
from keyfs.core.lease import LENGTH_NS, Lease, claim, holder, released
from keyfs.core.rotation import Keep, is_due, late_ns, over_limit
from keyfs.errors import MaterialCorrupt

TIMES = st.integers(0, 1 << 62)
LENGTHS = st.integers(1, 1 << 60)
OWNERS = st.sampled_from(["a 1 x", "b 2 y", "c 3 z"])


@given(TIMES, LENGTHS, TIMES, LENGTHS)
def test_what_is_due_stays_due(created_ns: int, every_ns: int, now_ns: int, later_ns: int) -> None:
    if is_due(created_ns, every_ns, now_ns):
        assert is_due(created_ns, every_ns, now_ns + later_ns)
    assert is_due(created_ns, every_ns, created_ns + every_ns)
    assert not is_due(created_ns, every_ns, created_ns + every_ns - 1)
    assert is_due(None, every_ns, now_ns)


@given(st.text(), st.text(), st.integers(0, 1 << 60))
def test_a_host_is_late_by_less_than_the_jitter_and_always_the_same(key: str, host: str, jitter: int) -> None:
    late = late_ns(key, host, jitter)
    assert 0 <= late < max(jitter, 1)
    assert late == late_ns(key, host, jitter)


def test_hosts_and_keys_are_spread() -> None:
    """A thousand of each fall into ten equal parts nearly evenly."""
    for late in (
        [late_ns("storage/alice", f"host{number}", 1000) for number in range(1000)],
        [late_ns(f"storage/client{number}", "host", 1000) for number in range(1000)],
    ):
        assert all(60 < sum(part * 100 <= ns < part * 100 + 100 for ns in late) < 150 for part in range(10))


@given(st.lists(TIMES, max_size=20).map(sorted), st.integers(1, 25), TIMES)
def test_a_number_of_versions_is_kept(retired: list[int], versions: int, now_ns: int) -> None:
    over = over_limit(retired, Keep(versions=versions), now_ns)
    assert len(retired) - over == min(len(retired), versions)


@given(st.lists(st.none() | TIMES, max_size=20), LENGTHS, TIMES)
def test_what_retired_not_long_ago_is_kept(retired: list[int | None], for_ns: int, now_ns: int) -> None:
    over = over_limit(retired, Keep(for_ns=for_ns), now_ns)
    assert all(ns is not None and ns + for_ns <= now_ns for ns in retired[:over])
    assert over == len(retired) or retired[over] is None or (retired[over] or 0) + for_ns > now_ns


@given(st.lists(st.tuples(OWNERS, st.integers(0, 3 * LENGTH_NS), st.booleans()), max_size=30))
def test_at_any_time_one_has_the_lease(steps: list[tuple[str, int, bool]]) -> None:
    """Whoever claims, waits and lets go, in any order: two never believe that they have it."""
    now_ns, found = 0, None
    believed: dict[str, int] = {}
    for owner, wait_ns, lets_go in steps:
        now_ns += wait_ns
        claimed = claim(found, owner, now_ns)
        others = [other for other, until_ns in believed.items() if other != owner and until_ns > now_ns]
        assert (claimed is None) == bool(others)
        if claimed is None:
            continue
        found, believed[owner] = claimed, claimed.until_ns
        assert len([until_ns for until_ns in believed.values() if until_ns > now_ns]) == 1
        if lets_go:
            found = released(claimed)
            del believed[owner]


@given(OWNERS, TIMES, TIMES)
def test_a_lease_holds_up_nobody_for_longer_than_its_length(owner: str, until_ns: int, now_ns: int) -> None:
    """Also one that a host with a wrong clock has left."""
    held = holder(Lease(owner, until_ns), now_ns)
    assert held is None or now_ns < held.until_ns <= now_ns + LENGTH_NS
    assert claim(Lease(owner, until_ns), "another", now_ns + LENGTH_NS) is not None or until_ns > now_ns


@given(st.text(), TIMES)
def test_a_lease_is_read_as_it_was_written(owner: str, until_ns: int) -> None:
    assert lease.decode(lease.encode(Lease(owner, until_ns))) == Lease(owner, until_ns)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(["owner", "until_ns", "key", "version", "archived_ns", "blobs", "name", "data"]),
            inner,
            max_size=8,
        )
    ),
    max_leaves=12,
)


@given(st.binary() | JSON.map(lambda value: json.dumps(value).encode()))
def test_what_is_no_lease_is_none_and_no_archive_is_one_error(data: bytes) -> None:
    found = lease.decode(data)
    assert found is None or isinstance(found.owner, str)
    with suppress(MaterialCorrupt):
        archived.decode(data)


NAMES = st.text(st.characters(codec="utf-8"), min_size=1, max_size=12)
BLOBS = st.builds(ArchivedBlob, NAMES, st.binary(max_size=80), st.integers(0, 0o777), st.none() | TIMES)
ARCHIVED = st.builds(Archived, NAMES, NAMES, TIMES, st.lists(BLOBS, min_size=1, max_size=2).map(tuple))


@given(st.lists(ARCHIVED, max_size=6, unique_by=lambda one: one.label))
def test_an_archive_is_read_as_it_was_written(versions: list[Archived]) -> None:
    data = archived.as_lines(versions)
    assert list(archived.decode(data).values()) == versions
    assert archived.decode(data + data) == archived.decode(data)
