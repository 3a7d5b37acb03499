"""Is this a key of its kind? Checks on the way in (imports) and on the way out (reads)."""

from typing import Final

from keyfs.broker.own_material import never_in, normalise_own, own_size_limit
from keyfs.core.names import Half
from keyfs.core.purposes import PRIVATE_SIZES, SYMMETRIC_SIZE, Purpose, Shape
from keyfs.core.secret import Secret
from keyfs.core.staging import StagedWrite
from keyfs.errors import InvalidMaterial, MaterialCorrupt, OperationRefused
from keyfs.seal.containers import check_private, check_public
from keyfs.seal.keypair import generate_pair, generate_symmetric, public_from_private
from keyfs.seal.own_keys import generate_own

NEWLINE: Final = b"\n"
_PRIVATE_TAG: Final = b"REC2"


def normalise(purpose: Purpose, data: bytes) -> Secret:
    """The key in *data*, as an import brings it: 32 bytes, a private key container, or what was declared.

    One trailing newline is dropped where the rest has the right length and the whole has not, so that
    `echo KEY > current` works. Lengths are fixed, so this never touches a byte of a key.

    Raises:
        InvalidMaterial: wrong length or form.
    """
    if purpose.own is not None:
        return normalise_own(purpose, purpose.own, data)
    sizes = PRIVATE_SIZES if purpose.is_pair else (SYMMETRIC_SIZE,)
    if len(data) not in sizes and data.endswith(NEWLINE) and len(data) - 1 in sizes:
        data = data[:-1]
    if len(data) not in sizes:
        wanted = "a private key container of 45 bytes" if purpose.is_pair else f"{SYMMETRIC_SIZE} bytes"
        raise InvalidMaterial(f"a {purpose} key is {wanted}, not {len(data)} bytes: nothing was changed")
    secret = Secret(data)
    if not purpose.is_pair:
        return secret
    try:
        public_from_private(secret)
    except MaterialCorrupt as exc:
        raise InvalidMaterial(f"not a private key container for {purpose}: {exc}") from exc
    return secret


def new_staged_write(purpose: Purpose) -> StagedWrite:
    """An empty write of a key of this kind, which refuses at once what `normalise` never accepts."""
    if purpose.own is not None:
        return StagedWrite(own_size_limit(purpose.own), never=never_in(purpose.own))
    if purpose.is_pair:
        return StagedWrite(PRIVATE_SIZES[-1] + len(NEWLINE), _PRIVATE_TAG)
    return StagedWrite(SYMMETRIC_SIZE + len(NEWLINE))


def check_read(purpose: Purpose, half: Half, secret: Secret) -> None:
    """Nothing, if an opened blob holds a key of its kind.

    Raises:
        MaterialCorrupt: it does not.
    """
    if purpose.own is not None:
        return
    if half is Half.PUBLIC:
        check_public(secret.reveal())
    elif purpose.shape is Shape.PAIR:
        check_private(secret.reveal())
    elif len(secret) != SYMMETRIC_SIZE:
        raise MaterialCorrupt(f"a {purpose} key has {SYMMETRIC_SIZE} bytes, this one has {len(secret)}")


def demand_generator(purpose: Purpose) -> None:
    """Nothing, if keys of this purpose can be generated.

    Raises:
        OperationRefused: they can only be imported.
    """
    if purpose.own is not None and purpose.own.generate is None:
        raise OperationRefused(
            f"{purpose} keys are not generated, only imported: the configuration has no generate for them"
        )


def generate(purpose: Purpose) -> Secret:
    """A new random key of this kind: 32 bytes, a private key container, or what was declared.

    Raises:
        OperationRefused: as `demand_generator`.
    """
    demand_generator(purpose)
    if purpose.own is not None:
        return generate_own(purpose.own)
    return generate_pair()[0] if purpose.is_pair else generate_symmetric()


def public_half(purpose: Purpose, secret: Secret) -> bytes | None:
    """The public container that belongs to a private one; None for symmetric keys.

    Raises:
        MaterialCorrupt: *secret* is no private key container.
    """
    return public_from_private(secret) if purpose.is_pair else None
