"""From tables to a policy: names become numbers, presets say what programs accept, nonsense is refused."""

import grp
import os
import pwd

import pytest

from keyfs.config import FileSettings, RuleSettings
from keyfs.core.names import parse_key_ref
from keyfs.core.policy import KeyPolicy, Ownership
from keyfs.core.purposes import PURPOSES
from keyfs.core.views import NO_VIEWS, View
from keyfs.errors import InvalidSettings
from keyfs.rules import PRESETS, Mounted, policy_of

NAMES = tuple(purpose.name for purpose in PURPOSES)
MOUNTED = Mounted(Ownership(0, 0), allow_other=True, purposes=NAMES)
ALICE = parse_key_ref("storage/alice")
USER, GROUP = pwd.getpwnam("nobody"), grp.getgrnam("daemon")


def named(tables: tuple[RuleSettings, ...]) -> tuple[tuple[str, RuleSettings], ...]:
    return FileSettings(rule=tables).rules()


def said(*tables: RuleSettings, mounted: Mounted = MOUNTED) -> KeyPolicy:
    return policy_of(named(tables), NO_VIEWS, mounted).of(ALICE)


def refusal(*tables: RuleSettings, mounted: Mounted = MOUNTED) -> str:
    with pytest.raises(InvalidSettings) as caught:
        policy_of(named(tables), NO_VIEWS, mounted)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("owner", [USER.pw_name, USER.pw_uid, str(USER.pw_uid)])
@pytest.mark.parametrize("group", [GROUP.gr_name, GROUP.gr_gid, str(GROUP.gr_gid)])
def test_users_and_groups_go_by_name_and_by_number(owner: str | int, group: str | int) -> None:
    policy = said(RuleSettings(owner=owner, group=group, mode="0640", views="hex"))
    assert policy == KeyPolicy(USER.pw_uid, GROUP.gr_gid, 0o640, frozenset({View.HEX}))


def test_a_number_needs_nobody_who_has_it() -> None:
    assert said(RuleSettings(owner=4_294_967_294, group=0)).uid == 4_294_967_294


@pytest.mark.parametrize(
    ("table", "words"),
    [
        (
            RuleSettings(owner="no-such-user"),
            "there is no user 'no-such-user' on this machine: make it, or give its",
        ),
        (RuleSettings(group="no-such-group"), "there is no group 'no-such-group' on this machine"),
        (RuleSettings(owner=""), "there is no user ''"),
        (RuleSettings(owner="no\0body"), "there is no user"),
        (RuleSettings(owner="nobody:daemon"), "there is no user 'nobody:daemon'"),
        (RuleSettings(owner=-1), "-1 cannot be the number of a user"),
        (RuleSettings(group=4_294_967_295), "4294967295 cannot be the number of a group"),
        (RuleSettings(owner="99999999999"), "99999999999 cannot be the number of a user"),
        (RuleSettings(mode="0777"), "mode '0777' is none that a private key may have"),
        (RuleSettings(mode="0644"), "use one of 0400, 0440, 0600, 0640"),
        (RuleSettings(preset="apache"), "there is no preset 'apache': use one of ssh, postgres, nginx, java"),
        (RuleSettings(views="jwk"), "there is no view 'jwk'"),
        (RuleSettings(purpose="storge"), "there is no purpose 'storge': use storage, storage-sym, "),
        (RuleSettings(purpose="x*"), "there is no purpose 'x*'"),
    ],
)
def test_a_rule_that_cannot_be_is_refused_with_its_number(table: RuleSettings, words: str) -> None:
    message = refusal(RuleSettings(), table)
    assert message.startswith("rule 2: ")
    assert words in message


# --- presets ---


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_closes_a_key_to_all_but_its_owner(name: str) -> None:
    owner = "root" if name == "postgres" else None  # there need not be a user postgres here
    assert said(RuleSettings(preset=name, owner=owner)).mode == 0o600


def test_a_preset_names_the_user_of_its_program() -> None:
    assert said(RuleSettings(preset="nginx")).uid == 0
    assert said(RuleSettings(preset="ssh")).uid is None
    assert PRESETS["postgres"].owner == "postgres"


def test_what_stands_beside_a_preset_wins() -> None:
    beside = RuleSettings(preset="postgres", owner="root", group=GROUP.gr_name, mode="0640")
    assert said(beside) == KeyPolicy(0, GROUP.gr_gid, 0o640, NO_VIEWS)


def test_the_user_of_a_preset_must_be_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(PRESETS, "postgres", PRESETS["postgres"].__class__("no-such-server", 0o600))
    assert "there is no user 'no-such-server'" in refusal(RuleSettings(preset="postgres"))


def test_a_later_preset_takes_an_earlier_mode_away() -> None:
    assert said(RuleSettings(mode="0640"), RuleSettings(preset="ssh")).mode == 0o600


# --- who can come in ---

ALONE = Mounted(Ownership(4201, 4202), allow_other=False, purposes=NAMES)


@pytest.mark.parametrize(
    "table", [RuleSettings(owner=0), RuleSettings(group=0), RuleSettings(preset="nginx")]
)
def test_a_rule_for_who_cannot_come_in_is_refused(table: RuleSettings) -> None:
    assert "add --allow-other" in refusal(table, mounted=ALONE)


def test_a_rule_for_the_mounts_own_user_needs_nobody_else() -> None:
    assert said(RuleSettings(owner=4201, group=4202, mode="0440"), mounted=ALONE).mode == 0o440


def test_root_has_a_name_on_every_machine() -> None:
    assert said(RuleSettings(owner="root", group="root")) == KeyPolicy(
        os.stat("/").st_uid, 0, 0o600, NO_VIEWS
    )
