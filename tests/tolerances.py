"""The one tolerance table: how far a fast result may lie from the float64 reference."""

from typing import Any

import numpy as np
import torch

TOLERANCE = {"float32": 4e-6, "float16": 1e-3, "bfloat16": 8e-3}
"""By output dtype; relative to the larger of 1 and the expected magnitude."""


def assert_close(actual: Any, expected: Any, dtype: str) -> None:
    """Assert equality within the table; NaN must meet NaN, and infinity the same infinity."""
    a, b = _float64(actual), _float64(expected)
    assert a.shape == b.shape, f"shape {a.shape}, expected {b.shape}"
    np.testing.assert_array_equal(np.isnan(a), np.isnan(b))
    infinite = np.isinf(a) | np.isinf(b)
    np.testing.assert_array_equal(a[infinite], b[infinite])
    a, b = a[~infinite], b[~infinite]
    error = np.nan_to_num(np.abs(a - b) / np.maximum(1, np.abs(b)))
    assert error.max(initial=0) <= TOLERANCE[dtype], f"off by {error.max():.3g} in {dtype}"


def _float64(values: Any) -> np.ndarray[Any, np.dtype[np.float64]]:
    if isinstance(values, torch.Tensor):
        return values.double().numpy()
    return np.asarray(values, np.float64)
