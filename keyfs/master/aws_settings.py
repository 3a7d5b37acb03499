"""Which key in AWS KMS, and how to get there, from the rest of a URI. Reads no file and asks nobody.

No secret passes through: `ps` shows a URI, so an access key as the value of an option is refused.
"""

import os
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import SplitResult, urlsplit

from keyfs.core.durations import seconds
from keyfs.errors import InvalidSettings
from keyfs.master.uri import split_options

KEY_SCHEME: Final = "awskms"
PER_CLIENT_SCHEME: Final = "awskms-per-client"
ALIAS: Final = "alias/"
DEFAULT_KEY: Final = "alias/acra_master_key"
"""The alias that Acra looks for with `kms_encrypted_master_key`."""

ALIAS_SIZE_MAX: Final = 256
_CONTEXT: Final = "context."
_PLACES: Final = ("region", "endpoint", "profile", "credentials")
_CACHE: Final = ("cache_age", "cache_uses", "stale")
_SECRETS: Final = frozenset(
    {"access_key_id", "secret_access_key", "session_token", "access_key", "secret_key"}
)
_ALIAS: Final = re.compile(rf"{ALIAS}[A-Za-z0-9/_-]{{1,{ALIAS_SIZE_MAX - len(ALIAS)}}}")
_KEY_ID: Final = re.compile(r"(mrk-[0-9a-f]{32}|[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12})")
_ARN: Final = re.compile(r"arn:aws[a-z-]{0,20}:kms:([a-z0-9-]{1,40}):[0-9]{12}:(key/(.+)|alias/.+)")
_REGION: Final = re.compile(r"[a-z0-9][a-z0-9-]{0,39}")
_WORD: Final = re.compile(r"[\x21-\x7e]+")
_HERE: Final = re.compile(r"localhost|127(\.\d{1,3}){3}|::1")
_COUNT: Final = re.compile(r"[1-9][0-9]{0,8}")


@dataclass(frozen=True, slots=True)
class AwsSettings:
    """The way to one KMS. None means what AWS's own tools would take: environment, profile, role."""

    region: str | None
    endpoint: str | None
    profile: str | None
    credentials: str | None  # path of the JSON file that Acra takes with --kms_credentials_path
    context: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class CacheSettings:
    """How long an opened key may be kept. The defaults are guesses: a day's work costs few calls then."""

    max_age_s: float = 300.0
    max_uses: int = 1000
    stale_s: float = 3600.0  # for how long an old copy serves while the KMS is away; 0 for never


def parse_key_uri(rest: str) -> tuple[str, AwsSettings]:
    """The KeyId and the way to it, of `awskms:[KEY][?…]`.

    Raises:
        InvalidSettings: KEY is no alias, key id or ARN; an option is unknown, malformed or a secret.
    """
    name, options = _split(KEY_SCHEME, rest, (*_PLACES, "from"))
    key = name or DEFAULT_KEY
    arn = _ARN.fullmatch(key)
    is_key = _is_alias(key) or _KEY_ID.fullmatch(key) is not None or (arn is not None and _is_sound(key))
    if not is_key:
        raise InvalidSettings(
            f"'{KEY_SCHEME}:' takes alias/NAME, the id of a key, or the ARN of one of these; without "
            f"any it is {DEFAULT_KEY}"
        )
    return key, _settings(KEY_SCHEME, options, arn[1] if arn else None)


def parse_per_client_uri(rest: str) -> tuple[AwsSettings, CacheSettings, bool]:
    """The way to the KMS, for how long keys are kept, and whether missing ones are made.

    Raises:
        InvalidSettings: a key is named; an option is unknown, malformed or a secret.
    """
    scheme = PER_CLIENT_SCHEME
    name, options = _split(scheme, rest, (*_PLACES, *_CACHE, "create"))
    if name:
        raise InvalidSettings(
            f"'{scheme}:' names no key, each client has its own (alias/acra_CLIENT): options follow, as in "
            f"{scheme}:?region=eu-west-1"
        )
    if options.get("create", "yes") != "yes":
        raise InvalidSettings(f"'{scheme}:' has create=yes, or no such option: then no key is made")
    cache = CacheSettings()
    uses = options.get("cache_uses", str(cache.max_uses))
    if _COUNT.fullmatch(uses) is None:
        raise InvalidSettings(f"'{scheme}:' has cache_uses=N, how often a kept key serves; N is 1 or more")
    cache = CacheSettings(
        _duration(scheme, options, "cache_age", cache.max_age_s),
        int(uses),
        _duration(scheme, options, "stale", cache.stale_s),
    )
    return _settings(scheme, options, None), cache, "create" in options


def alias_of(key_name: str) -> str | None:
    """The KeyId for Acra's name of a key; None for a name that AWS would not take."""
    alias = ALIAS + key_name
    return alias if _is_alias(alias) else None


def checked_endpoint(text: str) -> str:
    """*text*, a URL that may be asked for secrets.

    Signing does not encrypt: the answer to a Decrypt is the key itself. AWS has no endpoint without TLS, and
    an emulator runs on the same machine, so there is nothing that a warning would have to allow.

    Raises:
        InvalidSettings: it is no URL, has more in it than a host, or leaves this machine without TLS.
    """
    parts = _url(text)
    if parts is None or _WORD.fullmatch(text) is None:
        raise InvalidSettings("the endpoint of a KMS is a URL such as https://kms.eu-west-1.amazonaws.com")
    if "@" in parts.netloc or parts.query or parts.fragment:
        raise InvalidSettings("the endpoint of a KMS has no user, password, '?' or '#' in it")
    if parts.scheme == "http" and not is_here(text):
        raise InvalidSettings(
            f"the endpoint of a KMS is https:// but on this machine: the network between here and "
            f"{parts.hostname} could read every key"
        )
    return text.rstrip("/")


def is_here(url: str) -> bool:
    """Whether *url* is on this machine."""
    parts = _url(url)
    return parts is not None and _HERE.fullmatch(parts.hostname or "") is not None


def _url(text: str) -> SplitResult | None:
    try:
        parts = urlsplit(text)
        is_sound = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return None
    return parts if is_sound else None


def _split(scheme: str, rest: str, known: Collection[str]) -> tuple[str, dict[str, str]]:
    if not rest.isprintable():
        raise InvalidSettings(f"'{scheme}:' has no line breaks and control characters in it")
    for word in rest.partition("?")[2].split("&"):
        option = word.partition("=")[0].lower().removeprefix("aws_")
        if option in _SECRETS:
            raise InvalidSettings(
                f"'{scheme}:' takes no {option!r} in its URI, where ps shows it: use credentials=PATH, or a "
                f"profile"
            )
    return split_options(scheme, rest, known, (_CONTEXT,))


def _settings(scheme: str, options: Mapping[str, str], region_of_key: str | None) -> AwsSettings:
    for option, value in options.items():
        if not value.isprintable() or option == _CONTEXT:
            raise InvalidSettings(f"'{scheme}:' has a value of {option!r} that cannot be meant")
    region = options.get("region", region_of_key)
    if region is not None and _REGION.fullmatch(region) is None:
        raise InvalidSettings(f"'{scheme}:' has a region such as eu-west-1")
    if region_of_key not in (None, region):
        raise InvalidSettings(f"the key is in region {region_of_key}, but region= says another: leave it out")
    if "credentials" in options and "profile" in options:
        raise InvalidSettings(f"'{scheme}:' has credentials=PATH or profile=NAME, not both")
    path = options.get("credentials")
    endpoint = options.get("endpoint")
    return AwsSettings(
        region=region,
        endpoint=None if endpoint is None else checked_endpoint(endpoint),
        profile=options.get("profile"),
        credentials=None if path is None else os.path.abspath(path),  # the daemon changes its directory
        context={n.removeprefix(_CONTEXT): v for n, v in options.items() if n.startswith(_CONTEXT)},
    )


def _duration(scheme: str, options: Mapping[str, str], option: str, default_s: float) -> float:
    return seconds(options[option], f"'{scheme}:' has {option}=TIME: ") if option in options else default_s


def _is_alias(text: str) -> bool:
    return _ALIAS.fullmatch(text) is not None


def _is_sound(arn: str) -> bool:
    name = arn.split(":", 5)[5]
    return _is_alias(name) or _KEY_ID.fullmatch(name.removeprefix("key/")) is not None
