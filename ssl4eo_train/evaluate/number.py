"""A figure with its interval."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ssl4eo_train.evaluate.bootstrap import interval

Number = dict[str, float | None]
"""`value`, in [0, 1], and `low` and `high` of its interval; None where it is undefined."""


def number(value: Any, resampled: NDArray[np.float64]) -> Number:
    """A figure and its interval from its resamples ``[R]``; undefined ones are NaN."""
    limits = interval(resampled)
    if np.isnan(value) or limits is None:
        return {"value": None if np.isnan(value) else float(value), "low": None, "high": None}
    return {"value": float(value), "low": limits[0], "high": limits[1]}
