"""Records in shared memory: whole or not there, whatever the process that wrote them was at."""

from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyfs.custody import Records, create_area, map_area

BLOCK = 64
TEXT, CONTENT = b"text", b"\x01\x02" * 60  # several blocks, whose first bytes look like a record's


def new(blocks: int = 16) -> memoryview:
    return memoryview(bytearray(BLOCK * blocks))


def held(records: Records) -> dict[int, tuple[bytes, bytes]]:
    return {record.number: (record.text, bytes(record.content)) for record in records.all()}


def test_the_next_process_finds_what_was_put() -> None:
    memory = new()
    records = Records(memory, BLOCK)
    assert records.put(1, TEXT, CONTENT)
    assert records.put(2, b"", b"")
    assert records.put(1, TEXT, CONTENT[::-1])
    assert held(Records(memory, BLOCK)) == held(records) == {1: (TEXT, CONTENT[::-1]), 2: (b"", b"")}


def test_nothing_of_what_was_dropped_stays() -> None:
    memory = new()
    records = Records(memory, BLOCK)
    records.put(1, TEXT, CONTENT)
    records.drop(1)
    records.drop(1)
    assert not any(memory)
    assert held(Records(memory, BLOCK)) == {}


def test_what_does_not_fit_is_refused_and_changes_nothing() -> None:
    records = Records(new(4), BLOCK)
    assert records.put(1, TEXT, CONTENT)
    assert not records.put(2, TEXT, CONTENT)
    assert not records.put(1, TEXT, CONTENT)
    assert held(records) == {1: (TEXT, CONTENT)}


class Killed(Exception):
    pass


class Mortal:
    """Memory whose writer is killed before the n-th store into it."""

    def __init__(self, memory: memoryview, stores: int) -> None:
        self._memory = memory
        self._left = stores

    def __getitem__(self, where: slice) -> memoryview:
        return self._memory[where]

    def __len__(self) -> int:
        return len(self._memory)

    def __setitem__(self, where: object, value: object) -> None:
        if not self._left:
            raise Killed
        self._left -= 1
        self._memory[where] = value  # type: ignore[call-overload]  # whatever a memoryview takes


@pytest.mark.parametrize("stores", range(10))
def test_whoever_is_killed_leaves_the_old_record_or_the_new_one(stores: int) -> None:
    memory = new()
    Records(memory, BLOCK).put(1, TEXT, CONTENT)
    records = Records(memory, BLOCK)
    records._memory = cast("memoryview", Mortal(memory, stores))
    try:
        records.put(1, b"new", CONTENT[::-1])
        is_over = True
    except Killed:
        is_over = False
    found = held(Records(memory, BLOCK))
    assert found in ({1: (TEXT, CONTENT)}, {1: (b"new", CONTENT[::-1])})
    assert not is_over or found == {1: (b"new", CONTENT[::-1])}


Steps = st.lists(st.tuples(st.integers(1, 5), st.none() | st.binary(max_size=200)), max_size=40)


@given(Steps)
def test_it_is_a_dictionary_with_little_room(steps: list[tuple[int, bytes | None]]) -> None:
    memory = new()
    records, model = Records(memory, BLOCK), dict[int, tuple[bytes, bytes]]()
    for number, content in steps:
        if content is None:
            records.drop(number)
            model.pop(number, None)
        elif records.put(number, TEXT, content):
            model[number] = (TEXT, content)
        assert held(records) == model
    again = Records(memory, BLOCK)
    assert held(again) == model
    for number in list(model):
        again.drop(number)
    assert not any(memory)


def test_an_area_is_shared_by_its_descriptor() -> None:
    descriptor, memory = create_area(4096)
    memory[:3] = b"abc"
    other = map_area(descriptor)
    assert bytes(other[:4]) == b"abc\0"
    other[0] = 0
    assert memory[0] == 0
