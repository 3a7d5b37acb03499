"""Scratch files: whose they are, how long they live, how many and how long they may be."""

import pytest

from keyfs.core.scratch import FILES_LIMIT, LIFE_S, SIZE_LIMIT, Scratch, Scratches
from keyfs.core.tree import is_key_label
from keyfs.errors import InvalidMaterial, KeyExists, KeyNotFound, QuotaExceeded
from keyfs.testing.builders import HMAC_SYM, STORAGE


@pytest.fixture
def scratches() -> Scratches:
    return Scratches()


def made(scratches: Scratches, name: str = "x", uid: int = 1, now_s: float = 0.0) -> Scratch:
    return scratches.make(Scratch(scratches.new_node(STORAGE), STORAGE, name, uid, 1, 0o600, 0, now_s))


def test_a_file_is_found_by_its_maker_only(scratches: Scratches) -> None:
    mine, other = made(scratches), made(scratches, uid=2)
    assert scratches.find(STORAGE, "x", 1) is mine
    assert scratches.find(STORAGE, "x", 2) is other
    assert scratches.find(STORAGE, "x", 3) is None
    assert scratches.find(HMAC_SYM, "x", 1) is None
    assert list(scratches.beside(STORAGE, 1)) == [mine]
    assert mine.node != other.node


def test_a_name_is_there_once(scratches: Scratches) -> None:
    made(scratches)
    with pytest.raises(KeyExists):
        made(scratches)


def test_there_are_only_so_many_for_each_user(scratches: Scratches) -> None:
    for number in range(FILES_LIMIT):
        made(scratches, str(number))
    with pytest.raises(QuotaExceeded):
        made(scratches, "one more")
    made(scratches, "one more", uid=2)
    scratches.remove(made(Scratches(), "elsewhere"))
    scratches.expire(LIFE_S + 1)
    made(scratches, "one more")


def test_a_file_can_be_only_so_long(scratches: Scratches) -> None:
    scratch = made(scratches)
    scratch.write(SIZE_LIMIT - 1, b"x")
    with pytest.raises(InvalidMaterial):
        scratch.write(SIZE_LIMIT, b"x")
    with pytest.raises(InvalidMaterial):
        scratch.truncate(SIZE_LIMIT + 1)
    assert len(scratch.buffer) == SIZE_LIMIT


def test_writes_and_truncations_are_those_of_a_file(scratches: Scratches) -> None:
    scratch = made(scratches)
    scratch.write(2, b"cd")
    assert scratch.buffer == b"\0\0cd"
    scratch.write(0, b"ab")
    scratch.truncate(3)
    assert scratch.buffer == b"abc"
    scratch.truncate(5)
    assert scratch.buffer == b"abc\0\0"


def test_a_renamed_file_keeps_its_node_and_takes_the_place_of_another(scratches: Scratches) -> None:
    one, two = made(scratches, "one"), made(scratches, "two")
    two.write(0, b"two")
    node = one.node
    scratches.rename(one, "two")
    assert scratches.find(STORAGE, "one", 1) is None
    assert scratches.find(STORAGE, "two", 1) is one
    assert scratches.of(node) is one
    assert two.buffer == b"\0\0\0"
    scratches.rename(one, "two")
    assert scratches.find(STORAGE, "two", 1) is one


def test_a_removed_file_lives_as_long_as_it_is_open(scratches: Scratches) -> None:
    scratch = made(scratches)
    scratch.write(0, b"key")
    scratch.handles = 2
    scratches.remove(scratch)
    assert scratches.find(STORAGE, "x", 1) is None
    scratches.closed(scratch, 1.0)
    assert scratches.of(scratch.node).buffer == b"key"
    scratches.closed(scratch, 1.0)
    assert scratch.buffer == b"\0\0\0"
    with pytest.raises(KeyNotFound):
        scratches.of(scratch.node)


def test_what_nobody_opens_is_wiped_in_the_end(scratches: Scratches) -> None:
    used, unused = made(scratches, "used"), made(scratches, "unused")
    used.handles = 1
    unused.write(0, b"key")
    scratches.expire(LIFE_S)
    assert scratches.of(unused.node) is unused
    scratches.expire(LIFE_S + 0.1)
    assert unused.buffer == b"\0\0\0"
    assert scratches.find(STORAGE, "unused", 1) is None
    scratches.closed(used, LIFE_S)
    scratches.expire(2 * LIFE_S)
    assert scratches.find(STORAGE, "used", 1) is used
    scratches.expire(2 * LIFE_S + 0.1)
    assert scratches.find(STORAGE, "used", 1) is None


@pytest.mark.parametrize(
    ("label", "is_one"),
    [
        *((name, True) for name in ("current", "current.pub", "current.pub.pem", "rotate", "current.fp")),
        *((f"2020-01-01T00:00:00{rest}", True) for rest in ("", ".5", ".pub", ".5.hex")),
        *(
            (name, False)
            for name in ("4913", ".current.swp", "current~", "current.tmp", "sedAbCd", "x.pub", "")
        ),
    ],
)
def test_names_that_look_like_keys(label: str, is_one: bool) -> None:
    assert is_key_label(label) is is_one
