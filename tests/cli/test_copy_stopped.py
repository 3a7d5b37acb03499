"""`keyfs copy` while the source is rotated, on a medium that lies, and killed again and again."""

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest
from copied_stores import Place, files_in, materials, new_directory, own_store

from keyfs.broker.copying import copy
from keyfs.broker.keystore import KeyStore
from keyfs.broker.writer import RingWriter
from keyfs.core.names import CURRENT, parse_key_ref
from keyfs.core.secret import Secret
from keyfs.errors import StoreUnavailable
from keyfs.layout.v1 import LayoutV1
from keyfs.seal.protection import Protections
from keyfs.seal.registry import open_sealer
from keyfs.store.base import Replacement
from keyfs.testing.medium import Medium
from keyfs.testing.memory_store import MemoryStore
from keyfs.testing.mounted import keyfs_environment
from keyfs.testing.redis_servers import RedisServer, redis_server
from keyfs.testing.shared_store import SharedStore
from keyfs.testing.waiting import wait_until

MASTER_KEY = Secret(b"a master key thrown away at once")
KILLS = 4
BLOBS = 2 * 40 * 2 + 40 * 2  # private and symmetric, public; two versions of each


@pytest.fixture
def redis() -> Iterator[RedisServer]:
    with redis_server() as server:
        yield server


class LyingStore(MemoryStore):
    """A medium that acknowledges what it does not keep."""

    def supersede(self, replacements: Iterable[Replacement]) -> None:
        flipped = [
            Replacement(r.name, bytes([r.data[0] ^ 1]) + r.data[1:], r.mode, r.mtime_ns, r.archive)
            for r in replacements
        ]
        super().supersede(flipped)


def key_store(store: MemoryStore) -> KeyStore:
    return KeyStore(store, LayoutV1(), Protections.under(open_sealer(MASTER_KEY)))


@pytest.mark.parametrize("label", ["storage/alice", "storage-sym/alice", "audit-log"])
def test_what_does_not_read_back_is_not_called_copied(label: str) -> None:
    source, target = key_store(MemoryStore(Medium())), key_store(LyingStore(Medium()))
    RingWriter(source).generate(parse_key_ref(label))
    with pytest.raises(StoreUnavailable, match="does not read back"):
        copy(source, target)


def test_what_is_rotated_while_it_is_copied_loses_no_version(redis: RedisServer, tmp_path: Path) -> None:
    labels = [f"storage-sym/c{number:04}" for number in range(60)]
    source = own_store(tmp_path, *labels)
    target = Place(redis.unix_uri(), source.master_key)
    with start_copy(source, target) as copying:
        wait_until(lambda: len(redis.ask("KEYS", "ks/*")) > 30)
        with SharedStore(source.uri, source.master_key).opened() as (_, writer):
            for label in (labels[0], labels[30], labels[-1]) * 3:
                writer.rotate(parse_key_ref(label))
        assert copying.wait(60) == 0
    assert source.copy_to(target).returncode == 0
    assert materials(target.contents()) == materials(source.contents())


def start_copy(source: Place, target: Place) -> "subprocess.Popen[bytes]":
    words = [sys.executable, "-m", "keyfs", "copy", *source.words(target)]
    return subprocess.Popen(words, env=keyfs_environment(source.environment), stderr=subprocess.DEVNULL)


def assert_no_key_is_current_before_its_history(source: Place, target: Place) -> None:
    there, all_of = target.contents(), source.contents()
    assert materials(there) == [item for item in materials(all_of) if item[0] in there]
    whole = {label[:2] for label in there if label[2] == CURRENT and not label[3]}
    missing = {label[:2] for label in all_of if label not in there and not label[3]}
    assert not whole & missing


@pytest.mark.parametrize("direction", ["to redis", "from redis"])
def test_a_copy_that_is_killed_again_and_again_goes_on_where_it_was(
    redis: RedisServer, tmp_path: Path, direction: str
) -> None:
    labels = [f"{kind}/c{number:04}" for kind in ("storage", "hmac-sym") for number in range(40)]
    directory = own_store(tmp_path, *labels, versions=2)
    source, target = directory, Place(redis.unix_uri(), directory.master_key)
    if direction == "from redis":
        assert source.copy_to(target).returncode == 0
        source, target = target, new_directory(directory, tmp_path / "back")
    chance = random.Random(7)
    for kill in range(1, KILLS + 1):
        with start_copy(source, target) as copying:
            goal = len(listed(redis, target)) + chance.randrange(1, BLOBS // KILLS)
            wait_until(lambda goal=goal: len(listed(redis, target)) >= goal, 20)  # type: ignore[misc]  # mypy knows no type of a bound default
            time.sleep(chance.uniform(0, 0.01))
            os.kill(copying.pid, signal.SIGKILL)
        assert kill < KILLS or len(listed(redis, target)) < BLOBS
        assert_no_key_is_current_before_its_history(source, target)
    done = source.copy_to(target)
    assert done.returncode == 0, done.stderr
    assert not done.stderr.startswith(b"%d blobs" % BLOBS)
    assert materials(target.contents()) == materials(source.contents())
    assert target.check().returncode == 0
    left = {path.name for path in tmp_path.glob("back.keyfs/*")}
    assert left <= {"lock", "staging"}, left


def listed(redis: RedisServer, target: Place) -> list[object]:
    if target.uri.startswith("unix:"):
        found: list[object] = redis.ask("KEYS", "ks/*")
        return found
    return list(files_in(Path(target.uri.removeprefix("dir:"))))
