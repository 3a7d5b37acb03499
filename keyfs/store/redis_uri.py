"""Redis URIs: which server, as whom, under which prefix.

    redis://[USER[:PASSWORD]@]HOST[:PORT][/DB][?prefix=P]      rediss:// the same over TLS
    unix://[USER[:PASSWORD]@]/PATH[?db=N&prefix=P]
    redis+sentinel://[USER[:PASSWORD]@]HOST[:PORT],HOST…/SERVICE[?db=N&prefix=P]
    redis+cluster://[USER[:PASSWORD]@]HOST[:PORT],HOST…[?prefix=P]

The prefix is Acra's `--keys_dir`. (Acra key store v1 in Redis.) No message repeats what may be a part of a
password that was not written as it has to be.
"""

import posixpath
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import SplitResult, quote, unquote, urlsplit

from keyfs.errors import InvalidSettings

DEFAULT_PREFIX: Final = ".acrakeys"
SCHEMES: Final = ("redis", "rediss", "unix", "redis+sentinel", "redis+cluster")
_SEVERAL_HOSTS: Final = ("redis+sentinel", "redis+cluster")
_REDIS_PORT: Final = 6379
_SENTINEL_PORT: Final = 26379
_LAST_PORT: Final = 65535
_PASSWORD_LIMIT: Final = 4096
_HOST: Final = re.compile(r"(?:\[([0-9A-Fa-f:.]+)\]|([^:\[\]%]+))(?::(\d+))?", re.ASCII)
_NUMBER: Final = re.compile(r"\d{1,5}", re.ASCII)
_TLS_PARAMETERS: Final = ("tls", "tls_ca", "tls_cert", "tls_key", "tls_sni")
_PARAMETERS: Final = frozenset({"db", "prefix", "password_file", "password_env", "wait", *_TLS_PARAMETERS})
_YES_OR_NO: Final = {"yes": True, "true": True, "1": True, "no": False, "false": False, "0": False}


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
    service: str  # Sentinel's name for the primary
    db: int
    prefix: str
    username: str | None
    tls: TLS | None
    wait: int  # replicas that must have a rotation before it is acknowledged

    def describe(self) -> str:
        """The URI without a password."""
        user = f"{quote(self.username, safe='')}@" if self.username else ""
        hosts = ",".join(f"[{host}]:{port}" if ":" in host else f"{host}:{port}" for host, port in self.hosts)
        where = quote(self.path) or hosts + (f"/{quote(self.service, safe='')}" if self.service else "")
        query = {"db": str(self.db), "prefix": self.prefix} | self._more()
        return f"{self.scheme}://{user}{where}?" + "&".join(f"{n}={quote(v)}" for n, v in query.items())

    def _more(self) -> dict[str, str]:
        """The parameters that most places do without."""
        tls = self.tls or TLS()
        more = {"tls_ca": tls.ca, "tls_cert": tls.cert, "tls_key": tls.key, "tls_sni": tls.sni}
        more["tls"] = "yes" if self.tls is not None and self.scheme != "rediss" else None
        more["wait"] = str(self.wait) if self.wait else None
        return {name: value for name, value in more.items() if value is not None}


def parse_redis_uri(uri: str, environment: Mapping[str, str]) -> tuple[RedisPlace, str | None]:
    """The place that *uri* names, and its password from wherever the URI says it is.

    Args:
        uri: as this module's first lines show.
        environment: where `password_env=NAME` is looked up.

    Raises:
        InvalidSettings: unknown scheme or parameter, bad number, unclean prefix, password not there.
    """
    parts = _split(uri)
    query = _query(parts.query)
    userinfo, _, hostlist = parts.netloc.rpartition("@")
    username, _, inline = userinfo.partition(":")
    path, service, db = _path(parts, query)
    place = RedisPlace(
        scheme=parts.scheme,
        hosts=_hosts(parts.scheme, hostlist),
        path=path,
        service=service,
        db=db,
        prefix=check_prefix(query.get("prefix", DEFAULT_PREFIX)),
        username=_decoded(username, "user name") or None,
        tls=_tls(parts.scheme, query),
        wait=_number(query.get("wait", "0"), "wait"),
    )
    return place, _password(_decoded(inline, "password"), query, environment)


def check_prefix(prefix: str) -> str:
    """*prefix*, if Acra keeps current keys and history under one such prefix.

    Acra cleans the path of history names only: with `./x` or `x/` it loses the history.

    Raises:
        InvalidSettings: it is unclean; the message has the clean form.
    """
    clean = re.sub("^//", "/", posixpath.normpath(prefix)) if prefix else ""
    if clean != prefix or prefix in ("", "/", "."):
        hint = f": use prefix={quote(clean)}" if clean not in ("", "/", ".") else ""
        raise InvalidSettings(
            f"Redis prefix {prefix!r} is not a clean path, and Acra would lose the history under it{hint}"
        )
    return prefix


def _split(uri: str) -> SplitResult:
    if not uri.isprintable() or " " in uri:
        raise InvalidSettings("a Redis URI has no blanks and control characters: write them as %20 and so on")
    try:
        parts = urlsplit(uri)
    except ValueError:  # its message may have the password in it
        raise InvalidSettings("this Redis URI cannot be read: write [ and ] as %5B and %5D") from None
    if parts.scheme not in SCHEMES:
        raise InvalidSettings(f"this store is not Redis: use one of {', '.join(SCHEMES)}")
    may_have_at = parts.scheme == "unix" and not parts.netloc
    if "#" in uri or "@" in parts.query or ("@" in parts.path and not may_have_at):
        raise InvalidSettings(
            "a Redis URI has / ? # @ in its user name, password and prefix as %2F %3F %23 %40"
        )
    return parts


def _decoded(text: str, what: str) -> str:
    try:
        return unquote(text, errors="strict")
    except UnicodeDecodeError:
        raise InvalidSettings(f"the {what} in this Redis URI is no UTF-8") from None


def _query(text: str) -> dict[str, str]:
    query: dict[str, str] = {}
    for item in filter(None, text.split("&")):
        name, _, value = item.partition("=")
        if name not in _PARAMETERS:
            raise InvalidSettings(f"unknown Redis parameter {name!r}: use {', '.join(sorted(_PARAMETERS))}")
        if name in query:
            raise InvalidSettings(f"Redis parameter {name} is given twice")
        query[name] = _decoded(value, name)
    return query


def _path(parts: SplitResult, query: Mapping[str, str]) -> tuple[str, str, int]:
    """Socket path, service name and database number."""
    path = _decoded(parts.path, "path")
    db = _number(query.get("db", "0"), "db")
    rest = path.removeprefix("/")
    if parts.scheme == "unix":
        if not path.startswith("/") or "\0" in path:
            raise InvalidSettings("a Redis unix socket is named by an absolute path: unix:///PATH")
        return path, "", db
    if parts.scheme == "redis+sentinel":
        if not rest:
            raise InvalidSettings("Sentinel needs the service's name: redis+sentinel://HOST,HOST/SERVICE")
        return "", rest, db
    if rest and "db" in query:
        raise InvalidSettings("the Redis db is given twice: as /DB and as db=")
    db = _number(rest, "db") if rest else db
    if parts.scheme == "redis+cluster" and db:
        raise InvalidSettings("a Redis cluster has only db 0")
    return "", "", db


def _hosts(scheme: str, text: str) -> tuple[tuple[str, int], ...]:
    if scheme == "unix":
        if text:
            raise InvalidSettings("a Redis unix socket has no host: unix:///PATH, with three slashes")
        return ()
    default = _SENTINEL_PORT if scheme == "redis+sentinel" else _REDIS_PORT
    hosts = tuple(_host(item, default) for item in text.split(","))
    if len(hosts) > 1 and scheme not in _SEVERAL_HOSTS:
        raise InvalidSettings(f"{scheme}: has one host; several have {' and '.join(_SEVERAL_HOSTS)}")
    return hosts


def _host(text: str, default_port: int) -> tuple[str, int]:
    match = _HOST.fullmatch(text)
    if match is None:
        raise InvalidSettings("a Redis host is missing or malformed: use HOST, HOST:PORT or [IPv6]:PORT")
    host = match[1] or match[2]
    try:
        host.encode("idna")
    except UnicodeError:
        raise InvalidSettings("a Redis host is no name that can exist") from None
    port = _number(match[3] or str(default_port), "port")
    if not port:
        raise InvalidSettings("a Redis port is a number from 1 to 65535")
    return host, port


def _tls(scheme: str, query: Mapping[str, str]) -> TLS | None:
    wanted = _YES_OR_NO.get(query.get("tls", "yes" if scheme == "rediss" else "no").lower())
    given = [name for name in _TLS_PARAMETERS if name in query]
    if wanted is None or (scheme == "rediss" and not wanted):
        raise InvalidSettings("Redis parameter tls is yes or no, and always yes with rediss:")
    if not wanted:
        if given not in ([], ["tls"]):
            raise InvalidSettings(f"{given[-1]} is given, but no TLS: use rediss:, or tls=yes")
        return None
    if scheme == "unix" or ("tls_key" in query and "tls_cert" not in query):
        raise InvalidSettings("there is no TLS on a unix socket, and no tls_key without tls_cert")
    if scheme == "redis+cluster" and "tls_sni" in query:
        raise InvalidSettings("tls_sni names one server, and a Redis cluster has several")
    return TLS(query.get("tls_ca"), query.get("tls_cert"), query.get("tls_key"), query.get("tls_sni"))


def _password(inline: str, query: Mapping[str, str], environment: Mapping[str, str]) -> str | None:
    path, name = query.get("password_file"), query.get("password_env")
    if sum(source is not None for source in (inline or None, path, name)) > 1:
        raise InvalidSettings("give the Redis password in one place: the URI, password_file or password_env")
    if path is not None:
        inline = _password_from(path)
    elif name is not None:
        inline = environment.get(name, "")
        if not inline:
            raise InvalidSettings(f"the Redis password should be in the variable {name}, which is not set")
    if "\udc80" <= max(inline, default="") <= "\udcff":
        raise InvalidSettings("the Redis password is no UTF-8")
    return inline or None


def _password_from(path: str) -> str:
    try:
        with open(path, encoding="utf-8") as file:
            text = file.read(_PASSWORD_LIMIT + 1).removesuffix("\n").removesuffix("\r")
    except (OSError, ValueError):
        raise InvalidSettings(f"cannot read the Redis password from {path!r}") from None
    if not text or len(text) > _PASSWORD_LIMIT:
        raise InvalidSettings(f"there is no Redis password in {path!r}: it holds nothing, or too much")
    return text


def _number(text: str, what: str) -> int:
    if not _NUMBER.fullmatch(text) or int(text) > _LAST_PORT:
        raise InvalidSettings(f"a Redis {what} is a number from 0 to {_LAST_PORT}")
    return int(text)
