"""`[rotation]`: what it says arrives, what it leaves open follows, what cannot be is refused."""

from pathlib import Path

import pytest

from keyfs import config
from keyfs.core.rotation import Keep, RotationPolicy, RotationRule, parse_keep
from keyfs.core.stamps import NANOSECONDS
from keyfs.errors import InvalidSettings

DAY_NS = 86_400 * NANOSECONDS


def policy_of(place: Path, text: str) -> RotationPolicy:
    path = place / "keyfs.toml"
    path.write_text(text)
    return config.load(str(path)).rotation_policy()


def test_nothing_is_asked_for_where_nothing_is_said(tmp_path: Path) -> None:
    for text in ("", "[rotation]\n", '[rotation]\nevery = "never"\nkeep = "all"\n'):
        policy = policy_of(tmp_path, text)
        assert policy.is_idle
        assert not policy.rotates
        assert policy.rule("storage") == RotationRule()


def test_a_purpose_says_what_differs(tmp_path: Path) -> None:
    policy = policy_of(
        tmp_path,
        """
[rotation]
every = "90d"
jitter = "6h"
keep = 5

[rotation.purpose.storage]
every = "30d"

[rotation.purpose.audit-log]
every = "never"
keep = "400d"

[rotation.purpose.tls]
jitter = "0"
keep = "all"

[purpose.tls]
kind = "opaque"
generate = 16
""",
    )
    assert policy.rule("hmac-sym") == RotationRule(90 * DAY_NS, DAY_NS // 4, Keep(versions=5))
    assert policy.rule("storage") == RotationRule(30 * DAY_NS, DAY_NS // 4, Keep(versions=5))
    assert policy.rule("audit-log") == RotationRule(None, DAY_NS // 4, Keep(for_ns=400 * DAY_NS))
    assert policy.rule("tls") == RotationRule(90 * DAY_NS, 0, None)


def test_the_jitter_is_a_hundredth_where_nobody_says_how_much(tmp_path: Path) -> None:
    assert policy_of(tmp_path, '[rotation]\nevery = "100d"\n').rule("storage").jitter_ns == DAY_NS


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("rotation = 3", "'rotation' must be a table: write [rotation]"),
        ("[rotation]\nevry = '3d'", "rotation: unknown key 'evry'; known: every, jitter, keep, purpose"),
        ("[rotation]\nevery = 3", "rotation: 'every' must be a text in quotes"),
        ("[rotation]\nevery = 'soon'", "rotation: every: 'soon' is no time"),
        ("[rotation]\nevery = '0'", "rotation: every: '0' is no time at all"),
        ("[rotation]\njitter = '-1s'", "rotation: jitter: '-1s' is no time"),
        ("[rotation]\nkeep = true", "rotation: 'keep' must be a text in quotes or a whole number"),
        ("[rotation]\nkeep = 0", "rotation: keep: 0 versions cannot be kept"),
        ("[rotation]\nkeep = -1", "rotation: keep: -1 versions cannot be kept"),
        ("[rotation]\nkeep = 'some'", "rotation: keep: 'some' is no time"),
        ("[rotation]\npurpose = 3", "rotation: 'purpose' must be tables: write [rotation.purpose.NAME]"),
        ("[rotation.purpose]\nstorage = 3", "must be tables: write [rotation.purpose.NAME]"),
        ("[rotation.purpose.storage]\nevry = '3d'", "rotation, purpose 'storage': unknown key 'evry'"),
        ("[rotation.purpose.storage]\nevery = '3x'", "rotation, purpose 'storage': every: '3x' is no time"),
        ("[rotation.purpose.sotrage]\nevery = '3d'", "there is no purpose 'sotrage': use storage, "),
        ("[rotation.purpose.legacy-zone]\nevery = '3d'", "there is no purpose 'legacy-zone'"),
        ("[rotation.storage]\nevery = '3d'", "rotation: unknown key 'storage'"),
    ],
)
def test_what_cannot_be_is_refused_by_name(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(InvalidSettings) as caught:
        policy_of(tmp_path, text)
    assert str(caught.value).startswith(f"{tmp_path}/keyfs.toml: ")
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "keep"),
    [("5", Keep(5)), (7, Keep(7)), ("400d", Keep(for_ns=400 * DAY_NS)), ("all", None)],
)
def test_keep_is_a_number_or_a_time(text: str | int, keep: Keep | None) -> None:
    assert parse_keep(text, "--keep") == keep
