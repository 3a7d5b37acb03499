"""Is a text a PEM file (RFC 7468) that can be used? What is inside is parsed, as far as the kind is known."""

import base64
import binascii
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import load_pem_private_key, load_ssh_private_key

from keyfs.errors import InvalidMaterial

_MARK: Final = re.compile(rb"-----(BEGIN|END) ([\x20-\x2c\x2e-\x7e]{1,64})-----[ \t]*")
_ENCRYPTED: Final = b"ENCRYPTED"


@dataclass(slots=True)
class _Block:
    label: bytes
    lines: list[bytes] = field(default_factory=list, repr=False)

    @property
    def is_encrypted(self) -> bool:
        """Whether it needs a password: PKCS#8 says so in its label, the older form in a header (RFC 1421)."""
        return _ENCRYPTED in self.label or any(_ENCRYPTED in line for line in self.lines if b":" in line)

    @property
    def has_base64(self) -> bool:
        """Whether there is base64 behind the headers, if there are any."""
        lines = self.lines
        if lines and b":" in lines[0]:
            lines = lines[lines.index(b"") :] if b"" in lines else []
        try:
            return bool(base64.b64decode(b"".join(b"".join(lines).split()), validate=True))
        except binascii.Error:
            return False

    def __bytes__(self) -> bytes:
        begin, end = b"-----BEGIN " + self.label + b"-----", b"-----END " + self.label + b"-----"
        return b"\n".join((begin, *self.lines, end, b""))


def check_pem(data: bytes) -> None:
    """Nothing, if *data* has at least one PEM block, all are whole, and keys and certificates can be parsed.

    An encrypted private key is only looked at from outside. Text around the blocks means nothing.

    Raises:
        InvalidMaterial: else; the message says what, and repeats nothing of it.
    """
    blocks = list(_blocks(data))
    if not blocks:
        raise InvalidMaterial("this is no PEM, which begins with a line -----BEGIN …-----")
    for number, block in enumerate(blocks, 1):
        if not block.has_base64:
            raise InvalidMaterial(f"PEM block {number} holds no base64")
        if not _parses(block):
            raise InvalidMaterial(f"PEM block {number} does not hold what it says")


def pem_blocks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """The label and the text of each block in *data*, lines around them left out.

    Raises:
        InvalidMaterial: one of them is cut off.
    """
    for block in _blocks(data):
        yield block.label, bytes(block)


def _blocks(data: bytes) -> Iterator[_Block]:
    block: _Block | None = None
    for line in data.splitlines():
        mark = _MARK.fullmatch(line)
        if mark is None:
            if block is not None:
                block.lines.append(line)
        elif mark[1] == b"BEGIN" and block is None:
            block = _Block(mark[2])
        elif mark[1] == b"END" and block is not None and block.label == mark[2]:
            yield block
            block = None
        else:
            raise InvalidMaterial("a PEM block is cut off: each -----BEGIN …----- needs its -----END …-----")
    if block is not None:
        raise InvalidMaterial("a PEM block is cut off: the last -----BEGIN …----- has no -----END …-----")


def _parses(block: _Block) -> bool:
    """Whether what is known how to parse can be parsed."""
    parse = _PARSERS.get(block.label)
    if parse is None or block.is_encrypted:
        return True
    try:
        parse(bytes(block))
    except UnsupportedAlgorithm:
        return True  # of a kind that only others know
    except TypeError:
        return True  # an encrypted OpenSSH key, which does not say so outside
    except ValueError:
        return False
    return True


def _private_key(block: bytes) -> Any:  # noqa: ANN401 - of any kind
    return load_pem_private_key(block, None)


_PARSERS: Final[dict[bytes, Callable[[bytes], Any]]] = {
    b"CERTIFICATE": x509.load_pem_x509_certificate,
    b"PRIVATE KEY": _private_key,
    b"RSA PRIVATE KEY": _private_key,
    b"EC PRIVATE KEY": _private_key,
    b"OPENSSH PRIVATE KEY": lambda block: load_ssh_private_key(block, None),
}
