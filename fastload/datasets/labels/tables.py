"""Tables of labels: csv, parquet, data frames and mappings, as columns of plain Python values."""

import csv
import math
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fastload.extras import missing

Column = list[Any]
"""bool, int, float or str; None where there is no value, as NaN."""
_WHOLE = re.compile(r"[+-]?(0|[1-9]\d*)")
_NUMBER = re.compile(r"[+-]?((0|[1-9]\d*)(\.\d*)?|\.\d+)([eE][+-]?\d+)?|[+-]?(nan|inf)", re.I)
_BOOL = {"true": True, "false": False}


@dataclass(frozen=True)
class Table:
    """Labels by key.

    Attributes:
        name: of the source, for errors.
        rows: the row of each key.
        columns: by name.
    """

    name: str
    rows: dict[str, int]
    columns: dict[str, Column]


def read(source: Any, key: str, columns: Sequence[str] | None) -> Table:
    """Read a source of labels; see `Dataset.with_labels`.

    Raises:
        ValueError: names the source and the column.
    """
    if isinstance(source, str | os.PathLike):
        return _file(Path(source), key, columns)
    if isinstance(source, Mapping):
        return _mapping(source, columns)
    if hasattr(source, "columns") and hasattr(source, "__getitem__"):
        return _frame(source, key, columns)
    raise ValueError(
        f"labels must be a csv or parquet file, a data frame or a mapping, got {type(source)}"
    )


def _table(name: str, key: str, keys: Column, columns: dict[str, Column]) -> Table:
    wrong = next((k for k in keys if not isinstance(k, str)), None)
    if wrong is not None or None in keys:
        raise ValueError(
            f"{name}: keys must be text such as '0000001', but column {key!r} has {wrong!r}"
        )
    rows = {k: i for i, k in enumerate(keys)}
    if len(rows) < len(keys):
        twice = next(k for i, k in enumerate(keys) if rows[k] != i)
        raise ValueError(f"{name}: key {twice!r} stands there more than once")
    return Table(name, rows, {n: [_item(v) for v in values] for n, values in columns.items()})


def _chosen(
    name: str, key: str | None, there: Sequence[str], columns: Sequence[str] | None
) -> list[str]:
    """The columns to read beside the key."""
    wanted = [n for n in there if n != key] if columns is None else list(columns)
    unknown = [n for n in (key, *wanted) if n is not None and n not in there]
    if unknown or not wanted:
        lacks = f"there is no column {unknown[0]!r}" if unknown else "there is no label"
        raise ValueError(f"{name}: {lacks}, only {list(there)}")
    return wanted


def _file(path: Path, key: str, columns: Sequence[str] | None) -> Table:
    if path.suffix == ".csv":
        return _csv(path, key, columns)
    if path.suffix in (".parquet", ".pq"):
        return _parquet(path, key, columns)
    raise ValueError(f"{path}: labels must be a .csv or .parquet file")


def _csv(path: Path, key: str, columns: Sequence[str] | None) -> Table:
    """Keys stay text, as '0000001'; a column of numbers is one where every cell is a number."""
    with path.open(newline="", encoding="utf-8-sig") as file:
        lines = csv.reader(file)
        there = next(lines, [])
        wanted = _chosen(str(path), key, there, columns)
        rows = [line for line in lines if line]
    for number, row in enumerate(rows, 1):
        if len(row) != len(there):
            raise ValueError(
                f"{path}: row {number} has {len(row)} cells, expected {len(there)} as the header"
            )
    cells = {n: [row[there.index(n)] for row in rows] for n in (key, *wanted)}
    return _table(str(path), key, cells[key], {n: _typed(cells[n]) for n in wanted})


def _typed(cells: list[str]) -> Column:
    """What all cells of a column are; an empty one is no value."""
    filled = [c.strip() for c in cells if c.strip()]
    convert: Any = str
    if filled and all(c.casefold() in _BOOL for c in filled):
        convert = lambda c: _BOOL[c.casefold()]  # noqa: E731
    elif all(_WHOLE.fullmatch(c) for c in filled):
        convert = int
    elif all(_NUMBER.fullmatch(c) for c in filled):
        convert = float
    return [convert(c.strip()) if c.strip() else None for c in cells]


def _parquet(path: Path, key: str, columns: Sequence[str] | None) -> Table:
    try:
        import pyarrow.parquet as parquet
    except ImportError as error:
        raise missing("labels in parquet files need pyarrow", "labels", "give a csv") from error
    if not path.is_file():
        raise FileNotFoundError(f"{path}: there is no such file")
    there = parquet.read_schema(path).names
    wanted = _chosen(str(path), key, there, columns)
    table = parquet.read_table(path, columns=[key, *wanted])
    found = {n: table.column(n).to_pylist() for n in (key, *wanted)}
    return _table(str(path), key, found[key], {n: found[n] for n in wanted})


def _frame(frame: Any, key: str, columns: Sequence[str] | None) -> Table:
    """Of pandas, or of whatever has its columns and their `tolist` or `to_list`."""
    there = list(frame.columns)
    if key not in there and getattr(getattr(frame, "index", None), "name", None) == key:
        frame, there = frame.reset_index(), [key, *there]
    wanted = _chosen("the data frame", key, there, columns)
    keys = _plain(frame[key])
    return _table("the data frame", key, keys, {n: _plain(frame[n]) for n in wanted})


def _plain(series: Any) -> Column:
    return list(series.to_list() if hasattr(series, "to_list") else series.tolist())


def _mapping(source: Mapping[Any, Any], columns: Sequence[str] | None) -> Table:
    keys, values = list(source), list(source.values())
    if values and all(isinstance(v, Mapping) for v in values):
        there = list(dict.fromkeys(name for v in values for name in v))
        wanted = _chosen("the mapping", None, there, columns)
        return _table("the mapping", "key", keys, {n: [v.get(n) for v in values] for n in wanted})
    if columns is not None and len(columns) != 1:
        raise ValueError(f"the mapping has one label a key, expected one name, got {columns}")
    return _table("the mapping", "key", keys, {"label" if columns is None else columns[0]: values})


def _item(value: Any) -> Any:
    """A value as Python's: a NumPy number as a number, and what is none (NaN, NA, NaT) as None."""
    if getattr(value, "ndim", None) == 0:
        value = value.item()
    missing_kind = type(value).__name__ in ("NAType", "NaTType")
    return None if missing_kind or (isinstance(value, float) and math.isnan(value)) else value
