"""Rows of figures, and how two of them compare. Pure."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Spread:
    """A row of figures, told by three."""

    minimum: float
    median: float
    maximum: float

    @classmethod
    def of(cls, figures: Sequence[float]) -> "Spread":
        """Reduces figures, at least one, to their spread."""
        return cls(min(figures), statistics.median(figures), max(figures))


def ratios(ours: Sequence[float], rivals: Sequence[float]) -> list[float]:
    """Divides round by round: figures of different rounds were taken on a different machine, so to speak."""
    return [one / other for one, other in zip(ours, rivals, strict=True)]


def rounded(figure: float) -> float:
    """Four digits: more were never measured."""
    return float(f"{figure:.4g}")
