"""How the secret parts of a key store are sealed: under one master key, or each client's under its KMS key.

A `Protection` is one such way. A key store has a list of them in `Protections`: the first one seals, all of
them open, so that a master key can be changed while its keys are in use.
"""

from collections.abc import Sequence
from typing import Final, Protocol

from keyfs.core.label import Label
from keyfs.core.secret import Secret
from keyfs.errors import MasterKeyUnavailable, UnsealFailed
from keyfs.seal.base import Sealer
from keyfs.seal.cell import parse_key_cell
from keyfs.seal.signature import Signer


class Protection(Protocol):
    """One way of sealing. Safe for threads."""

    @property
    def engine(self) -> str:
        """What does the work, for `keyfs doctor` and `keyfs status`. Holds no key bytes."""

    @property
    def is_local(self) -> bool:
        """Whether no call ever leaves this machine, and every blob is a Secure Cell: 44 bytes and the key."""

    def seal(self, plaintext: Secret, label: Label) -> bytes:
        """The blob that opens to *plaintext* under the same *label*.

        Raises:
            InvalidMaterial: *plaintext* is empty, or longer than this way of sealing takes.
            OperationRefused: this way of sealing has no key for such a label.
            MasterKeyUnavailable, KeyServiceUnavailable: the key that seals is not there, or not now.
        """

    def unseal(self, blob: bytes, label: Label) -> Secret:
        """What *blob* holds, in a buffer that is the caller's own.

        Raises:
            UnsealFailed: wrong key, wrong label or damage; which of them is never said.
            MasterKeyUnavailable, KeyServiceUnavailable: the key that opens is not there, or not now.
        """


class CellProtection:
    """Secure Cell under one master key: what `env_master_key` and its like are in Acra."""

    is_local: Final = True

    def __init__(self, sealer: Sealer, signer: Signer | None = None) -> None:
        self._sealer = sealer
        self.signer = signer  # of layout v2

    @property
    def engine(self) -> str:
        """The sealer's."""
        return self._sealer.engine

    def seal(self, plaintext: Secret, label: Label) -> bytes:
        """See `Protection.seal`."""
        return self._sealer.seal(plaintext, label.context)

    def unseal(self, blob: bytes, label: Label) -> Secret:
        """See `Protection.unseal`."""
        return self._sealer.unseal(blob, label.context)


class Protections:
    """Several ways of sealing: the first one seals, all of them open. Itself a `Protection`.

    *members* may be replaced whole at any time, by any thread. *described* says for each where its
    key comes from; it holds no secret.
    """

    def __init__(self, members: Sequence[Protection], described: Sequence[str] = ()) -> None:
        self.members = tuple(members)
        self.described = tuple(described)

    @classmethod
    def under(cls, sealer: Sealer) -> "Protections":
        """One master key, which seals and opens."""
        return cls([CellProtection(sealer)])

    def signers(self) -> Sequence[Signer]:
        """Those of the master keys of layout v2; the first one signs, all of them verify.

        Raises:
            MasterKeyUnavailable: the first way of sealing has none.
        """
        found = [member.signer for member in self.members if isinstance(member, CellProtection)]
        if not found or found[0] is None or not isinstance(self.members[0], CellProtection):
            raise MasterKeyUnavailable(
                "layout v2 needs a master key of its own, with a key that signs: a KMS with a key for each "
                "client has none"
            )
        return [signer for signer in found if signer is not None]

    @property
    def engine(self) -> str:
        """That of the one that seals."""
        return self.members[0].engine

    @property
    def is_local(self) -> bool:
        """Whether all members are."""
        return all(member.is_local for member in self.members)

    def seal(self, plaintext: Secret, label: Label) -> bytes:
        """See `Protection.seal`: the first member's."""
        return self.members[0].seal(plaintext, label)

    def unseal(self, blob: bytes, label: Label) -> Secret:
        """See `Protection.unseal`. No KMS is asked about a Secure Cell while there is a master key to try."""
        members = self.members
        if len(members) == 1:
            return members[0].unseal(blob, label)
        members = self._candidates(blob, members)
        for member in members[:-1]:
            try:
                return member.unseal(blob, label)
            except UnsealFailed:
                continue
        return members[-1].unseal(blob, label)

    @staticmethod
    def _candidates(blob: bytes, members: tuple[Protection, ...]) -> tuple[Protection, ...]:
        is_cell = looks_like_cell(blob)
        return tuple(member for member in members if member.is_local == is_cell) or members


def looks_like_cell(blob: bytes) -> bool:
    """Whether *blob* has the form of a Secure Cell; a KMS's ciphertext has not."""
    try:
        parse_key_cell(blob)
    except UnsealFailed:
        return False
    return True
