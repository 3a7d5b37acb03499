"""Old keys by command: listed as overdue, and rotated together."""

import csv
import io
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from aged_stores import AGES, CONFIG, DAY_S, aged, run
from command_line import Ran, keyfs

from keyfs.errors import StoreUnavailable
from keyfs.store.directory import DirectoryStore
from keyfs.testing.live import LiveStore
from keyfs.testing.redis_servers import redis_server
from keyfs.testing.shared_store import SharedStore, shared_store


@pytest.fixture
def store(tmp_path: Path) -> LiveStore:
    return aged(tmp_path, CONFIG)


def listed(ran: Ran) -> list[str]:
    assert ran.code == 0, ran.err
    rows = [line.split("\t") for line in ran.out.decode().splitlines()[1:]]
    return ["/".join(filter(None, row[:2])) for row in rows if row[4] == "no"]


# --- list ---


def test_overdue_keys_are_listed(store: LiveStore) -> None:
    assert listed(run(store, "list", "--overdue", "90d")) == [
        "storage/alice",
        "storage-sym/alice",
        "audit-log",
    ]
    assert listed(run(store, "list", "--overdue", "1000d")) == []
    assert listed(run(store, "list", "--overdue", "0")) == [*AGES]


def test_overdue_by_the_schedule(store: LiveStore) -> None:
    assert listed(run(store, "list", "--overdue")) == ["storage-sym/alice"]


def test_overdue_without_a_schedule_wants_a_time(tmp_path: Path) -> None:
    said = run(aged(tmp_path, ""), "list", "--overdue")
    assert said.code == 2
    assert "give --overdue 90d" in said.refusal()


def test_a_key_behind_overdue_is_told_apart_from_a_time(store: LiveStore) -> None:
    said = run(store, "list", "--overdue", "storage")
    assert said.code == 2
    assert "'storage' is no time" in said.refusal()
    assert said.refusal().endswith("without a time, --overdue comes last")
    assert listed(run(store, "list", "storage-sym", "--overdue")) == ["storage-sym/alice"]


def test_history_of_overdue_keys_comes_with_them(store: LiveStore) -> None:
    store.make("storage-sym/alice")
    assert listed(run(store, "list", "--overdue", "90d", "--versions")) == ["storage/alice", "audit-log"]


def test_csv_is_the_table_for_spreadsheets(store: LiveStore) -> None:
    ran = run(store, "list", "--csv")
    rows = list(csv.reader(io.StringIO(ran.out.decode(), newline="")))
    plain = [line.split("\t") for line in run(store, "list").out.decode().splitlines()]
    assert (ran.code, rows) == (0, plain)
    assert ran.out.count(b"\r\n") == len(rows)
    assert run(store, "list", "--csv", "--json").code == 2


# --- rotate ---


def test_old_keys_are_rotated_oldest_first(store: LiveStore) -> None:
    ran = run(store, "rotate", "--older-than", "90d")
    assert ran.code == 0
    assert ran.out.decode().split() == ["storage-sym/alice", "storage/alice", "audit-log/@global"]
    assert ran.err == "3 keys rotated\n"
    assert {label: len(store.versions(label)) for label in AGES} == {
        **dict.fromkeys(AGES, 2),
        "storage/bobby": 1,
    }
    again = run(store, "rotate", "--older-than", "90d")
    assert (again.code, again.out, again.err) == (0, b"", "0 keys rotated\n")


def test_a_dry_run_needs_no_master_key_and_changes_nothing(store: LiveStore) -> None:
    environment = {name: value for name, value in store.environment.items() if name != "KEYFS_MASTER_KEY"}
    ran = keyfs("rotate", "--older-than", "90d", "--dry-run", "--json", environment=environment)
    facts = json.loads(ran.out)
    assert (ran.code, facts["due"]) == (0, ["storage-sym/alice", "storage/alice", "audit-log/@global"])
    assert (facts["rotated"], facts["dry_run"]) == ([], True)
    assert all(len(store.versions(label)) == 1 for label in AGES)


def test_purposes_and_keys_narrow_it(store: LiveStore) -> None:
    words = ("rotate", "--older-than", "90d", "--dry-run")
    assert run(store, *words, "--purpose", "storage").out == b"storage/alice\n"
    assert run(store, *words, "--purpose", "storage", "--purpose", "audit-log").out.count(b"\n") == 2
    assert run(store, *words, "storage-sym/alice").out == b"storage-sym/alice\n"
    assert run(store, *words, "storage/bobby").out == b""
    assert run(store, *words, "storage/nobody").code == 4
    assert run(store, *words, "--purpose", "nothing").code == 3
    assert run(store, *words, "--purpose", "hmac-sym").code == 0  # none there: none is old


@pytest.mark.parametrize(
    "words",
    [
        (),
        ("--older-than", "soon"),
        ("--older-than", "90d", "--from-file", "-", "storage/alice"),
        ("--purpose", "storage"),
        ("storage/alice", "--dry-run"),
        ("storage/alice", "--json"),
        ("storage/alice", "--older-than", "90d", "--purpose", "storage"),
    ],
)
def test_what_does_not_go_together_is_refused(store: LiveStore, words: tuple[str, ...]) -> None:
    ran = run(store, "rotate", *words)
    assert ran.code == 2
    ran.refusal()


def test_what_is_only_imported_is_left_out_with_the_reason(store: LiveStore) -> None:
    store.make("token/main", b"0123")
    ran = run(store, "rotate", "--older-than", "0", "--purpose", "token")
    assert (ran.code, ran.out) == (0, b"")
    assert ran.err.startswith("left out token/main: token keys are not generated, only imported")


def test_one_that_fails_is_told_and_decides_the_exit_code(
    store: LiveStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A medium that goes away stops all that follow; running it again goes on."""
    supersede = DirectoryStore.supersede
    calls: list[object] = []

    def fail_second(self: DirectoryStore, replacements: object) -> None:
        calls.append(replacements)
        if len(calls) == 2:
            raise StoreUnavailable("gone")
        supersede(self, replacements)  # type: ignore[arg-type]  # passed on as it came

    monkeypatch.setattr(DirectoryStore, "supersede", fail_second)
    ran = run(store, "rotate", "--older-than", "90d", "--json")
    facts = json.loads(ran.out)
    assert ran.code == 16
    assert facts["rotated"] == ["storage-sym/alice"]
    assert facts["failed"] == {"storage/alice": "gone"}
    assert facts["not_tried"] == ["audit-log/@global"]
    assert "1 keys rotated, 1 failed, 1 not tried" in ran.err
    assert run(store, "rotate", "--older-than", "90d").out == b"storage/alice\naudit-log/@global\n"


def test_a_trace_is_left(store: LiveStore) -> None:
    run(store, "rotate", "--older-than", "90d")
    (line,) = (store.root.parent / "keys.keyfs" / "audit.log").read_text().splitlines()
    facts = json.loads(line)
    assert (facts["action"], facts["rotated"], facts["older_than_s"]) == ("rotate", 3, 90 * DAY_S)


@pytest.fixture
def in_redis(tmp_path: Path) -> Iterator[SharedStore]:
    with redis_server() as server:
        store = shared_store(tmp_path, server.unix_uri("keys"))
        store.make("storage/alice", "audit-log")
        yield store


def test_in_redis_too(in_redis: SharedStore) -> None:
    """There the first version of a key has no age: it counts as old, once."""
    ran = run(in_redis, "rotate", "--older-than", "90d")
    assert (ran.code, ran.err) == (0, "2 keys rotated\n")
    assert run(in_redis, "rotate", "--older-than", "90d").err == "0 keys rotated\n"
    in_redis.make("storage/alice")
    filled = run(in_redis, "archive", "fill", "--keep", "1")
    assert (filled.code, filled.err) == (0, "1 versions archived\n")
    label = run(in_redis, "archive", "list").out.decode().split("\t")[0]
    assert len(in_redis.versions("storage/alice")) == 2
    assert run(in_redis, "archive", "restore", label).code == 0
    assert len(in_redis.versions("storage/alice")) == 3
    assert run(in_redis, "check").code == 0
