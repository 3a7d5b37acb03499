"""From the tables `[purpose.NAME]` and `[[rule]]` to a `Policy`: presets, and the numbers behind names."""

import grp
import pwd
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Final

from keyfs.config import RuleSettings
from keyfs.core.policy import Ownership, Policy, Rule, parse_mode
from keyfs.core.views import Views, parse_views
from keyfs.errors import InvalidSettings

ID_MAX: Final = (1 << 32) - 2  # the kernel's -1 means "no change"
ANY: Final = "*"


@dataclass(frozen=True, slots=True)
class Preset:
    """What a program accepts of a private key. None for the owner of the mount, which is root as a rule."""

    owner: str | None
    mode: int


PRESETS: Final[Mapping[str, Preset]] = {
    # ssh wants its user's key closed to everybody else, sshd its host keys, below directories that only
    # root or the user writes to: no directory here is writable for others.
    "ssh": Preset(None, 0o600),
    # The server takes a key of its own user that is closed to all others, or one of root's that is open to
    # its group: owner = "root", group = "postgres", mode = "0640".
    "postgres": Preset("postgres", 0o600),
    "nginx": Preset("root", 0o600),  # read by the master process, which is root
    "java": Preset(None, 0o600),  # what the JVM's management agent demands of its own files
}


@dataclass(frozen=True, slots=True)
class Mounted:
    """What has to be known of a mount to judge its rules."""

    owner: Ownership
    allow_other: bool
    purposes: Collection[str]  # that there are


def policy_of(rules: Sequence[tuple[str, RuleSettings]], views: Views, mounted: Mounted) -> Policy:
    """The policy that these tables make up, each with what to call it.

    Raises:
        InvalidSettings: the first of the rules that says what cannot be; in one line, with its name.
    """
    return Policy([_checked(name, table, mounted) for name, table in rules], views)


def _checked(name: str, table: RuleSettings, mounted: Mounted) -> Rule:
    try:
        rule = _rule(table)
        _demand_reach(rule, mounted)
        _demand_purpose(rule, mounted)
    except InvalidSettings as exc:
        raise InvalidSettings(f"{name}: {exc}") from exc
    return rule


def _rule(table: RuleSettings) -> Rule:
    preset = _preset(table.preset)
    owner = table.owner if table.owner is not None or preset is None else preset.owner
    mode = None if preset is None else preset.mode
    return Rule(
        purpose=ANY if table.purpose is None else table.purpose,
        client=ANY if table.client is None else table.client,
        uid=None if owner is None else _number("user", owner),
        gid=None if table.group is None else _number("group", table.group),
        mode=mode if table.mode is None else parse_mode(table.mode),
        views=None if table.views is None else parse_views(table.views),
    )


def _preset(name: str | None) -> Preset | None:
    if name is None:
        return None
    preset = PRESETS.get(name)
    if preset is None:
        raise InvalidSettings(f"there is no preset {name!r}: use one of {', '.join(PRESETS)}")
    return preset


def _number(kind: str, name: str | int) -> int:
    """The number of a user or a group, as chown(1) understands it: a name goes before a number."""
    if isinstance(name, str):
        try:
            return pwd.getpwnam(name).pw_uid if kind == "user" else grp.getgrnam(name).gr_gid
        except (KeyError, ValueError):  # a NUL or a surrogate cannot even be asked for
            if not (name.isascii() and name.isdigit()):
                raise InvalidSettings(
                    f"there is no {kind} {name!r} on this machine: make it, or give its number"
                ) from None
    number = int(name)
    if not 0 <= number <= ID_MAX:
        raise InvalidSettings(f"{number} cannot be the number of a {kind}")
    return number


def _demand_purpose(rule: Rule, mounted: Mounted) -> None:
    """Nothing, if there is a purpose for which the rule can speak."""
    if not any(fnmatchcase(name, rule.purpose) for name in mounted.purposes):
        raise InvalidSettings(f"there is no purpose {rule.purpose!r}: use {', '.join(mounted.purposes)}")


def _demand_reach(rule: Rule, mounted: Mounted) -> None:
    """Nothing, if whom the rule names can come into the mount at all."""
    is_others = rule.uid not in (None, mounted.owner.uid) or rule.gid not in (None, mounted.owner.gid)
    if is_others and not mounted.allow_other:
        raise InvalidSettings(
            "it names another user or group than those of the mount, and the kernel lets in only its user: "
            "add --allow-other"
        )
