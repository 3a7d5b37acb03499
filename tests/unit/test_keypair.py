"""New keys, and the public half of a private key."""

import json
from pathlib import Path
from typing import Any

import pytest

from keyfs.core.secret import Secret
from keyfs.errors import MaterialCorrupt
from keyfs.seal.containers import check_private, check_public
from keyfs.seal.keypair import generate_pair, generate_symmetric, public_from_private

VECTORS = Path(__file__).parents[1] / "vectors" / "themis_keys.json"
CASES: list[dict[str, Any]] = json.loads(VECTORS.read_text())["cases"]
PAIRS = [case for case in CASES if "public_hex" in case]


@pytest.mark.parametrize("case", PAIRS, ids=lambda case: str(case["id"]))
def test_the_public_half_is_that_of_themis(case: dict[str, Any]) -> None:
    assert public_from_private(Secret(bytes.fromhex(case["hex"]))).hex() == case["public_hex"]


def test_a_private_key_without_the_zero_octet_has_the_same_public_half() -> None:
    short = next(case for case in CASES if case["id"] == "private-without-padding-octet")
    public = public_from_private(Secret(bytes.fromhex(short["hex"])))
    assert public.hex() in {case["public_hex"] for case in PAIRS}


def test_a_new_pair_belongs_together() -> None:
    private, public = generate_pair()
    check_private(private.view())
    check_public(public)
    assert (len(private), len(public)) == (45, 45)
    assert public_from_private(private) == public


def test_new_keys_differ() -> None:
    assert generate_pair()[0] != generate_pair()[0]
    assert generate_symmetric() != generate_symmetric()


def test_a_new_symmetric_key_has_32_bytes() -> None:
    assert len(generate_symmetric()) == 32


@pytest.mark.parametrize("material", [b"", b"k" * 32, bytes(45)])
def test_what_is_no_private_key_has_no_public_half(material: bytes) -> None:
    with pytest.raises(MaterialCorrupt):
        public_from_private(Secret(material))
