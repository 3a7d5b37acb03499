"""A key store whose master key is changed while it is mounted, read and rotated: what everybody saw.

The one scenario of the tests and of `scripts/bench rekey`.
"""
# ruff: noqa: S101 - this is the test kit

import hashlib
import json
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from keyfs import app
from keyfs.broker.keystore import KeyStore
from keyfs.core.names import Half, parse_key_ref
from keyfs.errors import KeyfsError
from keyfs.master.generate import generate as new_master_key
from keyfs.testing.mounted import keyfs_environment, mounted, run_keyfs
from keyfs.testing.reading import Readings, reading_loop

KINDS: Final = {"storage-sym": 4, "storage": 2, "hmac-sym": 2}  # versions of each client's keys
BLOBS_OF_CLIENT: Final = sum(KINDS.values())
HOT: Final = ("storage-sym/client0", "storage/client1", "hmac-sym/client2")
Versions = dict[str, dict[str, bytes]]  # private parts by key and version


class _AnyKey(set[bytes]):
    """All that a key can be which someone rotates."""

    def __contains__(self, data: object) -> bool:
        return bool(data)


@dataclass(frozen=True, slots=True)
class Scenario:
    """Where the key store is, and how much happens to it."""

    uri: str
    place: Path  # for master keys, logs, the mount
    blobs: int
    kills: int
    seed: int = 20261124
    lock_life_ms: int = 0  # of a dead writer's lock in Redis; as it is in real life when 0
    layout: str = "v1"

    def key(self, name: str) -> str:
        """The URI of the master key `old` or `new`."""
        return f"file:{self.place / name}.key"

    @property
    def labels(self) -> dict[str, int]:
        """Every key, and how many versions it has before."""
        clients = range(max(3, self.blobs // BLOBS_OF_CLIENT))
        return {f"{kind}/client{number}": count for number in clients for kind, count in KINDS.items()}

    @contextmanager
    def opened(self, *names: str) -> Iterator[KeyStore]:
        """The key store, listed anew, under these master keys."""
        keys, _ = app.open_keys(app.Access(self.uri, ",".join(map(self.key, names))))
        with closing(keys):
            keys.load()
            yield keys


@dataclass(frozen=True, slots=True)
class Outcome:
    """What everybody saw."""

    blobs: int  # sealed ones, at the beginning
    seconds: float  # from the first start to the end of the last run
    readings: Readings
    rotations: int  # acknowledged
    lost: int  # versions that were acknowledged and are not there under the new key
    left_old: int  # versions that do not open under the new key
    moved: int  # keys that nobody rotated and whose versions are not as they were
    report: Mapping[str, object]  # of the last run


def play(scenario: Scenario) -> Outcome:
    """Fill the store, mount it, and change its master key under readers and a rotator."""
    before = _fill(scenario)
    facts = _facts(scenario, "old")
    log = scenario.place / "rotated"
    with ExitStack() as stack:
        keys = f"{scenario.key('new')},{scenario.key('old')}"
        environment = {"KEYFS_STORE": scenario.uri, "KEYFS_MASTER_KEY": keys}
        where = ("--log-file", str(scenario.place / "daemon.log"))
        mount = stack.enter_context(mounted(scenario.place / "mount", *where, environment=environment))
        readings = stack.enter_context(reading_loop(_files(mount, before)))
        stack.enter_context(_rotator(scenario, keys, log))
        began = time.monotonic()
        _killed_runs(scenario, keys)
        report = _last_run(scenario)
        seconds = time.monotonic() - began
    made = log.read_text().splitlines()
    now, left_old = _versions(scenario, "new")
    wanted = Counter(made) + _digests(before)
    after = _facts(scenario, "new")
    return Outcome(
        blobs=sum(map(len, before.values())),
        seconds=seconds,
        readings=readings,
        rotations=len(made),
        lost=(wanted - _digests(now)).total(),
        left_old=left_old,
        moved=sum(facts[label] != after.get(label) for label in facts if label not in HOT),
        report=report,
    )


def _fill(scenario: Scenario) -> Versions:
    for name in ("old", "new"):
        fd = os.open(scenario.place / f"{name}.key", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(fd, "w") as file:
            file.write(new_master_key(scenario.layout))
    app.init_store(scenario.uri, scenario.layout)
    keys, writer = app.open_keys(app.Access(scenario.uri, scenario.key("old")))
    with closing(keys):
        keys.load()
        for label, count in scenario.labels.items():
            writer.generate(parse_key_ref(label))
            for _ in range(count - 1):
                writer.rotate(parse_key_ref(label))
    return _versions(scenario, "old")[0]


def _versions(scenario: Scenario, key: str) -> tuple[Versions, int]:
    """Every private part that opens, and how many do not."""
    found: Versions = {}
    failed = 0
    with scenario.opened(key) as keys:
        for ref, version in [(ring.ref, version.id) for ring in keys.rings() for version in ring.versions]:
            try:
                opened = keys.read(ref, version, Half.SECRET)[0]
            except KeyfsError:
                failed += 1
            else:
                found.setdefault(str(ref), {})[version] = opened.material.reveal()
    return found, failed


def _digests(versions: Versions) -> Counter[str]:
    return Counter(
        f"{label} {hashlib.sha256(private).hexdigest()}"
        for label, found in versions.items()
        for private in found.values()
    )


def _facts(scenario: Scenario, key: str) -> dict[str, object]:
    """What `keyfs list --versions --json` tells of each key."""
    settings = {"KEYFS_STORE": scenario.uri, "KEYFS_MASTER_KEY": scenario.key(key)}
    done = run_keyfs("list", "--versions", "--json", environment=settings)
    assert done.returncode == 0, done.stderr.decode()
    facts: dict[str, list[object]] = {}
    for entry in json.loads(done.stdout):
        facts.setdefault(f"{entry['purpose']}/{entry['client']}", []).append(entry)
    return dict(facts)


def _files(mount: Path, versions: Versions) -> dict[Path, set[bytes]]:
    return {
        mount / label / version: _AnyKey() if label in HOT and version == "current" else {private}
        for label, found in versions.items()
        for version, private in found.items()
    }


@contextmanager
def _rotator(scenario: Scenario, keys: str, log: Path) -> Iterator[None]:
    process = subprocess.Popen(  # noqa: S603 - our own program
        _program("rotate", scenario.uri, keys, log, scenario.seed, scenario.lock_life_ms, *HOT),
        env=keyfs_environment({}),
        stdout=subprocess.PIPE,
    )
    assert process.stdout is not None
    with process.stdout:
        try:
            assert process.stdout.readline() == b"ready\n"
            yield
            assert process.poll() is None, "the rotator died"
        finally:
            process.kill()
            process.wait()


def _killed_runs(scenario: Scenario, keys: str) -> None:
    words = _program("rekey", scenario.uri, keys, scenario.kills, scenario.seed, scenario.lock_life_ms)
    done = subprocess.run(words, env=keyfs_environment({}), check=False, capture_output=True)  # noqa: S603 - as above
    assert done.returncode == 0, done.stderr.decode()


def _last_run(scenario: Scenario) -> Mapping[str, object]:
    keys = ("--from", scenario.key("old"), "--to", scenario.key("new"))
    done = run_keyfs("rekey", "--store", scenario.uri, *keys, "--json", environment={})
    assert done.returncode == 0, done.stderr.decode()
    report = json.loads(done.stdout)
    assert isinstance(report, dict)
    return report


def _program(*words: object) -> list[str]:
    return [sys.executable, "-m", "keyfs.testing.rekeying", *map(str, words)]
