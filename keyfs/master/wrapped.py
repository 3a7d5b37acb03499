"""A master key that is kept wrapped: its ciphertext lies anywhere; only a KMS, Vault or an HSM opens it."""

import os
import re
from pathlib import Path
from typing import Final

from keyfs.errors import InvalidSettings, MasterKeyUnavailable
from keyfs.master.base import KeyEncryptionKey, MasterKey, ReadBeside
from keyfs.master.encoding import decode_unwrapped
from keyfs.master.env import ACRA_VARIABLE
from keyfs.master.file import SIZE_LIMIT

FROM: Final = "from"
"""The option that says where the ciphertext is; every scheme of a key encryption key has it."""

BESIDE_NAME: Final = "master-key"
_PLACE = re.compile(r"(env:[A-Za-z_][A-Za-z0-9_]{0,99}|file:.+|store(:[a-z0-9][a-z0-9.-]{0,63})?)", re.ASCII)


class Ciphertext:
    """Where the wrapped master key is: `env:NAME`, `file:PATH`, or `store[:NAME]` for beside the key store.

    It is no secret, so its file may be open to others.

    Raises:
        InvalidSettings: *place* is none of these.
    """

    def __init__(self, place: str | None, read_beside: ReadBeside | None) -> None:
        place = place or f"env:{ACRA_VARIABLE}"
        if _PLACE.fullmatch(place) is None:
            raise InvalidSettings(
                "'from=' says where the wrapped master key is: env:NAME, file:PATH, or store[:NAME] for "
                "beside the key store"
            )
        self.kind, _, self.name = place.partition(":")
        if self.kind == "file":
            self.name = os.path.abspath(self.name)  # the daemon changes its directory before it fetches again
        elif self.kind == "store":
            self.name = self.name or BESIDE_NAME
        self._read_beside = read_beside

    def __str__(self) -> str:
        words = {
            "env": f"environment variable {self.name}",
            "file": f"file {self.name}",
            "store": f"'{self.name}' beside the key store",
        }
        return f"the wrapped master key in {words[self.kind]}"

    def read(self) -> bytes:
        """The text as it was kept.

        Raises:
            MasterKeyUnavailable: nothing is there.
        """
        text = self._read()
        if text is None or not text.strip():
            raise MasterKeyUnavailable(
                f"{self} is not there; make one with keyfs master-key wrap, or say with 'from=' where it is"
            )
        return text

    def _read(self) -> bytes | None:
        if self.kind == "env":
            return os.environb.get(self.name.encode("ascii"))
        if self.kind == "store":
            return None if self._read_beside is None else self._read_beside(self.name)
        try:
            with Path(self.name).open("rb") as file:
                return file.read(SIZE_LIMIT)
        except FileNotFoundError:
            return None
        except OSError as exc:
            raise MasterKeyUnavailable(f"{self} cannot be read ({exc.strerror})") from exc


class WrappedMasterKey:
    """The provider for every key encryption key: has the ciphertext unwrapped, anew at each fetch."""

    def __init__(self, key: KeyEncryptionKey, ciphertext: Ciphertext, layout: str) -> None:
        self._key = key
        self._ciphertext = ciphertext
        self._layout = layout

    def fetch(self) -> MasterKey:
        """See `MasterKeyProvider.fetch`."""
        with self._key.unwrap(self._ciphertext.read()) as material:
            return decode_unwrapped(material, self._layout, str(self._ciphertext))

    def describe(self) -> str:
        """The key's URI."""
        return self._key.describe()
