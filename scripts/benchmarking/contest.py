"""A contest: some who do the same, in turns within one run, and rows of the table that compare them.

All are ready at the same time and take turns, in an order that reverses from round to round: what
the machine does meanwhile hits all alike. Only figures of the same round are compared.
"""

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field

from benchmarking.figures import Spread, ratios
from benchmarking.programs import Absent, BenchError, stop_if_signalled
from benchmarking.workshop import Workshop

Measure = Callable[[], float]


@dataclass(frozen=True)
class Row:
    """One line of the table: one figure divided by another, or by nothing.

    Args:
        title: what both do.
        ours: who comes first in the ratio.
        rival: who comes second; empty if the figure itself is the result.
        limit: what the median may be; None if it is only told.
        rival_title: how the table calls the rival, if not by its name.
        ours_title: how it calls the other.
    """

    title: str
    ours: str
    rival: str
    limit: float | None = None
    rival_title: str = ""
    ours_title: str = "keyfs"


@dataclass
class Field:
    """Who takes part: each measures once when called. Who cannot is named with the reason."""

    measures: dict[str, Measure] = field(default_factory=dict)
    absent: dict[str, str] = field(default_factory=dict)
    remarks: list[str] = field(default_factory=list)  # what is known only now: sizes, file systems


@dataclass(frozen=True)
class Contest:
    """One contest.

    Args:
        name: by which it is chosen.
        about: what was measured, and how; for the report.
        unit: of the figures, the smaller the better.
        rows: of the table.
        rounds: unless the command line says otherwise.
        prepare: makes everybody ready.
    """

    name: str
    about: str
    unit: str
    rows: tuple[Row, ...]
    rounds: int
    prepare: Callable[[Workshop], AbstractContextManager[Field]]


@dataclass(frozen=True)
class Result:
    """What came of one row."""

    row: Row
    ratios: tuple[float, ...] = ()
    reason: str = ""  # why there are none
    failed: bool = False

    @property
    def met(self) -> bool | None:
        """Whether the limit is kept; None if there is no limit, or nothing was measured."""
        if self.row.limit is None or not self.ratios:
            return None
        return Spread.of(self.ratios).median <= self.row.limit


@dataclass(frozen=True)
class Outcome:
    """What came of a contest: figures by name, round by round."""

    contest: Contest
    figures: dict[str, list[float]]
    results: list[Result]
    remarks: list[str] = field(default_factory=list)


def hold(contest: Contest, workshop: Workshop, say: Callable[[str], None]) -> Outcome:
    """Lets all take turns. What fails is told in the rows, and stops no other contest."""
    figures: dict[str, list[float]] = {}
    rounds = workshop.effort.rounds(contest.rounds)
    try:
        stop_if_signalled()
        say(f"{contest.name}: preparing")
        with contest.prepare(workshop) as participants:
            figures.update((name, []) for name in participants.measures)
            say(f"{contest.name}: {rounds} rounds of {', '.join(figures)}")
            take_turns(participants.measures, figures, rounds)
    except (BenchError, Absent, OSError, AssertionError) as exc:  # the test kit, which is used here, asserts
        failed, reason = not isinstance(exc, Absent), str(exc) or repr(exc)
        return Outcome(contest, {}, [Result(row, reason=reason, failed=failed) for row in contest.rows])
    results = list(compared(contest.rows, figures, participants.absent))
    return Outcome(contest, figures, results, participants.remarks)


def take_turns(measures: dict[str, Measure], figures: dict[str, list[float]], rounds: int) -> None:
    """Fills the rows of figures."""
    for number in range(rounds):
        for name in reversed(measures) if number % 2 else measures:
            stop_if_signalled()
            figures[name].append(measures[name]())


def compared(
    rows: Iterable[Row], figures: dict[str, list[float]], absent: dict[str, str]
) -> Iterable[Result]:
    """The rows of the table."""
    for row in rows:
        missing = [name for name in (row.ours, row.rival) if name and not figures.get(name)]
        if missing:
            yield Result(row, reason=absent.get(missing[0], f"{missing[0]} was not measured"))
        elif not row.rival:
            yield Result(row, tuple(figures[row.ours]))
        else:
            yield Result(row, tuple(ratios(figures[row.ours], figures[row.rival])))
