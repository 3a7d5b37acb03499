"""Themis key containers: what is a key of an Acra key store, and what is said of everything else."""

import json
from pathlib import Path
from typing import Any

import pytest

from keyfs.errors import MaterialCorrupt
from keyfs.seal import containers
from keyfs.seal.containers import check_private, check_public, crc32c, encode_private, encode_public

VECTORS = Path(__file__).parents[1] / "vectors" / "themis_keys.json"
CASES: dict[str, dict[str, Any]] = {case["id"]: case for case in json.loads(VECTORS.read_text())["cases"]}
# Valid for Themis, but no Acra key is of that kind.
FOREIGN = ["rsa-public"]
PRIVATE = [name for name, case in CASES.items() if case["valid"] and case["hex"].startswith(b"REC2".hex())]
PUBLIC = [name for name, case in CASES.items() if case["valid"] and case["hex"].startswith(b"UEC2".hex())]
INVALID = [name for name, case in CASES.items() if not case["valid"]]

ORDER = containers.CURVE_ORDER
# SEC 2, 2.4.2: the base point of P-256.
BASE_X = bytes.fromhex("6b17d1f2e12c4247f8bce6e563a440f277037d812deb33a0f4a13945d898c296")
PRIME = 2**256 - 2**224 + 2**192 + 2**96 - 1
BASE_Y = bytes.fromhex("4fe342e2fe1a7f9b8ee7eb4a7c0f9e162bce33576b315ececbb6406837bf51f5")


def data_of(name: str) -> bytes:
    return bytes.fromhex(CASES[name]["hex"])


def container(tag: bytes, payload: bytes) -> bytes:
    """A container with a right size and checksum, whatever is in it."""
    size = (12 + len(payload)).to_bytes(4, "big")
    checksum = crc32c(tag + size + bytes(4) + payload).to_bytes(4, "little")
    return tag + size + checksum + payload


# --- what real Themis made ---


def test_every_vector_is_in_one_of_the_groups() -> None:
    assert sorted([*FOREIGN, *PRIVATE, *PUBLIC, *INVALID]) == sorted(CASES)
    assert (len(PRIVATE), len(PUBLIC), len(INVALID)) == (7, 7, 10)


@pytest.mark.parametrize("name", PRIVATE)
def test_a_private_key_of_themis_is_one(name: str) -> None:
    check_private(data_of(name))
    check_private(memoryview(data_of(name)))
    with pytest.raises(MaterialCorrupt, match="not a Themis P-256 public key but a private key"):
        check_public(data_of(name))


@pytest.mark.parametrize("name", PUBLIC)
def test_a_public_key_of_themis_is_one(name: str) -> None:
    check_public(data_of(name))
    with pytest.raises(MaterialCorrupt, match="not a Themis P-256 private key but a public key"):
        check_private(data_of(name))


@pytest.mark.parametrize("name", INVALID)
def test_what_themis_refuses_is_refused(name: str) -> None:
    for check in (check_private, check_public):
        with pytest.raises(MaterialCorrupt):
            check(data_of(name))


def test_an_rsa_key_is_valid_for_themis_but_no_key_here() -> None:
    with pytest.raises(MaterialCorrupt, match="not a Themis P-256 public key but an RSA public key"):
        check_public(data_of("rsa-public"))


def test_the_base_point_is_the_public_key_of_scalar_1() -> None:
    assert containers.parse_private(data_of("scalar-1-private")) == 1
    assert containers.parse_public(data_of("scalar-1-public")) == b"\x03" + BASE_X


# --- encoding ---


@pytest.mark.parametrize("name", [name for name in PRIVATE if name != "private-without-padding-octet"])
def test_encoding_a_private_key_gives_the_same_bytes(name: str) -> None:
    assert encode_private(containers.parse_private(data_of(name))) == data_of(name)


@pytest.mark.parametrize("name", PUBLIC)
def test_encoding_a_public_key_gives_the_same_bytes(name: str) -> None:
    assert encode_public(containers.parse_public(data_of(name))) == data_of(name)


def test_the_checksum_is_crc_32c() -> None:
    assert crc32c(b"123456789") == 0xE3069283  # the check value of the catalogue of CRCs
    assert crc32c(b"") == 0


# --- what Themis would take, and what could only fail later ---


@pytest.mark.parametrize(
    "payload",
    [
        bytes(33),
        bytes(32),
        b"\x00" + ORDER.to_bytes(32, "big"),
        ORDER.to_bytes(32, "big"),
        b"\x00" + b"\xff" * 32,
        b"\x01" + (1).to_bytes(32, "big"),
    ],
)
def test_a_scalar_out_of_range_is_no_private_key(payload: bytes) -> None:
    with pytest.raises(MaterialCorrupt, match="out of range"):
        check_private(container(b"REC2", payload))


@pytest.mark.parametrize("size", [0, 31, 34, 65])
def test_a_private_payload_of_another_length_is_no_private_key(size: int) -> None:
    with pytest.raises(MaterialCorrupt, match="wrong length"):
        check_private(container(b"REC2", b"\x01" * size))


@pytest.mark.parametrize(
    "point",
    [b"\x02" + BASE_X, b"\x03" + BASE_X, b"\x02" + (5).to_bytes(32, "big"), b"\x04" + BASE_X + BASE_Y],
)
def test_a_point_of_the_curve_is_a_public_key(point: bytes) -> None:
    assert containers.parse_public(container(b"UEC2", point)) == point


@pytest.mark.parametrize(
    "point",
    [
        b"",
        b"\x00",
        b"\x02",
        bytes(33),
        b"\x04" + BASE_X,
        b"\x05" + BASE_X,
        b"\x02" + (1).to_bytes(32, "big"),
        b"\x02" + b"\xff" * 32,
        b"\x02" + (PRIME + 5).to_bytes(32, "big"),  # 5 is the x of a point; SEC1 demands it reduced
        b"\x04" + BASE_X + BASE_X,
        b"\x02" + BASE_X + BASE_Y,
        b"\x04" + BASE_X + b"\xff" * 32,
        b"\x04" + BASE_X + BASE_Y + b"\x00",
    ],
)
def test_what_is_no_point_of_the_curve_is_no_public_key(point: bytes) -> None:
    with pytest.raises(MaterialCorrupt, match="no point of P-256"):
        check_public(container(b"UEC2", point))
    with pytest.raises(MaterialCorrupt, match="no point of P-256"):
        encode_public(point)


@pytest.mark.parametrize("scalar", [0, ORDER, -1, 2**256])
def test_a_scalar_out_of_range_is_not_encoded(scalar: int) -> None:
    with pytest.raises(MaterialCorrupt, match="out of range"):
        encode_private(scalar)


# --- reasons ---


@pytest.mark.parametrize(
    ("tag", "kind"),
    [
        (b"REC3", "a P-384 private key"),
        (b"UEC3", "a P-384 public key"),
        (b"REC5", "a P-521 private key"),
        (b"UEC5", "a P-521 public key"),
        (b"RRA2", "an RSA private key"),
        (b"URA4", "an RSA public key"),
    ],
)
def test_other_kinds_of_key_are_named(tag: bytes, kind: str) -> None:
    with pytest.raises(MaterialCorrupt, match=f"not a Themis P-256 private key but {kind}$"):
        check_private(container(tag, bytes(60)))


@pytest.mark.parametrize("name", [*INVALID, *FOREIGN])
def test_a_reason_is_one_line_without_key_bytes(name: str) -> None:
    data = data_of(name)
    with pytest.raises(MaterialCorrupt) as caught:
        check_private(data)
    reason = str(caught.value)
    assert reason
    assert "\n" not in reason
    pieces = [data[at : at + 4] for at in range(len(data) - 3)]
    assert not [piece for piece in pieces if piece.hex() in reason or piece.decode("latin-1") in reason]


def test_a_broken_export_of_zeros_is_no_key() -> None:
    with pytest.raises(MaterialCorrupt, match="something else"):
        check_private(bytes(45))
