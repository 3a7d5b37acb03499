"""Cold keys through a mount over Redis: one round trip each, and the right bytes whatever happens."""

import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from itertools import count
from pathlib import Path

import pytest
from outage_site import DURABLE, READ_S, SLACK_S

from keyfs.testing.cutting_proxy import Answer, CutReply, CutRequest, CuttingProxy, Trap, cutting_proxy
from keyfs.testing.reading import outcome_of
from keyfs.testing.redis_groups import sentinel_group
from keyfs.testing.redis_servers import RedisServer, redis_server
from keyfs.testing.shared_store import Mount, SharedStore, mount_of, shared_store
from keyfs.testing.waiting import wait_until

READERS = 32
FAIL_OVER_S = 40.0
PREFIX = "ks"
PAUSE_S = 0.05


@dataclass
class Site:
    """A server, its store, a mount over a proxy, and keys that nobody has read yet."""

    server: RedisServer
    store: SharedStore
    mount: Mount
    proxy: CuttingProxy
    numbers: Iterator[int]

    def cold(self, keys: int, purpose: str = "storage-sym") -> list[str]:
        """New keys, which the mount knows by name; a look at one of them alone would fetch it."""
        labels = [f"{purpose}/cold{next(self.numbers)}" for _ in range(keys)]
        self.store.make(*labels)
        names = {label.partition("/")[2] for label in labels}
        wait_until(lambda: names <= set(os.listdir(self.mount.path / purpose)))
        return labels

    def right(self, label: str) -> bytes:
        return self.store.versions(label)["current"]

    def wait_for_channel(self) -> None:
        """Until cold keys are asked for by GET."""
        wait_until(lambda: calls_for(self.server, self.read_one).get("get") == 1)

    def read_one(self) -> None:
        [label] = self.cold(1)
        self.server.ask("CONFIG", "RESETSTAT")
        self.mount.read(label)


def calls_for(server: RedisServer, work: Callable[[], object]) -> dict[str, int]:
    """How often each command was called meanwhile, those of connections and of looking aside."""
    server.ask("CONFIG", "RESETSTAT")
    work()
    stats = server.admin.info("commandstats")
    found = {name.removeprefix("cmdstat_"): int(row["calls"]) for name, row in stats.items()}
    return {name: n for name, n in found.items() if name.partition("|")[0] not in ("ping", "config", "info")}


@pytest.fixture(scope="module")
def whole(fuse_required: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    place = tmp_path_factory.mktemp("cold")
    with redis_server(*DURABLE) as server, cutting_proxy(server.port) as proxy:
        there = shared_store(place, server.unix_uri(PREFIX))
        here = SharedStore(f"redis://127.0.0.1:{proxy.port}/0?prefix={PREFIX}", there.master_key)
        # Who wakes watchers looks names up, and so has keys asked for; on a read-only mount nobody does that.
        with mount_of(here, place / "m", "--read-only") as mount:
            yield Site(server, there, mount, proxy, count())


@pytest.fixture
def site(whole: Site) -> Site:
    """With a channel that is open."""
    whole.proxy.forget()
    whole.wait_for_channel()
    return whole


# --- round trips ---


def test_a_cold_read_is_one_round_trip_and_a_second_one_is_none(site: Site) -> None:
    labels = site.cold(20)
    assert calls_for(site.server, lambda: [site.mount.read(label) for label in labels]) == {"get": 20}
    assert calls_for(site.server, lambda: [site.mount.read(label) for label in labels]) == {}


def test_who_looks_up_a_client_has_its_key_asked_for(site: Site) -> None:
    """So the answer is there, or on its way, when the key is opened."""
    labels = [f"storage-sym/cold{next(site.numbers)}" for _ in range(20)]
    site.store.make(*labels)
    wait_until(lambda: all((site.mount.path / label).exists() for label in labels))
    wait_until(lambda: calls_for(site.server, lambda: time.sleep(PAUSE_S)) == {})  # the last one is answered
    read: dict[str, bytes] = {}
    calls = calls_for(site.server, lambda: read.update((label, site.mount.read(label)) for label in labels))
    assert calls == {}
    assert read == {label: site.right(label) for label in labels}


def test_a_public_half_comes_with_the_private_half_that_proves_it(site: Site) -> None:
    [label] = site.cold(1, "storage")
    assert calls_for(site.server, lambda: site.mount.read(label, "current.pub")) == {"get": 2}
    assert calls_for(site.server, lambda: site.mount.read(label)) == {}


def test_many_readers_of_many_keys_ask_once_for_each(site: Site) -> None:
    labels = site.cold(READERS * 4)
    with ThreadPoolExecutor(READERS) as pool:
        calls = calls_for(site.server, lambda: list(pool.map(site.mount.read, labels)))
        read = dict(zip(labels, pool.map(site.mount.read, labels), strict=True))
    assert calls == {"get": len(labels)}
    assert read == {label: site.right(label) for label in labels}


def test_many_readers_of_one_key_ask_once_or_a_few_times(site: Site) -> None:
    [label] = site.cold(1)
    with ThreadPoolExecutor(READERS) as pool:
        calls = calls_for(site.server, lambda: set(pool.map(site.mount.read, [label] * READERS)))
    assert calls == {"get": 1}


# --- connections that end ---

TRAPS: dict[str, Callable[[], Trap]] = {
    "the question is cut": CutRequest,
    "the answer is cut": CutReply,
    "the answer is cut in the middle": lambda: CutReply(20),
    "a refusal": lambda: Answer(b"-LOADING\r\n", stay=True),
    "no value": lambda: Answer(b":1\r\n", stay=True),
    "not there": lambda: Answer(b"$-1\r\n", stay=True),
}


@pytest.mark.parametrize("trap", TRAPS.values(), ids=TRAPS)
def test_a_read_whose_answer_is_lost_is_answered_all_the_same(site: Site, trap: Callable[[], Trap]) -> None:
    """In a thread, on another connection; and the next ones on a new channel."""
    labels = site.cold(5)
    site.proxy.on(b"$3\r\nGET", trap())
    assert [site.mount.read(label) for label in labels] == [site.right(label) for label in labels]
    assert site.proxy.sprung
    site.wait_for_channel()


def test_a_value_of_another_key_is_never_taken_for_it(site: Site) -> None:
    """A server that mixes up its answers is told by the facts that the index has; it is asked again."""
    label, other = site.cold(2)
    value = site.server.ask("GET", f"{PREFIX}/{other.partition('/')[2]}_storage_sym")
    site.proxy.on(b"$3\r\nGET", Answer(b"$%d\r\n%b\r\n" % (len(value), value), stay=True))
    assert site.mount.read(label) == site.right(label)
    assert site.mount.read(other) == site.right(other)


def test_every_connection_that_is_cut_is_made_again(site: Site) -> None:
    for _ in range(3):
        labels = site.cold(READERS)
        with ThreadPoolExecutor(READERS) as pool:
            reads = [pool.submit(site.mount.read, label) for label in labels]
            site.proxy.cut_all()
            failed = [outcome_of(read.result).error for read in reads]
        assert set(failed) <= {"", "EAGAIN"}
        site.wait_for_channel()
        assert [site.mount.read(label) for label in labels] == [site.right(label) for label in labels]


def test_a_silent_network_is_an_error_in_time_and_over_when_it_is(site: Site) -> None:
    labels = site.cold(READERS)
    site.proxy.stop_forwarding()
    with ThreadPoolExecutor(READERS) as pool:
        outcomes = list(pool.map(lambda label: outcome_of(partial(site.mount.read, label)), labels))
    site.proxy.go_on()
    assert {outcome.error for outcome in outcomes} == {"EAGAIN"}
    assert max(outcome.took_s for outcome in outcomes) < READ_S + SLACK_S
    wait_until(lambda: site.mount.status()["state"] == "fresh", 15)
    assert [site.mount.read(label) for label in labels] == [site.right(label) for label in labels]
    assert not site.mount.logged("request.late")


def test_an_answer_that_comes_late_is_the_answer_to_its_own_question(site: Site) -> None:
    """Readers give up one after the other, the server goes on: nobody gets another's key."""
    labels = site.cold(READERS)
    right = {label: site.right(label) for label in labels}
    read: dict[str, set[bytes]] = {label: set() for label in labels}

    def reader(label: str) -> None:
        while not read[label]:
            outcome = outcome_of(lambda: read[label].add(site.mount.read(label)))
            assert outcome.error in ("", "EAGAIN")

    with ThreadPoolExecutor(READERS) as pool:
        site.server.freeze()
        readers = [pool.submit(reader, label) for label in labels]
        wait_until(lambda: site.mount.logged("channel.lost", "no answer in time"))
        site.server.thaw()
        for done in readers:
            done.result()
    assert read == {label: {key} for label, key in right.items()}


def test_after_a_restart_cold_keys_come_on_a_channel_again(site: Site) -> None:
    labels = site.cold(3)
    site.server.kill()
    assert outcome_of(partial(site.mount.read, labels[0])).error == "EAGAIN"
    site.server.start()
    wait_until(lambda: site.mount.status()["state"] == "fresh", 15)
    assert [site.mount.read(label) for label in labels] == [site.right(label) for label in labels]
    site.wait_for_channel()


# --- rotations meanwhile ---


def test_rotations_elsewhere_during_cold_reads_never_give_a_wrong_key(site: Site, tmp_path: Path) -> None:
    """What is read is a version of this key, and once the rotation is known it is the new one."""
    labels = site.cold(READERS * 2)
    old = {label: site.right(label) for label in labels}
    with mount_of(site.store, tmp_path) as other, ThreadPoolExecutor(READERS) as pool:
        new = {label: bytes([number]) * 32 for number, label in enumerate(labels)}
        rotations = [pool.submit((other.path / k / "current").write_bytes, v) for k, v in new.items()]
        reads = [(label, pool.submit(site.mount.read, label)) for label in labels]
        for rotation in rotations:
            rotation.result()
        assert all(read.result() in (old[label], new[label]) for label, read in reads)
        wait_until(lambda: {label: site.mount.read(label) for label in labels} == new)
        assert {label: other.read(label) for label in labels} == new


# --- other places ---


def test_after_a_fail_over_cold_keys_come_from_the_new_primary(fuse_required: None, tmp_path: Path) -> None:
    with ExitStack() as stack:
        group = stack.enter_context(sentinel_group())
        store = shared_store(tmp_path, group.uri(wait="1"))
        labels = [f"storage-sym/client{number}" for number in range(20)]
        store.make(*labels)
        right = {label: store.versions(label)["current"] for label in labels}
        mount = stack.enter_context(mount_of(store, tmp_path / "m"))
        assert mount.read(labels[0]) == right[labels[0]]
        old = group.primary
        old.kill()
        wait_until(lambda: group.primary is not old, FAIL_OVER_S)
        wait_until(lambda: mount.status()["state"] == "fresh", FAIL_OVER_S)
        assert {label: mount.read(label) for label in labels} == right
        wait_until(lambda: "keyfs" in str(group.primary.ask("CLIENT", "LIST")), FAIL_OVER_S)
