"""What a zarr group's headers say: which arrays there are, and what the index keeps of each."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from typing import Any

import numpy as np

from fastload.storage.formats.zarr import MAX_CHUNKS, ArraySpec

BANDS, CLOUD_MASK = "bands", "cloud_mask"
CLOUD_SHARE = "cloud_share"
"""Share of cloudy pixels of each timestamp, where samples say it beside a mask, or without one."""
OURS, KEY = "fastload", "key"
"""Attributes of a group that this package writes, and among them the sample's key, where a member
cannot be called so."""
_SMALL = ("band", "time", "center_lon", "center_lat")
MOST_ITEM = MOST_VECTOR = 4096
"""Bytes of an entry of a further column, and numbers of a vector."""

CHUNK = np.dtype(
    [("offset", "<u8")] + [(name, "<u4") for name in ("stored", "size", "crc", "method", "file")]
)
"""A chunk's bytes: where in which file, how many, inflated size, CRC-32 and zip method. `stored` is
0 where the chunk is absent and so is all fill value."""


@dataclass(frozen=True)
class Group:
    """A group's headers, shared by all samples that have the same.

    Attributes:
        images: arrays whose chunks are indexed: `bands` ``[T, C, H, W]`` first, or ``[C, H, W]``
            of one date, then by name all numbers of three or four axes of which the first is T or
            1; beside ``[C, H, W]`` also those of two axes.
        small: band names, dates and the place, as far as there are such arrays.
        columns: all other arrays of one entry, of one a timestamp, or of a vector ``[1, K]``.
        attributes: of `time`.
        others: names of the arrays that the index does not keep.
        metadata: the headers by their names in the group.
    """

    images: dict[str, ArraySpec]
    small: dict[str, ArraySpec]
    columns: dict[str, ArraySpec]
    attributes: Mapping[str, Any]
    others: frozenset[str]
    metadata: Mapping[str, Any]

    @property
    def timestamps(self) -> int:
        """T."""
        return timestamps_of(self.images[BANDS])

    @property
    def key(self) -> str | None:
        """The sample's key as the group itself says it; None where the member's name does."""
        attributes = self.metadata.get(".zattrs")
        ours = attributes.get(OURS) if isinstance(attributes, dict) else None
        key = ours.get(KEY) if isinstance(ours, dict) else None
        if key is not None and not isinstance(key, str):
            raise ValueError(f"the attribute {OURS}.{KEY} must be a text, got {key!r}")
        return key

    @cached_property
    def expected(self) -> frozenset[str]:
        """Names of all chunks that the index reads or keeps."""
        kept = self.images | self.small | self.columns
        return frozenset(chunk for name, spec in kept.items() for chunk in spec.chunk_names(name))

    @lru_cache(64)  # noqa: B019  # a group lives in a cache itself
    def layout(self, bands: tuple[str, ...]) -> str:
        """The indexed arrays' headers and the band names as canonical JSON."""
        arrays = {name: self.metadata[f"{name}/.zarray"] for name in self.images}
        return json.dumps({"arrays": arrays, "band": bands}, sort_keys=True)

    def __hash__(self) -> int:
        return id(self)


@lru_cache(64)
def group_of(headers: bytes) -> Group:
    """Read headers as the consolidated text has them.

    Raises:
        ValueError: says what is not there or not supported.
    """
    metadata = json.loads(headers)["metadata"]
    names = [n.removesuffix("/.zarray") for n in metadata if n.endswith("/.zarray")]
    bands = _bands(metadata)
    images, columns = {BANDS: bands}, {}
    small = {name: _spec(metadata, name) for name in _SMALL if name in names}
    for name in sorted(set(names) - {BANDS, *_SMALL}):
        spec = _spec(metadata, name) if name == CLOUD_MASK else _spec_or_none(metadata, name)
        if spec is not None and is_image(spec, bands):
            images[name] = spec
        elif spec is not None and (_is_column(spec, timestamps_of(bands)) or _is_vector(spec)):
            columns[name] = spec
    chunks = sum(math.prod(s.grid) for part in (images, small, columns) for s in part.values())
    if chunks > MAX_CHUNKS:
        raise ValueError(f"its arrays have {chunks} chunks, more than {MAX_CHUNKS}")
    attributes = metadata.get("time/.zattrs") or {}
    others = frozenset(names) - set(images) - set(small) - set(columns)
    return Group(images, small, columns, attributes, others, metadata)


def _bands(metadata: Mapping[str, Any]) -> ArraySpec:
    if f"{BANDS}/.zarray" not in metadata:
        raise ValueError("there is no array 'bands'")
    spec = _spec(metadata, BANDS)
    if len(spec.shape) not in (3, 4) or spec.dtype.kind not in "biuf" or 0 in spec.shape:
        raise ValueError(
            "array 'bands' must be numbers [T, C, H, W], or [C, H, W] of one date, got "
            f"{spec.dtype} {spec.shape}"
        )
    return spec


def timestamps_of(bands: ArraySpec) -> int:
    """T, as the header of `bands` says it."""
    return bands.shape[0] if len(bands.shape) == 4 else 1


def _spec(metadata: Mapping[str, Any], name: str) -> ArraySpec:
    try:
        return ArraySpec.parse(metadata[f"{name}/.zarray"])
    except ValueError as error:
        raise ValueError(f"array '{name}': {error}") from error


def _spec_or_none(metadata: Mapping[str, Any], name: str) -> ArraySpec | None:
    """Of an array that nobody asked for; None where it is of an unknown kind."""
    try:
        return ArraySpec.parse(metadata[f"{name}/.zarray"])
    except (ValueError, TypeError, AttributeError):
        return None


def is_image(spec: ArraySpec, bands: ArraySpec) -> bool:
    """Whether an array's chunks are indexed, beside these bands."""
    shape = spec.shape
    if spec.dtype.kind not in "biuf" or 0 in shape:
        return False
    if len(shape) == 2:
        return len(bands.shape) == 3 and shape == bands.shape[1:]
    return len(shape) in (3, 4) and shape[0] in (1, timestamps_of(bands))


def _is_column(spec: ArraySpec, T: int) -> bool:
    return (
        spec.dtype.kind in "biufUSO"
        and spec.dtype.itemsize <= MOST_ITEM
        and len(spec.shape) < 2
        and spec.shape in ((), (1,), (T,))
    )


def _is_vector(spec: ArraySpec) -> bool:
    """Whether it is one vector of numbers for the sample ``[1, K]``, such as a multi-hot label."""
    one_row = len(spec.shape) == 2 and spec.shape[0] == 1 and 0 < spec.shape[1] <= MOST_VECTOR
    return one_row and spec.dtype.kind in "biuf"


@lru_cache(512)
def specs_of(layout: str) -> dict[str, ArraySpec]:
    """Array headers of a layout, in the order in which their chunks are indexed."""
    said = json.loads(layout)
    arrays, inside = said["arrays"], said.get("inside", {})
    names = [BANDS, *sorted(set(arrays) - {BANDS})]
    specs = {name: ArraySpec.parse(arrays[name]) for name in names}
    return {n: s.within(*inside[n]) if n in inside else s for n, s in specs.items()}


def images_of(layout: str) -> dict[str, ArraySpec]:
    """As `specs_of`, each as ``[T, C, H, W]``, of which the bytes are the same."""
    return {name: _with_axes(spec, name == BANDS) for name, spec in specs_of(layout).items()}


def _with_axes(spec: ArraySpec, is_bands: bool) -> ArraySpec:
    """``[C, H, W]`` as ``[1, C, H, W]``, ``[T, H, W]`` as ``[T, 1, H, W]``, ``[H, W]`` as one of
    each."""
    at = 0 if is_bands else 1

    def more(sizes: tuple[int, ...]) -> tuple[int, ...]:
        return (1, 1, *sizes) if len(sizes) == 2 else (*sizes[:at], 1, *sizes[at:])

    if len(spec.shape) == 4:
        return spec
    return replace(spec, shape=more(spec.shape), chunks=more(spec.chunks))


def band_names(layout: str) -> list[str]:
    """Band names of a layout, as far as the group has them."""
    return list(json.loads(layout)["band"])
