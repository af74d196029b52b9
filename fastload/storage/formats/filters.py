"""Filters of zarr arrays: what is done to a chunk before it is compressed, and undone."""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numcodecs
import numpy as np
from numpy.typing import NDArray

SUPPORTED = ("delta", "fixedscaleoffset", "shuffle")
_NUMBER = re.compile(r"[<>|=]?[iuf][1248]")
MOST_TIMES = 8
"""So many times the bytes of a chunk are believed behind a filter, as bytes become float64."""
_MOST_FILTERS = 8
_MOST_ELEMENT = 255
"""Bytes of the longest element that is shuffled, as in Blosc."""


@dataclass(frozen=True)
class Filter:
    """One filter: numcodecs undoes it.

    Attributes:
        name: its id in the header.
        codec: what undoes it; keeps no state, so that threads share it.
        plain, packed: bytes of an element before the filter and behind it.
    """

    name: str
    codec: Any
    plain: int
    packed: int

    def size(self, nbytes: int) -> int:
        """Bytes that the filter makes of some.

        Raises:
            ValueError: where these are no whole number of elements.
        """
        if nbytes % self.plain:
            raise ValueError(
                f"filter '{self.name}' has elements of {self.plain} bytes, of which a chunk of "
                f"{nbytes} bytes is no multiple"
            )
        return nbytes // self.plain * self.packed


Chain = tuple[Filter, ...]


def parse(metas: Any) -> Chain:
    """Read the ``filters`` field of an array header, in its order, which is that of writing.

    Raises:
        ValueError: names a filter that is not supported, or its field.
    """
    if metas is None:
        return ()
    if not isinstance(metas, list) or not all(isinstance(m, dict) for m in metas):
        raise ValueError(f"filters must be a list of objects, got {metas!r}")
    if len(metas) > _MOST_FILTERS:
        raise ValueError(f"expected {_MOST_FILTERS} filters at most, got {len(metas)}")
    unknown = [m.get("id") for m in metas if m.get("id") not in SUPPORTED]
    if unknown:
        raise ValueError(f"filters {unknown} are not supported, expected some of {SUPPORTED}")
    return tuple(_filter(m) for m in metas)


def encoded_sizes(filters: Sequence[Filter], nbytes: int) -> list[int]:
    """Bytes of a chunk as it is, and behind each filter of a chain.

    Raises:
        ValueError: where a filter does not fit, or makes more than `MOST_TIMES` as many of them.
    """
    sizes = [nbytes]
    for one in filters:
        sizes.append(one.size(sizes[-1]))
        if sizes[-1] > MOST_TIMES * nbytes:
            raise ValueError(
                f"filter '{one.name}' makes {sizes[-1]} bytes of a chunk of {nbytes}, expected at "
                f"most {MOST_TIMES} times as many"
            )
    return sizes


def undo(filters: Sequence[Filter], data: NDArray[np.uint8], out: NDArray[np.uint8]) -> None:
    """Undo a chain of filters.

    Args:
        filters: not empty.
        data: uint8, as many as the last of `encoded_sizes` of the result.
        out: uint8, receives the result.

    Raises:
        ValueError: where numcodecs cannot.
    """
    targets = [out, *(np.empty(n, np.uint8) for n in encoded_sizes(filters, len(out))[1:-1])]
    for one, target in zip(reversed(filters), reversed(targets), strict=True):
        try:
            with np.errstate(all="ignore"):
                one.codec.decode(data, target)
        except (RuntimeError, TypeError, ArithmeticError) as error:
            raise ValueError(f"filter '{one.name}' cannot be undone ({error})") from error
        data = target


def _filter(meta: Mapping[str, Any]) -> Filter:
    name = meta["id"]
    if name == "shuffle":
        size = meta.get("elementsize", 4)
        if type(size) is not int or not 1 <= size <= _MOST_ELEMENT:
            raise ValueError(
                f"filter 'shuffle': elementsize must be 1 to {_MOST_ELEMENT}, got {size!r}"
            )
        return Filter(name, numcodecs.Shuffle(size), size, size)
    plain = _dtype(name, "dtype", meta.get("dtype"))
    packed = _dtype(name, "astype", meta.get("astype") or meta.get("dtype"))
    if name == "delta":
        codec: Any = numcodecs.Delta(plain.str, packed.str)
    else:
        offset, scale = (_number(name, field, meta.get(field)) for field in ("offset", "scale"))
        if scale == 0:
            raise ValueError(f"filter '{name}': scale must not be 0")
        codec = numcodecs.FixedScaleOffset(offset, scale, plain.str, packed.str)
    return Filter(name, codec, plain.itemsize, packed.itemsize)


def _dtype(name: str, field: str, value: Any) -> np.dtype[Any]:
    if not isinstance(value, str) or not _NUMBER.fullmatch(value) or value[-2:] == "f1":
        raise ValueError(f"filter '{name}': {field} must be a dtype of numbers, got {value!r}")
    return np.dtype(value)


def _number(name: str, field: str, value: Any) -> Any:
    try:
        fits = type(value) in (int, float) and math.isfinite(value)
    except OverflowError:
        fits = False
    if not fits:
        raise ValueError(f"filter '{name}': {field} must be a number, got {value!r}")
    return value
