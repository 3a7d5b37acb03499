"""The schedule of a mount: each due key once, one host at a time, and nothing that goes wrong ends it."""

import json

import pytest
import trio
from schedule_site import HOUR_NS, HOURLY, Site, live, new_site

from keyfs.broker.archive import archived
from keyfs.broker.rotation_schedule import LEASE, SEEN
from keyfs.broker.writer import RingWriter
from keyfs.core.lease import LENGTH_NS, Lease, decode, encode
from keyfs.core.names import KeyRef, parse_key_ref
from keyfs.core.rotation import Keep, RotationPolicy, RotationRule
from keyfs.errors import StoreFull, StoreUnavailable
from keyfs.testing.builders import HMAC_SYM, STORAGE, STORAGE_SYM, in_memory
from keyfs.testing.faults import failing


@pytest.fixture
def site() -> Site:
    return new_site()


def test_a_key_is_rotated_when_it_is_due_and_not_before(site: Site) -> None:
    async def story() -> None:
        site.make(STORAGE)
        async with site.running(site.host("a")):
            await site.pass_time(3590)
            assert site.count(STORAGE) == 1
            await site.pass_time(20)
            assert site.count(STORAGE) == 2
            await site.pass_time(3570)
            assert site.count(STORAGE) == 2
            await site.pass_time(30)
            assert site.count(STORAGE) == 3

    live(site, story)


def test_several_hosts_rotate_each_due_key_once(site: Site) -> None:
    async def story() -> None:
        refs = [parse_key_ref(f"storage-sym/client{number}") for number in range(20)]
        site.make(*refs)
        async with site.running(*(site.host(name) for name in "abc")):
            await site.pass_time(3700)
            assert [site.count(ref) for ref in refs] == [2] * 20
            await site.pass_time(3700)
            assert [site.count(ref) for ref in refs] == [3] * 20

    live(site, story)


def test_jitter_spreads_them_within_its_span(site: Site) -> None:
    async def story() -> None:
        refs = [parse_key_ref(f"storage-sym/client{number}") for number in range(20)]
        site.make(*refs)
        policy = RotationPolicy(RotationRule(every_ns=HOUR_NS, jitter_ns=HOUR_NS // 2))
        async with site.running(site.host("a", policy)):
            await site.pass_time(3600 + 900)
            assert 3 < sum(site.count(ref) == 2 for ref in refs) < 17
            await site.pass_time(910)
            assert [site.count(ref) for ref in refs] == [2] * 20

    live(site, story)


def test_a_host_waits_for_the_lease_of_one_that_died_and_no_longer(site: Site) -> None:
    async def story() -> None:
        site.make(STORAGE)
        host = site.host("a")
        await site.pass_time(3600)
        host.made.keys.store.write_beside(LEASE, encode(Lease("b 1", site.now_ns() + LENGTH_NS)))
        async with site.running(host):
            await site.pass_time(55)
            assert site.count(STORAGE) == 1
            await site.pass_time(10)
            assert site.count(STORAGE) == 2
        left = decode(site.medium.beside[LEASE])
        assert left == Lease("a 1", 0)  # given back

    live(site, story)


def test_a_purpose_without_a_schedule_is_left_alone(site: Site) -> None:
    async def story() -> None:
        site.make(STORAGE, HMAC_SYM)
        policy = RotationPolicy(of_purpose={"storage": RotationRule(every_ns=HOUR_NS)})
        async with site.running(site.host("a", policy)):
            await site.pass_time(4000)
            assert (site.count(STORAGE), site.count(HMAC_SYM)) == (2, 1)

    live(site, story)


def test_a_policy_that_asks_for_nothing_writes_nothing(site: Site) -> None:
    async def story() -> None:
        site.make(STORAGE)
        async with site.running(site.host("a", RotationPolicy())):
            await site.pass_time(100_000)
        assert (site.count(STORAGE), site.medium.beside) == (1, {})

    live(site, story)


def test_a_new_policy_counts_at_once(site: Site) -> None:
    async def story() -> None:
        site.make(STORAGE)
        host = site.host("a", RotationPolicy())
        async with site.running(host):
            await site.pass_time(10_000)
            await trio.to_thread.run_sync(host.schedule.renew, HOURLY)
            await site.pass_time(1)
            assert site.count(STORAGE) == 2

    live(site, story)


def test_a_key_that_comes_later_is_noticed(site: Site) -> None:
    async def story() -> None:
        site.make(STORAGE)
        host = site.host("a")
        async with site.running(host):
            await site.pass_time(1800)
            site.make(HMAC_SYM)
            host.made.keys.refresh()
            await site.pass_time(3700)
            assert site.count(HMAC_SYM) == 2

    live(site, story)


def test_a_key_of_unknown_age_counts_from_when_it_was_first_seen(site: Site) -> None:
    """By whichever host; a restart does not begin anew."""

    async def story() -> None:
        site.make(STORAGE_SYM)
        blob = site.medium.blobs["alice_storage_sym"]
        site.medium.put("alice_storage_sym", blob.data, 0o600, None)
        async with site.running(site.host("a")):
            await site.pass_time(1800)
        assert list(json.loads(site.medium.beside[SEEN])) == ["storage-sym/alice"]
        async with site.running(site.host("b")):
            await site.pass_time(1700)
            assert site.count(STORAGE_SYM) == 1
            await site.pass_time(150)
            assert site.count(STORAGE_SYM) == 2
            await site.pass_time(3000)
            assert site.count(STORAGE_SYM) == 2

    live(site, story)


def test_what_is_over_the_limit_is_archived(site: Site) -> None:
    async def story() -> None:
        site.make(STORAGE)
        policy = RotationPolicy(RotationRule(every_ns=HOUR_NS, keep=Keep(versions=2)))
        host = site.host("a", policy)
        async with site.running(host):
            await site.pass_time(3600 * 5 + 100)
            assert site.count(STORAGE) == 3
            assert len(archived(in_memory(site.medium).keys)) == 3

    live(site, story)


def test_old_history_is_archived_without_a_rotation(site: Site) -> None:
    async def story() -> None:
        site.make(STORAGE)
        host = site.host("a", RotationPolicy(RotationRule(keep=Keep(for_ns=24 * HOUR_NS))))
        RingWriter(host.made.keys, site.now_ns).rotate(STORAGE)
        async with site.running(host):
            await site.pass_time(23 * 3600)
            assert site.count(STORAGE) == 2
            await site.pass_time(2 * 3600)
            assert site.count(STORAGE) == 1
            assert len(archived(in_memory(site.medium).keys)) == 1

    live(site, story)


@pytest.mark.expects_log("archive.failed")
def test_history_that_cannot_be_archived_holds_up_no_rotation(site: Site) -> None:
    async def story() -> None:
        site.make(STORAGE)
        host = site.host("a", RotationPolicy(RotationRule(every_ns=HOUR_NS, keep=Keep(versions=1))))
        host.made.store.before("append_beside", failing(StoreFull("no room")), None)
        async with site.running(host):
            await site.pass_time(3600 * 3 + 10)
            assert site.count(STORAGE) == 4
            host.made.store.mend()
            await site.pass_time(70)
            assert site.count(STORAGE) == 2

    live(site, story)


@pytest.mark.expects_log("rotation.postponed")
def test_a_store_that_is_away_is_asked_again(site: Site) -> None:
    async def story() -> None:
        site.make(STORAGE)
        host = site.host("a")
        await site.pass_time(3600)
        host.made.store.before("lock", failing(StoreUnavailable("away")))
        async with site.running(host):
            await site.pass_time(50)
            assert site.count(STORAGE) == 1
            await site.pass_time(20)
            assert site.count(STORAGE) == 2

    live(site, story)


@pytest.mark.expects_log("rotation.failed")
def test_a_key_that_cannot_be_rotated_holds_up_no_other(site: Site) -> None:
    async def story() -> None:
        site.make(STORAGE, HMAC_SYM)
        host = site.host("a")
        await site.pass_time(3600)
        host.made.store.before("supersede", failing(StoreFull("no room")))
        async with site.running(host):
            await site.pass_time(5)
            assert sorted([site.count(STORAGE), site.count(HMAC_SYM)]) == [1, 2]
            await site.pass_time(70)
            assert [site.count(STORAGE), site.count(HMAC_SYM)] == [2, 2]

    live(site, story)


@pytest.mark.expects_log("rotation.bug")
def test_a_bug_does_not_end_the_mount(site: Site) -> None:
    async def story() -> None:
        site.make(STORAGE)
        host = site.host("a")
        await site.pass_time(3600)

        def stumble() -> None:
            raise RuntimeError("a bug")

        host.made.store.before("read_beside", stumble)
        async with site.running(host):
            await site.pass_time(3000)
            assert site.count(STORAGE) == 1
            await site.pass_time(700)
            assert site.count(STORAGE) == 2

    live(site, story)


def test_watchers_are_told(site: Site) -> None:
    async def story() -> None:
        site.make(STORAGE)
        host = site.host("a")
        heard: list[KeyRef] = []
        host.broker.on_version(heard.append)
        async with site.running(host):
            await site.pass_time(3700)
        assert heard == [STORAGE]
        assert b"storage/alice\tgenerate\tdone" in host.broker.changes.outcomes.render()

    live(site, story)
