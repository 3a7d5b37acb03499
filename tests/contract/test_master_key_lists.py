"""`--master-key` with several URIs: the first seals, all open; fetched again, and waited for if told to."""

from collections.abc import Callable
from pathlib import Path

import pytest

from keyfs import master_keys as module
from keyfs.core.label import Label
from keyfs.core.secret import Secret
from keyfs.errors import InvalidSettings, KeyServiceUnavailable, MasterKeyUnavailable, UnsealFailed
from keyfs.master.generate import generate
from keyfs.master.registry import split_uris
from keyfs.master_keys import MasterKeys, patiently
from keyfs.seal.protection import Protections

LABEL = Label(b"alice", "acra_alice")


@pytest.fixture
def key_uri(tmp_path: Path) -> Callable[[str], str]:
    def key_uri(name: str) -> str:
        path = tmp_path / name
        path.touch(0o600)
        path.write_text(generate("v1"))
        return f"file:{path}"

    return key_uri


def nothing_beside(_name: str) -> None:
    return None


def protections(uris: str) -> Protections:
    return Protections(MasterKeys(uris, "v1", nothing_beside).fetch())


def test_the_first_seals_and_all_open(key_uri: Callable[[str], str]) -> None:
    old, new = key_uri("old"), key_uri("new")
    under_old = protections(old).seal(Secret(b"k" * 32), LABEL)
    both = protections(f"{new},{old}")
    under_new = both.seal(Secret(b"k" * 32), LABEL)
    assert both.unseal(under_old, LABEL) == both.unseal(under_new, LABEL) == Secret(b"k" * 32)
    protections(new).unseal(under_new, LABEL)
    with pytest.raises(UnsealFailed):
        protections(old).unseal(under_new, LABEL)


def test_a_key_is_fetched_anew_each_time(key_uri: Callable[[str], str]) -> None:
    uri = key_uri("key")
    keys = MasterKeys(uri, "v1", nothing_beside)
    before = Protections(keys.fetch())
    key_uri("key")
    after = Protections(keys.fetch())
    with pytest.raises(UnsealFailed):
        after.unseal(before.seal(Secret(b"k" * 32), LABEL), LABEL)


def test_one_key_that_is_not_there_is_an_error(key_uri: Callable[[str], str], tmp_path: Path) -> None:
    with pytest.raises(MasterKeyUnavailable, match="absent"):
        protections(f"{key_uri('new')},file:{tmp_path}/absent")


def test_the_list_describes_itself(key_uri: Callable[[str], str]) -> None:
    uris = (key_uri("new"), key_uri("old"))
    assert MasterKeys(",".join(uris), "v1", nothing_beside).describe() == uris


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("env:A", ["env:A"]),
        ("env:A,file:/b", ["env:A", "file:/b"]),
        ("env:A, FILE:/b", ["env:A", "FILE:/b"]),
        ("file:/a,b,env:C", ["file:/a,b", "env:C"]),
        ("file:/a,C:/b", ["file:/a,C:/b"]),
        ("awskms:arn:aws:kms:eu-west-1:1:key/k,env:A", ["awskms:arn:aws:kms:eu-west-1:1:key/k", "env:A"]),
        ("", [""]),
    ],
)
def test_a_comma_separates_only_before_a_scheme(text: str, expected: list[str]) -> None:
    assert split_uris(text) == expected


def test_a_key_that_stands_twice_is_a_mistake() -> None:
    with pytest.raises(InvalidSettings, match="once"):
        split_uris("env:A,file:/b,env:A")


# --- waiting ---


class Service:
    """Does not answer the first times."""

    def __init__(self, refusals: int) -> None:
        self.refusals = refusals
        self.calls = 0

    def __call__(self) -> str:
        self.calls += 1
        if self.calls <= self.refusals:
            raise KeyServiceUnavailable("no answer")
        return "answer"


@pytest.mark.expects_log(r"master_key\.waiting")
def test_a_service_that_comes_in_time_is_waited_for(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module, "RETRY_S", 0.001)
    service = Service(3)
    assert patiently(service, 30) == "answer"
    assert service.calls == 4
    assert len(caplog.records) == 1


@pytest.mark.expects_log(r"master_key\.waiting")
def test_the_wait_has_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "RETRY_S", 0.001)
    with pytest.raises(KeyServiceUnavailable):
        patiently(Service(10**9), 0.05)


def test_without_a_wait_it_is_asked_once() -> None:
    service = Service(1)
    with pytest.raises(KeyServiceUnavailable):
        patiently(service, 0)
    assert service.calls == 1


def test_only_an_outage_is_waited_for() -> None:
    calls = []

    def refuse() -> None:
        calls.append(1)
        raise MasterKeyUnavailable("no such key")

    with pytest.raises(MasterKeyUnavailable):
        patiently(refuse, 30)
    assert len(calls) == 1
