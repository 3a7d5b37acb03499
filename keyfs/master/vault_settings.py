"""Where Vault (or OpenBao) is and how to log in there, from the options of a URI and the environment.

Nothing is read from disk here, and no secret passes through: `ps` shows a URI, so a token or a secret id as
the value of an option is refused.
"""

import os
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from keyfs.errors import InvalidSettings
from keyfs.master.uri import split_options

SERVICE_ACCOUNT_TOKEN: Final = "/var/run/secrets/kubernetes.io/serviceaccount/token"  # noqa: S105 - a path
_BY_LOGIN: Final[Mapping[str, frozenset[str]]] = {
    "token": frozenset({"token_file"}),
    "approle": frozenset({"role_id", "secret_id_file", "secret_id_env", "auth_mount"}),
    "kubernetes": frozenset({"role", "jwt_file", "auth_mount"}),
}
_TLS: Final = ("tls_ca", "tls_cert", "tls_key", "tls_sni")
_OPTIONS: Final = frozenset({"address", "namespace", "auth", *_TLS, *frozenset().union(*_BY_LOGIN.values())})
_SECRETS: Final = {"token": "token_file=PATH", "secret_id": "secret_id_file=PATH", "jwt": "jwt_file=PATH"}
# What Vault's own command line takes where the option is missing. (docs/commands, "Environment variables")
_VARIABLES: Final = {
    "address": "VAULT_ADDR",
    "namespace": "VAULT_NAMESPACE",
    "tls_ca": "VAULT_CACERT",
    "tls_cert": "VAULT_CLIENT_CERT",
    "tls_key": "VAULT_CLIENT_KEY",
    "tls_sni": "VAULT_TLS_SERVER_NAME",
}
_FILES: Final = ("token_file", "secret_id_file", "jwt_file", "tls_ca", "tls_cert", "tls_key")
_WORD: Final = re.compile(r"[\x21-\x7e]+")
_HERE: Final = re.compile(r"localhost|127(\.\d{1,3}){3}|::1")


@dataclass(frozen=True, slots=True)
class TLS:
    """Files in PEM; None means the system's authorities, no client certificate, the address's own name."""

    ca: str | None
    cert: str | None
    key: str | None
    sni: str | None


@dataclass(frozen=True, slots=True)
class VaultSettings:
    """One server and one way to log in. Holds no secret, only where they are."""

    address: str  # http:// or https://, no slash at the end
    namespace: str | None
    auth: str  # a key of _BY_LOGIN
    auth_mount: str
    login: Mapping[str, str]  # the options of this login that are files, variables, roles
    tls: TLS

    @property
    def is_readable_on_the_way(self) -> bool:
        """Whether token and key travel over a network without TLS."""
        parts = urlsplit(self.address)
        return parts.scheme == "http" and _HERE.fullmatch(parts.hostname or "") is None


def parse_vault_uri(
    scheme: str, rest: str, more: Collection[str] = (), ignored: Collection[str] = ()
) -> tuple[str, VaultSettings, dict[str, str]]:
    """The path before `?`, the server and login, and the other options.

    Args:
        scheme: for the errors.
        rest: what follows `scheme:`.
        more: the scheme's own options.
        ignored: options that are somebody else's.

    Raises:
        InvalidSettings: an option is unknown, missing, of another login or a secret; no usable address.
    """
    if not rest.isprintable():
        raise InvalidSettings(f"'{scheme}:' has no line breaks and control characters in it")
    _refuse_secrets(scheme, rest)
    name, options = split_options(scheme, rest, {*_OPTIONS, *more, *ignored})
    for option, variable in _VARIABLES.items():
        if value := os.environ.get(variable):
            options.setdefault(option, value)
    _check_values(scheme, options)
    for option in _FILES:
        if option in options:  # the daemon changes its directory before it fetches again
            options[option] = os.path.abspath(options[option])
    settings = VaultSettings(
        address=_address(scheme, options.get("address")),
        namespace=_namespace(options.get("namespace")),
        auth=options.get("auth", "token"),
        auth_mount=_clean(options.get("auth_mount", options.get("auth", "token"))),
        login=_login(scheme, options),
        tls=_tls(options),
    )
    return name, settings, {option: options[option] for option in more if option in options}


def clean_path(scheme: str, path: str) -> str:
    """*path* without slashes around it.

    Raises:
        InvalidSettings: it is empty or has an empty, `.` or `..` part, which URLs swallow.
    """
    clean = _clean(path)
    if not clean:
        raise InvalidSettings(f"'{scheme}:' needs a path in Vault, {scheme}:MOUNT/NAME, without . and ..")
    return clean


def _clean(path: str) -> str:
    """*path* without slashes around it; nothing if it is no path."""
    path = path.strip("/")
    is_sound = path.isprintable() and not any(part in ("", ".", "..") for part in path.split("/"))
    return path if is_sound else ""


def _check_values(scheme: str, options: Mapping[str, str]) -> None:
    for option, value in options.items():
        if not value.isprintable() or (option == "auth_mount" and not _clean(value)):
            raise InvalidSettings(f"'{scheme}:' has a value of {option!r} that cannot be meant")


def _refuse_secrets(scheme: str, rest: str) -> None:
    for word in rest.partition("?")[2].split("&"):
        option = word.partition("=")[0]
        if option in _SECRETS:
            raise InvalidSettings(
                f"'{scheme}:' takes no {option!r} in its URI, where ps shows it: use {_SECRETS[option]}"
            )


def _address(scheme: str, text: str | None) -> str:
    if text is None:
        raise InvalidSettings(f"'{scheme}:' needs address=https://HOST:8200, or the variable VAULT_ADDR")
    try:
        parts = urlsplit(text)
        is_sound = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_sound = False
    if not is_sound or _WORD.fullmatch(text) is None:
        raise InvalidSettings("the address of Vault is a URL such as https://vault.example:8200")
    if "@" in parts.netloc or parts.query or parts.fragment:
        raise InvalidSettings("the address of Vault has no user, password, '?' or '#' in it")
    return text.rstrip("/")


def _namespace(text: str | None) -> str | None:
    if text is not None and _WORD.fullmatch(text) is None:
        raise InvalidSettings("a namespace of Vault has only visible ASCII characters")
    return text


def _login(scheme: str, options: Mapping[str, str]) -> dict[str, str]:
    auth = options.get("auth", "token")
    if auth not in _BY_LOGIN:
        raise InvalidSettings(f"'{scheme}:' has auth={'|'.join(_BY_LOGIN)}, token where nothing is said")
    of_others = frozenset().union(*_BY_LOGIN.values()) - _BY_LOGIN[auth]
    if wrong := sorted(of_others & options.keys()):
        logins = "|".join(name for name, known in _BY_LOGIN.items() if wrong[0] in known)
        raise InvalidSettings(f"'{scheme}:' has {wrong[0]!r} with auth={logins} only")
    if auth == "kubernetes" and "role" not in options:
        raise InvalidSettings(f"'{scheme}:' with auth=kubernetes needs role=NAME")
    if auth == "approle":
        secrets = {"secret_id_file", "secret_id_env"} & options.keys()
        if "role_id" not in options or len(secrets) != 1:
            raise InvalidSettings(
                f"'{scheme}:' with auth=approle needs role_id=ID and one of secret_id_file=PATH and "
                f"secret_id_env=NAME"
            )
    return {option: options[option] for option in _BY_LOGIN[auth] if option in options}


def _tls(options: Mapping[str, str]) -> TLS:
    ca, cert, key, sni = (options.get(name) for name in _TLS)
    if key is not None and cert is None:
        raise InvalidSettings("tls_key is given, but no tls_cert: name the client certificate, too")
    return TLS(ca or os.environ.get("VAULT_CAPATH"), cert, key, sni)
