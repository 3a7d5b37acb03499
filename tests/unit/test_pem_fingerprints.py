"""The fingerprint of a PEM text is that of its public half, in whatever form; what shows none has none."""

import hashlib
from datetime import UTC, datetime
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from keyfs.core.secret import Secret
from keyfs.errors import KeyNotFound
from keyfs.seal.exchange import pem_fingerprint

KEYS: dict[str, Any] = {
    "ec": ec.generate_private_key(ec.SECP384R1()),
    "ed25519": ed25519.Ed25519PrivateKey.generate(),
    "rsa": rsa.generate_private_key(65537, 2048),
}


def expected(key: Any) -> str:
    der = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return hashlib.sha256(der).hexdigest()


def private(key: Any, form: PrivateFormat = PrivateFormat.PKCS8, password: bytes | None = None) -> bytes:
    lock = BestAvailableEncryption(password) if password else NoEncryption()
    pem: bytes = key.private_bytes(Encoding.PEM, form, lock)
    return pem


def public(key: Any) -> bytes:
    pem: bytes = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return pem


def certificate(key: Any) -> bytes:
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "www.example.org")])
    day = datetime(2026, 11, 24, tzinfo=UTC)
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).serial_number(7)
    builder = builder.public_key(key.public_key()).not_valid_before(day).not_valid_after(day)
    signed = builder.sign(key, None if isinstance(key, ed25519.Ed25519PrivateKey) else hashes.SHA256())
    return signed.public_bytes(Encoding.PEM)


@pytest.mark.parametrize("key", KEYS.values(), ids=KEYS)
def test_a_key_its_public_half_and_its_certificate_have_one_fingerprint(key: Any) -> None:
    for text in (private(key), public(key), certificate(key), private(key, PrivateFormat.OpenSSH)):
        assert pem_fingerprint(Secret(text)) == expected(key)
        assert pem_fingerprint(Secret(b"what is this?\r\n" + text + b"tail")) == expected(key)


@pytest.mark.parametrize("kind", ["ec", "rsa"])
def test_the_older_forms_count_too(kind: str) -> None:
    text = private(KEYS[kind], PrivateFormat.TraditionalOpenSSL)
    assert b"EC PRIVATE KEY" in text or b"RSA PRIVATE KEY" in text
    assert pem_fingerprint(Secret(text)) == expected(KEYS[kind])


def test_the_first_one_that_shows_its_public_half_counts() -> None:
    ours, others = KEYS["ec"], KEYS["rsa"]
    parameters = b"-----BEGIN EC PARAMETERS-----\nBgUrgQQAIg==\n-----END EC PARAMETERS-----\n"
    assert pem_fingerprint(Secret(parameters + private(ours) + certificate(others))) == expected(ours)
    locked = private(others, password=b"locked away")
    assert pem_fingerprint(Secret(locked + certificate(ours))) == expected(ours)


@pytest.mark.parametrize(
    "text",
    [
        private(KEYS["ec"], password=b"locked away"),
        private(KEYS["rsa"], PrivateFormat.TraditionalOpenSSL, b"locked away"),
        b"-----BEGIN DH PARAMETERS-----\nAAEC\n-----END DH PARAMETERS-----\n",
        b"-----BEGIN CERTIFICATE-----\nAAEC\n-----END CERTIFICATE-----\n",
        b"-----BEGIN PRIVATE KEY-----\nAAEC\n-----END PRIVATE KEY-----\n",
        b"-----BEGIN PRIVATE KEY-----\ncut off",
        b"",
    ],
    ids=["locked", "locked the older way", "parameters", "no certificate", "no key", "cut off", "nothing"],
)
def test_what_shows_no_public_half_has_no_fingerprint(text: bytes) -> None:
    with pytest.raises(KeyNotFound, match="no key in this PEM text that shows its public half"):
        pem_fingerprint(Secret(text))
