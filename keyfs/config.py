"""The TOML configuration file. It only knows form; what a value means is checked where it is used.

Precedence is decided elsewhere: flags, then `KEYFS_*` variables, then this file, then the defaults.
"""

import os
from types import UnionType
from typing import Any, Final, get_args

import msgspec

from keyfs.core.purposes import PURPOSES, Purpose, declared_purposes
from keyfs.core.rotation import RotationPolicy, rotation_policy
from keyfs.errors import InvalidSettings

DEFAULT_PATH: Final = "/etc/keyfs/keyfs.toml"
PURPOSE: Final = "purpose"
RULE: Final = "rule"
ROTATION: Final = "rotation"
TABLES: Final = (PURPOSE, RULE, ROTATION)
_KINDS: Final = {str: "a text in quotes", bool: "true or false", int: "a whole number"}


class SurfaceSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="kebab", kw_only=True):
    """What a table says of how the files of its keys look; None where it says nothing."""

    preset: str | None = None
    owner: str | int | None = None
    group: str | int | None = None
    mode: str | None = None
    views: str | None = None


class RuleSettings(SurfaceSettings, frozen=True, forbid_unknown_fields=True, rename="kebab", kw_only=True):
    """One table `[[rule]]`: for which keys it speaks, by patterns as those of a shell."""

    purpose: str | None = None
    client: str | None = None


class PurposeSettings(SurfaceSettings, frozen=True, forbid_unknown_fields=True, rename="kebab", kw_only=True):
    """What the table `[purpose.NAME]` says; None where it says nothing."""

    kind: str | None = None
    newline: str | None = None
    history: int | None = None
    generate: str | int | None = None
    size: int | None = None
    is_global: bool | None = msgspec.field(default=None, name="global")


class RotationRuleSettings(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="kebab", kw_only=True
):
    """What `[rotation]` or `[rotation.purpose.NAME]` says; None where it says nothing."""

    every: str | None = None
    jitter: str | None = None
    keep: str | int | None = None


class RotationSettings(
    RotationRuleSettings, frozen=True, forbid_unknown_fields=True, rename="kebab", kw_only=True
):
    """The table `[rotation]`, with those of single purposes."""

    purpose: dict[str, RotationRuleSettings] = {}


class FileSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="kebab", kw_only=True):
    """What the file says; None where it says nothing. In the file `_` is written `-`."""

    store: str | None = None
    master_key: str | None = None
    read_only: bool | None = None
    supervised: bool | None = None
    allow_other: bool | None = None
    allow_destroy: bool | None = None
    legacy: bool | None = None
    log_level: str | None = None
    log_file: str | None = None
    serve_stale: str | None = None
    plaintext_ttl: str | None = None
    direct_io: bool | None = None
    grace: str | None = None
    wait: str | None = None
    views: str | None = None
    purpose: dict[str, PurposeSettings] = {}
    rule: tuple[RuleSettings, ...] = ()
    rotation: RotationSettings = RotationSettings()

    def own_purposes(self) -> tuple[Purpose, ...]:
        """What the tables `[purpose.NAME]` declare.

        Raises:
            InvalidSettings: one of them does not do; the message says which, and why.
        """
        return declared_purposes(self.purpose)

    def rotation_policy(self) -> RotationPolicy:
        """What the tables `[rotation]` and `[rotation.purpose.NAME]` ask for.

        Raises:
            InvalidSettings: a value does not do, or there is no such purpose.
        """
        known = [purpose.name for purpose in (*PURPOSES, *self.own_purposes()) if not purpose.is_legacy]
        for name in self.rotation.purpose:
            if name not in known:
                raise InvalidSettings(f"rotation: there is no purpose {name!r}: use {', '.join(known)}")
        return rotation_policy(self.rotation, self.rotation.purpose)

    def rules(self) -> tuple[tuple[str, RuleSettings], ...]:
        """All rules in order, each with what to call it: those of purposes come first, so the others win."""
        fields = SurfaceSettings.__struct_fields__
        of_purposes = (
            (f"purpose {name!r}", RuleSettings(purpose=name, **{key: getattr(said, key) for key in fields}))
            for name, said in sorted(self.purpose.items())
        )
        return (*of_purposes, *((f"rule {number}", rule) for number, rule in enumerate(self.rule, 1)))


def load(path: str) -> FileSettings:
    """The settings in the file at *path*.

    Raises:
        InvalidSettings: the file cannot be read, is not TOML in UTF-8, has an unknown key or a value of the
            wrong type. One line names the file and the key, never the value: a store URI may hold a password.
    """
    table = _parse(path)
    purposes, rules = table.pop(PURPOSE, {}), table.pop(RULE, [])
    rotation = _rotation(table.pop(ROTATION, {}), path)
    _check(table, FileSettings, path)
    if not isinstance(purposes, dict) or not all(isinstance(said, dict) for said in purposes.values()):
        raise InvalidSettings(f"{path}: {PURPOSE!r} must be tables: write [{PURPOSE}.NAME]")
    if not isinstance(rules, list) or not all(isinstance(said, dict) for said in rules):
        raise InvalidSettings(f"{path}: {RULE!r} must be tables: write [[{RULE}]]")
    for name, said in purposes.items():
        _check(said, PurposeSettings, f"{path}: purpose {name!r}")
    for number, said in enumerate(rules, 1):
        _check(said, RuleSettings, f"{path}: rule {number}")
    settings = msgspec.convert({**table, PURPOSE: purposes, RULE: rules, ROTATION: rotation}, FileSettings)
    try:
        settings.rotation_policy()
    except InvalidSettings as exc:
        raise InvalidSettings(f"{path}: {exc}") from exc
    return settings


def load_or_default(path: str | None) -> FileSettings:
    """The settings in *path*; without a path those in /etc/keyfs/keyfs.toml, which may be absent.

    Raises:
        InvalidSettings: as `load`. A default file that is there but cannot be read is an error, too: it might
            say `read-only`.
    """
    if path is not None:
        return load(path)
    return load(DEFAULT_PATH) if os.path.lexists(DEFAULT_PATH) else FileSettings()


def as_defaults(settings: FileSettings) -> dict[str, object]:
    """Only what the file sets, by parameter name (`master_key`), as click's `default_map` wants it."""
    said = msgspec.structs.asdict(settings).items()
    return {name: value for name, value in said if value is not None and name not in TABLES}


def _rotation(table: object, path: str) -> dict[str, Any]:
    """The table `[rotation]`, checked as `_check` does.

    Raises:
        InvalidSettings: else.
    """
    if not isinstance(table, dict):
        raise InvalidSettings(f"{path}: {ROTATION!r} must be a table: write [{ROTATION}]")
    purposes = table.get(PURPOSE, {})
    if not isinstance(purposes, dict) or not all(isinstance(said, dict) for said in purposes.values()):
        raise InvalidSettings(
            f"{path}: {ROTATION}: {PURPOSE!r} must be tables: write [{ROTATION}.{PURPOSE}.NAME]"
        )
    _check(table, RotationSettings, f"{path}: {ROTATION}")
    for name, said in purposes.items():
        _check(said, RotationRuleSettings, f"{path}: {ROTATION}, purpose {name!r}")
    return table


def _check(table: dict[str, Any], shape: type[msgspec.Struct], where: str) -> None:
    """Nothing, if the table has known keys only, with values of their types.

    Raises:
        InvalidSettings: else; named by key.
    """
    known = {field.encode_name: field.type for field in msgspec.structs.fields(shape)}
    for key, value in table.items():
        if key not in known:
            raise InvalidSettings(f"{where}: unknown key {key!r}; known: {', '.join(sorted(known))}")
        kinds = [kind for kind in get_args(known[key]) if kind in _KINDS]
        if isinstance(known[key], UnionType) and type(value) not in kinds:
            raise InvalidSettings(f"{where}: {key!r} must be {' or '.join(_KINDS[kind] for kind in kinds)}")


def _parse(path: str) -> dict[str, Any]:
    import tomllib  # noqa: PLC0415 - most commands find no file to parse

    try:
        with open(path, "rb") as file:
            return tomllib.load(file)
    except OSError as exc:
        raise InvalidSettings(
            f"{path}: cannot be read ({exc.strerror}); mend that, or drop --config"
        ) from exc
    except UnicodeDecodeError:
        problem = "not UTF-8"
    except tomllib.TOMLDecodeError as exc:
        problem = str(exc)
    # Outside the handler: both errors keep the whole text, which may hold a password.
    raise InvalidSettings(f"{path}: not a TOML file: {problem}")
