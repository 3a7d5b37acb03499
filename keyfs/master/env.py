"""`env:NAME`: the master key in an environment variable, where Acra itself looks for it."""

import os
import re
from typing import Final

from keyfs.errors import InvalidSettings, MasterKeyUnavailable
from keyfs.master.base import MasterKey
from keyfs.master.encoding import decode

ACRA_VARIABLE: Final = "ACRA_MASTER_KEY"

# 43 characters at most: a key pasted here by mistake has 44 or more, so the errors below never echo one.
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,42}", re.ASCII)


class EnvironmentMasterKey:
    """Reads one variable of this process's environment, anew at each fetch."""

    def __init__(self, name: str, layout: str) -> None:
        if _NAME.fullmatch(name) is None:
            raise InvalidSettings(
                f"'env:' needs the name of an environment variable (at most 43 of A-Z a-z 0-9 _) such "
                f"as env:{ACRA_VARIABLE}; the key itself never stands there"
            )
        self._name = name
        self._layout = layout

    def fetch(self) -> MasterKey:
        """The key in the variable's value.

        Raises:
            MasterKeyUnavailable: the variable is not set, or its value does not decode.
        """
        text = os.environb.get(self._name.encode("ascii"))
        if text is None:
            raise MasterKeyUnavailable(
                f"environment variable {self._name} is not set; export the key store's master key in it, or "
                f"name another place with --master-key"
            )
        return decode(text, self._layout, f"environment variable {self._name}")

    def describe(self) -> str:
        """`env:` and the variable's name."""
        return f"env:{self._name}"
