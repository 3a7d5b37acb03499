"""The TOML configuration file. It only knows form; what a value means is checked where it is used.

Precedence is decided elsewhere: flags, then `KEYFS_*` variables, then this file, then the defaults.
"""

import os
from typing import Final

import msgspec

from keyfs.errors import InvalidSettings

DEFAULT_PATH: Final = "/etc/keyfs/keyfs.toml"
_KINDS: Final = {str: "a text in quotes", bool: "true or false"}


class FileSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="kebab", kw_only=True):
    """What the file says; None where it says nothing. In the file `_` is written `-`."""

    store: str | None = None
    master_key: str | None = None
    read_only: bool | None = None
    allow_other: bool | None = None
    allow_destroy: bool | None = None
    legacy: bool | None = None
    log_level: str | None = None
    log_file: str | None = None
    serve_stale: str | None = None
    wait: str | None = None


def load(path: str) -> FileSettings:
    """The settings in the file at *path*.

    Raises:
        InvalidSettings: the file cannot be read, is not TOML in UTF-8, has an unknown key or a value of the
            wrong type. One line names the file and the key, never the value: a store URI may hold a password.
    """
    table = _parse(path)
    known = {field.encode_name: field.type for field in msgspec.structs.fields(FileSettings)}
    for key, value in table.items():
        if key not in known:
            raise InvalidSettings(f"{path}: unknown key {key!r}; known: {', '.join(sorted(known))}")
        for kind, words in _KINDS.items():
            if known[key] == (kind | None) and not isinstance(value, kind):
                raise InvalidSettings(f"{path}: {key!r} must be {words}")
    return msgspec.convert(table, FileSettings)


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
    return {name: value for name, value in msgspec.structs.asdict(settings).items() if value is not None}


def _parse(path: str) -> dict[str, object]:
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
