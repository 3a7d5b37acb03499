"""`env:NAME`: the master key in an environment variable, where Acra itself looks for it."""

import os
import re
from typing import Final

from keyfs.core.secret import Secret
from keyfs.custody import hide_variable
from keyfs.errors import InvalidSettings, MasterKeyUnavailable
from keyfs.master.base import MasterKey
from keyfs.master.encoding import decode

ACRA_VARIABLE: Final = "ACRA_MASTER_KEY"

# 43 characters at most: a key pasted here by mistake has 44 or more, so the errors below never echo one.
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,42}", re.ASCII)

_hidden: Final[dict[str, Secret]] = {}  # by name: as with the environment, there is one for the process


def hidden_variables() -> list[tuple[str, memoryview]]:
    """What `EnvironmentMasterKey.hide` took out of this process's environment, by name."""
    return [(name, secret.view()) for name, secret in _hidden.items()]


def adopt_variable(name: str, value: Secret) -> None:
    """Have `env:NAME` find *value*, as if it had been hidden here."""
    _hidden[name] = value


class EnvironmentMasterKey:
    """Reads one variable of this process's environment, anew at each fetch.

    Also `hide` is for whoever wants the key to stay, but not where others can read it.
    """

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
        text = self._text()
        if text is None:
            raise MasterKeyUnavailable(
                f"environment variable {self._name} is not set; export the key store's master key in it, or "
                f"name another place with --master-key"
            )
        return decode(text, self._layout, f"environment variable {self._name}")

    def hide(self) -> None:
        """Take the variable out of this process for good; see `keyfs.custody.hide_variable`.

        Every later fetch, by whichever provider of this process, uses a copy that was held; a variable that
        is set again counts again. A process forked later has no copy, and cannot fetch.
        """
        secret = hide_variable(self._name)
        if secret is not None:
            _hidden[self._name] = secret

    def describe(self) -> str:
        """`env:` and the variable's name."""
        return f"env:{self._name}"

    def _text(self) -> memoryview | None:
        """As a view, because a debugger that prints variables prints bytes."""
        name = self._name.encode("ascii")
        if name in os.environb:
            return memoryview(os.environb[name])
        return _hidden[self._name].view() if self._name in _hidden else None
