"""Zarr v2 array headers. The header decides; nothing is assumed."""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from fastload.storage.formats import filters
from fastload.storage.formats.codecs import Codec

MAX_BYTES = 2**31 - 1
"""Largest array that is believed; Blosc's own limit for a chunk."""
MAX_CHUNKS = 2**16 - 2
"""Most chunks that are believed: as many members as a zip can have."""
_MAX_ITEM = 2**16
"""Bytes of the longest text."""
_TYPESTR = re.compile(r"[<>|=]?[a-zA-Z]\d*(\[(D|h|m|s|ms|us|ns)\])?")
_TEXT = "vlen-utf8"
"""The filter of texts of any length."""
MOST_TEXT = 2**20
"""Bytes of the largest chunk of such texts that is believed."""


@dataclass(frozen=True)
class ArraySpec:
    """One array as its ``.zarray`` describes it.

    Raises (from `parse`):
        ValueError: names the field and what was expected.
    """

    shape: tuple[int, ...]
    chunks: tuple[int, ...]
    disk_dtype: np.dtype[Any]
    """With the byte order on disk; `dtype` is the native one."""
    fill_value: Any
    order: Literal["C", "F"]
    codec: Codec
    separator: str = "."
    depth: int = 1
    """Each chunk holds so many arrays of this kind side by side, by a further axis before all
    others,"""
    number: int = 0
    """of which this one is that number."""

    @classmethod
    def parse(cls, meta: Mapping[str, Any]) -> "ArraySpec":
        """Read a decoded ``.zarray``."""
        if meta.get("zarr_format") != 2:
            raise ValueError(f"zarr_format must be 2, got {meta.get('zarr_format')!r}")
        is_text = meta.get("dtype") == "|O" and meta.get("filters") == [{"id": _TEXT}]
        chain = () if is_text else filters.parse(meta.get("filters"))
        shape, chunks = _sizes(meta, "shape", least=0), _sizes(meta, "chunks", least=1)
        if len(shape) != len(chunks):
            raise ValueError(f"shape {shape} and chunks {chunks} differ in length")
        dtype = np.dtype(object) if is_text else _dtype(meta.get("dtype"))
        for name, sizes in (("shape", shape), ("chunks", chunks)):
            if math.prod(sizes) * dtype.itemsize > MAX_BYTES:
                raise ValueError(f"{name} {sizes} of {dtype} exceed {MAX_BYTES} bytes")
        if math.prod(-(-s // c) for s, c in zip(shape, chunks, strict=True)) > MAX_CHUNKS:
            raise ValueError(
                f"shape {shape} in chunks {chunks} makes more than {MAX_CHUNKS} chunks"
            )
        if meta.get("order") not in ("C", "F"):
            raise ValueError(f"order must be 'C' or 'F', got {meta.get('order')!r}")
        separator = meta.get("dimension_separator") or "."
        if separator not in (".", "/"):
            raise ValueError(f"dimension_separator must be '.' or '/', got {separator!r}")
        codec = Codec.parse(meta.get("compressor"), chain)
        if codec.encoded_size(math.prod(chunks) * dtype.itemsize) > MAX_BYTES:
            raise ValueError(f"chunks {chunks} of {dtype} exceed {MAX_BYTES} bytes when filtered")
        fill = _fill_value(meta.get("fill_value"), dtype)
        return cls(shape, chunks, dtype, fill, meta["order"], codec, separator)

    def within(self, depth: int, number: int) -> "ArraySpec":
        """The same array in chunks that hold `depth` of them, as that number.

        Raises:
            ValueError: where such chunks are too large.
        """
        out = replace(self, depth=depth, number=number)
        whole = depth * self.chunk_bytes
        if max(whole, self.codec.encoded_size(whole)) > MAX_BYTES:
            raise ValueError(
                f"chunks of {depth} times {self.chunks} of {self.dtype} exceed {MAX_BYTES} bytes"
            )
        return out

    @cached_property
    def dtype(self) -> np.dtype[Any]:
        """Native dtype of the decoded array."""
        return self.disk_dtype.newbyteorder("=")

    @cached_property
    def grid(self) -> tuple[int, ...]:
        """How many chunks along each axis."""
        return tuple(-(-s // c) for s, c in zip(self.shape, self.chunks, strict=True))

    @cached_property
    def chunk_bytes(self) -> int:
        """Decoded size of a chunk, of one array; chunks at the edges are stored whole."""
        return math.prod(self.chunks) * self.disk_dtype.itemsize

    @cached_property
    def most_stored(self) -> int:
        """Most bytes that a compressed chunk can have."""
        is_text = self.disk_dtype.kind == "O"
        size = MOST_TEXT if is_text else self.codec.encoded_size(self.depth * self.chunk_bytes)
        return size + size // 8 + 1024

    @cached_property
    def whole_timestamps(self) -> bool:
        """Whether each chunk is one entry of the first axis, so that it decodes in place."""
        return (
            len(self.shape) > 1
            and self.depth == 1
            and self.chunks[0] == 1
            and self.chunks[1:] == self.shape[1:]
            and self.order == "C"
        )

    def chunk_names(self, array: str) -> list[str]:
        """Member names of all chunks in C order of the grid."""
        if not self.shape:
            return [f"{array}/0"]
        return [f"{array}/" + self.separator.join(map(str, i)) for i in np.ndindex(self.grid)]


def decode_chunk(spec: ArraySpec, data: Any, dtype: np.dtype[Any]) -> NDArray[Any]:
    """One array's share of a chunk, in the chunk's shape.

    Args:
        spec: of numbers or text of fixed length.
        data: as it is stored.
        dtype: what its bytes are taken for.

    Raises:
        ValueError: says what in the data does not fit.
    """
    buffer = np.empty(spec.depth * spec.chunk_bytes, np.uint8)
    spec.codec.decode(data, buffer)
    whole = buffer.view(dtype).reshape((spec.depth, *spec.chunks), order=spec.order)
    return np.asarray(whole[spec.number])


def place_chunk(spec: ArraySpec, index: tuple[int, ...], data: Any, out: NDArray[Any]) -> None:
    """Decode one chunk of the grid and put it where it belongs in `out`, the whole array.

    Raises:
        ValueError: says what in the data does not fit.
    """
    if spec.disk_dtype.kind == "O":
        texts = _texts(spec.codec.decode_at_most(data, MOST_TEXT), math.prod(spec.chunks))
        chunk = texts.reshape(spec.chunks, order=spec.order)
    else:
        chunk = decode_chunk(spec, data, spec.disk_dtype)
    starts = [i * c for i, c in zip(index, spec.chunks, strict=True)]
    slices = (slice(s, s + c) for s, c in zip(starts, spec.chunks, strict=True))
    box: tuple[Any, ...] = (..., *slices)
    target = out[box]
    target[...] = chunk[tuple(slice(0, n) for n in target.shape)]


def _texts(data: bytes, count: int) -> NDArray[Any]:
    """Texts as numcodecs' `VLenUTF8` writes them: how many, then the length and bytes of each."""
    out = np.empty(count, object)
    if int.from_bytes(data[:4], "little") != count:
        raise ValueError(f"expected {count} texts, found {int.from_bytes(data[:4], 'little')}")
    at = 4
    for i in range(count):
        start = at + 4
        at = start + int.from_bytes(data[at:start], "little")
        if start > len(data) or at > len(data):
            raise ValueError(f"text {i} reaches beyond the {len(data)} bytes of all texts")
        out[i] = data[start:at].decode()
    return out


def _sizes(meta: Mapping[str, Any], field: str, least: int) -> tuple[int, ...]:
    sizes = meta.get(field)
    if not isinstance(sizes, list) or not all(type(s) is int and s >= least for s in sizes):
        raise ValueError(f"{field} must be a list of integers from {least} on, got {sizes!r}")
    return tuple(sizes)


def _dtype(name: Any) -> np.dtype[Any]:
    if not isinstance(name, str) or not _TYPESTR.fullmatch(name):
        raise ValueError(f"dtype {name!r} is not a plain NumPy dtype")
    try:
        dtype = np.dtype(name)
    except (TypeError, ValueError) as error:
        raise ValueError(f"dtype {name!r} is not a plain NumPy dtype") from error
    if not 0 < dtype.itemsize <= _MAX_ITEM or dtype.kind not in "biufUSM":
        raise ValueError(f"dtype {name!r} is not supported, expected numbers, dates or text")
    return dtype


def _fill_value(value: Any, dtype: np.dtype[Any]) -> Any:
    if dtype.kind == "O":
        return value if isinstance(value, str) else ""
    if value is None:
        return np.zeros((), dtype)[()]
    if isinstance(value, str) and dtype.kind == "f":
        value = {"NaN": np.nan, "Infinity": np.inf, "-Infinity": -np.inf}.get(value, value)
    try:
        if np.ndim(value):
            raise ValueError("it is not one value")
        return np.array(value, dtype)[()]
    except (TypeError, ValueError, OverflowError) as error:
        raise ValueError(f"fill_value {value!r} does not fit dtype {dtype}") from error
