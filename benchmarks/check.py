"""Whether a batch is what was asked for. A peer that gives nonsense fast is not a peer."""

from typing import Any

import torch
from torch import Tensor


def tensor(name: str, x: Any, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    """Check shape and dtype; returns the tensor."""
    assert isinstance(x, Tensor), f"{name}: expected a tensor, got {type(x).__name__}"
    assert tuple(x.shape) == shape, f"{name}: expected shape {shape}, got {tuple(x.shape)}"
    assert x.dtype == dtype, f"{name}: expected {dtype}, got {x.dtype}"
    return x


def standardised(name: str, x: Any, shape: tuple[int, ...], dtype: torch.dtype) -> None:
    """Check standardised pixels: finite, of moderate size, and not constant."""
    x = tensor(name, x, shape, dtype)
    low, high = x.aminmax()
    assert -60 < low < high < 60, f"{name}: expected values of a few units, got {low} to {high}"
    assert x.float().std() > 0.05, f"{name}: expected pixels that vary, got std {x.float().std()}"


def reflectance(
    name: str, x: Any, shape: tuple[int, ...], dtype: torch.dtype, high: float = 2.5
) -> None:
    """Check augmented reflectance: within what brightness and contrast allow, and not constant.

    Brightness takes [0, 1] to at most 1.4; contrast about a mean in that range stays in
    [-0.56, 1.96].
    """
    x = tensor(name, x, shape, dtype)
    least, most = x.aminmax()
    assert -0.6 < least <= most < high, (
        f"{name}: expected -0.6 to {high}, got {float(least)} to {float(most)}"
    )
    assert x.std() > 0.005, f"{name}: expected pixels that vary, got std {float(x.std())}"
    assert 0.01 < x.mean() < 0.9, f"{name}: expected a mean reflectance, got {float(x.mean())}"
