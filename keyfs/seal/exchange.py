"""P-256 keys as the rest of the world writes them: PKCS#8 and SubjectPublicKeyInfo in PEM, and a fingerprint.

What `cryptography` returns are bytes that nobody can wipe; the callers keep them as briefly as they can.
"""

import hashlib
from contextlib import suppress
from typing import Any

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
    load_ssh_private_key,
)
from cryptography.x509 import load_pem_x509_certificate

from keyfs.core.secret import Secret
from keyfs.errors import InvalidMaterial, KeyNotFound
from keyfs.seal.containers import parse_private, parse_public
from keyfs.seal.pem import pem_blocks


def private_pem(private: Secret) -> bytes:
    """A private Themis container as unencrypted PKCS#8, 241 bytes.

    Raises:
        MaterialCorrupt: *private* is not an intact Themis container of a P-256 private key.
    """
    key = ec.derive_private_key(parse_private(private.view()), ec.SECP256R1())
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def public_pem(public: Secret) -> bytes:
    """A public Themis container as SubjectPublicKeyInfo, 178 bytes.

    Raises:
        MaterialCorrupt: *public* is not an intact Themis container of a P-256 public key.
    """
    return _public_key(public).public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def fingerprint(public: Secret) -> str:
    """SHA-256 of a public half as DER SubjectPublicKeyInfo, 64 hexadecimal digits.

    Raises:
        MaterialCorrupt: as `public_pem`.
    """
    der = _public_key(public).public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return hashlib.sha256(der).hexdigest()


def pem_fingerprint(pem: Secret) -> str:
    """As `fingerprint`, of the first key or certificate in a PEM text: equal for a key and its certificate.

    Raises:
        KeyNotFound: there is none that shows its public half; it may be encrypted.
    """
    with suppress(InvalidMaterial):  # no PEM at all: the purpose was declared anew
        for label, block in pem_blocks(pem.reveal()):
            public = _public_key_in(label, block)
            if public is not None:
                der = public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
                return hashlib.sha256(der).hexdigest()
    raise KeyNotFound("there is no key in this PEM text that shows its public half")


def _public_key_in(label: bytes, block: bytes) -> Any:  # noqa: ANN401 - of any kind
    try:
        if label == b"CERTIFICATE":
            return load_pem_x509_certificate(block).public_key()
        if label.endswith(b"PUBLIC KEY"):
            return load_pem_public_key(block)
        if label == b"OPENSSH PRIVATE KEY":
            return load_ssh_private_key(block, None).public_key()
        return load_pem_private_key(block, None).public_key() if label.endswith(b"PRIVATE KEY") else None
    except (ValueError, TypeError, UnsupportedAlgorithm):  # not what it says, encrypted, or of another kind
        return None


def _public_key(public: Secret) -> ec.EllipticCurvePublicKey:
    return ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), parse_public(public.view()))
