"""New key material, and the public half of a private key."""

import secrets

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from keyfs.core.purposes import SYMMETRIC_SIZE
from keyfs.core.secret import Secret
from keyfs.seal.containers import encode_private, encode_public, parse_private


def generate_pair() -> tuple[Secret, bytes]:
    """A new P-256 key pair: the private and the public Themis container, 45 bytes each."""
    private = ec.generate_private_key(ec.SECP256R1())
    container = encode_private(private.private_numbers().private_value)
    return Secret.adopt(container), _public_container(private)


def public_from_private(private: Secret) -> bytes:
    """The public Themis container, 45 bytes, that belongs to a private one. No key is without it.

    Args:
        private: a private container, 45 or 44 bytes.

    Raises:
        MaterialCorrupt: *private* is not an intact Themis container of a P-256 private key.
    """
    scalar = parse_private(private.view())
    return _public_container(ec.derive_private_key(scalar, ec.SECP256R1()))


def generate_symmetric() -> Secret:
    """A new symmetric key: 32 random bytes from the operating system."""
    return Secret(secrets.token_bytes(SYMMETRIC_SIZE))


def _public_container(private: ec.EllipticCurvePrivateKey) -> bytes:
    point = private.public_key().public_bytes(Encoding.X962, PublicFormat.CompressedPoint)
    return encode_public(point)
