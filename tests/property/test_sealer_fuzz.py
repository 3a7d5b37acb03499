"""Whatever bytes arrive, a sealer gives a plaintext or refuses, and a container is a key or is refused."""

import hashlib
import hmac
from contextlib import suppress

from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import assume, example, given
from hypothesis import strategies as st

from keyfs.core.secret import Secret
from keyfs.errors import MaterialCorrupt, UnsealFailed
from keyfs.seal import cell, containers
from keyfs.seal.base import Sealer
from keyfs.seal.pure import PurePassphraseSealer, PureSealer

KEY, CONTEXT, PLAINTEXT = b"k" * 32, b"alice1", b"0123456789abcdef0123456789abcdef"
# Enough to go through every step, few enough to be tried thousands of times.
FEW_ROUNDS = cell.Stretching(2, b"s" * 16)
BEARABLE_ROUNDS = 10_000


def passphrase_blob() -> bytes:
    prekey = hashlib.pbkdf2_hmac("sha256", KEY, FEW_ROUNDS.salt, FEW_ROUNDS.iterations)
    key = hmac.digest(prekey, cell.kdf_input(len(PLAINTEXT), CONTEXT), "sha256")
    return cell.format_passphrase_cell(
        b"i" * 12, AESGCM(key).encrypt(b"i" * 12, PLAINTEXT, CONTEXT), FEW_ROUNDS
    )


KEY_BLOB = PureSealer(Secret(KEY)).seal(Secret(PLAINTEXT), CONTEXT)
PASSPHRASE_BLOB = passphrase_blob()


@st.composite
def mutations(draw: st.DrawFn, good: bytes) -> bytes:
    """*good* with up to three stretches replaced, most often in the header."""
    data = good
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, 20) | st.integers(0, len(data)))
        removed = draw(st.integers(0, 5))
        data = data[:at] + draw(st.binary(max_size=5)) + data[at + removed :]
    return data


def opens_or_refuses(sealer: Sealer, blob: bytes) -> bool:
    try:
        opened = sealer.unseal(blob, CONTEXT)
    except UnsealFailed:
        return False
    # Whatever opens holds what was sealed: surplus bytes are skipped, content cannot be changed.
    assert opened.reveal() == PLAINTEXT
    return True


@given(st.binary(max_size=200) | mutations(KEY_BLOB))
def test_a_key_sealer_opens_or_refuses(blob: bytes) -> None:
    opens_or_refuses(PureSealer(Secret(KEY)), blob)


@given(st.binary(max_size=200) | mutations(PASSPHRASE_BLOB))
def test_a_passphrase_sealer_opens_or_refuses(blob: bytes) -> None:
    with suppress(UnsealFailed):  # then it is refused before any round is computed
        assume(cell.parse_passphrase_cell(blob)[1].iterations <= BEARABLE_ROUNDS)
    opens_or_refuses(PurePassphraseSealer(KEY), blob)


def test_the_unchanged_blobs_open() -> None:
    assert opens_or_refuses(PureSealer(Secret(KEY)), KEY_BLOB)
    assert opens_or_refuses(PurePassphraseSealer(KEY), PASSPHRASE_BLOB)


@given(junk=st.binary(max_size=50))
def test_bytes_between_tag_and_ciphertext_change_nothing(junk: bytes) -> None:
    assert opens_or_refuses(PureSealer(Secret(KEY)), KEY_BLOB[:44] + junk + KEY_BLOB[44:])


@given(key=st.binary(min_size=1, max_size=200), plaintext=st.binary(min_size=1), context=st.binary())
def test_what_is_sealed_opens(key: bytes, plaintext: bytes, context: bytes) -> None:
    sealer = PureSealer(Secret(key))
    blob = sealer.seal(Secret(plaintext), context)
    assert len(blob) == cell.sealed_size(len(plaintext))
    assert cell.plaintext_size(len(blob)) == len(plaintext)
    assert sealer.unseal(blob, context).reveal() == plaintext


@given(scalar=st.integers(1, containers.CURVE_ORDER - 1))
@example(scalar=1)
@example(scalar=containers.CURVE_ORDER - 1)
def test_an_encoded_scalar_is_parsed_back(scalar: int) -> None:
    assert containers.parse_private(bytes(containers.encode_private(scalar))) == scalar


@given(data=st.binary(max_size=80) | mutations(bytes(containers.encode_private(12345))))
def test_a_container_is_a_private_key_or_refused(data: bytes) -> None:
    try:
        scalar = containers.parse_private(data)
    except MaterialCorrupt:
        return
    assert 0 < scalar < containers.CURVE_ORDER
