"""Key rings as files: parsed when their signature holds, and signed when they are written."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Final

from keyfs.core.rings import NO_BYTES, Ring
from keyfs.errors import MasterKeyUnavailable, RingInvalid
from keyfs.seal.ring_der import (
    RING_TYPE,
    VERSION,
    encode_container,
    encode_payload,
    encode_ring,
    parse_container,
    parse_ring,
    payload_with,
)
from keyfs.seal.signature import RING_CONTEXT, Signer, verify

_NEEDS_KEY: Final = "the signature of a key ring cannot be checked: give the master key with --master-key"


class SignedRings:
    """The codec of a key store.

    Args:
        signers: asked each time, because master keys can be exchanged: the first one signs, all of them
            verify. None without a master key: then rings are only listed, unverified.
    """

    def __init__(self, signers: Callable[[], Sequence[Signer]] | None) -> None:
        self._signers = signers

    def look(self, path: str, data: bytes) -> Ring:
        """The ring in *data*, for a listing: where there is no master key, its signature is not checked.

        Raises:
            RingInvalid: its form or its signature does not hold.
        """
        return self._parsed(path, data, () if self._signers is None else self._signers())

    def open(self, path: str, data: bytes) -> Ring:
        """The ring in *data*, which belongs to this *path* and to no other.

        Raises:
            RingInvalid: its form or its signature does not hold.
            MasterKeyUnavailable: there is no key to check that with.
        """
        return self._parsed(path, data, self._demanded())

    def seal(self, path: str, ring: Ring, now_ns: int) -> bytes:
        """The file of *ring*, signed for this *path*.

        Raises:
            MasterKeyUnavailable: there is no key to sign with.
        """
        return self._signed(path, encode_payload(RING_TYPE, now_ns, encode_ring(ring)))

    def seal_again(self, path: str, ring: Ring) -> bytes:
        """As `seal`, of a ring that was read: in its file all else stays, when it was changed last, too.

        Raises:
            MasterKeyUnavailable: there is no key to sign with.
        """
        return self._signed(path, payload_with(parse_container(ring.file).payload, encode_ring(ring)))

    def _signed(self, path: str, payload: bytes) -> bytes:
        return encode_container(payload, (self._demanded()[0].sign(_context(path), payload),))

    def _demanded(self) -> Sequence[Signer]:
        if self._signers is None:
            raise MasterKeyUnavailable(_NEEDS_KEY)
        return self._signers()

    def _parsed(self, path: str, data: bytes, signers: Sequence[Signer]) -> Ring:
        if not data:
            raise RingInvalid(NO_BYTES)
        container = parse_container(data)
        if signers:
            verify(signers, _context(path), container.payload, container.signatures)
        if container.type != RING_TYPE or container.version != VERSION:
            raise RingInvalid(
                f"it is of type {container.type} and version {container.version}, where key rings are of "
                f"type {RING_TYPE} and version {VERSION}"
            )
        return replace(parse_ring(container.data), file=data)


def _context(path: str) -> bytes:
    return RING_CONTEXT + path.encode("utf-8", "surrogateescape")
