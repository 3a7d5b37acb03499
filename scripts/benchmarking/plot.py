"""The table of limits as a picture: how much of each limit is used."""

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure
from PIL import Image

from benchmarking.report import NOT_MEASURED, Report, digits, limited

INCHES_WIDE = 9.0
INCHES_PER_ROW = 0.36
INCHES_AROUND = 1.1
DOTS_PER_INCH = 80
COLOURS = 24
MET, NOT_MET, SPREAD = "#3b7d5c", "#b3473f", "#333333"
WIDEST = 1.6  # of the limit; a longer bar is cut, its number tells


def draw(found: Report, path: Path) -> None:
    """Writes a PNG with one bar for each row that has a limit."""
    rows = limited(found["rows"])
    with mpl.rc_context({"font.size": 9}):
        picture = io.BytesIO()
        drawn(rows).savefig(picture, dpi=DOTS_PER_INCH)
    # A quarter of the size: a picture of three colours and their edges. matplotlib brings PIL along.
    Image.open(picture).convert("RGB").quantize(COLOURS).save(path, optimize=True)


def drawn(rows: Sequence[Mapping[str, Any]]) -> Figure:
    """The picture of these rows."""
    figure = Figure(
        figsize=(INCHES_WIDE, INCHES_AROUND + INCHES_PER_ROW * max(1, len(rows))), layout="constrained"
    )
    axes = figure.add_subplot()
    for place, row in enumerate(rows):
        draw_row(axes, place, row)
    axes.axvline(1.0, color=SPREAD, linewidth=1.2, zorder=3)
    axes.set_yticks(range(len(rows)), [label_of(row) for row in rows])
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.set_xlim(0, WIDEST)
    axes.set_xticks([0, 0.25, 0.5, 0.75, 1.0], ["0", "¼", "½", "¾", "the limit"])
    axes.set_title(
        "keyfs ÷ rival, as a share of what it may be (median; line: min to max)", loc="left", fontsize=10
    )
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.tick_params(axis="y", length=0)
    return figure


def label_of(row: Mapping[str, Any]) -> str:
    """What is divided by what."""
    return str(row["case"]) if row["rival"] == NOT_MEASURED else f"{row['case']} / {row['rival']}"


def draw_row(axes: Any, place: int, row: Mapping[str, Any]) -> None:  # noqa: ANN401 - matplotlib's own
    """One bar, its spread, and the numbers beside it."""
    limit = row["limit"]
    low, middle, high = (min(row["ratio"][part] / limit, WIDEST) for part in ("minimum", "median", "maximum"))
    axes.barh(place, middle, height=0.62, color=MET if row["met"] else NOT_MET)
    axes.plot([low, high], [place, place], color=SPREAD, linewidth=1)
    label = f"{digits(row['ratio']['median'])} of {limit:g}"
    axes.text(WIDEST * 1.02, place, label, va="center")
