"""New key material for own purposes."""

import secrets
import string
from typing import Final

from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from keyfs.core.own import OwnKind, OwnSpec
from keyfs.core.secret import Secret

_ALPHABET: Final = (
    string.ascii_letters + string.digits
)  # nothing that a shell, a URI or a config file would mind
_RSA_BITS: Final = 3072
_RSA_EXPONENT: Final = 65537


def generate_own(spec: OwnSpec) -> Secret:
    """A new key as *spec*, which must say it: random bytes, letters and digits, or a private key in PEM."""
    generate = spec.generate
    assert generate is not None  # noqa: S101 - nobody asks for what was not declared
    if isinstance(generate, str):
        return _private_pem(generate)
    if spec.kind is OwnKind.PASSWORD:
        return Secret("".join(secrets.choice(_ALPHABET) for _ in range(generate)).encode("ascii"))
    return Secret(secrets.token_bytes(generate))


def _private_pem(algorithm: str) -> Secret:
    """One of `keyfs.core.own.PEM_ALGORITHMS`, in PKCS#8."""
    private: ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey | rsa.RSAPrivateKey
    if algorithm == "ec-p256":
        private = ec.generate_private_key(ec.SECP256R1())
    elif algorithm == "ed25519":
        private = ed25519.Ed25519PrivateKey.generate()
    else:
        private = rsa.generate_private_key(_RSA_EXPONENT, _RSA_BITS)
    return Secret(private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
