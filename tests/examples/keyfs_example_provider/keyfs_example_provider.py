"""`example-json:PATH#MEMBER`: the master key in a member of a JSON file, as secret managers write them.

keyfs calls the class with what follows the scheme, and fetches in a process of its own: what the JSON decoder
keeps of the key ends with that process.
"""

import json
import os

from keyfs.errors import InvalidSettings, MasterKeyUnavailable
from keyfs.master.base import MasterKey
from keyfs.master.encoding import decode
from keyfs.master.file import OTHERS, close_to_others, read_private


class JSONFileMasterKey:
    def __init__(self, rest: str, layout: str) -> None:
        path, _, self._member = rest.rpartition("#")
        if not path or not self._member:
            raise InvalidSettings("'example-json:' needs a file and a member: example-json:PATH#MEMBER")
        self._path = os.path.abspath(path)
        self._layout = layout

    def fetch(self) -> MasterKey:
        what = f"member {self._member!r} of {self._path}"
        with read_private(self._path, self._path, OTHERS, close_to_others(self._path)) as content:
            value = member_of(content.reveal(), self._member)
        if value is None:  # raised here, because the decoder's own error holds the content
            raise MasterKeyUnavailable(f"{what} is not there, or is no text: name the right one")
        return decode(value.encode(), self._layout, what)

    def describe(self) -> str:
        return f"example-json:{self._path}#{self._member}"


def member_of(content: bytes, name: str) -> str | None:
    try:
        value = json.loads(content)[name]
    except (ValueError, TypeError, KeyError):
        return None
    return value if isinstance(value, str) else None
