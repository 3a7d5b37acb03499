"""How benchmarks count: turns, ratios, limits, and what is told of those who cannot take part."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from pathlib import Path

import pytest
from benchmarking import contests, publication
from benchmarking.contest import Contest, Field, Outcome, Row, hold
from benchmarking.elsewhere import program
from benchmarking.figures import Spread, ratios, rounded
from benchmarking.programs import Absent, BenchError
from benchmarking.publication import BUDGET, RATIOS, Page
from benchmarking.report import Report, has_failed, markdown, ratio_table, report
from benchmarking.workshop import Effort, Workshop

# As issue 6 has it.
LIMITS = [
    ("hot", "gocryptfs", 0.75),
    ("hot", "empty C libfuse daemon", 2.5),
    ("hot", "gocryptfs", 0.75),
    ("hot", "gocryptfs", 1.0),
    ("hot", "gocryptfs", 1.8),
    ("cold", "plain script", 2.0),
    ("cold", "plain script", 1.0),
    ("ls", "gocryptfs", 0.25),
    ("ls", "gocryptfs", 0.25),
    ("rotate", "plain script", 1.5),
    ("mount", "gocryptfs", 2.5),
    ("index", "", 160),
    ("start", "redis-cli --scan", 2.0),
    ("growth", "itself with 100 keys", 1.15),
]


def silent(line: str) -> None:
    """Whoever waits is not here."""


def contest(
    prepare: Callable[[Workshop], AbstractContextManager[Field]], *rows: Row, rounds: int = 4
) -> Contest:
    return Contest("race", "how far", "m", rows, rounds, prepare)


def held(prepare: Callable[[Workshop], AbstractContextManager[Field]], *rows: Row) -> Outcome:
    with Workshop(Effort()) as workshop:
        return hold(contest(prepare, *rows), workshop, silent)


def reported(outcome: Outcome, *, quick: bool = False) -> Report:
    return report([outcome], Effort(quick))


@contextmanager
def hare_and_tortoise(workshop: Workshop) -> Iterator[Field]:
    hare, tortoise = iter([2.0, 4.0, 6.0, 900.0]), iter([1.0, 2.0, 2.0, 300.0])
    yield Field({"hare": lambda: next(hare), "tortoise": lambda: next(tortoise)}, {"dodo": "it is extinct"})


def test_a_spread_is_of_all_figures() -> None:
    assert Spread.of([3.0, 1.0, 8.0, 2.0]) == Spread(1.0, 2.5, 8.0)


def test_ratios_are_of_the_same_round() -> None:
    """Not of the medians: a slow minute that hits both must not show."""
    assert ratios([2.0, 200.0], [1.0, 100.0]) == [2.0, 2.0]
    with pytest.raises(ValueError, match="shorter"):
        ratios([1.0], [])


def test_figures_have_four_digits() -> None:
    assert [rounded(figure) for figure in (0.123456, 12345.6)] == [0.1235, 12350.0]


def test_who_goes_first_changes_with_each_round() -> None:
    turns: list[str] = []

    def turn(name: str) -> float:
        turns.append(name)
        return 1.0

    @contextmanager
    def prepare(workshop: Workshop) -> Iterator[Field]:
        yield Field({name: partial(turn, name) for name in "abc"})

    held(prepare)
    assert "".join(turns) == "abccbaabccba"


def test_a_limit_is_for_the_median() -> None:
    outcome = held(
        hare_and_tortoise,
        Row("met", "hare", "tortoise", 2.5),
        Row("not met", "hare", "tortoise", 2.4),
        Row("only told", "hare", "tortoise"),
    )
    assert outcome.results[0].ratios == (2.0, 2.0, 3.0, 3.0)
    assert [result.met for result in outcome.results] == [True, False, None]


def test_a_figure_without_a_rival_is_its_own_result() -> None:
    outcome = held(hare_and_tortoise, Row("size", "hare", "", 10.0))
    assert outcome.results[0].ratios == (2.0, 4.0, 6.0, 900.0)
    assert outcome.results[0].met


def test_who_cannot_take_part_is_named_with_the_reason() -> None:
    outcome = held(hare_and_tortoise, Row("race", "hare", "dodo", 1.0), Row("race", "hare", "tortoise", 3.0))
    found = reported(outcome)
    assert found["rows"][0]["reason"] == "it is extinct"
    assert found["rows"][1]["ratio"]["median"] == 2.5
    assert not has_failed(found)
    assert "not measured: it is extinct" in markdown(found)


@pytest.mark.parametrize(
    ("error", "is_failure"), [(BenchError("fell"), True), (OSError("fell"), True), (Absent("fell"), False)]
)
def test_a_contest_that_fails_is_told_and_others_go_on(error: Exception, is_failure: bool) -> None:
    @contextmanager
    def prepare(workshop: Workshop) -> Iterator[Field]:
        def fall() -> float:
            raise error

        yield Field({"hare": lambda: 1.0, "tortoise": fall})

    found = reported(held(prepare, Row("race", "hare", "tortoise", 1.0)))
    assert found["rows"][0]["reason"] == "fell"
    assert has_failed(found) == is_failure
    assert "fell" in ratio_table(found)


def test_a_limit_that_is_not_met_stands_out() -> None:
    found = reported(held(hare_and_tortoise, Row("race", "hare", "tortoise", 1.0)))
    assert "NOT MET" in ratio_table(found)
    assert "| race | tortoise | **2.50** | 2.00 to 3.00 | 1 (not met) |" in markdown(found)


def test_every_limit_that_was_set_is_measured() -> None:
    rows = [
        (name, row.rival_title or row.rival, row.limit)
        for name in contests.USUAL
        for row in contests.BY_NAME[name].rows
        if row.limit is not None
    ]
    assert rows == LIMITS


def test_a_quick_run_is_small() -> None:
    quick, usual = Effort(quick=True), Effort()
    assert [quick.size(1_000_000), quick.size(100), usual.size(1_000_000)] == [300, 100, 1_000_000]
    assert [quick.rounds(40), quick.reads(400), usual.rounds(40)] == [1, 40, 40]
    assert Effort(quick=True, chosen_rounds=3).rounds(40) == 3


def test_what_is_shared_is_made_once_and_taken_away_at_the_end() -> None:
    made: list[str] = []

    @contextmanager
    def store() -> Iterator[str]:
        made.append("made")
        yield "store"
        made.append("gone")

    with Workshop(Effort()) as workshop:
        assert workshop.shared("store", store) == workshop.shared("store", store) == "store"
        place = workshop.new_place("mine")
        assert place.is_dir()
    assert made == ["made", "gone"]
    assert not place.parent.exists()


def test_a_measurement_that_is_not_there_yet_is_absent() -> None:
    with pytest.raises(Absent, match=r"there is no scripts/bench_of_nothing\.py"):
        program("bench_of_nothing")


@pytest.mark.parametrize("page", [RATIOS, BUDGET], ids=lambda page: page.name)
def test_readme_shows_what_was_measured(page: Page) -> None:
    """Table and plot are made from the same figures, by `scripts/bench --readme`."""
    found = publication.load(page.figures)
    _, shown, _ = page.parts(publication.README.read_text(encoding="utf-8"))
    assert shown == page.section(found)
    assert publication.page_of(found, set(contests.USUAL)) == page


def test_the_plot_is_small() -> None:
    assert RATIOS.figures.with_suffix(".png").stat().st_size < 60_000


def test_readme_takes_a_new_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(publication, "README", tmp_path / "README.md")
    monkeypatch.setattr(publication, "PUBLISHED", tmp_path / "bench")
    publication.README.write_text(f"before\n{RATIOS.begin}\nold\n{RATIOS.end}\nafter\n")
    found = reported(held(hare_and_tortoise, Row("race", "hare", "tortoise", 1.0)))
    written = publication.write(found, tmp_path / "new.json")
    publication.publish(found, written, {"race"})
    shown = RATIOS.parts(publication.README.read_text())
    assert shown == ("before\n", RATIOS.section(found), "\nafter\n")
    assert publication.load(RATIOS.figures) == found
    assert (tmp_path / "bench" / "bench.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("quick", "others", "reason"), [(True, (), "mean nothing"), (False, ("ls",), "all contests")]
)
def test_what_says_too_little_is_not_published(*, quick: bool, others: tuple[str, ...], reason: str) -> None:
    found = reported(held(hare_and_tortoise, Row("race", "hare", "tortoise", 1.0)), quick=quick)
    with pytest.raises(BenchError, match=reason):
        publication.page_of(found, {"race", *others})


@pytest.mark.parametrize("text", ["", RATIOS.begin, f"{RATIOS.end}\n{RATIOS.begin}\n"])
def test_a_readme_without_a_place_for_the_table_is_refused(text: str) -> None:
    with pytest.raises(BenchError, match=r"README\.md has no lines"):
        RATIOS.parts(text)
