"""Tensors on disk: dtypes, shapes and strides, and their values from bytes."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

BFLOAT16 = "bfloat16"
"""NumPy lacks it; its values are shown as float32, which holds each of them."""
DTYPES = {
    "float64": "f8", "float32": "f4", "float16": "f2", BFLOAT16: "u2",
    "int8": "i1", "int16": "i2", "int32": "i4", "int64": "i8",
    "uint8": "u1", "uint16": "u2", "uint32": "u4", "uint64": "u8",
    "bool": "b1", "complex64": "c8", "complex128": "c16",
}  # fmt: skip
"""How values of torch's dtypes lie on disk."""
_SLACK, _RATIO = 2**28, 1000
"""A tensor of so many bytes is believed; beyond, it may be so many times as large as its storage,
since an axis may repeat what is stored once."""


def disk_dtype(name: str, big: bool = False) -> np.dtype[Any]:
    """How values of a torch dtype lie on disk; those of bfloat16 as their bits."""
    return np.dtype((">" if big else "<") + DTYPES[name])


def shown_dtype(name: str) -> np.dtype[Any]:
    """What values of a torch dtype are shown in."""
    return np.dtype(np.float32) if name == BFLOAT16 else np.dtype(DTYPES[name])


@dataclass(frozen=True)
class Storage:
    """Bytes that tensors share: those of the member ``data/KEY``.

    Attributes:
        dtype: torch's name of it, or "untyped".
        size: bytes.
    """

    key: str
    dtype: str
    size: int


@dataclass(frozen=True)
class Tensor:
    """A tensor as the pickle describes it. Strides and offset count values, as torch has them."""

    dtype: str
    shape: tuple[int, ...]
    stride: tuple[int, ...]
    offset: int
    storage: Storage

    @cached_property
    def itemsize(self) -> int:
        """Bytes of a value."""
        return disk_dtype(self.dtype).itemsize

    @cached_property
    def span(self) -> int:
        """Bytes from its first value to behind its last; 0 where it has none."""
        return span(self.shape, self.stride) * self.itemsize

    def __post_init__(self) -> None:
        if self.offset * self.itemsize + self.span > self.storage.size:
            raise ValueError(
                f"a tensor {self.shape} with strides {self.stride} from value {self.offset} on "
                f"reaches beyond its storage of {self.storage.size} bytes"
            )
        promised = int(np.prod(self.shape, dtype=object)) * self.itemsize
        if promised > _SLACK and promised > _RATIO * self.storage.size:
            raise ValueError(
                f"a tensor {self.shape} of {promised} bytes has a storage of {self.storage.size}; "
                f"beyond {_SLACK} bytes at most {_RATIO} times as many are believed"
            )


def span(shape: tuple[int, ...], stride: tuple[int, ...]) -> int:
    """Values from the first of a strided array to behind its last."""
    if 0 in shape:
        return 0
    return 1 + sum((n - 1) * s for n, s in zip(shape, stride, strict=True))


def strided(
    data: NDArray[np.uint8], dtype: np.dtype[Any], shape: tuple[int, ...], stride: tuple[int, ...]
) -> NDArray[Any]:
    """Bytes as a strided array, nothing copied.

    Args:
        data: uint8, as many bytes as `span` says.
        dtype: as on disk.
        shape, stride: in values.

    Raises:
        ValueError: where the bytes are not as many.
    """
    if len(data) != span(shape, stride) * dtype.itemsize:
        expected = span(shape, stride) * dtype.itemsize
        raise ValueError(f"expected {expected} bytes of pixels, got {len(data)}")
    steps = [s * dtype.itemsize for s in stride]
    return np.lib.stride_tricks.as_strided(data.view(dtype), shape, steps, writeable=False)


def place(values: NDArray[Any], dtype: str, out: NDArray[Any]) -> None:
    """Copy values as they lie on disk into `out` of the dtype that they are shown in."""
    if dtype != BFLOAT16:
        np.copyto(out, values)
    else:
        np.left_shift(values.astype(np.uint32), 16, out=out.view(np.uint32))
