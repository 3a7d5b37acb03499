"""What AWS answers, or botocore raises, and what it means for the caller: the one table of these errors.

Codes are those of the API references of KMS (common errors, Encrypt, Decrypt, CreateKey, CreateAlias) and
STS. AWS's own words are not repeated: they may hold a part of what was sent.
"""

import re
from collections.abc import Mapping
from typing import Final
from urllib.parse import urlsplit

from botocore import exceptions
from botocore.parsers import ResponseParserError

from keyfs.errors import InvalidSettings, KeyfsError, KeyServiceUnavailable, MasterKeyUnavailable

CONNECT_WITHIN_S: Final = 2.0
ANSWER_WITHIN_S: Final = 3.0
WHOLE_WITHIN_S: Final = 4.0  # one attempt, to the last byte of the answer
ATTEMPTS: Final = 2
ABSENT: Final = "NotFoundException"
EXISTS: Final = "AlreadyExistsException"
UNOPENED: Final = frozenset({"InvalidCiphertextException", "IncorrectKeyException"})
_TRANSPORT: Final = (exceptions.HTTPClientError, exceptions.ConnectionError)
_MALFORMED: Final = (ResponseParserError, TypeError, LookupError, AttributeError)
FAILURES: Final = (
    exceptions.BotoCoreError,
    exceptions.ClientError,
    OSError,
    ValueError,
    *_MALFORMED,  # botocore's parsers fail so at answers that are not as the API has them
)
_SERVER: Final = 500
_DENIED: Final = "AccessDeniedException"
_LATER: Final = frozenset({
    "ThrottlingException", "Throttling", "ThrottledException", "RequestThrottled", "TooManyRequestsException",
    "RequestThrottledException", "RequestLimitExceeded", "LimitExceededException", "SlowDown",
    "PriorRequestNotComplete", "BandwidthLimitExceeded", "ProvisionedThroughputExceededException",
})  # fmt: skip  # one a line says no more
_BROKEN: Final = frozenset({
    "KMSInternalException", "DependencyTimeoutException", "InternalFailure", "InternalError",
    "InternalServerError", "ServiceUnavailable", "ServiceUnavailableException", "RequestTimeout",
    "RequestTimeoutException", "KeyUnavailableException", "IDPCommunicationError",
})  # fmt: skip  # as above
_TOKEN: Final = "the session token is expired: get a new one, as with aws sso login"  # noqa: S105 - says so
_UNKNOWN: Final = "the access key is unknown there, or its session token is missing: check the credentials"
_SIGNED: Final = "the secret access key is not that of the access key, or the clock here is wrong"
_LOGIN: Final[Mapping[str, str]] = {
    "ExpiredTokenException": _TOKEN,
    "ExpiredToken": _TOKEN,
    "UnrecognizedClientException": _UNKNOWN,
    "InvalidClientTokenId": _UNKNOWN,
    "MissingAuthenticationToken": _UNKNOWN,
    "MissingAuthenticationTokenException": _UNKNOWN,
    "AuthFailure": _UNKNOWN,
    "InvalidSignatureException": _SIGNED,
    "SignatureDoesNotMatch": _SIGNED,
    "IncompleteSignature": _SIGNED,
    "IncompleteSignatureException": _SIGNED,
    "RequestExpired": "the request is too old when it arrives: set the clock here",
    "NotAuthorized": "the account may not use it",
    "OptInRequired": "the account has not subscribed to it: enable the region in the account",
}
_OF_KEY: Final[Mapping[str, str]] = {
    "DisabledException": "is disabled: enable it (aws kms enable-key), or name another one",
    "KMSInvalidStateException": "cannot be used as it is, pending deletion, or without its material: cancel "
    "that (aws kms cancel-key-deletion, aws kms enable-key), or name another one",
    "InvalidKeyUsageException": "is no key that encrypts and decrypts: name another one",
    "UnsupportedOperationException": "is no symmetric key: name another one",
    "InvalidArnException": "is no name of a key there: correct it",
    "CustomKeyStoreInvalidStateException": "is in a custom key store that is not connected: connect it",
    EXISTS: "is there already",
}
_OTHERS: Final[tuple[tuple[tuple[type[Exception], ...], type[KeyfsError], str], ...]] = (
    (
        (exceptions.NoCredentialsError,),
        InvalidSettings,
        "there are no AWS credentials for {where}: give credentials=PATH, profile=NAME, the variables "
        "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or the machine a role",
    ),
    (
        (exceptions.PartialCredentialsError,),
        InvalidSettings,
        "the AWS credentials for {where} are incomplete: both an access key and its secret are needed",
    ),
    (
        (exceptions.ProfileNotFound,),
        InvalidSettings,
        "the AWS profile for {where} is not there: correct profile= or AWS_PROFILE, or see the files that "
        "AWS_CONFIG_FILE and AWS_SHARED_CREDENTIALS_FILE name",
    ),
    (
        (exceptions.NoRegionError,),
        InvalidSettings,
        "no region of AWS is given: add region=, or set AWS_REGION, or the region of a profile",
    ),
    (
        (
            exceptions.SSOError,
            exceptions.LoginError,
            exceptions.TokenRetrievalError,
            exceptions.NoAuthTokenError,
        ),
        MasterKeyUnavailable,
        "the login for {where} has ended: run aws sso login, or aws login",
    ),
    (
        (exceptions.CredentialRetrievalError, exceptions.MetadataRetrievalError),
        KeyServiceUnavailable,
        "the credentials for {where} cannot be fetched: try again later, or check the profile",
    ),
    (
        _MALFORMED,
        MasterKeyUnavailable,
        "{where} gave no answer of a KMS: check endpoint=",
    ),
)
_PRINCIPAL: Final = re.compile(r"arn:aws[a-z-]*:(?:iam|sts)::[0-9]{12}:[\w+=,.@/-]{1,200}", re.ASCII)
_CODE: Final = re.compile(r"[A-Za-z][A-Za-z.]{2,79}")
_REASON: Final = re.compile(r"\[Errno -?[0-9]+\] ([A-Za-z ,'-]{1,80})")
OPERATIONS: Final = frozenset({
    "Encrypt", "Decrypt", "ListAliases", "CreateKey", "CreateAlias", "ScheduleKeyDeletion",
})  # fmt: skip  # as above
"""What keyfs asks of KMS; every other operation is botocore's, to log in."""


def code_of(exc: Exception) -> str:
    """AWS's code of a refusal; empty for any other failure.

    A Decrypt that AWS cannot relate to a key counts as one of `UNOPENED`: for it AWS has the code of denied
    access, with other words.
    """
    if not isinstance(exc, exceptions.ClientError):
        return ""
    error = exc.response.get("Error", {})
    code, said = str(error.get("Code", "")), str(error.get("Message") or "")
    if code == _DENIED and exc.operation_name == "Decrypt" and (not said or "ciphertext refers to" in said):
        return "IncorrectKeyException"
    return code


def is_of_login(exc: Exception) -> bool:
    """Whether *exc* says something about our credentials or settings, which may be others by now."""
    if isinstance(exc, exceptions.ClientError):
        return exc.operation_name not in OPERATIONS or code_of(exc) in _LOGIN
    return not isinstance(exc, _TRANSPORT)


def as_keyfs_error(exc: Exception, key: str, where: str) -> KeyfsError:
    """The error for what botocore raised; one line.

    Args:
        exc: one of `FAILURES`.
        key: the KeyId that was asked for.
        where: the KMS, in words.
    """
    if isinstance(exc, exceptions.ClientError):
        return _refusal(exc, key, where)
    if isinstance(exc, _TRANSPORT):
        return _outage(exc, _asked(exc, where))
    return _other(exc, where)


def _refusal(exc: exceptions.ClientError, key: str, where: str) -> KeyfsError:
    code, status = code_of(exc), _status_of(exc)
    shown = code if _CODE.fullmatch(code) else f"status {status}"
    if code in _LATER:
        return KeyServiceUnavailable(f"{where} limits the rate of requests ({code}): try again later")
    if code in _BROKEN or status >= _SERVER:
        return KeyServiceUnavailable(f"{where} cannot serve {key} now ({shown}): try again later")
    if code in _LOGIN:
        return MasterKeyUnavailable(f"{where} refuses the login ({code}): {_LOGIN[code]}")
    if exc.operation_name not in OPERATIONS:
        return MasterKeyUnavailable(
            f"cannot log in to use {where}: AWS refuses {exc.operation_name} ({shown}); check the role and "
            f"whom it trusts"
        )
    if shown != code or code == "UnknownOperationException":
        return InvalidSettings(f"no {where}, but something else answers: check endpoint= and region=")
    return MasterKeyUnavailable(_of_key(exc, code, key, where))


def _of_key(exc: exceptions.ClientError, code: str, key: str, where: str) -> str:
    if code == _DENIED:
        who = _PRINCIPAL.search(str(exc.response["Error"].get("Message") or ""))
        principal = who[0] if who else "who logged in"
        return (
            f"{principal} may not kms:{exc.operation_name} with {key} in {where}: allow it in the policy of "
            f"the key or the role"
        )
    if code in _OF_KEY:
        return f"{key} in {where} {_OF_KEY[code]}"
    return f"{where} refuses {exc.operation_name} with {key} ({code})"


def _asked(exc: exceptions.BotoCoreError, where: str) -> str:
    """Who did not answer, in words: the KMS, or a service that was asked for credentials."""
    parts = urlsplit(str(exc.kwargs.get("endpoint_url", "")))
    host = f"{parts.scheme}://{parts.netloc}"
    return (
        where if not parts.netloc or f" {host}/" in f"{where}/" else f"{host}, asked to log in for {where},"
    )


def _outage(exc: exceptions.BotoCoreError, where: str) -> KeyfsError:
    if isinstance(exc, exceptions.SSLError):
        return _tls_error(exc, where)
    if isinstance(exc, exceptions.ConnectTimeoutError | exceptions.ReadTimeoutError):
        within = CONNECT_WITHIN_S if isinstance(exc, exceptions.ConnectTimeoutError) else ANSWER_WITHIN_S
        return KeyServiceUnavailable(f"{where} does not answer within {within:g} s: try again later")
    if isinstance(exc, exceptions.EndpointConnectionError | exceptions.ProxyConnectionError):
        found = _REASON.search(str(exc.kwargs.get("error", "")))
        reason = f" ({found[1].strip()})" if found else ""
        way = "the proxy to " if isinstance(exc, exceptions.ProxyConnectionError) else ""
        return KeyServiceUnavailable(
            f"{way}{where} cannot be reached{reason}: check region=, endpoint= and the network"
        )
    return KeyServiceUnavailable(f"{where} broke off: try again later")


def _tls_error(exc: Exception, where: str) -> KeyfsError:
    if "CERTIFICATE_VERIFY_FAILED" in str(exc):
        return InvalidSettings(
            f"the certificate of {where} is not accepted: name its authority in AWS_CA_BUNDLE"
        )
    return KeyServiceUnavailable(f"{where} and keyfs do not agree on TLS: check endpoint=")


def _other(exc: Exception, where: str) -> KeyfsError:
    for types, kind, text in _OTHERS:
        if isinstance(exc, types):
            return kind(text.format(where=where))
    if isinstance(exc, OSError) and exc.strerror:
        return InvalidSettings(
            f"a file that the AWS settings for {where} name cannot be read ({exc.strerror}): check "
            f"AWS_WEB_IDENTITY_TOKEN_FILE, AWS_CA_BUNDLE and the profile"
        )
    return InvalidSettings(
        f"{where} cannot be asked ({type(exc).__name__}): check region=, endpoint= and the profile"
    )


def _status_of(exc: exceptions.ClientError) -> int:
    return int(exc.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
