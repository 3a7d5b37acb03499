"""`keyfs state` and `keyfs destroy`: what they say, refuse and leave."""

import json
import re
from pathlib import Path

import pytest
from command_line import Ran, keyfs

from keyfs.testing.live import LiveStore, new_live_store

LABEL = "storage/alice"
CURRENT = f"{LABEL}/current"


@pytest.fixture
def store(tmp_path: Path) -> LiveStore:
    made = new_live_store(tmp_path)
    for _ in range(3):
        made.make(LABEL)
    return made


def run(store: LiveStore, *words: str, **environment: str) -> Ran:
    return keyfs(*words, environment=store.environment | environment)


def done(store: LiveStore, *words: str, **environment: str) -> str:
    ran = run(store, *words, **environment)
    assert ran.code == 0, ran.err
    return ran.out.decode()


def stamps(store: LiveStore) -> list[str]:
    return list(store.versions(LABEL))[:-1]


def files(store: LiveStore) -> dict[str, bytes]:
    return {
        str(path.relative_to(store.root)): path.read_bytes()
        for path in store.root.rglob("*")
        if path.is_file()
    }


def test_a_state_that_nobody_set_is_shown(store: LiveStore) -> None:
    assert done(store, "state", CURRENT) == f"{CURRENT}: active\n"
    assert done(store, "state", f"{LABEL}/{stamps(store)[0]}") == f"{LABEL}/{stamps(store)[0]}: deactivated\n"
    assert json.loads(done(store, "state", CURRENT, "--json")) == {
        "purpose": "storage",
        "client": "alice",
        "version": "current",
        "state": "active",
        "explicit": False,
        "since": None,
        "why": "",
        "destroy_at": None,
    }


def test_a_state_is_set_with_its_reason_and_needs_no_master_key(store: LiveStore) -> None:
    said = done(
        store, "state", CURRENT, "suspended", "--why", "being looked at", KEYFS_MASTER_KEY="env:NOTHING"
    )
    assert said.startswith(f"{CURRENT}: suspended since 20")
    assert said.endswith("Z (being looked at)\n")
    found = json.loads(done(store, "state", CURRENT, "--json"))
    assert (found["state"], found["explicit"], found["why"]) == ("suspended", True, "being looked at")
    assert found["since"].startswith("20")


def test_nothing_in_the_key_store_changes(store: LiveStore) -> None:
    before = files(store)
    done(store, "state", CURRENT, "compromised")
    done(store, "state", f"{LABEL}/{stamps(store)[0]}", "suspended")
    assert files(store) == before


def test_the_same_state_again_changes_nothing_but_the_reason(store: LiveStore) -> None:
    done(store, "state", CURRENT, "suspended", "--why", "first")
    before = (store.root.with_name("keys.keyfs") / "key-states.json").read_bytes()
    done(store, "state", CURRENT, "suspended")
    assert (store.root.with_name("keys.keyfs") / "key-states.json").read_bytes() == before
    assert "(second)" in done(store, "state", CURRENT, "suspended", "--why", "second")


def test_reading_despite_the_state_saves_what_was_protected(store: LiveStore) -> None:
    before = run(store, "read", LABEL).out
    done(store, "state", CURRENT, "compromised", "--why", "copied")
    refused = run(store, "read", LABEL)
    assert (refused.code, refused.out) == (23, b"")
    assert refused.refusal().startswith(f"{CURRENT} is compromised (copied): use another version")
    assert run(store, "read", "--despite-state", LABEL).out == before
    assert run(store, "read", LABEL, "--public").code == 23


@pytest.mark.parametrize(
    ("words", "code", "what"),
    [
        ((CURRENT, "destroyed"), 12, f"run keyfs destroy {CURRENT}"),
        ((CURRENT, "pre-active"), 12, "what may follow is active, suspended, compromised, destroyed"),
        ((CURRENT, "lost"), 2, "'lost' is not one of"),
        ((CURRENT, "suspended", "--why", "two\nlines"), 2, "one line of text"),
        ((CURRENT, "--why", "x"), 2, "say which one"),
        (("storage/nobody/current", "suspended"), 4, "no key storage/nobody"),
        ((f"{LABEL}/2020-01-01T00:00:00", "suspended"), 4, "has no version"),
        (("nonsense/alice/current",), 3, "use one of"),
    ],
)
def test_what_cannot_be_is_refused(store: LiveStore, words: tuple[str, ...], code: int, what: str) -> None:
    ran = run(store, "state", *words)
    assert ran.code == code
    if words[1:] == ("pre-active",):
        assert "cannot become pre-active: what may follow is suspended, deactivated" in ran.refusal()
    else:
        assert what in ran.refusal()


def test_destroying_the_current_version_takes_force_and_says_why(store: LiveStore) -> None:
    before = files(store)
    refused = run(store, "destroy", CURRENT)
    assert refused.code == 12
    assert refused.refusal() == (
        f"{CURRENT} is not destroyed: without it Acra reads no retired version, and there are 2: "
        f"rotate it first, or use --force"
    )
    assert files(store) == before
    done(store, "destroy", "--force", CURRENT)
    assert len(store.versions(LABEL)) == 2
    assert run(store, "read", LABEL).code == 4


@pytest.mark.parametrize("layout", ["v1", "v2"])
def test_what_was_destroyed_is_not_destroyed_again(tmp_path: Path, layout: str) -> None:
    store = new_live_store(tmp_path, layout=layout)
    for _ in range(3):
        store.make(LABEL)
    oldest = f"{LABEL}/{stamps(store)[0]}"
    done(store, "destroy", "--force", oldest, "--why", "lost")
    for words in (("destroy", oldest), ("destroy", "--force", oldest)):
        ran = run(store, *words)
        assert (ran.code, ran.refusal()) == (24, f"{oldest} was destroyed: there is nothing left to do")
    assert done(store, "state", oldest).startswith(f"{oldest}: destroyed since ")
    assert run(store, "read", oldest).code == 24


def test_only_a_version_is_destroyed(store: LiveStore) -> None:
    """Not the current one because nothing else was said."""
    before = files(store)
    for words in (("--force", LABEL), (LABEL, "--after", "1d"), ("--undo", LABEL)):
        ran = run(store, "destroy", *words)
        assert ran.code == 2
        assert (
            ran.refusal() == f"{LABEL} is a key: say which version of it, see keyfs list --versions {LABEL}"
        )
    assert files(store) == before


@pytest.mark.parametrize("layout", ["v1", "v2"])
def test_a_state_is_shown_as_it_was_said(tmp_path: Path, layout: str) -> None:
    store = new_live_store(tmp_path, layout=layout)
    store.make(LABEL)
    store.make(LABEL)
    oldest = f"{LABEL}/{stamps(store)[0]}"
    said = done(store, "state", oldest, "suspended", "--why", "laptop lost")
    assert re.fullmatch(rf"{oldest}: suspended since \S+Z \(laptop lost\)\n", said)
    assert done(store, "state", oldest) == said
    assert re.fullmatch(rf"{oldest}: deactivated since \S+Z\n", done(store, "state", oldest, "deactivated"))
    done(store, "destroy", "--force", oldest, "--after", "7d")
    assert re.search(r": deactivated since \S+Z, to be destroyed at \S+Z\n", done(store, "state", oldest))


def test_a_version_is_destroyed_after_a_while(store: LiveStore) -> None:
    oldest = f"{LABEL}/{stamps(store)[0]}"
    ran = run(store, "destroy", oldest, "--after", "7d", "--why", "too old")
    assert ran.err.startswith(f"{oldest} is to be destroyed at 20")
    assert "to be destroyed at 20" in done(store, "state", oldest)
    assert run(store, "destroy", "--due") == Ran(0, b"", "")
    rows = json.loads(done(store, "list", "--versions", "--json"))
    assert [bool(row["destroy_at"]) for row in rows] == [True, True, False, False, False, False]
    done(store, "destroy", oldest, "--after", "0")
    assert run(store, "destroy", "--due").err == f"destroyed {oldest}\n"
    assert len(stamps(store)) == 1
    assert done(store, "state", oldest).endswith("(too old)\n")
    assert run(store, "destroy", "--due").err == ""


def test_a_plan_is_undone(store: LiveStore) -> None:
    oldest = f"{LABEL}/{stamps(store)[0]}"
    assert run(store, "destroy", oldest, "--undo").code == 12
    done(store, "destroy", oldest, "--after", "0")
    assert run(store, "destroy", oldest, "--undo").err == f"{oldest} is not going to be destroyed\n"
    assert run(store, "destroy", "--due").err == ""
    assert len(stamps(store)) == 2


def test_one_that_fails_keeps_no_other_from_it(store: LiveStore) -> None:
    """A plan that has become one for a current version again, in a store that was put back by hand."""
    first, second = stamps(store)
    done(store, "destroy", f"{LABEL}/{second}", "--after", "0")
    done(store, "destroy", "--force", CURRENT, "--after", "0")
    kept = store.root.with_name("keys.keyfs") / "key-states.json"
    kept.write_text(kept.read_text().replace('"force": true', '"force": false'))
    ran = run(store, "destroy", "--due")
    assert ran.code == 12
    assert f"destroyed {LABEL}/{second}\n" in ran.err
    assert list(store.versions(LABEL)) == [first, "current"]


@pytest.mark.parametrize(
    "words",
    [
        (),
        ("--due", CURRENT),
        ("--due", "--force"),
        ("--due", "--after", "1d"),
        ("--undo", "--force", CURRENT),
        ("--undo", "--after", "1d", CURRENT),
        ("--after", "soon", CURRENT),
        ("--after", "-1d", CURRENT),
        ("--why", "two\nlines", CURRENT),
    ],
)
def test_words_that_do_not_go_together_are_refused(store: LiveStore, words: tuple[str, ...]) -> None:
    before = files(store)
    assert run(store, "destroy", *words).code in (2, 12)
    assert files(store) == before


def test_a_copy_takes_states_along(store: LiveStore, tmp_path: Path) -> None:
    done(store, "state", CURRENT, "compromised", "--why", "lost")
    target = f"dir:{tmp_path / 'copy'}"
    done(store, "init", KEYFS_STORE=target)
    done(store, "copy", f"dir:{store.root}", target)
    assert "compromised" in done(store, "state", CURRENT, KEYFS_STORE=target)
