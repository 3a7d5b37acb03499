"""Redis is gone, frozen, or behind a network that is silent: what is warm is served, nothing hangs."""

import os
import re
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field

import pytest
from outage_site import COLD, DURABLE, METADATA_S, READ_S, SLACK_S, WARM, Site, site_of

from keyfs.testing.mounted import run_keyfs
from keyfs.testing.reading import Outcome, Readings, outcome_of, reading_loop
from keyfs.testing.redis_servers import RedisServer, redis_server
from keyfs.testing.waiting import wait_until

STALE = re.compile(r"stale since \d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z")


@pytest.fixture(scope="module")
def server() -> Iterator[RedisServer]:
    with redis_server(*DURABLE) as server:
        yield server


@dataclass
class Story:
    """One outage, from beginning to end, as the users of a mount lived it."""

    site: Site
    first: dict[str, Outcome] = field(default_factory=dict)  # before anybody could know
    later: dict[str, Outcome] = field(default_factory=dict)
    states: list[set[str]] = field(default_factory=list)
    noticed_s: float = 0.0
    back_s: float = 0.0
    readings: Readings = field(default_factory=Readings)
    old: dict[str, bytes] = field(default_factory=dict)
    status: "subprocess.CompletedProcess[bytes] | None" = None


def writes_of(site: Site, label: str) -> dict[str, Callable[[], object]]:
    """Opens for writing, of every kind; none of them writes."""
    flags = {"truncate": os.O_WRONLY | os.O_TRUNC, "edit": os.O_RDWR, "append": os.O_WRONLY | os.O_APPEND}
    opens: dict[str, Callable[[], object]] = {
        f"open current to {name}": lambda how=how: os.close(os.open(site.path(label), how))  # type: ignore[misc]  # mypy knows no type of a bound default
        for name, how in flags.items()
    }
    opens["open rotate"] = lambda: os.close(os.open(site.path(label, "rotate"), os.O_WRONLY))
    return opens


def try_everything(site: Site, cold: list[str]) -> dict[str, Outcome]:
    mount = site.mount.path
    calls: dict[str, Callable[[], object]] = {
        "read cold": lambda: site.mount.read(cold[0]),
        "ls": lambda: os.listdir(mount),
        "ls purpose": lambda: os.listdir(mount / "hmac-sym"),
        "ls client": lambda: os.listdir(mount / cold[0]),
        "stat cold": lambda: site.path(cold[0]).stat(),
        "stat absent": (mount / "hmac-sym/nobody").exists,
        "status": site.mount.status,
        **writes_of(site, cold[1]),
    }
    return {name: outcome_of(call) for name, call in calls.items()}


def live_through(site: Site, length_s: float) -> Story:
    story = Story(site, old={label: site.mount.read(label) for label in WARM})
    story.states.append(site.mount.states())
    with reading_loop({site.path(label): {key} for label, key in story.old.items()}) as readings:
        story.readings = readings
        began = time.monotonic()
        site.stop()
        story.first = try_everything(site, COLD[50:52])
        wait_until(lambda: site.mount.status()["state"] != "fresh")
        story.noticed_s = time.monotonic() - began
        story.states.append(site.mount.states())
        story.status = run_keyfs("status", site.mount.path, environment={})
        story.later = try_everything(site, COLD[60:62])
        time.sleep(max(0.0, began + length_s - time.monotonic()))
    site.mend()
    story.back_s = wait_until(lambda: site.mount.status()["state"] == "fresh", 15)
    story.states.append(site.mount.states())
    return story


@pytest.fixture(
    scope="module",
    params=[
        "killed",
        "frozen",
        "silent",
        *(
            pytest.param(f"{kind} for long", marks=pytest.mark.soak)
            for kind in ("killed", "frozen", "silent")
        ),
    ],
)
def story(
    request: pytest.FixtureRequest,
    server: RedisServer,
    fuse_required: None,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Story]:
    kind, _, is_long = request.param.partition(" for ")
    with ExitStack() as stack:
        site = site_of(kind, server, tmp_path_factory.mktemp("outage"), stack)
        yield live_through(site, 30.0 if is_long else 6.0)


def test_no_read_of_a_warm_key_fails_or_gives_wrong_bytes(story: Story) -> None:
    assert story.readings.reads > 100
    assert (dict(story.readings.errors), story.readings.wrong) == ({}, 0)
    assert story.readings.slowest_s < METADATA_S


def test_a_cold_key_is_eagain_within_its_deadline(story: Story) -> None:
    for outcomes in (story.first, story.later):
        assert outcomes["read cold"].error == "EAGAIN"
        assert outcomes["read cold"].took_s < READ_S + SLACK_S


@pytest.mark.parametrize("call", ["ls", "ls purpose", "ls client", "stat cold", "stat absent", "status"])
def test_metadata_are_answered_from_memory(story: Story, call: str) -> None:
    for outcomes in (story.first, story.later):
        assert outcomes[call].error == ""
        assert outcomes[call].took_s < METADATA_S


@pytest.mark.parametrize("call", ["truncate", "edit", "append"])
def test_a_write_is_refused_when_the_file_is_opened(story: Story, call: str) -> None:
    for outcomes in (story.first, story.later):
        outcome = outcomes[f"open current to {call}"]
        assert outcome.error == "EAGAIN"
        assert outcome.took_s < READ_S + SLACK_S


def test_a_rotation_is_refused_when_rotate_is_opened(story: Story) -> None:
    for outcomes in (story.first, story.later):
        assert outcomes["open rotate"].error == "EAGAIN"


def test_nothing_was_written(story: Story) -> None:
    with story.site.store.opened() as (keys, _):
        assert all(len(ring.versions) == 1 for ring in keys.rings())


def test_every_place_says_so(story: Story) -> None:
    before, meanwhile, after = story.states
    assert before == after == {"fresh"}
    (stale,) = meanwhile
    assert STALE.fullmatch(stale)
    assert story.status is not None
    assert story.status.returncode == 0
    assert f"state: {stale}\n".encode() in story.status.stdout


def test_it_is_noticed_soon_and_over_soon(
    story: Story, record_testsuite_property: Callable[[str, object], None]
) -> None:
    record_testsuite_property("noticed_s", story.noticed_s)
    record_testsuite_property("back_s", story.back_s)
    assert story.noticed_s < READ_S * 4
    assert story.back_s < 10


def test_the_log_has_a_line_at_the_beginning_and_one_at_the_end(story: Story) -> None:
    lines = [line.split()[2] for line in story.site.mount.logged("store.")]
    assert lines == ["store.away", "store.back"]
    assert not story.site.mount.logged("request.late")


def test_afterwards_everything_can_be_read_and_written(story: Story) -> None:
    site = story.site
    for label in (*WARM, *COLD[:10]):
        assert [site.mount.read(label)] == list(site.store.versions(label).values())
    site.path(COLD[10]).write_bytes(b"w" * 32)
    assert site.store.versions(COLD[10])["current"] == b"w" * 32
