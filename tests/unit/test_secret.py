"""Key material that does not print, pickle or compare in variable time."""

import copy
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyfs.core.secret import LateSecret, Secret

MATERIAL = b"\x00canary key bytes \xff"


def test_it_shows_its_length_and_nothing_else() -> None:
    secret = Secret(MATERIAL)
    for text in (repr(secret), str(secret), f"{secret}", f"{secret!r:>40}".strip(), "%s" % [secret]):
        assert "canary" not in text
        assert text.strip("[]") == f"<Secret {len(MATERIAL)} bytes>"


def test_it_is_neither_pickled_nor_copied() -> None:
    secret = Secret(MATERIAL)
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        with pytest.raises(TypeError, match="not serialised"):
            pickle.dumps(secret, protocol)
    for copier in (copy.copy, copy.deepcopy):
        with pytest.raises(TypeError, match="not serialised"):
            copier(secret)


def test_it_cannot_be_hashed() -> None:
    with pytest.raises(TypeError, match="unhashable"):
        hash(Secret(MATERIAL))


def test_wiping_zeroes_the_buffer_that_views_see() -> None:
    secret = Secret(MATERIAL)
    view = secret.view()
    secret.wipe()
    secret.wipe()
    assert bytes(view) == secret.reveal() == bytes(len(MATERIAL))
    assert len(secret) == len(MATERIAL)


def test_a_copy_outlives_the_source_and_an_adopted_buffer_is_the_source() -> None:
    buffer = bytearray(MATERIAL)
    copied, adopted = Secret(buffer), Secret.adopt(buffer)
    adopted.wipe()
    assert bytes(buffer) == bytes(len(MATERIAL))
    assert copied.reveal() == MATERIAL


def test_a_view_is_read_only() -> None:
    with pytest.raises(TypeError):
        Secret(MATERIAL).view()[0] = 1


@given(st.binary(max_size=64), st.binary(max_size=64))
def test_it_compares_by_its_bytes(one: bytes, other: bytes) -> None:
    assert (Secret(one) == Secret(other)) is (one == other)
    assert (Secret(one) != Secret(other)) is (one != other)


def test_it_is_not_equal_to_bytes() -> None:
    assert Secret(MATERIAL) != MATERIAL


def test_it_is_wiped_at_the_end_of_its_block() -> None:
    with Secret(MATERIAL) as secret:
        assert secret.reveal() == MATERIAL
    assert not any(secret.view())


def test_a_late_one_is_made_when_somebody_looks_and_anew_after_it_was_wiped() -> None:
    made: list[Secret] = []

    def make() -> Secret:
        made.append(Secret(MATERIAL))
        return made[-1]

    late = LateSecret(make)
    late.wipe()
    assert not made
    assert (late.reveal(), bytes(late.view()), len(made)) == (MATERIAL, MATERIAL, 1)
    view = late.view()
    late.wipe()
    assert not any(view)
    assert (late.reveal(), len(made)) == (MATERIAL, 2)
    assert not any(made[0].view())
