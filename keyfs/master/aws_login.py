"""The JSON file with an access key that Acra takes with `--kms_credentials_path`."""

from dataclasses import dataclass, field
from typing import Final

from keyfs.errors import InvalidSettings
from keyfs.master.file import OTHERS, close_to_others, read_private
from keyfs.master.go_decoders import json_members

_NEEDED: Final = ("access_key_id", "secret_access_key")
_OPTIONAL: Final = ("region", "endpoint")


@dataclass(frozen=True, slots=True)
class AccessKey:
    """What stands in the file. Its repr shows where, not who."""

    access_key_id: str = field(repr=False)
    secret_access_key: str = field(repr=False)
    region: str | None
    endpoint: str | None


def read_access_key(path: str) -> AccessKey:
    """The access key in a file that is closed to others.

    The secret stays in memory for as long as it signs: botocore keeps it as text.

    Raises:
        MasterKeyUnavailable, InsecurePermissions: as `read_private`.
        InvalidSettings: the file is no JSON object with what is needed, each a text. No value is repeated.
    """
    what = f"AWS credentials file {path}"
    with read_private(path, what, OTHERS, close_to_others(path)) as text:
        members = json_members(text)
    if members is None:
        raise InvalidSettings(f"{what} is no JSON object with {' and '.join(_NEEDED)}")
    values = {name.casefold(): value for name, value in members}  # Go's decoder takes any case, the last wins
    del members
    missing = [name for name in _NEEDED if not _is_word(values.get(name))]
    odd = [name for name in _OPTIONAL if values.get(name) not in (None, "") and not _is_word(values[name])]
    found = [values.get(name) for name in (*_NEEDED, *_OPTIONAL)]
    del values
    if missing or odd:
        del found
        raise InvalidSettings(f"{what} has no usable {', '.join(missing + odd)}: each is a text in one line")
    access_key_id, secret_access_key, region, endpoint = (str(value) if value else None for value in found)
    return AccessKey(access_key_id or "", secret_access_key or "", region, endpoint)


def _is_word(value: object) -> bool:
    return isinstance(value, str) and value != "" and value.isascii() and value.isprintable()
