"""What a process has just done to a file: for how long it counts, and that nobody else pays for it."""

from keyfs.core.marks import LIFE_S, Marks

PATH, OTHER = ("storage", "alice", "current"), ("storage", "bobby", "current")


def never() -> int:
    raise AssertionError("nobody had to be asked who it is")


def test_a_mark_counts_for_its_file_and_process_and_not_for_long() -> None:
    marks = Marks()
    marks.set(PATH, 1, 0.0)
    assert marks.has(PATH, lambda: 1, LIFE_S - 0.1)
    assert not marks.has(PATH, lambda: 2, 0.0)
    assert not marks.has(PATH, lambda: 1, LIFE_S)


def test_a_mark_that_was_taken_away_counts_no_more() -> None:
    marks = Marks()
    marks.set(PATH, 1, 0.0)
    marks.set(PATH, 2, 0.0)
    marks.clear(PATH, 1)
    assert not marks.has(PATH, lambda: 1, 0.0)
    assert marks.has(PATH, lambda: 2, 0.0)
    marks.clear(PATH, 2)
    marks.clear(OTHER, 2)
    assert not marks.has(PATH, never, 0.0)


def test_who_looks_up_an_unmarked_file_is_not_looked_at() -> None:
    """A look at a process is costly, and one `rm` had made all later lookups pay for it."""
    marks = Marks()
    assert not marks.has(PATH, never, 0.0)
    marks.set(PATH, 1, 0.0)
    assert not marks.has(OTHER, never, 0.0)
    assert not marks.has(PATH, never, LIFE_S)
