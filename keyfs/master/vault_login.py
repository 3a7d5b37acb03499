"""The secrets to log in to Vault with: read from files and variables at each fetch, never from a URI."""

import binascii
import os
import re
import shlex
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from keyfs.core.secret import Secret
from keyfs.errors import InsecurePermissions, InvalidSettings
from keyfs.master.vault_settings import SERVICE_ACCOUNT_TOKEN

ACRA_TOKEN: Final = "VAULT_API_TOKEN"  # noqa: S105 - the name of a variable
VAULT_TOKEN: Final = "VAULT_TOKEN"  # noqa: S105 - the name of a variable
_SIZE_LIMIT: Final = 64 * 1024  # guessed: a token has some 100 characters, a JWT some 1,000
_WORD: Final = re.compile(rb"[\x21-\x7e]+")
_IN_ACRA_TOKEN: Final = f"environment variable {ACRA_TOKEN} (base64, as for Acra; plain it is {VAULT_TOKEN})"


def token(login: Mapping[str, str]) -> Secret:
    """The token: from `token_file`, else VAULT_API_TOKEN, VAULT_TOKEN, ~/.vault-token.

    VAULT_API_TOKEN is Acra's and holds base64 of the token; the others are Vault's own and hold it plain.

    Raises:
        InvalidSettings: there is none, or what is there is none.
        InsecurePermissions: its file is open to others.
    """
    if "token_file" in login:
        return _private_file(login["token_file"], "token file")
    if os.environ.get(ACRA_TOKEN):
        return _word(_from_base64(os.environb[ACRA_TOKEN.encode()]), _IN_ACRA_TOKEN)
    if os.environ.get(VAULT_TOKEN):
        return _word(os.environb[VAULT_TOKEN.encode()], f"environment variable {VAULT_TOKEN}")
    path = Path("~/.vault-token").expanduser()
    if not path.exists():
        raise InvalidSettings(
            f"there is no token for Vault: use token_file=PATH, export {ACRA_TOKEN} (base64, as for Acra) or "
            f"{VAULT_TOKEN}, or log in another way with auth="
        )
    return _private_file(str(path), "token file")


def secret_id(login: Mapping[str, str]) -> Secret:
    """The secret id of an AppRole, from `secret_id_file` or `secret_id_env`.

    Raises:
        InvalidSettings, InsecurePermissions: as `token`.
    """
    if "secret_id_file" in login:
        return _private_file(login["secret_id_file"], "secret id file")
    name = login["secret_id_env"]
    if name not in os.environ:
        raise InvalidSettings(f"the secret id should be in the variable {name!r}, which is not set")
    return _word(os.environb[os.fsencode(name)], f"environment variable {name!r}")


def service_account_token(login: Mapping[str, str]) -> Secret:
    """The JWT of the pod's service account. Kubernetes itself decides who may read its file.

    Raises:
        InvalidSettings: it is not there.
    """
    path = login.get("jwt_file", SERVICE_ACCOUNT_TOKEN)
    what = "service account token"
    return _word(_read(path, what, is_private=False), f"{what} {path}")


def _from_base64(text: bytes) -> bytes:
    """What *text* encodes; nothing if it is no base64."""
    try:
        return binascii.a2b_base64(text.translate(None, b"\r\n"), strict_mode=True)
    except binascii.Error:
        return b""


def _private_file(path: str, what: str) -> Secret:
    return _word(_read(path, what, is_private=True), f"{what} {path}")


def _word(text: bytes, source: str) -> Secret:
    """*text* without the blanks around it; as a header it must be one visible word."""
    secret = Secret(text.strip())
    is_word = _WORD.fullmatch(secret.view()) is not None
    del text  # a traceback may show the variables of its frames; nobody above has one for it
    if not is_word:
        raise InvalidSettings(f"{source} holds no login for Vault: one word of visible characters is meant")
    return secret


def _read(path: str, what: str, *, is_private: bool) -> bytes:
    try:
        # O_NONBLOCK: a FIFO that nobody writes to must not hang.
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
        try:
            _check(os.fstat(descriptor), path, what, is_private=is_private)
            with open(descriptor, "rb", closefd=False) as file:
                text = file.read(_SIZE_LIMIT + 1)
        finally:
            os.close(descriptor)
    except OSError as exc:
        raise InvalidSettings(f"{what} {path} cannot be read ({exc.strerror}); name the right one") from exc
    if len(text) > _SIZE_LIMIT:
        raise InvalidSettings(f"{what} {path} is longer than {_SIZE_LIMIT} bytes; name the right one")
    return text


def _check(status: os.stat_result, path: str, what: str, *, is_private: bool) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise InvalidSettings(f"{what} {path} is not a regular file; name the right one")
    if is_private and status.st_mode & 0o077:
        raise InsecurePermissions(
            f"{what} {path} is open to others (mode {stat.S_IMODE(status.st_mode):04o}); "
            f"run: chmod 600 {shlex.quote(path)}"
        )
