"""One client of AWS KMS, by boto3: made once, on first use, with time-outs and errors of our own.

Signed requests travel in TLS, or stay on this machine. None of botocore's exceptions leaves: they hold
answers, and their frames hold request bodies. For the same reason our own errors are raised outside
`except` blocks.
"""

import logging
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final

import boto3.session
import botocore.session
import urllib3.exceptions
from botocore.awsrequest import AWSResponse
from botocore.config import Config
from botocore.exceptions import ConnectionClosedError, ReadTimeoutError

from keyfs.errors import KeyfsError, MasterKeyUnavailable
from keyfs.master import aws_errors
from keyfs.master.aws_errors import ANSWER_WITHIN_S, ATTEMPTS, CONNECT_WITHIN_S, WHOLE_WITHIN_S
from keyfs.master.aws_login import AccessKey, read_access_key
from keyfs.master.aws_settings import ALIAS, AwsSettings, checked_endpoint, is_here

Client = Any  # botocore ships no types
Call = Callable[[Client], dict[str, Any]]
"""One request, given the client. Not a functools.partial: its repr shows the arguments."""

THREADS_MAX: Final = 32  # connections that are kept: more calls at a time than keyfs makes
_LISTED_MAX: Final = 10
_READ_SIZE: Final = 1 << 16
_OWN_ALIASES: Final = "alias/aws/"


@dataclass(frozen=True, slots=True)
class Answer:
    """What KMS said, short of a failure. Its repr shows a code only."""

    code: str  # empty: it did what it was asked
    data: dict[str, Any] = field(default_factory=dict, repr=False)


class KMS:
    """Asks one KMS. Safe for threads."""

    def __init__(self, settings: AwsSettings) -> None:
        self._settings = settings
        self._client: Client = None
        self._owner = 0  # a forked child must not talk on its parent's connections
        self._lock = threading.Lock()

    @property
    def where(self) -> str:
        """The KMS in words."""
        client = self._client
        url = self._settings.endpoint if client is None else client.meta.endpoint_url
        region = f" in {self._settings.region}" if self._settings.region else ""
        return f"KMS at {url}" if url else f"AWS KMS{region}"

    def ask(self, key: str, call: Call, *expected: str) -> Answer:
        """The answer to one request about *key*, refusals with an *expected* code included.

        Raises:
            MasterKeyUnavailable: KMS or the login refuses.
            KeyServiceUnavailable: no answer in time, or one that says later.
            InvalidSettings, InsecurePermissions: region, credentials or endpoint are missing or wrong.
        """
        try:
            return Answer("", call(self._connected()))
        except aws_errors.FAILURES as exc:
            code = aws_errors.code_of(exc)
            if aws_errors.is_of_login(exc):
                self.forget()  # what it remembers is no good; files and roles may have changed
            failure = aws_errors.as_keyfs_error(exc, key, self.where)
        if code in expected:
            return Answer(code)
        raise failure

    def forget(self) -> None:
        """Make a new client for the next request: credentials and profiles are read again."""
        self._client = None

    def aliases(self) -> list[str]:
        """The names of all aliases that are not AWS's own, in order.

        Raises:
            MasterKeyUnavailable, KeyServiceUnavailable, InvalidSettings, InsecurePermissions: as `ask`.
        """
        names = self.ask("the list of aliases", lambda client: {"names": list(_alias_names(client))})
        return sorted(name for name in names.data["names"] if not name.startswith(_OWN_ALIASES))

    def absent(self, key: str) -> MasterKeyUnavailable:
        """The error for a key that is not there; it names others, if we may know them."""
        names: list[str] = []
        with suppress(KeyfsError):
            names = self.aliases()
        more = ", …" if len(names) > _LISTED_MAX else ""
        known = f"; there are: {', '.join(names[:_LISTED_MAX])}{more}" if names else ""
        return MasterKeyUnavailable(f"there is no {key} in {self.where}{known}")

    def odd(self, key: str) -> MasterKeyUnavailable:
        """The error for an answer that is none of KMS's."""
        return MasterKeyUnavailable(f"{self.where} gave no answer of a KMS about {key}: check endpoint=")

    def _connected(self) -> Client:
        with self._lock:
            client = self._client  # which another thread may let go of at any time
            if client is None or self._owner != os.getpid():
                client = connect(self._settings)
                self._client, self._owner = client, os.getpid()
            return client


def connect(settings: AwsSettings) -> Client:
    """A client; made without asking KMS, though a role may be asked of other services.

    Raises:
        MasterKeyUnavailable, InsecurePermissions, InvalidSettings: as `read_access_key`; or the endpoint that
            AWS's own settings name is not to be trusted with keys.
    """
    _quiet()
    access_key = read_access_key(settings.credentials) if settings.credentials else None
    session = botocore.session.Session(profile=settings.profile)
    # The default is for the clients that botocore makes by itself, too, to assume roles.
    session.set_default_client_config(
        Config(
            connect_timeout=CONNECT_WITHIN_S,
            read_timeout=ANSWER_WITHIN_S,
            retries={"mode": "standard", "total_max_attempts": ATTEMPTS},
            max_pool_connections=THREADS_MAX,
        )
    )
    named = settings.endpoint or (access_key.endpoint if access_key else None)
    client = _client(session, settings, access_key, named)
    url = checked_endpoint(client.meta.endpoint_url)
    if named is None and is_here(url):
        client = _client(session, settings, access_key, url)
    # Privately kept, but there is no other way to bound a whole answer: a body may drip for ever.
    sender = client._endpoint.http_session  # noqa: SLF001 - see above
    client.meta.events.register("before-send.kms", _InTime(sender))
    return client


def _client(
    session: Any,  # noqa: ANN401 - botocore ships no types
    settings: AwsSettings,
    access_key: AccessKey | None,
    endpoint: str | None,
) -> Client:
    region = settings.region or (access_key.region if access_key else None)
    region = region or session.get_config_variable("region") or os.environ.get("AWS_REGION")
    # What is on this machine is asked directly: a proxy could read it.
    direct = Config(proxies={}) if endpoint is not None and is_here(endpoint) else None
    return boto3.session.Session(botocore_session=session).client(
        "kms",
        region_name=region,
        endpoint_url=endpoint,
        aws_access_key_id=access_key.access_key_id if access_key else None,
        aws_secret_access_key=access_key.secret_access_key if access_key else None,
        config=direct,
    )


class _InTime:
    """Sends a request in botocore's place, and reads the whole answer or gives up at its deadline."""

    def __init__(self, sender: Any) -> None:  # noqa: ANN401 - botocore ships no types
        self._sender = sender

    def __call__(self, request: Any, **_: object) -> AWSResponse:  # noqa: ANN401 - as above
        deadline = time.monotonic() + WHOLE_WITHIN_S
        request.stream_output = True
        answer = self._sender.send(request)
        try:
            body = _read(answer.raw, deadline, request.url)
        except urllib3.exceptions.HTTPError as exc:
            answer.raw.close()
            is_late = isinstance(exc, urllib3.exceptions.ReadTimeoutError)
            raise (ReadTimeoutError if is_late else ConnectionClosedError)(endpoint_url=request.url) from exc
        except BaseException:
            answer.raw.close()
            raise
        answer.raw.release_conn()
        length = answer.headers.get("Content-Length", str(len(body)))
        if length != str(len(body)):
            raise ConnectionClosedError(endpoint_url=request.url)
        return AWSResponse(request.url, answer.status_code, answer.headers, _Body(body))


class _Body:
    """An answer that was read already, as AWSResponse wants it."""

    def __init__(self, body: bytes) -> None:
        self._body = body

    def stream(self) -> list[bytes]:
        """All of it."""
        return [self._body]


def _read(raw: Any, deadline: float, url: str) -> bytes:  # noqa: ANN401 - urllib3's, through botocore
    parts = []
    while part := raw.read1(_READ_SIZE):
        parts.append(part)
        if time.monotonic() > deadline:
            raise ReadTimeoutError(endpoint_url=url)
    return b"".join(parts)


def _alias_names(client: Client) -> Iterator[str]:
    for page in client.get_paginator("list_aliases").paginate():
        for alias in page.get("Aliases", ()):
            name = str(alias.get("AliasName", ""))
            if name.startswith(ALIAS) and name.isprintable():
                yield name


def _quiet() -> None:
    """At debug level botocore logs requests and answers, keys included. What it warns of stays audible."""
    for name in ("botocore", "urllib3"):
        logger = logging.getLogger(name)
        logger.setLevel(max(logger.level, logging.WARNING))
