"""`keyfs archive` and `keyfs report`: history that leaves the store and comes back, and a page about keys."""

import json
import os
import stat
from pathlib import Path

import pytest
from aged_stores import AGES, CONFIG, aged, run

from keyfs.testing.live import LiveStore


@pytest.fixture
def store(tmp_path: Path) -> LiveStore:
    return aged(tmp_path, CONFIG)


# --- archive ---


def test_the_archive_is_filled_as_configured_and_emptied_by_hand(store: LiveStore) -> None:
    for _ in range(3):
        store.make("storage-sym/alice")
    kept = list(store.versions("storage-sym/alice"))
    dry = run(store, "archive", "fill", "--dry-run")
    assert (dry.out.decode().split(), len(store.versions("storage-sym/alice"))) == (
        [f"storage-sym/alice/{label}" for label in kept[:2]],
        4,
    )
    assert run(store, "archive", "fill").out == dry.out
    assert list(store.versions("storage-sym/alice")) == kept[2:]
    there = json.loads(run(store, "archive", "list", "--json").out)
    assert [one["version"] for one in there] == dry.out.decode().split()
    assert run(store, "archive", "purge", "--older-than", "1d").err == "0 versions removed for good\n"
    assert run(store, "archive", "purge", there[0]["version"]).code == 0
    assert run(store, "archive", "purge", there[0]["version"]).code == 4
    assert run(store, "archive", "purge", "--older-than", "0").err == "1 versions removed for good\n"
    assert run(store, "archive", "list").out == b""
    assert run(store, "check").code == 0


def test_keys_of_own_purposes_are_archived_and_restored_too(store: LiveStore) -> None:
    for number in range(4):
        store.make("token/main", b"%d" % number)
    before = store.versions("token/main")
    ran = run(store, "archive", "fill", "--purpose", "token")
    assert (ran.code, ran.err) == (0, "2 versions archived\n")
    assert list(store.versions("token/main").values()) == [b"2", b"3"]
    for label in ran.out.decode().split():
        assert run(store, "archive", "restore", label).code == 0
    assert store.versions("token/main") == before
    assert run(store, "check").code == 0


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("fill", "--keep", "0"), 2),
        (("fill", "--keep", "x"), 2),
        (("fill", "--purpose", "x"), 3),
        (("purge",), 2),
        (("purge", "--older-than", "1d", "storage/alice/x"), 2),
        (("restore", "storage/alice/2020-01-01T00:00:00"), 4),
        (("restore", "../x/y"), 3),
    ],
)
def test_what_an_archive_cannot_do_is_refused(store: LiveStore, words: tuple[str, ...], code: int) -> None:
    ran = run(store, "archive", *words)
    assert ran.code == code, ran.err
    ran.refusal()


def test_without_a_limit_nothing_is_archived(tmp_path: Path) -> None:
    ran = run(aged(tmp_path, ""), "archive", "fill")
    assert ran.code == 2
    assert "nothing says how much is kept" in ran.refusal()


# --- report ---


def test_a_report_is_written_whole(store: LiveStore, tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    path.write_text("what was there")
    ran = run(store, "report", "--html", path, "--overdue", "90d")
    assert (ran.code, ran.out) == (0, b"")
    assert ran.err == f"{path}: 4 keys, 3 overdue\n"
    text = path.read_text()
    assert text.endswith("</html>\n")
    assert "not rotated for 90d, or of unknown age" in text
    assert stat.S_ISREG(path.stat().st_mode)
    assert [name for name in os.listdir(tmp_path) if "report" in name] == ["report.html"]
    assert run(store, "report", "--html", "-", "--overdue", "90d").out.startswith(b"<!DOCTYPE html>")


def test_a_report_that_cannot_be_written_leaves_what_was_there(
    store: LiveStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "report.html"
    path.write_text("what was there")

    def full(_fd: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    ran = run(store, "report", "--html", path)
    assert ran.code == 2
    assert ran.refusal() == f"cannot write {path}: No space left on device: name another file"
    assert path.read_text() == "what was there"
    assert [name for name in os.listdir(tmp_path) if "report" in name] == ["report.html"]
    assert run(store, "report", "--html", tmp_path / "nowhere" / "x.html").code == 2
    assert run(store, "report").code == 2


def test_a_report_speaks_of_the_schedule(store: LiveStore, tmp_path: Path) -> None:
    text = run(store, "report", "--html", "-").out.decode()
    assert "not rotated as scheduled (98d, storage: never), or of unknown age" in text
    (tmp_path / "other").mkdir()
    plain = run(aged(tmp_path / "other", ""), "report", "--html", "-").out.decode()
    assert "not rotated for 365d, or of unknown age" in plain


def test_a_place_with_an_awkward_name_is_no_markup(tmp_path: Path) -> None:
    place = tmp_path / "<script>x"
    place.mkdir()
    text = run(aged(place, ""), "report", "--html", "-").out.decode()
    assert "<script" not in text
    assert "&lt;script&gt;x" in text


def test_no_key_is_in_a_report(store: LiveStore) -> None:
    text = run(store, "report", "--html", "-").out
    for label in AGES:
        for material in store.versions(label).values():
            assert material not in text
            assert material.hex().encode() not in text
