"""The one tolerance table: how far a fast result may lie from the float64 reference."""

from typing import Any

import numpy as np
import torch

TOLERANCE = {"float32": 4e-6, "float16": 1e-3, "bfloat16": 8e-3}
"""By output dtype; relative to the larger of 1 and the expected magnitude."""

LEVELS_OFF, LEVELS_APART = 0.01, 4
"""Of views in whole levels: the share that may be others, and how far, modulo 256. Where resampling
in float32 rounds to another level, the operations after it carry that on."""


def assert_levels(actual: Any, expected: Any, dtype: str) -> None:
    """As `assert_close`, of whole levels of 255 as numbers in [0, 1]; NaN must meet NaN."""
    a, b = _float64(actual) * 255, _float64(expected) * 255
    assert a.shape == b.shape, f"shape {a.shape}, expected {b.shape}"
    np.testing.assert_array_equal(np.isnan(a), np.isnan(b))
    a, b = np.nan_to_num(a), np.nan_to_num(b)
    apart = np.abs(a - b)
    apart = np.minimum(apart, 256 - apart)
    slack = 255 * TOLERANCE[dtype]
    assert apart.max(initial=0) <= LEVELS_APART + slack, f"off by {apart.max()} levels in {dtype}"
    share = (apart > slack).mean() if apart.size else 0
    assert share <= LEVELS_OFF, f"{share:.2%} of the levels are others"


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
