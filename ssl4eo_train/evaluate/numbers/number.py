"""A figure with its interval."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ssl4eo_train.evaluate.numbers.bootstrap import interval

Number = dict[str, float | None]
"""`value`, in [0, 1], and `low` and `high` of its interval; None where it is undefined."""


def number(value: Any, resampled: NDArray[np.float64]) -> Number:
    """A figure and its interval from its resamples ``[R]``; undefined ones are NaN."""
    limits = interval(resampled)
    if np.isnan(value) or limits is None:
        return {"value": None if np.isnan(value) else float(value), "low": None, "high": None}
    return {"value": float(value), "low": limits[0], "high": limits[1]}


def percent(found: Number) -> str:
    """In words, such as ``93.14 (92.50 to 93.71) %``."""
    value, low, high = found["value"], found["low"], found["high"]
    if value is None:
        return "undefined"
    if low is None or high is None:
        return f"{100 * value:.2f} %"
    return f"{100 * value:.2f} ({100 * low:.2f} to {100 * high:.2f}) %"
