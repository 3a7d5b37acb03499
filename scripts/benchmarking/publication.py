"""README's table and plot: made from `bench.json`, never by hand."""

import json
import shutil
from pathlib import Path

from benchmarking.plot import draw
from benchmarking.programs import BenchError
from benchmarking.report import Report, markdown

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"
PUBLISHED = ROOT / "packaging" / "bench"
BEGIN, END = "<!-- scripts/bench --readme writes from here -->", "<!-- to here -->"


def write(found: Report, output: Path) -> Path:
    """Writes the report and, beside it, the plot; returns where that is."""
    output.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    picture = output.with_suffix(".png")
    draw(found, picture)
    return picture


def section(found: Report) -> str:
    """What stands between the marks."""
    machine = found["machine"]
    seen = f"Seen on {machine['cpus']} cores, Linux {machine['kernel']}, Python {machine['python']}:"
    return f"{seen}\n\n{markdown(found)}"


def published(readme: str) -> str:
    """What stands between the marks of a README.

    Raises:
        BenchError: it has not both marks, in their order.
    """
    _, begin, rest = readme.partition(BEGIN)
    inside, end, _ = rest.partition(END)
    if not (begin and end):
        raise BenchError(f"README.md has no lines {BEGIN!r} and {END!r}")
    return inside.strip("\n")


def publish(output: Path) -> None:
    """Makes a report, and the plot beside it, those of README."""
    found = json.loads(output.read_text(encoding="utf-8"))
    readme = README.read_text(encoding="utf-8")
    old = published(readme)
    PUBLISHED.mkdir(exist_ok=True)
    for path in (output, output.with_suffix(".png")):
        if path.resolve().parent != PUBLISHED:
            shutil.copyfile(path, PUBLISHED / f"bench{path.suffix}")
    head, _, tail = readme.partition(f"{BEGIN}\n{old}\n{END}")
    README.write_text(f"{head}{BEGIN}\n{section(found)}\n{END}{tail}", encoding="utf-8")
