"""One key ring from one master key to another: each version sealed anew, and all of it signed anew.

What is not sealed material stays as it was read, byte for byte: numbers, dates, states, versions that were
destroyed, elements that nobody knows, and when the ring was last changed.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace

from keyfs.broker.resealing import OF_ONE_BLOB, Resealer
from keyfs.core.label import Label
from keyfs.core.rings import KeyData, Ring, RingKey
from keyfs.errors import KeyfsError, RingInvalid
from keyfs.layout.v2 import label_in_ring
from keyfs.seal.ring_der import resealed
from keyfs.seal.rings import SignedRings
from keyfs.seal.signature import Signer


class RingResealer:
    """Does with rings what `Resealer` does with blobs; the label of a ring is its path.

    Args:
        resealer: for what is sealed in a ring.
        signers: the first one signs from now on, all of them verify.
    """

    def __init__(self, resealer: Resealer, signers: Sequence[Signer]) -> None:
        self._resealer = resealer
        self._known = SignedRings(lambda: signers)
        self._new = SignedRings(lambda: signers[:1])

    def weight(self, blob: bytes, label: Label) -> int:
        """How many blobs this ring counts for: the sealed ones in it, and one if there are none.

        Raises:
            RingInvalid: it does not verify.
        """
        ring = self._known.open(_path(label), blob)
        return max(1, sum(1 for _ in _sealed(_path(label), ring)))

    def is_done(self, blob: bytes, label: Label) -> bool:
        """Whether the new key has signed the ring, and all in it opens under the new key.

        Raises:
            KeyServiceUnavailable: nobody can tell now.
        """
        path = _path(label)
        try:
            ring = self._new.open(path, blob)
        except RingInvalid:
            return False
        return all(self._resealer.is_done(data, label) for data, label in _sealed(path, ring))

    def reseal(self, blob: bytes, label: Label, _twin: bytes | None = None) -> bytes:
        """The ring under the new key. What in it cannot be sealed anew stays as it is, if all else can be.

        Raises:
            RingInvalid: it does not verify.
            As `Resealer.reseal`: nothing more can be done, and this is why.
        """
        path = _path(label)
        ring = self._known.open(path, blob)
        failed: list[KeyfsError] = []
        keys = tuple(self._resealed(path, key, failed) for key in ring.keys)
        if failed and keys == ring.keys and self._is_signed(path, blob):
            raise failed[0]
        return self._known.seal_again(path, replace(ring, keys=keys))

    def demand_open(self, blob: bytes, label: Label) -> None:
        """Nothing, if all in it opens under some key. Raises: as `reseal`."""
        path = _path(label)
        for data, place in _sealed(path, self._known.open(path, blob)):
            self._resealer.demand_open(data, place)

    def _resealed(self, path: str, key: RingKey, failed: list[KeyfsError]) -> RingKey:
        if not any(data.private or data.symmetric for data in key.data):
            return key
        try:
            return resealed(key, lambda data: self._resealed_data(path, key.seqnum, data))
        except OF_ONE_BLOB as exc:
            failed.append(type(exc)(f"version {key.seqnum}: {exc}"))
            return key

    def _resealed_data(self, path: str, seqnum: int, data: KeyData) -> KeyData:
        private, symmetric = (
            sealed and self._anew(sealed, label_in_ring(path, seqnum, is_pair=is_pair))
            for sealed, is_pair in ((data.private, True), (data.symmetric, False))
        )
        return replace(data, private=private, symmetric=symmetric)

    def _anew(self, blob: bytes, label: Label) -> bytes:
        return blob if self._resealer.is_done(blob, label) else self._resealer.reseal(blob, label)

    def _is_signed(self, path: str, blob: bytes) -> bool:
        try:
            self._new.open(path, blob)
        except RingInvalid:
            return False
        return True


def ring_label(path: str) -> Label:
    """What `RingResealer` knows a ring by."""
    return Label(path.encode("utf-8", "surrogateescape"), "")


def _path(label: Label) -> str:
    return label.context.decode("utf-8", "surrogateescape")


def _sealed(path: str, ring: Ring) -> Iterator[tuple[bytes, Label]]:
    """All that is sealed in a ring."""
    for seqnum, data in ((key.seqnum, data) for key in ring.keys for data in key.data):
        for blob, is_pair in ((data.private, True), (data.symmetric, False)):
            if blob:
                yield blob, label_in_ring(path, seqnum, is_pair=is_pair)
