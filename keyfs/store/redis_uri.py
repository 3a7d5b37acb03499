"""Redis URIs: which server, as whom, under which prefix.

    redis://[USER[:PASSWORD]@]HOST[:PORT][/DB][?prefix=P]      rediss:// the same over TLS
    unix:///PATH[?db=N&prefix=P]
    redis+sentinel://[USER[:PASSWORD]@]HOST[:PORT],HOST…/SERVICE[?db=N&prefix=P]
    redis+cluster://[USER[:PASSWORD]@]HOST[:PORT],HOST…[?prefix=P]

The prefix is Acra's `--keys_dir`. (Acra key store v1 in Redis.)
"""

import posixpath
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import parse_qsl, unquote, urlsplit

from keyfs.errors import InvalidSettings

DEFAULT_PREFIX: Final = ".acrakeys"
SCHEMES: Final = ("redis", "rediss", "unix", "redis+sentinel", "redis+cluster")
_PORTS: Final = {"redis+sentinel": 26379}
_REDIS_PORT: Final = 6379
_PARAMETERS: Final = frozenset(
    {
        "db",
        "prefix",
        "password_file",
        "password_env",
        "tls",
        "tls_ca",
        "tls_cert",
        "tls_key",
        "tls_sni",
        "wait",
    }
)


@dataclass(frozen=True, slots=True)
class TLS:
    """How to speak TLS. Certificates are files in PEM; None means the system's authorities, no client key."""

    ca: str | None = None
    cert: str | None = None
    key: str | None = None
    sni: str | None = None


@dataclass(frozen=True, slots=True)
class RedisPlace:
    """One key store in Redis. Its repr and `describe` hold no password."""

    scheme: str
    hosts: tuple[tuple[str, int], ...]  # empty for a unix socket
    path: str  # of the unix socket
    service: str  # Sentinel's name for the master
    db: int
    prefix: str
    username: str | None
    tls: TLS | None
    wait: int  # replicas that must have a rotation before it is acknowledged
    has_password: bool

    def describe(self) -> str:
        """The URI without a password."""
        user = f"{self.username}@" if self.username else ""
        hosts = ",".join(f"{host}:{port}" for host, port in self.hosts)
        where = self.path or hosts + (f"/{self.service}" if self.service else "")
        return f"{self.scheme}://{user}{where}?db={self.db}&prefix={self.prefix}"


def parse_redis_uri(uri: str, environment: Mapping[str, str]) -> tuple[RedisPlace, str | None]:
    """The place that *uri* names, and its password from wherever the URI says it is.

    Args:
        uri: as this module's first lines show.
        environment: where `password_env=NAME` is looked up.

    Raises:
        InvalidSettings: unknown scheme or parameter, bad number, unclean prefix, password not there.
    """
    parts = urlsplit(uri)
    if parts.scheme not in SCHEMES:
        raise InvalidSettings(f"store scheme {parts.scheme!r} is not Redis: use one of {', '.join(SCHEMES)}")
    query = _query(parts.query)
    userinfo, _, hostlist = parts.netloc.rpartition("@")
    username, _, password = userinfo.partition(":")
    path, service, db = _path(parts.scheme, unquote(parts.path), query)
    secret = _password(unquote(password), query, environment)
    place = RedisPlace(
        scheme=parts.scheme,
        hosts=() if parts.scheme == "unix" else _hosts(hostlist, _PORTS.get(parts.scheme, _REDIS_PORT)),
        path=path,
        service=service,
        db=db,
        prefix=check_prefix(query.get("prefix", DEFAULT_PREFIX)),
        username=unquote(username) or None,
        tls=_tls(parts.scheme, query),
        wait=_number(query.get("wait", "0"), "wait"),
        has_password=secret is not None,
    )
    return place, secret


def check_prefix(prefix: str) -> str:
    """*prefix*, if Acra keeps current keys and history under one such prefix.

    Acra cleans the path of history names only: with `./x` or `x/` it loses the history.

    Raises:
        InvalidSettings: it is unclean; the message has the clean form.
    """
    clean = posixpath.normpath(prefix) if prefix else ""
    if clean != prefix or not prefix or prefix in ("/", ".", "..") or prefix.startswith(("//", "../")):
        hint = f": use prefix={clean}" if clean not in ("", ".", "..", "/") else ""
        raise InvalidSettings(
            f"Redis prefix {prefix!r} is not a clean path, and Acra would lose the history under it{hint}"
        )
    return prefix


def _query(text: str) -> dict[str, str]:
    query = dict(parse_qsl(text, keep_blank_values=True))
    unknown = sorted(set(query) - _PARAMETERS)
    if unknown:
        raise InvalidSettings(f"unknown Redis parameter {unknown[0]!r}: use {', '.join(sorted(_PARAMETERS))}")
    return query


def _path(scheme: str, path: str, query: Mapping[str, str]) -> tuple[str, str, int]:
    """Socket path, service name and database number."""
    rest = path.strip("/")
    if scheme == "unix":
        if not path.startswith("/"):
            raise InvalidSettings("a Redis unix socket is named by an absolute path: unix:///PATH")
        return path, "", _number(query.get("db", "0"), "db")
    if scheme == "redis+sentinel":
        if not rest:
            raise InvalidSettings(
                "Sentinel needs the name of the service: redis+sentinel://HOST,HOST/SERVICE"
            )
        return "", rest, _number(query.get("db", "0"), "db")
    db = _number(rest or query.get("db", "0"), "db")
    if scheme == "redis+cluster" and db:
        raise InvalidSettings("a Redis cluster has only database 0")
    return "", "", db


def _hosts(text: str, default_port: int) -> tuple[tuple[str, int], ...]:
    hosts: list[tuple[str, int]] = []
    for item in text.split(","):
        host, colon, port = item.rpartition(":")
        if not colon or item.endswith("]"):
            host, port = item, str(default_port)
        if not host:
            raise InvalidSettings(f"Redis host missing in {text!r}: use HOST or HOST:PORT")
        hosts.append((host.strip("[]"), _number(port, "port")))
    return tuple(hosts)


def _tls(scheme: str, query: Mapping[str, str]) -> TLS | None:
    if scheme != "rediss" and query.get("tls", "no") not in ("yes", "1", "true"):
        return None
    return TLS(query.get("tls_ca"), query.get("tls_cert"), query.get("tls_key"), query.get("tls_sni"))


def _password(inline: str, query: Mapping[str, str], environment: Mapping[str, str]) -> str | None:
    path, name = query.get("password_file"), query.get("password_env")
    if path is not None:
        try:
            with open(path, encoding="utf-8") as file:
                return file.read(4096).rstrip("\r\n")
        except (OSError, UnicodeDecodeError) as exc:
            raise InvalidSettings(f"cannot read the Redis password from {path}") from exc
    if name is not None:
        if name not in environment:
            raise InvalidSettings(f"the Redis password should be in the variable {name}, which is not set")
        return environment[name]
    return inline or None


def _number(text: str, what: str) -> int:
    if not text.isascii() or not text.isdigit() or int(text) > 65535:  # noqa: PLR2004 - the last port
        raise InvalidSettings(f"Redis {what} {text!r} is not a number")
    return int(text)
