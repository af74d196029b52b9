"""The side table: which land cover dominates each location."""

from collections.abc import Iterable

from fastload.synth.landscape import Landscape
from fastload.synth.places import COVERS, Place

COLUMNS = ("key", "label", "lon", "lat", *COVERS)
"""Columns of `labels.csv`: the last ones hold the share of each cover, 0 to 1."""


def label_row(location: int, place: Place, land: Landscape) -> str:
    """One line of the table, without the line's end."""
    fractions = land.fractions()
    label = COVERS[int(fractions.argmax())]
    shares = ",".join(f"{x:.4f}" for x in fractions)
    return f"{location:07d},{label},{place.lon:.6f},{place.lat:.6f},{shares}"


def table(rows: Iterable[str]) -> str:
    """The whole table with its header."""
    return "\n".join([",".join(COLUMNS), *rows]) + "\n"
