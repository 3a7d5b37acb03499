"""Rules of ownership and mode: a later one wins, field by field; no mode opens a private key to the world."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyfs.core.names import KeyRef, parse_key_ref
from keyfs.core.policy import OWNER_WRITES, PRIVATE_MODES, KeyPolicy, Policy, Rule, parse_mode
from keyfs.core.views import NO_VIEWS, View
from keyfs.errors import InvalidSettings

ALICE = parse_key_ref("storage/alice")
BOBBY = parse_key_ref("storage-sym/bobby")
LOG = parse_key_ref("audit-log")
REFS = (ALICE, BOBBY, LOG)
DEFAULT = KeyPolicy(None, None, 0o600, NO_VIEWS)
numbers = st.none() | st.integers(0, 3)
rules = st.builds(
    Rule,
    purpose=st.sampled_from(["*", "storage", "storage*", "*-sym", "audit-log", "nothing"]),
    client=st.sampled_from(["*", "alice", "[ab]*", "@global", "?????"]),
    uid=numbers,
    gid=numbers,
    mode=st.none() | st.sampled_from(PRIVATE_MODES),
    views=st.none() | st.frozensets(st.sampled_from(View)),
)


def test_without_rules_a_key_is_the_mount_owners_alone() -> None:
    assert [Policy().of(ref) for ref in REFS] == [DEFAULT] * 3
    assert Policy(views=frozenset({View.FP})).of(ALICE).views == {View.FP}


@pytest.mark.parametrize(
    ("purpose", "client", "matching"),
    [
        ("*", "*", REFS),
        ("storage", "*", (ALICE,)),
        ("storage*", "*", (ALICE, BOBBY)),
        ("*", "[ab]*", (ALICE, BOBBY)),
        ("*", "@global", (LOG,)),
        ("*", "*o*", (BOBBY, LOG)),
        ("Storage", "*", ()),
        ("*", "Alice", ()),
        ("storage/alice", "*", ()),
    ],
)
def test_a_rule_speaks_for_the_keys_that_its_patterns_match(
    purpose: str, client: str, matching: tuple[KeyRef, ...]
) -> None:
    policy = Policy([Rule(purpose, client, uid=7)])
    assert tuple(ref for ref in REFS if policy.of(ref).uid == 7) == matching


def test_each_field_is_that_of_the_last_rule_that_says_it() -> None:
    policy = Policy(
        [
            Rule(uid=1, gid=1, mode=0o400),
            Rule("storage", mode=0o640, views=frozenset({View.PEM})),
            Rule("storage", "alice", gid=3),
            Rule("storage", "bobby", uid=9),
        ]
    )
    assert policy.of(ALICE) == KeyPolicy(1, 3, 0o640, frozenset({View.PEM}))
    assert policy.of(BOBBY) == KeyPolicy(1, 1, 0o400, NO_VIEWS)


@given(earlier=st.lists(rules, max_size=4), last=rules)
def test_the_last_rule_changes_what_it_says_and_nothing_else(earlier: list[Rule], last: Rule) -> None:
    last = replace(last, purpose="*", client="*")
    before, after = Policy(earlier).of(ALICE), Policy([*earlier, last]).of(ALICE)
    for name in ("uid", "gid", "mode", "views"):
        said = getattr(last, name)
        assert getattr(after, name) == (getattr(before, name) if said is None else said)


@given(said=st.lists(rules, max_size=5), ref=st.sampled_from(REFS))
def test_no_rules_open_a_key_to_the_world_or_let_a_group_write(said: list[Rule], ref: KeyRef) -> None:
    policy = Policy(said).of(ref)
    assert policy.mode & ~0o640 == 0
    assert policy.is_writable is bool(policy.mode & OWNER_WRITES)


@pytest.mark.parametrize("mode", PRIVATE_MODES, ids=oct)
def test_a_mode_is_written_with_or_without_its_zero(mode: int) -> None:
    assert parse_mode(f"{mode:o}") == parse_mode(f"{mode:04o}") == mode


@given(mode=st.integers(0, 0o7777).filter(lambda mode: mode not in PRIVATE_MODES))
def test_every_other_mode_is_refused(mode: int) -> None:
    with pytest.raises(
        InvalidSettings, match="none that a private key may have: use one of 0400, 0440, 0600, 0640"
    ):
        parse_mode(f"{mode:04o}")


@pytest.mark.parametrize("text", ["", "rw", "0o640", "u=r", "-640", "00640", "0640 ", "0x1a0", "६४०", "416"])
def test_a_mode_is_octal(text: str) -> None:
    with pytest.raises(InvalidSettings, match=r"^mode "):
        parse_mode(text)
