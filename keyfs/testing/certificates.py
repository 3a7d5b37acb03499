"""A certificate authority for tests: signs for servers on 127.0.0.1 and for their clients."""

import ipaddress
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

SERVER_NAME: Final = "keys.example"  # what the server is called besides; no resolver knows it
_LIFE: Final = timedelta(days=2)


class Authority:
    """Makes its files below *folder*.

    Args:
        folder: exists.
        names: what the server's certificate is good for.
    """

    def __init__(self, folder: Path, names: Sequence[str] = ("127.0.0.1", SERVER_NAME)) -> None:
        self._folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = _name("keyfs test authority")
        self.ca = folder / "ca.pem"
        self.ca.write_bytes(_pem(self._sign(self._name, self._key, (), is_authority=True)))
        self.server = self.issue("server", names)
        self.client = self.issue("client", ())

    @property
    def server_options(self) -> list[str]:
        """For redis-server; clients have to show a certificate."""
        cert, key = map(str, self.server)
        files = ["--tls-cert-file", cert, "--tls-key-file", key, "--tls-ca-cert-file", str(self.ca)]
        return [*files, "--tls-auth-clients", "yes"]

    @property
    def client_parameters(self) -> dict[str, str]:
        """For a store's URI."""
        cert, key = map(str, self.client)
        return {"tls_ca": str(self.ca), "tls_cert": cert, "tls_key": key}

    def issue(self, name: str, names: Sequence[str]) -> tuple[Path, Path]:
        """Files of a new certificate and its private key: `NAME.pem`, `NAME.key`."""
        key = ec.generate_private_key(ec.SECP256R1())
        cert_path, key_path = self._folder / f"{name}.pem", self._folder / f"{name}.key"
        cert_path.write_bytes(_pem(self._sign(_name(name), key, names, is_authority=False)))
        key_path.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
        )
        return cert_path, key_path

    def _sign(
        self, subject: x509.Name, key: ec.EllipticCurvePrivateKey, names: Sequence[str], *, is_authority: bool
    ) -> x509.Certificate:
        now = datetime.now(UTC)
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - _LIFE)
            .not_valid_after(now + _LIFE)
            .add_extension(x509.BasicConstraints(ca=is_authority, path_length=None), critical=True)
        )
        if names:
            builder = builder.add_extension(
                x509.SubjectAlternativeName([_general_name(name) for name in names]), critical=False
            )
        return builder.sign(self._key, hashes.SHA256())


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)
