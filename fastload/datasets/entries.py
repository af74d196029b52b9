"""What a batch says of its samples beside pixels: dates for each view, and columns of one's own."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

NAMES = ("key", "index", "lon", "lat", "time", "season")
"""Entries that every batch has, beside one for each modality."""


def checked(
    extras: Mapping[str, NDArray[Any]], samples: int, timestamps: int, taken: set[str]
) -> dict[str, NDArray[Any]]:
    """Columns by name as a batch can have them, in native byte order.

    Args:
        extras: ``[N]`` or ``[N, T]``; numbers, bool or text. A vector of K numbers or bool for each
            sample is ``[N, 1, K]``, so that it is not taken for dates.
        samples, timestamps: N and T.
        taken: names that a batch has already.

    Raises:
        ValueError: names the column.
    """
    out = {}
    for name, column in extras.items():
        values = np.asarray(column)
        if name in taken:
            raise ValueError(f"extras[{name!r}]: a batch has an entry of this name already")
        vectors = values.ndim == 3 and values.shape[:2] == (samples, 1)
        if values.shape not in ((samples,), (samples, timestamps)) and not vectors:
            raise ValueError(
                f"extras[{name!r}] must be [N] or [N, T] of {samples} samples and {timestamps} "
                f"timestamps, or vectors [N, 1, K], got {list(values.shape)}"
            )
        if vectors and values.dtype.kind in "US":
            raise ValueError(f"extras[{name!r}]: vectors must be numbers or bool, got text")
        if values.dtype.kind not in "biufUS" or values.dtype == np.longdouble:
            raise ValueError(
                f"extras[{name!r}] must be numbers, bool or text, got dtype {values.dtype}"
            )
        if values.dtype.kind == "u" and values.size and int(values.max()) > 2**63 - 1:
            raise ValueError(f"extras[{name!r}]: {values.max()} is beyond int64")
        out[name] = values.astype(values.dtype.newbyteorder("="), copy=False)
    return out


def entry(values: NDArray[Any], timestamps: NDArray[np.int32] | None) -> Any:
    """A column's rows of the samples of a batch, as the batch has them.

    Args:
        values: ``[B]``; ``[B, T]`` with an entry for each date; or vectors ``[B, 1, K]``.
        timestamps: ``[B, V]``, those of the views, -1 for all; None without views.

    Returns:
        Of ``[B]`` a tensor ``[B]``: bool, int64 or float64, as torch collates numbers; of text a
        list. Of vectors a tensor ``[B, K]``. Of ``[B, T]`` one such for each view, or as `of_views`
        for all dates; text of all dates is a list of T lists of B, as torch collates lists.
    """
    if values.dtype.kind in "US":
        if values.ndim == 1:
            return texts(values)
        return _texts_of_views(values, timestamps)
    wide = np.int64 if values.dtype.kind in "iu" else np.float64
    values = values.astype(np.bool_ if values.dtype.kind == "b" else wide)
    if values.ndim == 3:
        return torch.from_numpy(values[:, 0])
    return torch.from_numpy(values) if values.ndim == 1 else of_views(values, timestamps)


def of_views(values: NDArray[Any], timestamps: NDArray[np.int32] | None) -> Any:
    """Entries ``[B]`` (or ``[B, T]`` for all) of ``[B, T]`` for each view; all without views.

    A single date serves for any.
    """
    if timestamps is None:
        return torch.from_numpy(values.copy())
    return [torch.from_numpy(_shown(values, t)) for t in timestamps.T]


def _shown(values: NDArray[Any], t: NDArray[np.int32]) -> NDArray[Any]:
    """What a view of timestamps ``[B]`` shows of ``[B, T]``, as a copy."""
    if (t < 0).any():
        return values.copy()
    shown = np.zeros_like(t) if values.shape[1] == 1 else t
    return np.asarray(values[np.arange(len(values)), shown])


def _texts_of_views(values: NDArray[Any], timestamps: NDArray[np.int32] | None) -> list[Any]:
    if timestamps is None:
        return [texts(column) for column in values.T]
    shown = (_shown(values, t) for t in timestamps.T)
    return [texts(v) if v.ndim == 1 else [texts(column) for column in v.T] for v in shown]


def texts(column: NDArray[Any]) -> list[str]:
    """Text ``[B]``, or its UTF-8, as str."""
    try:
        return list(column.astype(str).tolist())  # ASCII, at once
    except UnicodeDecodeError:
        return [text.decode() for text in column.tolist()]
