"""`credential:NAME`: the master key that systemd passed to this unit (LoadCredential= in systemd.exec(5))."""

import os
import re
from typing import Final

from keyfs.errors import InvalidSettings, MasterKeyUnavailable
from keyfs.master.base import MasterKey
from keyfs.master.encoding import decode
from keyfs.master.file import read_private

DIRECTORY_VARIABLE: Final = "CREDENTIALS_DIRECTORY"

# What systemd takes for a name, but 43 characters at most: a key pasted here by mistake has 44 or more, so
# the errors below never echo one.
_NAME = re.compile(r"(?!\.{1,2}\Z)[!-.0-9;-~]{1,43}", re.ASCII)

# systemd makes credentials 0400. The unit's user owns them, or, where the file system has access lists, gets
# the right by one; stat(2) shows its mask as the group's right to read, but the group has none.
_OTHERS: Final = 0o037


class CredentialMasterKey:
    """Reads the base64 text that ACRA_MASTER_KEY would hold from a credential, anew at each fetch."""

    def __init__(self, name: str, layout: str) -> None:
        if _NAME.fullmatch(name) is None:
            raise InvalidSettings(
                "'credential:' needs the name of a systemd credential (at most 43 ASCII characters, no '/' "
                "and no ':') such as credential:acra"
            )
        self._name = name
        self._layout = layout

    def fetch(self) -> MasterKey:
        """The key in the credential.

        Raises:
            MasterKeyUnavailable: this process has no credentials, or as `keyfs.master.file.read_private`, or
                the credential does not decode.
            InsecurePermissions: it is open to others.
        """
        folder = os.environ.get(DIRECTORY_VARIABLE, "")
        if not folder.startswith("/"):
            raise MasterKeyUnavailable(
                f"no credentials directory: systemd sets ${DIRECTORY_VARIABLE} for a unit with "
                f"LoadCredential={self._name}:PATH or LoadCredentialEncrypted={self._name}:PATH"
            )
        path = os.path.join(folder, self._name)
        what = f"credential {path}"
        if not os.path.lexists(path):
            raise MasterKeyUnavailable(
                f"{what} is not there; name it in the unit: LoadCredential={self._name}:PATH or "
                f"LoadCredentialEncrypted={self._name}:PATH"
            )
        mend = "only systemd may make this directory, with LoadCredential= or LoadCredentialEncrypted="
        with read_private(path, what, _OTHERS, mend) as text:
            return decode(text.view(), self._layout, what)

    def describe(self) -> str:
        """`credential:` and the name."""
        return f"credential:{self._name}"
