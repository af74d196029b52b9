"""What a benchmark found: figures, the comparisons between them, and what went wrong."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

import numpy as np


@dataclass(frozen=True)
class Figure:
    """The measured rounds of one contestant."""

    name: str
    rounds: tuple[float, ...]
    """One rate per round, in the unit of the race."""
    note: str = ""
    """What it does, or cannot do, in a sentence."""

    def __post_init__(self) -> None:
        if not self.rounds or not all(0 < r < float("inf") for r in self.rounds):
            raise ValueError(f"figure {self.name!r}: expected positive rates, got {self.rounds}")

    @property
    def median(self) -> float:
        """Median over the rounds."""
        return median(self.rounds)

    @property
    def quartiles(self) -> tuple[float, float]:
        """First and third quartile over the rounds."""
        low, high = np.quantile(self.rounds, (0.25, 0.75))
        return float(low), float(high)


@dataclass(frozen=True)
class Comparison:
    """A ratio that the reader wants to see: figure `over` divided by figure `under`."""

    over: str
    under: str
    expected: float | None = None
    """The least ratio that was promised, or None for one that is only reported."""


@dataclass(frozen=True)
class Race:
    """Contestants that did the same work in the same run."""

    title: str
    figures: tuple[Figure, ...]
    comparisons: tuple[Comparison, ...] = ()
    unit: str = "samples/s"

    def __post_init__(self) -> None:
        names = [f.name for f in self.figures]
        if len(set(names)) != len(names):
            raise ValueError(f"race {self.title!r}: a name occurs twice in {names}")
        for c in self.comparisons:
            for name in (c.over, c.under):
                if name not in names:
                    raise ValueError(f"race {self.title!r}: no figure {name!r}, only {names}")

    def figure(self, name: str) -> Figure:
        """The figure of a contestant."""
        return next(f for f in self.figures if f.name == name)

    def ratio(self, comparison: Comparison) -> float:
        """Median over median."""
        return self.figure(comparison.over).median / self.figure(comparison.under).median

    def verdict(self, comparison: Comparison) -> str:
        """`met` or `below` where something was promised, else `reported`."""
        if comparison.expected is None:
            return "reported"
        return "met" if self.ratio(comparison) >= comparison.expected else "below"


@dataclass(frozen=True)
class Missing:
    """A benchmark without a figure: it failed or was skipped."""

    name: str
    outcome: str
    """`failed` or `skipped`."""
    reason: str


@dataclass(frozen=True)
class Run:
    """Everything that one run of the benchmarks found."""

    races: Sequence[Race]
    missing: Sequence[Missing]
    machine: dict[str, object]
