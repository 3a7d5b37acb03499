"""What Vault answers, and what each answer, or none, means for the caller: the one table of its errors.

Follows the public HTTP API (api-docs: status codes, `errors`). Of Vault's words only those that are listed
here are repeated; others may hold a part of what was sent.
"""

import ssl
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import hvac.exceptions
import requests

from keyfs.errors import InvalidSettings, KeyfsError, KeyServiceUnavailable

CONNECT_WITHIN_S: Final = 2.0
ANSWER_WITHIN_S: Final = 3.0
OK: Final = (200, 204)
BAD_REQUEST: Final = 400
FORBIDDEN: Final = 403
NOT_FOUND: Final = 404
NO_ROUTE: Final = "no handler for route"
DAMAGED: Final = "message authentication failed"
FAILURES: Final = (requests.RequestException, hvac.exceptions.VaultError, OSError, ValueError)
_BROKEN_OFF: Final = (ssl.SSLEOFError, ConnectionResetError, BrokenPipeError)
_LATER: Final = {408, 412, 429}  # besides 3xx and 5xx: time-out, a standby behind, rate limit
_LIMITED: Final = 429
_REDIRECTS: Final = range(300, 400)
_SERVER: Final = 500
# The phrases of Vault that help an operator.
_PHRASES: Final = (
    NO_ROUTE,
    DAMAGED,
    "Vault is sealed",
    "Vault is not initialized",
    "permission denied",
    "missing client token",
    "invalid role or secret ID",
    "invalid role ID",
    "invalid secret id",
    "invalid role name",
    "service account name not authorized",
    "namespace not authorized",
    "unsupported operation",
    "unsupported path",
    "encryption key not found",
    "invalid ciphertext",
    "disallowed by policy (too old)",
    "version is too old",
    "missing 'context' for key derivation",
    "key type",
    "quota exceeded",
)


@dataclass(frozen=True, slots=True)
class Answer:
    """What Vault said, short of an outage. Its repr shows the status only."""

    status: int
    document: Mapping[str, Any] = field(repr=False)
    said: tuple[str, ...] = ()  # phrases out of `_PHRASES`

    @property
    def is_ok(self) -> bool:
        """Whether Vault did what it was asked."""
        return self.status in OK

    @property
    def quoted(self) -> str:
        """What Vault said, in brackets, to stand behind a status."""
        return f" ({self.said[0]})" if self.said else ""

    def data(self) -> Mapping[str, Any]:
        """The member `data`; empty if there is none, or it is no object."""
        data = self.document.get("data")
        return data if isinstance(data, dict) else {}


class NotVault(ValueError):
    """An answer that is none of Vault's."""


def read(response: requests.Response) -> Answer:
    """What *response* says.

    Raises:
        NotVault: it says nothing in Vault's form, and no proxy in front of Vault would say it.
    """
    document: object = {}
    if response.content and response.status_code not in _REDIRECTS:
        try:
            document = response.json()
        except (ValueError, RecursionError):
            document = None
    if not isinstance(document, dict):
        if response.status_code >= _SERVER or response.status_code in _LATER:
            document = {}  # a proxy in front of Vault
        else:
            raise NotVault
    errors = document.get("errors")
    text = "\n".join(str(line) for line in errors) if isinstance(errors, list) else ""
    return Answer(response.status_code, document, tuple(phrase for phrase in _PHRASES if phrase in text))


def outage(answer: Answer, where: str) -> KeyfsError | None:
    """The error for an *answer* that means later, or elsewhere; None for any other.

    Args:
        answer: of Vault.
        where: the server, in words.
    """
    # Vault 1.5 to 1.7 says 500 to a damaged ciphertext; that never gets better. (hashicorp/vault#10842)
    is_later = answer.status >= _SERVER or answer.status in _LATER
    if answer.status in _REDIRECTS:
        return KeyServiceUnavailable(
            f"{where} redirects to another address, where keyfs does not send a token: name that one "
            f"with address="
        )
    if not is_later or DAMAGED in answer.said:
        return None
    if "Vault is sealed" in answer.said:
        return KeyServiceUnavailable(f"{where} is sealed: run: vault operator unseal")
    if answer.status == _LIMITED:
        return KeyServiceUnavailable(f"{where} limits the rate of requests: try again later")
    return KeyServiceUnavailable(f"{where} answers {answer.status}{answer.quoted}: try again later")


def as_keyfs_error(exc: Exception, where: str) -> KeyfsError:
    """The error for what requests or hvac raised.

    Args:
        exc: nothing of its text is repeated but what the system or the TLS library says.
        where: the server, in words.
    """
    if isinstance(exc, requests.Timeout):
        return KeyServiceUnavailable(f"{where} does not answer within {ANSWER_WITHIN_S:g} s")
    behind = list(_chain(exc))
    for error in behind:
        if isinstance(error, ssl.SSLError) and not isinstance(error, ssl.SSLEOFError):
            return _tls_error(error, where)
    if any(isinstance(error, _BROKEN_OFF) for error in behind) and "https:" in where:
        # As a server does that wants a certificate and gets none: its alert is lost with the connection.
        return KeyServiceUnavailable(
            f"{where} broke off; if it wants a client certificate, name it with tls_cert="
        )
    if isinstance(exc, requests.ConnectionError | requests.exceptions.ChunkedEncodingError):
        reasons = [error.strerror for error in behind if isinstance(error, OSError) and error.strerror]
        reason = f" ({reasons[-1]})" if reasons else ""
        return KeyServiceUnavailable(f"{where} cannot be reached{reason}")
    if isinstance(exc, NotVault):
        return InvalidSettings(f"no {where}, but something else answers: check address=, http and https too")
    return InvalidSettings(
        f"{where} cannot be asked ({type(exc).__name__}): check address=, namespace= and tls_*="
    )


def _tls_error(error: ssl.SSLError, where: str) -> InvalidSettings:
    if isinstance(error, ssl.SSLCertVerificationError):
        return InvalidSettings(
            f"the certificate of {where} is not accepted ({error.verify_message.rstrip('.')}): name "
            f"its authority with tls_ca=, or the name it has with tls_sni="
        )
    return InvalidSettings(
        f"{where} and keyfs do not agree on TLS ({error.reason or 'unreadable certificate file'}): "
        f"check address=, tls_ca=, tls_cert= and tls_key="
    )


def _chain(exc: BaseException) -> Iterator[BaseException]:
    """*exc* and the exceptions inside: requests wraps urllib3's, which wraps the one that tells why."""
    yield exc
    inner = (*exc.args, getattr(exc, "reason", None), exc.__cause__)
    for error in inner:
        if isinstance(error, BaseException) and error is not exc:
            yield from _chain(error)
