"""What an import of an own purpose has to be, what becomes of its newline, and what is generated."""

import base64
import struct
from datetime import UTC, datetime

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed25519, rsa
from hypothesis import given
from hypothesis import strategies as st

from keyfs.broker.material import check_read, demand_generator, generate, new_staged_write, normalise
from keyfs.core.names import Half
from keyfs.core.purposes import Purpose
from keyfs.core.secret import Secret
from keyfs.core.staging import SIZE_LIMIT
from keyfs.errors import InvalidMaterial, OperationRefused
from keyfs.testing.own import declared

CURVE_KEY = ec.generate_private_key(ec.SECP256R1())


def purpose_of(**said: object) -> Purpose:
    lines = (f"{key} = {value!r}".replace("'", '"') for key, value in said.items())
    [purpose] = declared("[purpose.x]\n" + "\n".join(lines))
    return purpose


def imported(purpose: Purpose, data: bytes) -> bytes:
    return normalise(purpose, data).reveal()


def refused(purpose: Purpose, data: bytes) -> str:
    with pytest.raises(InvalidMaterial) as caught:
        normalise(purpose, data)
    message = str(caught.value)
    assert "\n" not in message
    return message


def private_pem(
    form: serialization.PrivateFormat = serialization.PrivateFormat.PKCS8, password: bytes | None = None
) -> bytes:
    lock = serialization.BestAvailableEncryption(password) if password else serialization.NoEncryption()
    return CURVE_KEY.private_bytes(serialization.Encoding.PEM, form, lock)


def certificate_pem() -> bytes:
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "www.example.org")])
    day = datetime(2026, 11, 24, tzinfo=UTC)
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).serial_number(7)
    builder = builder.public_key(CURVE_KEY.public_key()).not_valid_before(day).not_valid_after(day)
    return builder.sign(CURVE_KEY, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


def block(label: str, body: bytes = b"AAEC") -> bytes:
    return b"-----BEGIN %b-----\n%b\n-----END %b-----\n" % (label.encode(), body, label.encode())


def locked_openssh() -> bytes:
    """An OpenSSH key under a password, as it looks from outside (PROTOCOL.key)."""
    public = CURVE_KEY.public_key().public_bytes(
        serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH
    )
    fields = [b"aes256-ctr", b"bcrypt", field(b"s" * 16) + struct.pack(">I", 24)]
    parts = [b"openssh-key-v1\0", *map(field, fields), struct.pack(">I", 1)]
    parts += [field(base64.b64decode(public.split()[1])), field(b"x" * 128)]
    return base64.b64encode(b"".join(parts))


def field(data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + data


# --- newlines ---


@pytest.mark.parametrize(
    ("newline", "data", "result"),
    [
        ("raw", b"word\n", b"word\n"),
        ("raw", b"word", b"word"),
        ("strip-one", b"word\n", b"word"),
        ("strip-one", b"word", b"word"),
        ("strip-one", b"word\n\n", b"word\n"),
        ("strip-one", b"word\r\n", b"word\r"),
        ("reject", b"word", b"word"),
        ("reject", b"word\n", None),
        ("strip-one", b"\n", None),
        ("raw", b"\n", b"\n"),
        ("raw", b"", None),
    ],
)
def test_one_trailing_newline_of_an_opaque_key(newline: str, data: bytes, result: bytes | None) -> None:
    purpose = purpose_of(kind="opaque", newline=newline)
    if result is None:
        refused(purpose, data)
    else:
        assert imported(purpose, data) == result


@pytest.mark.parametrize(
    ("newline", "data", "result"),
    [
        ("raw", b"k" * 4, b"k" * 4),
        ("raw", b"k" * 4 + b"\n", None),
        ("strip-one", b"k" * 4 + b"\n", b"k" * 4),
        ("strip-one", b"kkk\n", b"kkk\n"),
        ("reject", b"kkk\n", b"kkk\n"),
        ("reject", b"k" * 4 + b"\n", None),
        ("strip-one", b"kkk\n\n", b"kkk\n"),
        ("strip-one", b"k" * 5, None),
        ("strip-one", b"k" * 3, None),
        ("strip-one", b"", None),
    ],
)
def test_the_last_byte_of_a_symmetric_key_may_be_a_newline(
    newline: str, data: bytes, result: bytes | None
) -> None:
    purpose = purpose_of(kind="symmetric", size=4, newline=newline)
    if result is None:
        refused(purpose, data)
    else:
        assert imported(purpose, data) == result


@pytest.mark.parametrize("newline", ["raw", "strip-one", "reject"])
def test_a_key_is_not_longer_than_the_limit_whatever_its_newline(newline: str) -> None:
    purpose = purpose_of(kind="opaque", newline=newline)
    assert len(imported(purpose, b"k" * SIZE_LIMIT)) == SIZE_LIMIT
    assert "has 1 to 65536 bytes" in refused(purpose, b"k" * (SIZE_LIMIT + 1))
    if newline == "strip-one":
        assert len(imported(purpose, b"k" * SIZE_LIMIT + b"\n")) == SIZE_LIMIT
    else:
        refused(purpose, b"k" * SIZE_LIMIT + b"\n")


# --- passwords ---


@pytest.mark.parametrize("text", ["correct horse", "пароль", "p@$$ wörd", "x", "\N{PILE OF POO}" * 100])
def test_a_password_is_any_text_of_one_line(text: str) -> None:
    purpose = purpose_of(kind="password")
    assert imported(purpose, text.encode()) == text.encode()
    assert imported(purpose, text.encode() + b"\n") == text.encode()
    assert imported(purpose_of(kind="password", newline="raw"), text.encode() + b"\n").decode() == text + "\n"
    assert "newline" in refused(purpose_of(kind="password", newline="reject"), text.encode() + b"\n")


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\n",
        b"\n\n",
        b"a\0b",
        b"a\nb",
        b"a\tb",
        b"a\r\n",
        b"a\x7f",
        b"\xff",
        b"a\xc3",
        b"a\xc2\x85",
        b"a\n\n",
    ],
)
@pytest.mark.parametrize("newline", ["raw", "strip-one", "reject"])
def test_what_is_no_password_is_refused_without_repeating_it(newline: str, data: bytes) -> None:
    refused(purpose_of(kind="password", newline=newline), data)


def test_a_refused_password_is_in_no_message() -> None:
    with pytest.raises(InvalidMaterial) as caught:
        normalise(purpose_of(kind="password"), b"hunter2 is \xff mine")
    chain: BaseException | None = caught.value
    while chain is not None:
        assert "hunter2" not in repr(chain)
        chain = chain.__cause__ or chain.__context__


# --- PEM ---

GOOD_PEM = {
    "a private key": private_pem(),
    "an older form of it": private_pem(serialization.PrivateFormat.TraditionalOpenSSL),
    "one of OpenSSH": private_pem(serialization.PrivateFormat.OpenSSH),
    "one with a password": private_pem(password=b"secret"),
    "an older one with a password": private_pem(serialization.PrivateFormat.TraditionalOpenSSL, b"secret"),
    "one of OpenSSH with a password": block("OPENSSH PRIVATE KEY", locked_openssh()),
    "a certificate": certificate_pem(),
    "a chain with its key": certificate_pem() + certificate_pem() + private_pem(),
    "text around": b"Certificate:\n  Data: x\n" + certificate_pem() + b"the end",
    "carriage returns": certificate_pem().replace(b"\n", b"\r\n"),
    "parameters before the key": block("EC PARAMETERS", b"BggqhkjOPQMBBw==") + private_pem(),
    "what nobody here knows": block("NUCLEAR KEY"),
    "DSA": dsa.generate_private_key(1024).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ),
    "no newline at the end": private_pem().rstrip(),
}
BAD_PEM = {
    "no block": b"just text\n",
    "an indented block": b" " + private_pem().replace(b"\n", b"\n "),
    "no end": private_pem().partition(b"-----END")[0],
    "no beginning": private_pem().partition(b"\n")[2],
    "another end": private_pem().replace(b"END PRIVATE KEY", b"END CERTIFICATE"),
    "two beginnings": private_pem().partition(b"\n")[0] + b"\n" + private_pem(),
    "a second block that is cut off": private_pem() + certificate_pem()[:100],
    "no base64": block("THING", b"!!!!"),
    "nothing in it": block("THING", b""),
    "headers alone": block("THING", b"Proc-Type: 4,X"),
    "a key that is none": block("PRIVATE KEY"),
    "a certificate that is none": block("CERTIFICATE"),
    "a key cut short": private_pem().replace(private_pem().splitlines()[1], b""),
    "an OpenSSH key that is none": block("OPENSSH PRIVATE KEY"),
    "DER": CURVE_KEY.private_bytes(
        serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ),
    "another encoding": private_pem().decode().encode("utf-16"),
}


@pytest.mark.parametrize("data", GOOD_PEM.values(), ids=GOOD_PEM)
def test_a_pem_is_taken_as_it_is(data: bytes) -> None:
    assert imported(purpose_of(kind="pem"), data) == data


@pytest.mark.parametrize("data", BAD_PEM.values(), ids=BAD_PEM)
def test_what_is_no_pem_is_refused(data: bytes) -> None:
    assert "PEM" in refused(purpose_of(kind="pem"), data)


@given(st.binary(max_size=300) | st.text(max_size=300).map(str.encode))
def test_any_bytes_are_a_pem_or_refused(data: bytes) -> None:
    for text in (data, b"-----BEGIN PRIVATE KEY-----\n" + data + b"\n-----END PRIVATE KEY-----\n"):
        try:
            assert imported(purpose_of(kind="pem"), text) == text
        except InvalidMaterial as exc:
            assert "\n" not in str(exc)  # noqa: PT017 - either way will do


# --- what is generated ---


def test_a_generated_pem_is_a_private_key_of_the_kind() -> None:
    kinds = {
        "ec-p256": ec.EllipticCurvePrivateKey,
        "ed25519": ed25519.Ed25519PrivateKey,
        "rsa-3072": rsa.RSAPrivateKey,
    }
    for algorithm, kind in kinds.items():
        purpose = purpose_of(kind="pem", generate=algorithm)
        made = generate(purpose).reveal()
        assert isinstance(serialization.load_pem_private_key(made, None), kind)
        assert imported(purpose, made) == made


@pytest.mark.parametrize(
    ("said", "size"),
    [
        ({"kind": "symmetric", "size": 48}, 48),
        ({"kind": "opaque", "generate": 100}, 100),
        ({"kind": "password", "generate": 33}, 33),
    ],
)
def test_a_generated_key_has_its_size_and_is_new_each_time(said: dict[str, object], size: int) -> None:
    purpose = purpose_of(**said)
    made = [generate(purpose).reveal() for _ in range(20)]
    assert {len(key) for key in made} == {size}
    assert len(set(made)) == len(made)
    if said["kind"] == "password":
        assert b"".join(made).decode("ascii").isalnum()


@pytest.mark.parametrize("kind", ["pem", "opaque", "password"])
def test_nothing_is_generated_that_was_not_declared(kind: str) -> None:
    for ask in (demand_generator, generate):
        with pytest.raises(OperationRefused, match="x keys are not generated, only imported"):
            ask(purpose_of(kind=kind))


# --- staged writes, reads ---


def test_a_write_is_refused_as_soon_as_it_cannot_become_a_key() -> None:
    for said, data in (
        ({"kind": "symmetric", "size": 4}, b"12345"),
        ({"kind": "opaque"}, b"k" * (SIZE_LIMIT + 1)),
        ({"kind": "password"}, b"a\0b"),
        ({"kind": "password"}, b"a\tb"),
    ):
        staged = new_staged_write(purpose_of(**said))
        with pytest.raises(InvalidMaterial):
            staged.write(0, data)
        with pytest.raises(InvalidMaterial):
            staged.take()


def test_a_write_is_taken_that_may_still_become_a_key() -> None:
    for said, data in (
        ({"kind": "symmetric", "size": 4, "newline": "strip-one"}, b"1234\n"),
        ({"kind": "pem"}, b"text before -----BEGIN"),
        ({"kind": "password"}, "a\nö".encode()[:-1]),
    ):
        staged = new_staged_write(purpose_of(**said))
        assert staged.write(0, data) == len(data)


def test_what_was_sealed_is_read_whatever_is_declared_now() -> None:
    check_read(purpose_of(kind="symmetric", size=4), Half.SECRET, Secret(b"of another size"))
