"""The pixels that the package knows, as NumPy and torch name them."""

import numpy as np
import torch

TORCH = {
    "int16": torch.int16,
    "uint8": torch.uint8,
    "uint16": torch.uint16,
    "float16": torch.float16,
    "float32": torch.float32,
    "bfloat16": torch.bfloat16,
}
"""By name. All but the last lie on disk and are read on a device; the last three are written."""

OUTPUTS = ("float32", "float16", "bfloat16")
"""Of views."""


def bits(output: str | None) -> np.dtype[np.generic]:
    """What NumPy holds an output in, since it lacks some: the bits of 16-bit floats."""
    return np.dtype(np.float32 if output in (None, "float32") else np.int16)
