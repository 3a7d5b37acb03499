"""README's tables and plot: made from what was measured, never by hand."""

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from benchmarking import budget
from benchmarking.plot import draw
from benchmarking.programs import BenchError
from benchmarking.report import Report, is_quick, limited, markdown

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"
PUBLISHED = ROOT / "packaging" / "bench"


@dataclass(frozen=True)
class Page:
    """A place in README, between two marks, and the file of figures that it shows."""

    name: str
    command: str
    table: Callable[[Report], str]

    @property
    def begin(self) -> str:
        """The mark before it."""
        return f"<!-- written by {self.command} -->"

    @property
    def end(self) -> str:
        """The mark behind it."""
        return f"<!-- end of {self.name} -->"

    @property
    def figures(self) -> Path:
        """What it shows."""
        return PUBLISHED / f"{self.name}.json"

    def section(self, found: Report) -> str:
        """What stands between the marks."""
        machine = found["machine"]
        seen = f"Seen on {machine['cpus']} cores, Linux {machine['kernel']}, Python {machine['python']}:"
        return f"{seen}\n\n{self.table(found)}"

    def parts(self, readme: str) -> tuple[str, str, str]:
        """A README before the marks, between them, and behind them.

        Raises:
            BenchError: it has not both marks, in their order.
        """
        head, begin, rest = readme.partition(f"{self.begin}\n")
        inside, end, tail = rest.partition(f"\n{self.end}")
        if not (begin and end):
            raise BenchError(f"README.md has no lines {self.begin!r} and {self.end!r}")
        return head, inside, tail


RATIOS = Page("bench", "scripts/bench --readme", markdown)
BUDGET = Page("budget", "scripts/bench budget --readme", budget.markdown)


def page_of(found: Report, contests: set[str]) -> Page:
    """Where a report belongs.

    Raises:
        BenchError: nowhere. README shows one run of all *contests*, measured in earnest.
    """
    if is_quick(found):
        raise BenchError("the figures of a quick run mean nothing: README does not show them")
    measured = set(found["contests"])
    if measured == {budget.CONTEST.name}:
        return BUDGET
    if measured != contests:
        raise BenchError(
            f"README shows one run of all contests, and {measured ^ contests} makes a difference"
        )
    return RATIOS


def load(path: Path) -> Report:
    """A report that was written."""
    found: Report = json.loads(path.read_text(encoding="utf-8"))
    return found


def write(found: Report, output: Path) -> list[Path]:
    """Writes the report and, beside it, the plot, if there is anything to draw; returns what it wrote."""
    output.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    if not limited(found["rows"]):
        return [output]
    picture = output.with_suffix(".png")
    draw(found, picture)
    return [output, picture]


def publish(found: Report, written: list[Path], contests: set[str]) -> None:
    """Makes a report, and the plot beside it, those of README.

    Raises:
        BenchError: it does not belong there, or README has no place for it.
    """
    page = page_of(found, contests)
    head, _, tail = page.parts(README.read_text(encoding="utf-8"))
    PUBLISHED.mkdir(exist_ok=True)
    for path in written:
        place = page.figures.with_suffix(path.suffix)
        if path.resolve() != place.resolve():
            shutil.copyfile(path, place)
    text = f"{head}{page.begin}\n{page.section(found)}\n{page.end}{tail}"
    README.write_text(text, encoding="utf-8")
