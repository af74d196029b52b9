"""Labels for the samples of a dataset, joined by key."""

from collections.abc import Sequence
from copy import copy
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from fastload.datasets.entries import texts
from fastload.datasets.labels.tables import Column, Table, read

if TYPE_CHECKING:
    from fastload.datasets.base import Dataset

D = TypeVar("D", bound="Dataset")
MISSING = ("error", "drop", "fill")


def labelled(
    dataset: D,
    source: Any,
    key: str,
    columns: Sequence[str] | None,
    missing: Literal["error", "drop", "fill"],
) -> D:
    """See `Dataset.with_labels`."""
    if missing not in MISSING:
        raise ValueError(f"missing must be one of {MISSING}, got {missing!r}")
    if columns is not None and (isinstance(columns, str) or not columns):
        raise ValueError(f"columns must be a list of names, got {columns!r}")
    table = read(source, key, columns)
    for name in table.columns:
        if name in dataset._taken() | set(dataset.extras):
            raise ValueError(
                f"{table.name}: column {name!r}: a batch has an entry of this name already; "
                "rename it, or choose others by columns=[...]"
            )
    keys = texts(dataset._keys)
    rows = np.array([table.rows.get(k, -1) for k in keys], np.int64)
    lacking = {n: _lacking(rows, column) for n, column in table.columns.items()}
    kept = ~np.any(list(lacking.values()), axis=0)
    if missing == "error" and not kept.all():
        raise ValueError(_report(table, keys, kept))
    if missing == "drop":
        if not kept.any():
            raise ValueError(_report(table, keys, kept))
        some = np.flatnonzero(kept)
        dataset, rows = dataset.subset(some), rows[some]
        lacking = {name: flags[some] for name, flags in lacking.items()}
    other = copy(dataset)
    other.extras = dataset.extras | {
        name: _filled(f"{table.name}: column {name!r}", column, rows, lacking[name])
        for name, column in table.columns.items()
    }
    return other


def _lacking(rows: NDArray[np.int64], column: Column) -> NDArray[np.bool_]:
    """Which samples ``[N]`` have no label in a column; -1 is no row."""
    empty = np.array([value is None for value in column] + [True])
    return np.asarray(empty[rows])


def _report(table: Table, keys: list[str], kept: NDArray[np.bool_]) -> str:
    without = np.flatnonzero(~kept)
    some = ", ".join(keys[i] for i in without[:3])
    held = ", ".join(list(table.rows)[:3]) or "none"
    return (
        f"{table.name}: {len(without)} of {len(keys)} keys have no label, such as {some}; its keys "
        f"are such as {held} (missing='drop' leaves these samples out, 'fill' marks them)"
    )


def _filled(
    what: str, column: Column, rows: NDArray[np.int64], lacking: NDArray[np.bool_]
) -> NDArray[Any]:
    """A column ``[N]`` in the order of the samples, of one kind; what is lacking is marked."""
    values = [value for value in column if value is not None]
    kinds = {type(value) for value in values}
    if kinds <= {int, float}:
        fill: Any = np.nan if float in kinds else -1
        dtype: Any = np.float64 if float in kinds else np.int64
    elif kinds == {str}:
        fill, dtype = "", np.str_
    elif kinds == {bool} and not lacking.any():
        fill, dtype = False, np.bool_
    else:
        names = sorted(kind.__name__ for kind in kinds)
        raise ValueError(f"{what} must be all numbers, all text, or all bool without gaps: {names}")
    if lacking.any() and fill in (-1, "") and fill in values:
        raise ValueError(f"{what} has the label {fill!r}, which marks those that are missing")
    empty = [fill if value is None else value for value in column] + [fill]
    try:
        return np.array(empty, dtype)[rows]
    except OverflowError as error:
        raise ValueError(f"{what}: {error}") from error
