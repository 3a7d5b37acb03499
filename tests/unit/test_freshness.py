"""What is in memory while the store is away: served for a limited time, and never called fresh."""

import re
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass

import pytest

from keyfs.broker.freshness import FRESH, Freshness
from keyfs.broker.keystore import KeyStore
from keyfs.errors import KeyfsError, StoreUnavailable
from keyfs.layout.v1 import LayoutV1
from keyfs.testing.medium import Medium, MemoryWatch
from keyfs.testing.memory_store import MemoryStore

STALE = re.compile(r"stale since \d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z")
LIMIT_S = 60.0
AWAY = pytest.mark.expects_log("store.away")
BACK = pytest.mark.expects_log("store.back")


@dataclass
class Scene:
    """A key store whose watch goes deaf when the test says so, and a clock that the test moves."""

    medium: Medium
    keys: KeyStore
    watch: MemoryWatch
    now_s: float = 1000.0

    def __post_init__(self) -> None:
        self.freshness = Freshness(self.keys, LIMIT_S, lambda: self.now_s)

    def hears(self, hears: bool) -> None:
        self.watch.is_connected = hears
        self.freshness.look()


@pytest.fixture
def scene() -> Iterator[Scene]:
    medium = Medium()
    with closing(KeyStore(MemoryStore(medium), LayoutV1(), None)) as keys:
        watch = keys.watch()
        assert isinstance(watch, MemoryWatch)
        yield Scene(medium, keys, watch)


def test_what_is_heard_of_is_fresh(scene: Scene) -> None:
    scene.freshness.look()
    scene.now_s += 10 * LIMIT_S
    scene.freshness.demand_readable()
    scene.freshness.demand_writable()
    assert scene.freshness.state == FRESH


@AWAY
def test_nobody_who_is_deaf_is_fresh(scene: Scene) -> None:
    scene.hears(False)
    assert STALE.fullmatch(scene.freshness.state)


@AWAY
def test_stale_is_served_for_its_time_and_no_longer(scene: Scene) -> None:
    scene.hears(False)
    scene.now_s += LIMIT_S
    scene.freshness.demand_readable()
    scene.now_s += 0.001
    with pytest.raises(StoreUnavailable, match=r"stale since .*: too long"):
        scene.freshness.demand_readable()


@AWAY
def test_nothing_is_written_while_it_is_stale(scene: Scene) -> None:
    scene.hears(False)
    with pytest.raises(StoreUnavailable, match="nothing can be written"):
        scene.freshness.demand_writable()


@AWAY
def test_the_time_of_an_outage_is_when_it_was_noticed_first(scene: Scene) -> None:
    scene.hears(False)
    since = scene.freshness.state
    scene.now_s += LIMIT_S / 2
    scene.hears(False)
    assert scene.freshness.state == since


@AWAY
@BACK
def test_it_is_fresh_when_it_hears_again(scene: Scene) -> None:
    scene.hears(False)
    scene.now_s += 2 * LIMIT_S
    scene.hears(True)
    assert scene.freshness.state == FRESH
    scene.freshness.demand_readable()
    scene.freshness.demand_writable()


@AWAY
@BACK
def test_each_outage_has_its_own_time(scene: Scene) -> None:
    scene.hears(False)
    scene.now_s += LIMIT_S
    scene.hears(True)
    scene.hears(False)
    scene.now_s += LIMIT_S
    scene.freshness.demand_readable()


@AWAY
@BACK
def test_it_is_not_fresh_before_what_was_missed_is_taken_in(scene: Scene) -> None:
    """The connection is back, the list of what changed meanwhile is not."""
    scene.hears(False)
    scene.watch.note(None)
    scene.hears(True)
    assert STALE.fullmatch(scene.freshness.state)
    scene.keys.refresh()
    scene.freshness.look()
    assert scene.freshness.state == FRESH


@AWAY
@BACK
def test_a_look_that_failed_is_stale_until_one_succeeds(scene: Scene) -> None:
    scene.medium.put("alice_hmac", b"changed")
    scene.medium.is_gone = True
    with pytest.raises(KeyfsError):
        scene.keys.refresh()
    scene.freshness.look()
    assert STALE.fullmatch(scene.freshness.state)
    scene.medium.is_gone = False
    scene.keys.refresh()
    scene.freshness.look()
    assert scene.freshness.state == FRESH


@AWAY
@BACK
def test_the_log_has_one_line_at_the_beginning_and_one_at_the_end(
    scene: Scene, caplog: pytest.LogCaptureFixture
) -> None:
    for hears in (True, False, False, False, True, True):
        scene.hears(hears)
        scene.now_s += 2.0
    assert [record.getMessage() for record in caplog.records] == ["store.away", "store.back"]
