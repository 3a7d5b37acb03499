"""Several processes rotate the same keys in Redis, and die: no version is lost, none is there twice."""

import base64
import random
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import pytest

from keyfs.broker.material import public_half
from keyfs.core.names import parse_key_ref
from keyfs.testing.mounted import run_keyfs
from keyfs.testing.redis_groups import redis_cluster
from keyfs.testing.redis_servers import RedisServer, redis_server
from keyfs.testing.rotating import Rotator, start_rotator
from keyfs.testing.shared_store import SharedStore, shared_store
from keyfs.testing.waiting import wait_until

LABELS = [f"{purpose}/client{number}" for purpose in ("storage", "storage-sym") for number in range(10)]
ROTATIONS = {"v1": 2000, "v2": 120}
SEED = 20261124


def new_store(uri: str, folder: Path, labels: list[str], layout: str = "v1") -> SharedStore:
    store = shared_store(folder, uri, layout)
    store.make(*labels)
    return store


def identities(store: SharedStore) -> dict[str, list[str]]:
    """Of the private parts of every key's versions, oldest first."""
    with store.opened() as (keys, _):
        return {
            str(ring.ref): [version.secret.stat.identity for version in ring.versions if version.secret]
            for ring in keys.rings()
        }


@pytest.fixture
def server() -> Iterator[RedisServer]:
    with redis_server() as server:
        yield server


# --- at the same moment ---


@pytest.mark.parametrize(
    ("label", "layout"), [("storage-sym/alice", "v1"), ("storage/alice", "v1"), ("storage/alice", "v2")]
)
def test_two_rotations_at_the_same_moment_are_two_versions(
    server: RedisServer, tmp_path: Path, label: str, layout: str
) -> None:
    """In one order for all, and each writer knows its own."""
    store = new_store(server.uri(), tmp_path, [label], layout)
    rounds: list[set[str]] = []
    with ExitStack() as stack:
        rotators = []
        for number in range(2):
            log = tmp_path / f"log{number}"
            rotator = start_rotator(store.uri, store.master_key, log, number, [label], by_command=True)
            stack.callback(rotator.kill)
            rotators.append(rotator)
        assert [rotator.wait() for rotator in rotators] == ["ready", "ready"]
        for _ in range(15):
            for rotator in rotators:
                rotator.rotate()
            rounds.append({rotator.wait() for rotator in rotators})
    [(_, *made)] = identities(store).values()
    assert [set(made[start : start + 2]) for start in range(0, len(made), 2)] == rounds
    assert len(set(made)) == 30
    assert run_keyfs("check", environment=store.environment).returncode == 0


@pytest.mark.parametrize("layout", ["v1", "v2"])
@pytest.mark.parametrize("kind", ["one server", pytest.param("cluster", marks=pytest.mark.soak)])
def test_no_acknowledged_version_is_lost_whoever_is_killed(kind: str, layout: str, tmp_path: Path) -> None:
    """Nor is any there twice; in a cluster one may be, until it is mended."""
    with redis_server() if kind == "one server" else redis_cluster() as servers:
        store = new_store(servers.uri(), tmp_path, LABELS, layout)
        acknowledged = rotate_and_kill(store, tmp_path, ROTATIONS[layout])
        repair = [] if kind == "one server" else ["--repair"]
        checked = run_keyfs("check", *repair, environment=store.environment)
        assert checked.returncode == 0, checked.stdout
        stored = Counter(
            (label, identity) for label, versions in identities(store).items() for identity in versions
        )
    assert len(acknowledged) >= ROTATIONS[layout]
    assert not set(acknowledged) - set(stored)
    assert set(stored.values()) == set(Counter(acknowledged).values()) == {1}


def rotate_and_kill(store: SharedStore, folder: Path, rotations: int) -> list[tuple[str, str]]:
    """Four processes at a time, until all that there were have rotated often enough."""
    pick = random.Random(SEED)
    started: list[Rotator] = []

    def start() -> Rotator:
        log = folder / f"log{len(started)}"
        started.append(start_rotator(store.uri, store.master_key, log, len(started), LABELS))
        return started[-1]

    def acknowledged() -> list[tuple[str, str]]:
        return [line for rotator in started for line in rotator.acknowledged]

    with ExitStack() as stack:
        running = [start() for _ in range(4)]
        stack.callback(kill_all, started)
        for target in kill_points(pick, rotations):
            wait_until(partial(lambda enough: len(acknowledged()) >= enough, target), 120)
            running.pop(pick.randrange(4)).kill()
            running.append(start())
    assert len(started) > 4
    return acknowledged()


def kill_all(rotators: list[Rotator]) -> None:
    for rotator in rotators:
        rotator.kill()


def kill_points(pick: random.Random, rotations: int) -> Iterator[int]:
    """After how many rotations one of the processes is killed; the last is the end."""
    done = 0
    while done < rotations:
        done = min(done + pick.randrange(20, min(300, rotations // 2)), rotations)
        yield done


# --- a pair ---


def test_a_pair_switches_as_a_pair(server: RedisServer, tmp_path: Path) -> None:
    """Whoever asks for both halves at once never gets two that do not belong together."""
    store = new_store(server.uri(), tmp_path, ["storage/alice"])
    over = threading.Event()
    seen: set[bytes] = set()
    with store.opened() as (keys, writer):
        ref = parse_key_ref("storage/alice")

        def rotate() -> None:
            for _ in range(100):
                writer.rotate(ref)
            over.set()

        thread = threading.Thread(target=rotate)
        thread.start()
        assert keys.protection is not None
        while not over.is_set():
            values = server.ask("MGET", "ks/alice_storage", "ks/alice_storage.pub")
            private, public = map(base64.b64decode, values)
            assert (
                public_half(ref.purpose, keys.protection.unseal(private, keys.layout.label(ref, "")))
                == public
            )
            seen.add(public)
        thread.join()
    assert len(seen) > 5
