"""keyfs and the real Themis core open each other's blobs, agree on damage, and use each other's key pairs."""

import random
import struct

import pytest
from themis_oracle import Oracle, OracleRefused

from keyfs.core.secret import Secret
from keyfs.errors import UnsealFailed
from keyfs.seal.containers import check_private, check_public
from keyfs.seal.keypair import generate_pair, public_from_private
from keyfs.seal.pure import PurePassphraseSealer, PureSealer

pytest_plugins = ["themis_oracle"]

ROUND_TRIPS = 200


def draw_case(chance: random.Random) -> tuple[bytes, bytes, bytes]:
    """A key, a plaintext and a context, short ones and the edges more often than long ones."""
    key = chance.randbytes(chance.choice([1, 31, 32, 33, 63, 64, 65, chance.randint(1, 200)]))
    size = chance.choice([1, 16, 32, 45, chance.randint(1, 300), int(65536 ** chance.random())])
    context = chance.randbytes(chance.choice([0, 1, 6, chance.randint(0, 64), chance.randint(0, 1000)]))
    return key, chance.randbytes(size), context


def test_the_core_opens_what_keyfs_seals(oracle: Oracle) -> None:
    chance = random.Random(1)
    for _ in range(ROUND_TRIPS):
        key, plaintext, context = draw_case(chance)
        blob = PureSealer(Secret(key)).seal(Secret(plaintext), context)
        assert oracle.unseal("key", key, blob, context) == plaintext


def test_keyfs_opens_what_the_core_seals(oracle: Oracle) -> None:
    chance = random.Random(2)
    for _ in range(ROUND_TRIPS):
        key, plaintext, context = draw_case(chance)
        blob = oracle.seal("key", key, plaintext, context)
        assert PureSealer(Secret(key)).unseal(blob, context).reveal() == plaintext


@pytest.mark.parametrize("size", [65536, 262144])
def test_long_plaintexts_go_both_ways(oracle: Oracle, size: int) -> None:
    key, plaintext = random.Random(3).randbytes(32), random.Random(4).randbytes(size)
    sealer = PureSealer(Secret(key))
    assert oracle.unseal("key", key, sealer.seal(Secret(plaintext), b"c"), b"c") == plaintext
    assert sealer.unseal(oracle.seal("key", key, plaintext, b"c"), b"c").reveal() == plaintext


@pytest.mark.parametrize("seed", range(3))
def test_passphrases_go_both_ways(oracle: Oracle, seed: int) -> None:
    passphrase, plaintext, context = draw_case(random.Random(seed))
    sealer = PurePassphraseSealer(passphrase)
    blob = sealer.seal(Secret(plaintext), context)
    assert oracle.unseal("passphrase", passphrase, blob, context) == plaintext
    blob = oracle.seal("passphrase", passphrase, plaintext, context)
    assert sealer.unseal(blob, context).reveal() == plaintext


# --- the same verdict on damage ---

KEY, CONTEXT = b"K" * 32, b"alice1"
HEADER_WORDS = 4


def damage(blob: bytes, chance: random.Random) -> bytes:
    """The blob with one header word changed, bytes removed, or bytes put in."""
    at = chance.randrange(len(blob))
    match chance.choice(["word", "word", "cut", "put in"]):
        case "cut":
            return blob[:at] + blob[at + chance.randint(1, 5) :]
        case "put in":
            return blob[:at] + chance.randbytes(chance.randint(1, 5)) + blob[at:]
    at = 4 * chance.randrange(HEADER_WORDS)
    (word,) = struct.unpack_from("<I", blob, at)
    edges = [0, 2**31, 2**32 - 1, 2**32 - chance.randint(1, 100), chance.randint(0, 100)]
    changed = chance.choice([word + chance.randint(-4, 4), word ^ 1 << chance.randrange(32), *edges])
    return blob[:at] + struct.pack("<I", changed % 2**32) + blob[at + 4 :]


def verdict(sealer: PureSealer, blob: bytes) -> bytes | None:
    try:
        return sealer.unseal(blob, CONTEXT).reveal()
    except UnsealFailed:
        return None


def oracle_verdict(oracle: Oracle, blob: bytes) -> bytes | None:
    try:
        return oracle.unseal("key", KEY, blob, CONTEXT)
    except OracleRefused:
        return None


def test_keyfs_and_the_core_agree_on_damaged_blobs(oracle: Oracle) -> None:
    chance, sealer = random.Random(5), PureSealer(Secret(KEY))
    good = sealer.seal(Secret(b"0123456789abcdef"), CONTEXT)
    opened = 0
    for _ in range(1000):
        blob = damage(good, chance)
        found = verdict(sealer, blob)
        assert found == oracle_verdict(oracle, blob), blob.hex()
        opened += found is not None
    # Bytes between tag and ciphertext are not read, so a few of the damaged blobs open: both must say so.
    assert 0 < opened < 100


# --- key pairs ---


def test_keyfs_derives_the_public_keys_of_the_core(oracle: Oracle) -> None:
    for _ in range(20):
        private, public = oracle.make_pair()
        check_private(private)
        check_public(public)
        assert public_from_private(Secret(private)) == public


def test_the_core_works_with_the_key_pairs_of_keyfs(oracle: Oracle) -> None:
    for _ in range(20):
        private, public = generate_pair()
        assert oracle.exchange(private.reveal(), public, b"a message") == b"a message"
