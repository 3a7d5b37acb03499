"""The path levels purpose/client/version, and what is refused where."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyfs.core.names import (
    CURRENT,
    GLOBAL,
    KeyRef,
    check_client_id,
    is_client_id,
    parse_key_ref,
    parse_purpose,
    parse_version_path,
)
from keyfs.core.purposes import AUDIT_LOG, LEGACY_AUTH, LEGACY_ZONE, POISON_RECORD, PURPOSES, STORAGE
from keyfs.errors import InvalidName

CASES: list[dict[str, Any]] = json.loads(
    (Path(__file__).parents[1] / "vectors" / "client_ids.json").read_bytes()
)["cases"]
STAMP = "2026-11-24T02:46:25.574915812"

client_ids = st.text("abcXYZ019_- ", min_size=5, max_size=256)


@pytest.mark.parametrize("case", CASES, ids=lambda case: ascii(case["id"])[:40])
def test_a_client_id_is_what_acra_takes(case: dict[str, Any]) -> None:
    assert is_client_id(case["id"]) is case["valid"]


@pytest.mark.parametrize("text", ["alice\n", "\nalice", "alic\u00e9", "\uff21lice", "ali\0ce", "٣٤٥٦٧"])
def test_only_ascii_makes_a_client_id(text: str) -> None:
    assert not is_client_id(text)


@given(client_ids)
def test_whatever_the_rule_allows_is_a_client_id(text: str) -> None:
    assert check_client_id(text) == text


@given(st.text())
def test_a_refused_client_id_is_an_invalid_name_and_nothing_else(text: str) -> None:
    if not is_client_id(text):
        with pytest.raises(InvalidName) as caught:
            check_client_id(text)
        assert "\n" not in str(caught.value)
        assert repr(text)[1:-1] in str(caught.value) or len(text) > 40


def test_a_long_refused_id_is_shown_in_part() -> None:
    with pytest.raises(InvalidName) as caught:
        check_client_id("x" * 300)
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize("purpose", PURPOSES, ids=str)
def test_each_purpose_is_found_by_its_name(purpose: Any) -> None:
    assert parse_purpose(purpose.name) is purpose
    assert str(purpose) == purpose.name


@pytest.mark.parametrize("text", ["", "Storage", "storage ", "storag", "storage_sym", "@global", ".keyfs"])
def test_an_unknown_purpose_is_refused_with_those_there_are(text: str) -> None:
    with pytest.raises(InvalidName, match="storage, storage-sym, hmac-sym") as caught:
        parse_purpose(text)
    assert "legacy" not in str(caught.value)


@given(client_ids)
def test_a_key_of_a_client_goes_round(client: str) -> None:
    ref = parse_key_ref(f"storage/{client}")
    assert ref == KeyRef(STORAGE, client)
    assert str(ref) == f"storage/{client}"
    assert ref.client_label == client


@pytest.mark.parametrize("text", ["audit-log", "audit-log/", "audit-log/@global"])
def test_a_global_key_needs_no_client(text: str) -> None:
    ref = parse_key_ref(text)
    assert ref == KeyRef(AUDIT_LOG, None)
    assert ref.client_label == GLOBAL
    assert str(ref) == "audit-log/@global"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("audit-log/alice", "has no clients"),
        ("storage", "belong to a client"),
        ("storage/", "belong to a client"),
        ("storage/@global", "not a client id"),
        ("storage/abcd", "5 to 256"),
        ("storage/alice/current", "not a client id"),
        ("nothing/alice", "unknown purpose"),
    ],
)
def test_what_names_no_key_is_refused(text: str, message: str) -> None:
    with pytest.raises(InvalidName, match=message):
        parse_key_ref(text)


@pytest.mark.parametrize(
    ("text", "ref", "version"),
    [
        ("storage/alice", KeyRef(STORAGE, "alice"), CURRENT),
        ("storage/alice/current", KeyRef(STORAGE, "alice"), "current"),
        (f"storage/alice/{STAMP}.pub", KeyRef(STORAGE, "alice"), f"{STAMP}.pub"),
        ("poison-record", KeyRef(POISON_RECORD, None), CURRENT),
        ("poison-record/@global", KeyRef(POISON_RECORD, None), CURRENT),
        (f"poison-record/@global/{STAMP}", KeyRef(POISON_RECORD, None), STAMP),
        (f"poison-record/{STAMP}", KeyRef(POISON_RECORD, None), STAMP),
        ("legacy-zone/alice/current", KeyRef(LEGACY_ZONE, "alice"), CURRENT),
        ("legacy-auth", KeyRef(LEGACY_AUTH, None), CURRENT),
    ],
)
def test_a_version_path_names_a_key_and_a_version(text: str, ref: KeyRef, version: str) -> None:
    assert parse_version_path(text) == (ref, version)


@pytest.mark.parametrize(
    "text",
    [
        *("", "/", "storage", "storage/", "storage//current", "storage/alice/", "storage/alice/current/"),
        *(
            "storage/alice/current/x",
            "/storage/alice",
            "poison-record/@global/",
            "poison-record/",
            "audit-log//",
        ),
        *("poison-record/alice/current", "../storage/alice", "storage/../alice"),
    ],
)
def test_a_path_with_a_part_too_few_or_too_many_is_refused(text: str) -> None:
    with pytest.raises(InvalidName):
        parse_version_path(text)


@given(st.text("/.@abcde-globalstorgcurent", max_size=40))
def test_parsing_any_text_gives_a_name_or_invalid_name(text: str) -> None:
    try:
        ref, version = parse_version_path(text)
    except InvalidName:
        return
    assert version
    assert parse_version_path(f"{ref}/{version}") == (ref, version)
