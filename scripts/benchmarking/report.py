"""What a run found, as `bench.json` has it, and as tables to read. Pure but for the facts of the machine."""

import importlib.metadata
import os
import platform
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from benchmarking.contest import Outcome, Result
from benchmarking.figures import Spread, rounded
from benchmarking.workshop import Effort

Report = dict[str, Any]
NOT_MEASURED = "-"


def machine(**versions: str) -> dict[str, Any]:
    """On what it was measured."""
    return {
        "kernel": platform.release(),
        "cpus": os.cpu_count(),
        "python": platform.python_version(),
        "keyfs": importlib.metadata.version("keyfs"),
        **versions,
    }


def spread_of(figures: Sequence[float]) -> dict[str, Any]:
    """A row of figures, and what tells it."""
    told: dict[str, Any] = {name: rounded(value) for name, value in asdict(Spread.of(figures)).items()}
    return {**told, "rounds": [rounded(figure) for figure in figures]}


def row_of(contest: str, result: Result) -> dict[str, Any]:
    """One line of the table."""
    row = result.row
    facts = {
        "contest": contest,
        "case": row.title if row.ours_title == "keyfs" else f"{row.title}: {row.ours_title}",
        "rival": row.rival_title or row.rival or NOT_MEASURED,
        "limit": row.limit,
    }
    if not result.ratios:
        return {**facts, "reason": result.reason, "failed": result.failed}
    return {**facts, "ratio": spread_of(result.ratios), "met": result.met}


def report(outcomes: Sequence[Outcome], effort: Effort, **versions: str) -> Report:
    """Everything, and on what it was found."""
    return {
        "quick": effort.quick,
        "machine": machine(**versions),
        "rows": [row_of(outcome.contest.name, result) for outcome in outcomes for result in outcome.results],
        "contests": {
            outcome.contest.name: {
                "about": outcome.contest.about,
                "unit": outcome.contest.unit,
                "remarks": outcome.remarks,
                "figures": {name: spread_of(row) for name, row in outcome.figures.items() if row},
            }
            for outcome in outcomes
        },
    }


def is_quick(found: Report) -> bool:
    """Whether it only shows that everything works: then its ratios mean nothing."""
    return bool(found["quick"])


def has_failed(found: Report) -> bool:
    """Whether something could not be measured that should have been."""
    return any(row.get("failed") for row in found["rows"])


# --- tables ---


def digits(figure: float) -> str:
    """Three that count."""
    return f"{figure:.0f}" if figure >= 100 else f"{figure:.{1 if figure >= 10 else 2}f}"


def verdict(row: Mapping[str, Any]) -> str:
    """Whether the limit is met, in a word."""
    return {True: "met", False: "NOT MET", None: ""}[row.get("met")]


def cells(row: Mapping[str, Any]) -> list[str]:
    """A row as words: min, median, max, limit, verdict."""
    limit = NOT_MEASURED if row["limit"] is None else f"{row['limit']:g}"
    if "ratio" not in row:
        return [NOT_MEASURED, NOT_MEASURED, NOT_MEASURED, limit, row["reason"]]
    spread = row["ratio"]
    return [*(digits(spread[name]) for name in ("minimum", "median", "maximum")), limit, verdict(row)]


def ratio_table(found: Report) -> str:
    """The table of ratios, for a terminal."""
    lines = [["keyfs / rival", "rival", "min", "median", "max", "limit", ""]]
    lines += [[row["case"], row["rival"], *cells(row)] for row in found["rows"]]
    *wide, _ = (max(map(len, column)) for column in zip(*lines, strict=True))
    return "\n".join(aligned(line, wide) for line in lines)


def aligned(line: Sequence[str], wide: Sequence[int]) -> str:
    """Words to the left, numbers to the right."""
    case, rival, *numbers, word = line
    told = "".join(f"{number:>{width + 2}}" for number, width in zip(numbers, wide[2:], strict=True))
    return f"{case:<{wide[0]}}  {rival:<{wide[1]}}{told}  {word}".rstrip()


def figure_tables(found: Report) -> str:
    """What the ratios were made from, for a terminal."""
    return "\n\n".join(figure_table(name, contest) for name, contest in found["contests"].items())


def figure_table(name: str, contest: Mapping[str, Any]) -> str:
    """The figures of one contest."""
    lines = [f"{name + ', ' + contest['unit']:<42}{'min':>10}{'median':>10}{'max':>10}"]
    for who, spread in contest["figures"].items():
        told = "".join(f"{digits(spread[part]):>10}" for part in ("minimum", "median", "maximum"))
        lines.append(f"  {who:<40}{told}")
    return "\n".join([*lines, *(f"  {remark}" for remark in contest["remarks"])])


def markdown(found: Report) -> str:
    """The table of ratios, for README."""
    head = ["case", "rival", "median", "min to max", "at most"]
    lines = [head, ["---"] * len(head)]
    lines += [markdown_cells(row) for row in found["rows"] if "ratio" in row or row["limit"] is not None]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def markdown_cells(row: Mapping[str, Any]) -> list[str]:
    """One row of README's table; a limit that is not met stands out."""
    low, middle, high, limit, word = cells(row)
    if "ratio" not in row:
        return [row["case"], row["rival"], f"not measured: {word}", "", limit]
    return [
        row["case"],
        row["rival"],
        f"**{middle}**",
        f"{low} to {high}",
        limit + " (not met)" * (row["met"] is False),
    ]


def limited(rows: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The rows that have both a limit and a figure."""
    return [row for row in rows if row["limit"] is not None and "ratio" in row]
