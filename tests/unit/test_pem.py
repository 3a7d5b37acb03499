"""What is taken for a PEM, and what is not."""

import base64
import struct
from datetime import UTC, datetime

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import dsa, ec
from hypothesis import given
from hypothesis import strategies as st

from keyfs.broker.material import normalise
from keyfs.errors import InvalidMaterial
from keyfs.testing.own import PURPOSES

CERT = PURPOSES["cert"]
CURVE_KEY = ec.generate_private_key(ec.SECP256R1())


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
    assert normalise(CERT, data).reveal() == data


@pytest.mark.parametrize("data", BAD_PEM.values(), ids=BAD_PEM)
def test_what_is_no_pem_is_refused(data: bytes) -> None:
    with pytest.raises(InvalidMaterial, match=r"not a cert key: .*PEM") as caught:
        normalise(CERT, data)
    assert "\n" not in str(caught.value)


@given(st.binary(max_size=300) | st.text(max_size=300).map(str.encode))
def test_any_bytes_are_a_pem_or_refused(data: bytes) -> None:
    for text in (data, b"-----BEGIN PRIVATE KEY-----\n" + data + b"\n-----END PRIVATE KEY-----\n"):
        try:
            assert normalise(CERT, text).reveal() == text
        except InvalidMaterial as exc:
            assert "\n" not in str(exc)  # noqa: PT017 - either way will do
