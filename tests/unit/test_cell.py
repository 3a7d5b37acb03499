"""The Secure Cell format: sizes, key derivation, and which headers are read."""

import hmac
import json
import struct
from pathlib import Path
from typing import Any

import pytest

from keyfs.core.secret import Secret
from keyfs.errors import InvalidMaterial, UnsealFailed
from keyfs.seal import cell

VECTORS = Path(__file__).parents[1] / "vectors" / "secure_cell.json"
CASES: list[dict[str, Any]] = json.loads(VECTORS.read_text())["cases"]
WITH_KEY = [case for case in CASES if "derived_key_hex" in case and case["mode"] == "key"]

IV, TAG, CIPHERTEXT = b"i" * 12, b"t" * 16, b"ciphertext"
BODY = CIPHERTEXT + TAG
KEY_MODE, PASSPHRASE_MODE = 0x40010100, 0x41010100


def key_blob(
    *, algorithm: int = KEY_MODE, iv: int = 12, tag: int = 16, size: int = 10, rest: bytes = b""
) -> bytes:
    return struct.pack("<4I", algorithm, iv, tag, size) + (rest or IV + TAG + CIPHERTEXT)


def passphrase_blob(
    *,
    algorithm: int = PASSPHRASE_MODE,
    rounds: int = 7,
    salt: int = 16,
    derivation: int = 22,
    surplus: bytes = b"",
) -> bytes:
    header = struct.pack("<5I", algorithm, 12, 16, 10, derivation)
    return header + IV + TAG + struct.pack("<IH", rounds, salt) + b"s" * 16 + surplus + CIPHERTEXT


# --- sizes ---


@pytest.mark.parametrize(("sealed", "plain"), [(76, 32), (89, 45), (45, 1), (44, 0), (43, 0), (0, 0)])
def test_the_plaintext_size_is_known_without_a_key(sealed: int, plain: int) -> None:
    assert cell.plaintext_size(sealed) == plain


def test_the_sealed_size_is_the_plaintext_size_and_44() -> None:
    assert cell.sealed_size(32) == 76
    assert cell.plaintext_size(cell.sealed_size(1000)) == 1000


@pytest.mark.parametrize(
    "case", [c for c in WITH_KEY if c["group"] == "positive"], ids=lambda c: str(c["id"])
)
def test_sizes_are_those_of_real_blobs(case: dict[str, Any]) -> None:
    assert cell.sealed_size(len(case["plaintext_hex"]) // 2) == len(case["sealed_hex"]) // 2


def test_nothing_cannot_be_sealed() -> None:
    cell.check_plaintext(Secret(b"x"))
    with pytest.raises(InvalidMaterial):
        cell.check_plaintext(Secret(b""))


# --- key derivation ---


@pytest.mark.parametrize("case", WITH_KEY, ids=lambda case: str(case["id"]))
def test_the_derived_key_is_that_of_themis(case: dict[str, Any]) -> None:
    size, context = len(case["plaintext_hex"]) // 2, bytes.fromhex(case["context_hex"])
    derived = hmac.digest(bytes.fromhex(case["key_hex"]), cell.kdf_input(size, context), "sha256")
    assert derived.hex().startswith(case["derived_key_hex"])


def test_size_and_context_both_enter_the_key() -> None:
    inputs = {
        cell.kdf_input(1, b""),
        cell.kdf_input(2, b""),
        cell.kdf_input(1, b"c"),
        cell.kdf_input(256, b""),
    }
    assert len(inputs) == 4


# --- symmetric-key mode ---


def test_what_is_written_is_read() -> None:
    blob = cell.format_key_cell(IV, BODY)
    assert blob == key_blob()
    assert cell.parse_key_cell(blob) == (32, IV, BODY)
    assert cell.parse_key_cell(blob).plaintext_size == len(CIPHERTEXT)


@pytest.mark.parametrize(("algorithm", "key_size"), [(0x40010080, 16), (0x400100C0, 24), (0x40010100, 32)])
def test_all_three_aes_key_sizes_are_read(algorithm: int, key_size: int) -> None:
    assert cell.parse_key_cell(key_blob(algorithm=algorithm)).key_size == key_size
    with_passphrase = passphrase_blob(algorithm=algorithm | 0x01000000)
    assert cell.parse_passphrase_cell(with_passphrase)[0].key_size == key_size


@pytest.mark.parametrize(
    "blob",
    [
        key_blob(iv=13, rest=IV + b"?" + TAG + CIPHERTEXT),
        key_blob(tag=20, rest=IV + TAG + b"????" + CIPHERTEXT),
        key_blob(rest=IV + TAG + b"????" + CIPHERTEXT),
    ],
    ids=["longer iv", "longer tag", "bytes before the ciphertext"],
)
def test_surplus_bytes_are_skipped_as_themis_does(blob: bytes) -> None:
    assert cell.parse_key_cell(blob) == (32, IV, BODY)


@pytest.mark.parametrize(
    "blob",
    [
        b"",
        key_blob()[:15],
        key_blob()[:16],
        key_blob()[:-1],
        key_blob(algorithm=PASSPHRASE_MODE),
        key_blob(algorithm=0x42010100),
        key_blob(algorithm=0x40000100),
        key_blob(algorithm=0x40010200),
        key_blob(algorithm=0x40011100),
        key_blob(algorithm=0x40110100),
        key_blob(algorithm=0x20010100),
        key_blob(iv=11),
        key_blob(iv=2**32 - 1),
        key_blob(tag=15),
        key_blob(tag=2**32 - 1),
        key_blob(size=0),
        key_blob(size=11),
        key_blob(size=54),
        key_blob(size=2**32 - 1),
    ],
)
def test_a_header_that_themis_refuses_is_refused(blob: bytes) -> None:
    with pytest.raises(UnsealFailed, match=f"^{cell.REFUSAL}$"):
        cell.parse_key_cell(blob)


# --- passphrase mode ---


def test_what_is_written_with_a_passphrase_is_read() -> None:
    stretching = cell.Stretching(7, b"s" * 16)
    blob = cell.format_passphrase_cell(IV, BODY, stretching)
    assert blob == passphrase_blob()
    assert cell.parse_passphrase_cell(blob) == ((32, IV, BODY), stretching)


@pytest.mark.parametrize("salt", [0, 1, 16])
def test_any_salt_that_fits_is_read(salt: int) -> None:
    stretching = cell.parse_passphrase_cell(passphrase_blob(salt=salt))[1]
    assert stretching == (7, b"s" * salt)


def test_surplus_bytes_before_the_ciphertext_are_skipped_in_passphrase_mode_too() -> None:
    blob = passphrase_blob(derivation=24, surplus=b"????")
    assert cell.parse_passphrase_cell(blob) == ((32, IV, BODY), (7, b"s" * 16))


@pytest.mark.parametrize("rounds", [1, 314_110, 10_000_000])
def test_a_bearable_number_of_rounds_is_read(rounds: int) -> None:
    assert cell.parse_passphrase_cell(passphrase_blob(rounds=rounds))[1].iterations == rounds


@pytest.mark.parametrize(
    "blob",
    [
        b"",
        passphrase_blob()[:19],
        passphrase_blob()[:20],
        passphrase_blob()[:-1],
        passphrase_blob(rounds=0),
        passphrase_blob(rounds=10_000_001),
        passphrase_blob(rounds=2**31),
        passphrase_blob(rounds=2**32 - 1),
        passphrase_blob(salt=17),
        passphrase_blob(salt=65535),
        passphrase_blob(derivation=5),
        passphrase_blob(derivation=23),
        passphrase_blob(derivation=2**32 - 1),
        passphrase_blob(algorithm=KEY_MODE),
        passphrase_blob(algorithm=0x42010100),
    ],
)
def test_a_passphrase_header_that_must_fail_is_refused(blob: bytes) -> None:
    with pytest.raises(UnsealFailed, match=f"^{cell.REFUSAL}$"):
        cell.parse_passphrase_cell(blob)
