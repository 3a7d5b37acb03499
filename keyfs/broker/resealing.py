"""One blob from one way of sealing to another: opened, sealed anew, and proved before anyone gets it."""

from typing import Final

from keyfs.core.label import Label
from keyfs.core.secret import Secret
from keyfs.errors import (
    AccessDenied,
    InvalidMaterial,
    MasterKeyUnavailable,
    MaterialCorrupt,
    OperationRefused,
    RingInvalid,
    UnsealFailed,
)
from keyfs.seal.protection import Protection, looks_like_cell

OF_ONE_BLOB: Final = (
    AccessDenied,
    InvalidMaterial,
    MasterKeyUnavailable,
    MaterialCorrupt,
    OperationRefused,
    RingInvalid,
    UnsealFailed,
)
"""What is wrong with one blob, and keeps no other from being sealed anew."""


class Resealer:
    """Seals under *new* what opens under *known*, of which *new* is one.

    The plaintext is wiped whatever happens. No error holds a part of it.
    """

    def __init__(self, new: Protection, known: Protection) -> None:
        self.new = new
        self._known = known

    def weight(self, _blob: bytes, _label: Label) -> int:
        """How many blobs it counts for."""
        return 1

    def is_done(self, blob: bytes, label: Label) -> bool:
        """Whether *blob* opens under the new key. No KMS is asked about what has not the form of its own.

        Raises:
            KeyServiceUnavailable: nobody can tell now.
        """
        opened = self._open_new(blob, label)
        if opened is not None:
            opened.wipe()
        return opened is not None

    def reseal(self, blob: bytes, label: Label, twin: bytes | None = None) -> bytes:
        """What *blob* holds, sealed under the new key: *twin*, if that is it already, or a new blob.

        Raises:
            UnsealFailed: *blob* opens under no key; or the new one does not open to the same.
            InvalidMaterial, OperationRefused: it cannot be sealed so.
            MasterKeyUnavailable, KeyServiceUnavailable: a key is not there, or not now.
        """
        with self.open(blob, label) as plaintext:
            if twin is not None and self._holds(twin, label, plaintext):
                return twin
            fresh = self.new.seal(plaintext, label)
            if not self._holds(fresh, label, plaintext):
                raise UnsealFailed("sealed anew, it does not open to what it was: it was left as it is")
            return fresh

    def demand_open(self, blob: bytes, label: Label) -> None:
        """Nothing, if it opens under some key. Raises: as `open`."""
        self.open(blob, label).wipe()

    def open(self, blob: bytes, label: Label) -> Secret:
        """What *blob* holds, under whichever key it opens. Raises: as `Protection.unseal`."""
        return self._known.unseal(blob, label)

    def _holds(self, blob: bytes, label: Label, plaintext: Secret) -> bool:
        opened = self._open_new(blob, label)
        if opened is None:
            return False
        with opened:
            return opened == plaintext

    def _open_new(self, blob: bytes, label: Label) -> Secret | None:
        if looks_like_cell(blob) != self.new.is_local:
            return None
        try:
            return self.new.unseal(blob, label)
        except (UnsealFailed, MasterKeyUnavailable):
            return None
