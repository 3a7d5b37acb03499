"""What servers present: certificates with their keys, in one file, and which of them a client is shown."""

import socket
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from keyfs.testing.certificates import SERVER_NAME, Authority

WITHIN_S = 10.0


@dataclass(frozen=True, slots=True)
class Bundle:
    """Private key and certificate as one text, so that a rotation changes both at once."""

    pem: bytes
    certificate: str  # PEM


def bundle(authority: Authority, name: str) -> Bundle:
    """A new key and its certificate for `SERVER_NAME`."""
    certificate, key = (path.read_text() for path in authority.issue(name, (SERVER_NAME, "127.0.0.1")))
    return Bundle((key + certificate).encode(), certificate)


def presented(connect: Callable[[], socket.socket], ca: Path) -> str:
    """The certificate that the server shows to a client that believes in *ca*, as PEM."""
    context = ssl.create_default_context(cafile=str(ca))
    with connect() as raw:
        raw.settimeout(WITHIN_S)
        with context.wrap_socket(raw, server_hostname=SERVER_NAME) as secured:
            return ssl.DER_cert_to_PEM_cert(secured.getpeercert(binary_form=True) or b"")
