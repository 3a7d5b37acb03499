"""KMS when it is away, busy, broken or refuses: the class says what helps, one line says more, in time."""

import time
from collections.abc import Callable
from pathlib import Path

import pytest
from kmses import refused, wrapped

from keyfs.core.secret import Secret
from keyfs.errors import InvalidSettings, KeyfsError, KeyServiceUnavailable, MasterKeyUnavailable
from keyfs.master import aws_errors
from keyfs.master.registry import open_key
from keyfs.testing.certificates import Authority
from keyfs.testing.kms_proxy import (
    Change,
    Cut,
    Drip,
    Fault,
    Hang,
    KMSProxy,
    Plain,
    Refusal,
    kms_proxy,
)
from keyfs.testing.kms_servers import KMSServer
from keyfs.testing.kms_uris import with_options
from keyfs.testing.master_contract import CANARY

pytest_plugins = ["aws_fixtures"]
BOUND_S = 13.0  # two attempts of five seconds, and what a slow machine adds
DENIED = (
    "User: arn:aws:sts::123456789012:assumed-role/web/i-1 is not authorized to perform: kms:Decrypt on "
    "resource: SECRET"
)
REFUSALS = [
    (Refusal("ThrottlingException", "Rate exceeded"), KeyServiceUnavailable, "limits the rate of requests"),
    (Refusal("LimitExceededException"), KeyServiceUnavailable, "limits the rate of requests"),
    (Refusal("TooManyRequestsException", status=429), KeyServiceUnavailable, "limits the rate of requests"),
    (Refusal("KMSInternalException", status=500), KeyServiceUnavailable, "(KMSInternalException): try again"),
    (Refusal("InternalFailure", status=500), KeyServiceUnavailable, "(InternalFailure): try again later"),
    (Refusal("DependencyTimeoutException", status=500), KeyServiceUnavailable, "(DependencyTimeout"),
    (Refusal("KeyUnavailableException", status=500), KeyServiceUnavailable, "cannot serve alias/k now"),
    (Refusal("Strange", status=503), KeyServiceUnavailable, "(Strange): try again later"),
    (Plain(b"<html>try again</html>", 502), KeyServiceUnavailable, "(status 502): try again later"),
    (Plain(b"", 500), KeyServiceUnavailable, "(status 500): try again later"),
    (Refusal("DisabledException"), MasterKeyUnavailable, "is disabled: enable it (aws kms enable-key)"),
    (Refusal("KMSInvalidStateException"), MasterKeyUnavailable, "pending deletion"),
    (Refusal("InvalidKeyUsageException"), MasterKeyUnavailable, "is no key that encrypts and decrypts"),
    (Refusal("AccessDeniedException", DENIED), MasterKeyUnavailable, "role/web/i-1 may not kms:Decrypt"),
    (Refusal("AccessDeniedException", "no"), MasterKeyUnavailable, "who logged in may not kms:Decrypt"),
    (Refusal("ExpiredTokenException"), MasterKeyUnavailable, "the session token is expired: get a new one"),
    (Refusal("UnrecognizedClientException"), MasterKeyUnavailable, "the access key is unknown there"),
    (Refusal("InvalidSignatureException"), MasterKeyUnavailable, "or the clock here is wrong"),
    (Refusal("InvalidCiphertextException"), MasterKeyUnavailable, "does not open the wrapped master key"),
    (Refusal("IncorrectKeyException"), MasterKeyUnavailable, "another key's, or another context's"),
    (Refusal("AccessDeniedException", "The ciphertext refers to a customer master key that does not exist"),
     MasterKeyUnavailable, "does not open the wrapped master key"),
    (Refusal("NotFoundException"), MasterKeyUnavailable, "there is no alias/k in KMS at"),
    (Refusal("SomethingNewException", "SECRET"), MasterKeyUnavailable, "Decrypt with alias/k (Something"),
    (Refusal("com.amazonaws#DisabledException"), MasterKeyUnavailable, "is disabled"),
    (Refusal("UnknownOperationException"), InvalidSettings, "but something else answers: check endpoint="),
    (Plain(b"<html>Not Found</html>", 404), InvalidSettings, "but something else answers: check endpoint="),
    (Plain(b"", 301), InvalidSettings, "but something else answers: check endpoint="),
    (Plain(b"<html>Welcome</html>"), MasterKeyUnavailable, "gave no answer of a KMS about alias/k"),
    (Plain(b"{}"), MasterKeyUnavailable, "gave no answer of a KMS about alias/k"),
    (Plain(b'{"Plaintext":7}'), MasterKeyUnavailable, "gave no answer of a KMS: check endpoint="),
    (Plain(b'["Plaintext"]'), MasterKeyUnavailable, "gave no answer of a KMS"),
]  # fmt: skip  # a table


@pytest.fixture
def unwrap(proxy: KMSProxy, moto: KMSServer) -> Callable[[], Secret]:
    """Have the proxy asked to unwrap; the client is made."""
    moto.make("alias/k")
    text = wrapped(proxy.uri("alias/k"))
    key = open_key(proxy.uri("alias/k"))
    key.unwrap(text)
    proxy.calls.clear()
    return lambda: key.unwrap(text)


@pytest.mark.parametrize(
    ("fault", "kind", "words"), REFUSALS, ids=[getattr(r[0], "code", f"{r[0]}") for r in REFUSALS]
)
def test_each_refusal_says_what_helps(
    proxy: KMSProxy, unwrap: Callable[[], Secret], fault: Fault, kind: type[KeyfsError], words: str
) -> None:
    proxy.fail(fault, "Decrypt")
    line = refused(unwrap, kind)
    assert words in line
    assert proxy.url in line
    assert "SECRET" not in line
    proxy.heal()
    assert unwrap().reveal() == CANARY, "the same key works when the fault is over"


@pytest.mark.parametrize("code", ["ThrottlingException", "KMSInternalException"])
def test_what_passes_at_once_is_not_noticed(proxy: KMSProxy, unwrap: Callable[[], Secret], code: str) -> None:
    proxy.fail(Refusal(code, status=500 if "Internal" in code else 400), "Decrypt", times=1)
    assert unwrap().reveal() == CANARY
    assert proxy.calls["Decrypt"] == aws_errors.ATTEMPTS == 2


def test_what_does_not_pass_is_asked_once(proxy: KMSProxy, unwrap: Callable[[], Secret]) -> None:
    proxy.fail(Refusal("DisabledException"))
    refused(unwrap)
    assert proxy.calls == {"Decrypt": 1}


@pytest.mark.parametrize("fault", [Hang(), Drip()], ids=["hang", "drip"])
def test_a_silent_or_slow_kms_is_left_in_time(
    proxy: KMSProxy, unwrap: Callable[[], Secret], fault: Fault, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert aws_errors.ATTEMPTS * aws_errors.WHOLE_WITHIN_S < BOUND_S
    if isinstance(fault, Drip):
        monkeypatch.setattr("keyfs.master.aws_client.WHOLE_WITHIN_S", 0.5)
    proxy.fail(fault, "Decrypt")
    before = time.monotonic()
    assert "does not answer within 3 s: try again later" in refused(unwrap, KeyServiceUnavailable)
    assert time.monotonic() - before < BOUND_S
    assert proxy.calls["Decrypt"] == 2
    proxy.heal()
    assert unwrap().reveal() == CANARY


def test_an_answer_that_stops_half_way_is_left_in_time(proxy: KMSProxy, unwrap: Callable[[], Secret]) -> None:
    proxy.fail(Drip(pause_s=60), "Decrypt")
    assert "does not answer within 3 s" in refused(unwrap, KeyServiceUnavailable)
    assert proxy.calls["Decrypt"] == 2
    proxy.heal()
    proxy.fail(Drip(pause_s=60), "Decrypt", times=1)
    assert unwrap().reveal() == CANARY


@pytest.mark.parametrize("after", [None, 0, 20])
def test_a_connection_that_is_cut(proxy: KMSProxy, unwrap: Callable[[], Secret], after: int | None) -> None:
    proxy.fail(Cut(after), "Decrypt")
    assert "broke off: try again later" in refused(unwrap, KeyServiceUnavailable)
    proxy.heal()
    proxy.fail(Cut(after), "Decrypt", times=1)
    assert unwrap().reveal() == CANARY, "the second attempt is enough"


def test_a_kms_that_went_away_and_came_back(proxy: KMSProxy, unwrap: Callable[[], Secret]) -> None:
    proxy.stop()
    line = refused(unwrap, KeyServiceUnavailable)
    assert f"KMS at {proxy.url} cannot be reached (Connection refused): check region=, endpoint=" in line
    proxy.start()
    assert unwrap().reveal() == CANARY


def test_a_name_that_nobody_knows(aws: None) -> None:
    uri = with_options("awskms:", "https://kms.invalid", {})
    assert "KMS at https://kms.invalid cannot be reached" in refused(
        lambda: wrapped(uri), KeyServiceUnavailable
    )


def test_tls_where_none_is_spoken(moto: KMSServer) -> None:
    uri = with_options("awskms:", moto.url.replace("http:", "https:"), {})
    assert "do not agree on TLS: check endpoint=" in refused(lambda: wrapped(uri), KeyServiceUnavailable)


def test_a_certificate_has_to_be_one_that_is_trusted(
    moto: KMSServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority = Authority(tmp_path)
    moto.make("alias/k")
    with kms_proxy(moto.port, authority.server) as proxy:
        uri = proxy.uri("alias/k")
        line = refused(lambda: wrapped(uri), InvalidSettings)
        assert line == (
            f"the certificate of KMS at {proxy.url} is not accepted: name its authority in AWS_CA_BUNDLE"
        )
        monkeypatch.setenv("AWS_CA_BUNDLE", str(authority.ca))
        assert open_key(uri).unwrap(wrapped(uri)).reveal() == CANARY
        assert proxy.calls == {"Encrypt": 1, "Decrypt": 1}


def test_an_answer_of_another_key_is_refused(proxy: KMSProxy, moto: KMSServer) -> None:
    """A key that is named by id or ARN is compared with the one that KMS says it used."""
    arn = moto.make("alias/k")
    text = wrapped(moto.uri("alias/k"))
    other = moto.make("alias/other")
    proxy.fail(Change(lambda answer: answer | {"KeyId": other}), "Decrypt")
    for name in (arn, arn.rpartition("/")[2]):
        assert "another key's" in refused(lambda name=name: open_key(proxy.uri(name)).unwrap(text))  # type: ignore[misc]  # mypy takes no defaults of lambdas


def test_a_refusal_to_wrap_says_so(proxy: KMSProxy, unwrap: Callable[[], Secret]) -> None:
    proxy.fail(Refusal("DisabledException"), "Encrypt")
    assert "alias/k in KMS at" in refused(lambda: wrapped(proxy.uri("alias/k")))
    for body in (b"{}", b'{"CiphertextBlob":""}'):
        proxy.heal()
        proxy.fail(Plain(body), "Encrypt")
        assert "gave no answer of a KMS" in refused(lambda: wrapped(proxy.uri("alias/k")))


def test_an_absent_key_is_named_with_those_there_are(proxy: KMSProxy, moto: KMSServer) -> None:
    for number in range(12):
        moto.make(f"alias/k{number:02}")
    line = refused(lambda: wrapped(proxy.uri("alias/no")))
    assert line == (
        f"there is no alias/no in KMS at {proxy.url}; there are: "
        + ", ".join(f"alias/k{number:02}" for number in range(10))
        + ", …"
    )
    proxy.fail(Refusal("AccessDeniedException"), "ListAliases")
    assert refused(lambda: wrapped(proxy.uri("alias/no"))) == f"there is no alias/no in KMS at {proxy.url}"


def test_a_key_that_gets_no_alias_does_not_stay(proxy: KMSProxy, moto: KMSServer) -> None:
    proxy.fail(Refusal("AccessDeniedException", DENIED), "CreateAlias")
    assert "may not kms:CreateAlias with alias/k" in refused(open_key(proxy.uri("alias/k")).create)
    keys = moto.client().list_keys()["Keys"]
    states = [moto.client().describe_key(KeyId=key["KeyId"])["KeyMetadata"]["KeyState"] for key in keys]
    assert states == ["PendingDeletion"]


def test_an_alias_that_somebody_makes_meanwhile_is_theirs(proxy: KMSProxy, moto: KMSServer) -> None:
    proxy.fail(Refusal("AlreadyExistsException"), "CreateAlias")
    assert open_key(proxy.uri("alias/k")).create().endswith("is there already and was left as it is")
    assert proxy.calls["ScheduleKeyDeletion"] == 1
    for body in (b"{}", b'{"KeyMetadata":{"KeyId":"1"}}'):
        proxy.heal()
        proxy.fail(Plain(body), "CreateKey")
        assert "gave no answer of a KMS" in refused(open_key(proxy.uri("alias/k")).create)
