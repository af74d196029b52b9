"""Further columns of an index: whatever a group says besides, one entry a sample or a timestamp."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Column = NDArray[Any]
MISSING: dict[str, Any] = {"i": -1, "f": np.nan, "S": b""}
"""What a sample has that lacks a column, by the kind of its numbers or text."""
_MOST_TEXT = 4096


def plain(values: NDArray[Any]) -> Column:
    """One sample's entries as a row ``[1]`` or ``[1, T]`` of int64, float64 or bytes (UTF-8); a
    vector ``[1, K]`` as ``[1, 1, K]``."""
    flat = values.ravel()
    if flat.dtype.kind in "biu" and not (flat.dtype.kind == "u" and flat.max() > 2**63 - 1):
        flat = flat.astype(np.int64)
    elif flat.dtype.kind in "uf":
        flat = flat.astype(np.float64)
    else:
        texts = [t if isinstance(t, bytes) else str(t).encode() for t in flat.tolist()]
        flat = np.array([t if len(t) <= _MOST_TEXT else b"" for t in texts] or [b""], np.bytes_)
        flat = flat.astype("S1") if flat.dtype.itemsize == 0 else flat
    if values.ndim == 2:
        return flat[None, None]
    return flat if len(flat) == 1 else flat[None]


def stack(parts: Sequence[Mapping[str, Column]], rows: Sequence[int]) -> dict[str, Column]:
    """Join the columns of parts that have so many `rows`; those that nobody has are left out."""
    names = sorted({name for part in parts for name in part})
    out = {}
    for name in names:
        column = _join([part.get(name) for part in parts], rows)
        if not _is_missing(column).all():
            out[name] = column
    return out


def padded(column: Column, width: int) -> Column:
    """A column ``[N, t]`` with `width` entries, as of samples that lack the others."""
    more = width - column.shape[1]
    if more <= 0:
        return column
    missing = np.full((len(column), more), MISSING[column.dtype.kind], column.dtype)
    return np.concatenate([column, missing], axis=1)


def _join(parts: Sequence[Column | None], rows: Sequence[int]) -> Column:
    there = [p for p in parts if p is not None]
    kinds = {p.dtype.kind for p in there}
    if "S" in kinds:
        parts = [p if p is None or p.dtype.kind == "S" else _as_text(p) for p in parts]
        there = [p for p in parts if p is not None]
    kind = "S" if "S" in kinds else "f" if "f" in kinds else "i"
    dtype = np.result_type(*there) if kind == "S" else np.dtype({"f": "<f8", "i": "<i8"}[kind])
    if any(p.ndim == 3 for p in there):
        return _vectors(parts, rows, dtype, MISSING[kind])
    width = max((p.shape[1] for p in there if p.ndim == 2), default=0)
    out = np.full((sum(rows), max(1, width)), MISSING[kind], dtype)
    at = 0
    for part, count in zip(parts, rows, strict=True):
        if part is not None:
            target = out[at : at + count]
            if part.ndim == 1:
                target[:] = part[:, None]
            else:
                target[:, : part.shape[1]] = part
        at += count
    return _tight(out if width else out[:, 0])


def _vectors(
    parts: Sequence[Column | None], rows: Sequence[int], dtype: Any, missing: Any
) -> Column:
    """Vectors ``[., 1, K]`` of parts, those that are shorter filled up."""
    width = max(p.shape[-1] for p in parts if p is not None and p.ndim == 3)
    out, at = np.full((sum(rows), 1, width), missing, dtype), 0
    for part, count in zip(parts, rows, strict=True):
        if part is not None:
            flat = part.reshape(count, -1)[:, :width]
            out[at : at + count, 0, : flat.shape[1]] = flat
        at += count
    return out


def _as_text(values: Column) -> Column:
    texts = [str(v).encode() for v in values.ravel().tolist()]
    return np.array(texts, np.bytes_).reshape(values.shape)


def _tight(column: Column) -> Column:
    """Text as narrow as it may be, whatever rows the column had before."""
    if column.dtype.kind != "S" or not column.size:
        return np.ascontiguousarray(column)
    longest = max(1, int(np.char.str_len(column).max()))
    return np.ascontiguousarray(column.astype(f"S{longest}"))


def _is_missing(column: Column) -> NDArray[np.bool_]:
    if column.dtype.kind == "f":
        return np.isnan(column)
    return np.asarray(column == MISSING[column.dtype.kind])
