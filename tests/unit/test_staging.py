"""`StagedWrite` against a plain model of a file: what a flush commits, and what it never does."""

import contextlib

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from keyfs.core.staging import SIZE_LIMIT, StagedWrite
from keyfs.errors import InvalidMaterial

LIMIT = 46
PREFIX = b"REC2"


class FileModel(RuleBasedStateMachine):
    """A file of at most LIMIT bytes, edited through one handle and flushed now and then."""

    def __init__(self) -> None:
        super().__init__()
        self.content = b""
        self.is_dirty = self.is_refused = False
        self.base = self.committed = ""
        self.versions = 0

    @initialize(base=st.none() | st.binary(max_size=LIMIT))
    def open(self, base: bytes | None) -> None:
        self.staged = StagedWrite(LIMIT)
        if base is not None:
            self.staged.buffer[:] = self.content = base
            self.staged.base = self.base = "the version it was opened with"

    @rule(offset=st.integers(0, LIMIT), data=st.binary(min_size=1, max_size=20))
    def write_somewhere(self, offset: int, data: bytes) -> None:
        self.write(offset, data)

    @rule(data=st.binary(min_size=1, max_size=20))
    def append(self, data: bytes) -> None:
        self.write(len(self.content), data)

    def write(self, offset: int, data: bytes) -> None:
        self.is_dirty = True
        if offset + len(data) > LIMIT:
            self.is_refused = True
            with pytest.raises(InvalidMaterial):
                self.staged.write(offset, data)
            return
        assert self.staged.write(offset, data) == len(data)
        padded = self.content.ljust(offset, b"\0")
        self.content = padded[:offset] + data + padded[offset + len(data) :]

    @rule(size=st.integers(0, LIMIT))
    def truncate(self, size: int) -> None:
        self.staged.truncate(size)
        self.content = self.content[:size].ljust(size, b"\0")
        if size == 0:
            self.is_dirty = self.is_refused = False
            self.base = ""

    @rule(size=st.integers(LIMIT + 1, 1 << 62))
    def truncate_beyond(self, size: int) -> None:
        with pytest.raises(InvalidMaterial):
            self.staged.truncate(size)

    @rule(succeeds=st.booleans())
    def flush(self, succeeds: bool) -> None:
        if self.is_refused:
            with pytest.raises(InvalidMaterial):
                self.staged.take()
            return
        data = self.staged.take()
        assert data == (self.content if self.is_dirty and self.content else None)
        if data is not None and succeeds:
            self.versions += 1
            self.committed = f"version {self.versions}"
            self.staged.mark_committed(data, self.committed)
            self.base = self.committed if self.base else ""
            self.is_dirty = False

    @invariant()
    def the_handle_is_as_the_model_says(self) -> None:
        if hasattr(self, "staged"):
            assert bytes(self.staged.buffer) == self.content
            assert (self.staged.base, self.staged.committed) == (self.base, self.committed)

    def teardown(self) -> None:
        if hasattr(self, "staged"):
            self.staged.wipe()
            assert not any(self.staged.buffer)


TestStagedWriteAsAFile = FileModel.TestCase


def taken(*pieces: bytes, prefix: bytes = b"", limit: int = LIMIT) -> bytes | None:
    """What a flush finds after these writes, one after the other."""
    staged = StagedWrite(limit, prefix)
    for piece in pieces:
        staged.write(len(staged.buffer), piece)
    return staged.take()


def test_a_flush_before_the_first_write_commits_nothing() -> None:
    assert taken() is None


def test_an_empty_write_commits_nothing() -> None:
    assert taken(b"") is None


def test_several_writes_are_one_value() -> None:
    assert taken(b"one ", b"two ", b"three") == b"one two three"


def test_a_value_of_exactly_the_limit_fits() -> None:
    assert taken(b"x" * LIMIT) == b"x" * LIMIT


def test_what_came_before_a_refused_write_is_no_key() -> None:
    staged = StagedWrite(LIMIT)
    staged.write(0, b"x" * LIMIT)
    with pytest.raises(InvalidMaterial, match="47 bytes are more"):
        staged.write(LIMIT, b"x")
    for _ in range(2):
        with pytest.raises(InvalidMaterial, match="nothing was changed"):
            staged.take()


def test_starting_over_after_a_refused_write_is_possible() -> None:
    staged = StagedWrite(LIMIT)
    with pytest.raises(InvalidMaterial):
        staged.write(0, b"x" * (LIMIT + 1))
    staged.truncate(0)
    staged.write(0, b"whole")
    assert staged.take() == b"whole"


def test_a_far_offset_is_refused_before_memory_is_taken() -> None:
    staged = StagedWrite(SIZE_LIMIT)
    with pytest.raises(InvalidMaterial):
        staged.write(1 << 60, b"x")
    assert not staged.buffer


@pytest.mark.parametrize("begin", [b"R", b"RE", b"REC2", b"REC2 and more"])
def test_a_beginning_that_may_become_a_key_is_taken(begin: bytes) -> None:
    assert taken(begin, prefix=PREFIX) == begin


@pytest.mark.parametrize("begin", [b"x", b"RX", b"-----BEGIN", b"UEC2", b"\n"])
def test_a_wrong_beginning_fails_at_once(begin: bytes) -> None:
    with pytest.raises(InvalidMaterial, match="begins with REC2"):
        taken(begin, prefix=PREFIX)


def test_bytes_behind_the_beginning_are_not_compared_with_it() -> None:
    assert taken(PREFIX, b"xyz", prefix=PREFIX) == b"REC2xyz"


def test_a_wrong_beginning_can_be_mended() -> None:
    staged = StagedWrite(LIMIT, PREFIX)
    with contextlib.suppress(InvalidMaterial):
        staged.write(0, b"WRONG")
    staged.write(0, b"REC2!")
    assert staged.take() == b"REC2!"


def test_what_is_written_while_a_commit_runs_is_committed_by_the_next_flush() -> None:
    """The kernel sends a write of one process while another one's close is being answered."""
    staged = StagedWrite(LIMIT)
    staged.write(0, b"first")
    data = staged.take()
    assert data == b"first"
    staged.write(0, b"later")
    staged.mark_committed(data, "1")
    assert staged.take() == b"later"
    staged.mark_committed(b"later", "2")
    assert staged.take() is None


def test_the_buffer_does_not_show() -> None:
    staged = StagedWrite(LIMIT)
    staged.write(0, b"canary")
    assert "canary" not in repr(staged)
