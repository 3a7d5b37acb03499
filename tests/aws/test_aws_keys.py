"""Wrapping at real servers: contexts, other keys, keys that may not be used, damage, restarts; traces."""

import base64 as b64
import logging
import traceback
from collections.abc import Iterator
from pathlib import Path

import pytest
from kmses import log_everything, refused, wrapped

from keyfs.core.secret import Secret
from keyfs.errors import InvalidMaterial, InvalidSettings, KeyfsError, KeyServiceUnavailable
from keyfs.master import aws_client
from keyfs.master.aws_settings import AwsSettings
from keyfs.master.registry import open_key, open_provider
from keyfs.testing import canary
from keyfs.testing.kms_proxy import KMSProxy, Plain, Refusal
from keyfs.testing.kms_servers import KMSServer, ministack_server
from keyfs.testing.kms_uris import SECRET_ACCESS_KEY
from keyfs.testing.master_contract import CANARY, V2_DOCUMENT, assert_no_secret, base64

pytest_plugins = ["aws_fixtures"]
ANOTHER = "is damaged, or another key's, or another context's"


@pytest.fixture
def text(kms: KMSServer) -> bytes:
    """A wrapped key."""
    kms.make("alias/acra_master_key")
    return wrapped(kms.uri())


# --- contexts ---


def test_the_context_has_to_be_the_one_it_was_wrapped_with(kms: KMSServer, text: bytes) -> None:
    of_store = {"context.store": "a", "context.team": "b"}
    bound = wrapped(kms.uri(**of_store))
    assert open_key(kms.uri(**of_store)).unwrap(bound).reveal() == CANARY
    for other in (
        {},
        {"context.store": "a"},
        of_store | {"context.team": "c"},
        of_store | {"context.x": "y"},
    ):
        assert ANOTHER in refused(lambda other=other: open_key(kms.uri(**other)).unwrap(bound))  # type: ignore[misc]  # mypy takes no defaults of lambdas
    assert ANOTHER in refused(lambda: open_key(kms.uri(**of_store)).unwrap(text))
    opened = kms.client().decrypt(
        CiphertextBlob=b64.b64decode(bound),
        KeyId="alias/acra_master_key",
        EncryptionContext={"store": "a", "team": "b"},
    )
    assert opened["Plaintext"] == CANARY


# --- what does not open ---


def test_what_another_key_wrapped_does_not_open(moto: KMSServer) -> None:
    """At moto; ministack opens it to something else."""
    moto.make("alias/acra_master_key")
    arn = moto.make("alias/other")
    text = wrapped(moto.uri())
    for name in ("alias/other", arn, arn.rpartition("/")[2]):
        assert ANOTHER in refused(lambda name=name: open_key(moto.uri(name)).unwrap(text))  # type: ignore[misc]  # mypy takes no defaults of lambdas


@pytest.mark.parametrize("at", [0, 36, 60, -1])
def test_a_flipped_bit_is_found(moto: KMSServer, at: int) -> None:
    """At moto: in the key's id, the nonce, the tag and the ciphertext. Ministack finds only some."""
    moto.make("alias/acra_master_key")
    blob = bytearray(b64.b64decode(wrapped(moto.uri())))
    blob[at] ^= 1
    assert ANOTHER in refused(lambda: open_key(moto.uri()).unwrap(base64(bytes(blob))))


@pytest.mark.parametrize("cut", [1, 2, 3, 5, 41])
def test_truncated_base64_says_so(kms: KMSServer, text: bytes, cut: int) -> None:
    shorter = text.rstrip(b"=")[:-cut]
    if len(shorter) % 4 == 0:  # whole groups: it is base64 of something shorter
        shorter = shorter[:-1]
    line = refused(lambda: open_key(kms.uri()).unwrap(shorter))
    assert line.startswith("the wrapped master key is cut off or damaged: it is base64, with padding")


@pytest.mark.parametrize("text", [b"", b"\n", base64(b"x" * 28), base64(b"x" * 6145), b"\xff" * 28])
def test_what_is_no_ciphertext_is_asked_of_nobody(aws: None, text: bytes) -> None:
    line = refused(lambda: open_key("awskms:?region=eu-west-1&endpoint=http://127.0.0.1:1").unwrap(text))
    assert "is cut off, or none of KMS's" in line


@pytest.mark.parametrize("text", [b"\xff" * 29, base64(b"x" * 6144)], ids=["least", "most"])
def test_what_may_be_a_ciphertext_is_asked(proxy: KMSProxy, moto: KMSServer, text: bytes) -> None:
    moto.make("alias/k")
    assert ANOTHER in refused(lambda: open_key(proxy.uri("alias/k")).unwrap(text))
    assert proxy.calls == {"Decrypt": 1}


@pytest.mark.parametrize(
    ("layout", "material", "words"),
    [
        ("v1", V2_DOCUMENT, "is a v2 master key (JSON), but the key store has layout v1"),
        ("v2", CANARY, "which a v2 key store needs; a v1 key does not do"),
        ("v2", b'{"encryption":"%b","signature":"%b"}' % ((base64(CANARY),) * 2), "has equal encryption"),
    ],
)  # fmt: skip  # a table
def test_a_key_of_the_other_layout_is_refused(
    kms: KMSServer, tmp_path: Path, layout: str, material: bytes, words: str
) -> None:
    kms.make("alias/acra_master_key")
    path = tmp_path / "wrapped"
    path.write_bytes(wrapped(kms.uri(), material))
    line = refused(open_provider(kms.uri(**{"from": f"file:{path}"}), layout).fetch)
    assert words in line
    assert f"the wrapped master key in file {path}" in line


# --- what is not wrapped ---


@pytest.mark.parametrize("size", [0, 4097])
def test_what_kms_would_not_take_is_asked_of_nobody(aws: None, size: int) -> None:
    uri = "awskms:?region=eu-west-1&endpoint=http://127.0.0.1:1"
    line = refused(lambda: wrapped(uri, bytes(size)), InvalidMaterial)
    assert line == f"KMS wraps 1 to 4096 bytes, not {size}"


def test_as_much_as_kms_takes(kms: KMSServer) -> None:
    kms.make("alias/acra_master_key")
    longest = bytes(range(256)) * 16
    assert open_key(kms.uri()).unwrap(wrapped(kms.uri(), longest)).reveal() == longest


@pytest.mark.parametrize(
    "name", ["1234abcd-12ab-34cd-56ef-1234567890ab", "arn:aws:kms:eu-west-1:123456789012:alias/a"]
)
def test_only_an_alias_can_be_made(aws: None, name: str) -> None:
    key = open_key(f"awskms:{name}?endpoint=http://127.0.0.1:1")
    assert "only a key with an alias can be made" in refused(key.create, InvalidSettings)


# --- keys that may not be used ---


def test_a_disabled_key_says_so_and_works_again(ministack: KMSServer) -> None:
    """At ministack; moto uses it all the same."""
    arn = ministack.make("alias/acra_master_key")
    text, key = wrapped(ministack.uri()), open_key(ministack.uri())
    ministack.client().disable_key(KeyId=arn)
    assert "is disabled: enable it (aws kms enable-key)" in refused(lambda: key.unwrap(text))
    assert "is disabled: enable it (aws kms enable-key)" in refused(lambda: wrapped(ministack.uri()))
    ministack.client().enable_key(KeyId=arn)
    assert key.unwrap(text).reveal() == CANARY
    ministack.client().schedule_key_deletion(KeyId=arn, PendingWindowInDays=7)
    assert "pending deletion" in refused(lambda: key.unwrap(text))


def test_absent_keys_are_named_with_those_there_are(kms: KMSServer) -> None:
    kms.make("alias/one")
    kms.make("alias/two")
    line = refused(lambda: wrapped(kms.uri()))
    assert line == f"there is no alias/acra_master_key in KMS at {kms.url}; there are: alias/one, alias/two"


def test_a_kms_that_was_restarted_opens_what_it_wrapped(
    aws: None, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Ministack saves what it has; moto forgets it, and then there is no such key."""
    with ministack_server(tmp_path_factory.mktemp("restarted")) as server:
        key = open_key(server.uri())
        key.create()
        text = key.wrap(Secret(CANARY))
        server.stop()
        line = refused(lambda: key.unwrap(text), KeyServiceUnavailable)
        assert "cannot be reached (Connection refused)" in line
        server.start()
        assert key.unwrap(text).reveal() == CANARY


def test_a_kms_that_forgot_its_keys_says_so(moto: KMSServer) -> None:
    moto.make("alias/acra_master_key")
    text = wrapped(moto.uri())
    moto.forget()
    assert "there is no alias/acra_master_key in" in refused(lambda: open_key(moto.uri()).unwrap(text))
    moto.make("alias/acra_master_key")
    assert ANOTHER in refused(lambda: open_key(moto.uri()).unwrap(text)), "another key of the same name"


# --- traces ---


@pytest.fixture
def loud(caplog: pytest.LogCaptureFixture) -> Iterator[pytest.LogCaptureFixture]:
    """All loggers at debug, as somebody may set them who looks for a fault."""
    names = ("botocore", "urllib3")
    before = {name: logging.getLogger(name).level for name in names}
    log_everything(caplog)
    for name in names:
        logging.getLogger(name).setLevel(logging.DEBUG)
    yield caplog
    for name, level in before.items():
        logging.getLogger(name).setLevel(level)


def test_no_log_shows_a_key(proxy: KMSProxy, moto: KMSServer, loud: pytest.LogCaptureFixture) -> None:
    moto.make("alias/k")
    moto.client().encrypt(KeyId="alias/k", Plaintext=b"0123456789abcdef")
    assert "MDEyMzQ1Njc4OWFiY2RlZg" in loud.text, "the library does log what it sends"
    loud.clear()
    key = open_key(proxy.uri("alias/k"))
    text = key.wrap(Secret(CANARY))
    key.unwrap(text)
    proxy.fail(Refusal("DisabledException"))
    refused(lambda: key.unwrap(text))
    proxy.stop()
    refused(lambda: key.unwrap(text), KeyServiceUnavailable)
    assert_no_secret(loud.text)
    assert SECRET_ACCESS_KEY not in loud.text


def test_a_refused_canary_leaves_no_trace(proxy: KMSProxy, moto: KMSServer) -> None:
    """Encrypt has the key in its request, a changed answer has it beside what is missing."""
    moto.make("alias/k")
    for fault in (Refusal("AccessDeniedException", "no"), Plain(base64(canary.MASTER_KEY), 400)):
        proxy.fail(fault, "Encrypt")
        with pytest.raises(KeyfsError) as caught:
            wrapped(proxy.uri("alias/k"), canary.MASTER_KEY)
        seen = traceback.TracebackException.from_exception(caught.value, capture_locals=True)
        held = [frame.locals for frame in seen.stack if "/keyfs/master/" in frame.filename]
        assert len(held) > 1
        assert not canary.found_in(f"{caught.value} {held}")
        proxy.heal()


def test_the_plaintext_is_wiped_behind_the_call(moto: KMSServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """What botocore was given to encrypt, and what it gave back decrypted, as far as it is ours to wipe."""
    moto.make("alias/k")
    seen: list[object] = []
    key = open_key(moto.uri("alias/k"))
    connect = aws_client.connect

    def watched(settings: AwsSettings) -> object:
        client = connect(settings)
        client.meta.events.register(
            "before-parameter-build.kms", lambda params, **_: seen.append(params.get("Plaintext"))
        )
        return client

    monkeypatch.setattr(aws_client, "connect", watched)
    text = key.wrap(Secret(CANARY))
    assert seen == [bytearray(len(CANARY))]
    assert key.unwrap(text).reveal() == CANARY


def test_a_forked_child_makes_a_client_of_its_own(moto: KMSServer, monkeypatch: pytest.MonkeyPatch) -> None:
    moto.make("alias/k")
    made: list[object] = []
    connect = aws_client.connect

    def counted(settings: AwsSettings) -> object:
        made.append(settings)
        return connect(settings)

    monkeypatch.setattr(aws_client, "connect", counted)
    key = open_key(moto.uri("alias/k"))
    assert not made, "opening asks nobody"
    key.unwrap(key.wrap(Secret(CANARY)))
    assert len(made) == 1
    monkeypatch.setattr("os.getpid", lambda: -1)
    key.wrap(Secret(CANARY))
    assert len(made) == 2
