"""What the headers of a zarr group of many samples say, whose arrays begin with their axis."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

from fastload.storage.formats.zarr import ArraySpec
from fastload.storage.formats.zip import MOST_ENTRIES
from fastload.storage.group import BANDS, is_image, timestamps_of

IDS = ("sample_id", "sample")
"""Arrays of text that name the samples, the first that is there."""
DATES = ("time_", "time")
"""Arrays of dates, the first that has one for each timestamp of each sample."""
NAMES = frozenset({"band", "center_lon", "center_lat", *IDS, *DATES})
MOST_SAMPLES, MOST_DEPTH = 2**16, 2**10
"""Samples of a group, and of a chunk, that are believed."""
_MOST_ITEM = 4096
"""Bytes of an entry of a column."""


@dataclass(frozen=True)
class Many:
    """A group's headers.

    Attributes:
        samples: how many there are.
        images: arrays of one sample whose chunks are indexed: `bands` ``[T, C, H, W]`` first, then
            by name all numbers ``[T or 1, ..., H, W]``. Their `depth` is that of the next.
        depth: by image, how many samples a chunk of it holds.
        columns: band names, dates, places and ids, and all other arrays of one entry a sample, or
            of one a timestamp of each.
        others: names of the arrays that are not kept.
        metadata: the headers by their names in the group.
    """

    samples: int
    images: dict[str, ArraySpec]
    depth: dict[str, int]
    columns: dict[str, ArraySpec]
    others: frozenset[str]
    metadata: Mapping[str, Any]

    @property
    def timestamps(self) -> int:
        """T."""
        return timestamps_of(self.images[BANDS])

    def groups(self, image: str) -> int:
        """How many chunks there are along the axis of samples."""
        return -(-self.samples // self.depth[image])

    def chunk_names(self, image: str, group: int) -> list[str]:
        """Members of one such group, in C order of the other axes."""
        spec = self.images[image]
        start = f"{image}/{group}{spec.separator}"
        return [start + name.removeprefix(f"{image}/") for name in spec.chunk_names(image)]

    @cached_property
    def expected(self) -> frozenset[str]:
        """Names of all chunks that the index reads or keeps."""
        small = (n for name, spec in self.columns.items() for n in spec.chunk_names(name))
        large = (
            n
            for name in self.images
            for g in range(self.groups(name))
            for n in self.chunk_names(name, g)
        )
        return frozenset(small) | frozenset(large)

    def layout(self, bands: tuple[str, ...], sample: int) -> str:
        """A sample's arrays as canonical JSON, see `group.specs_of`."""
        inside = {n: [d, sample % d] for n, d in self.depth.items() if d > 1}
        return self._layout(bands, json.dumps(inside))

    @lru_cache(1024)  # noqa: B019  # a group lives in a cache itself
    def _layout(self, bands: tuple[str, ...], inside: str) -> str:
        arrays = {name: _of_one(self.metadata[f"{name}/.zarray"]) for name in self.images}
        said = {"arrays": arrays, "band": bands}
        if where := json.loads(inside):
            said["inside"] = where
        return json.dumps(said, sort_keys=True)

    def __hash__(self) -> int:
        return id(self)


@lru_cache(16)
def many_of(headers: bytes) -> Many:
    """Read headers as the consolidated text has them.

    Raises:
        ValueError: says what is not there or not supported.
    """
    metadata = json.loads(headers)["metadata"]
    names = sorted(n.removesuffix("/.zarray") for n in metadata if n.endswith("/.zarray"))
    samples, bands = _bands(metadata)
    images, depth, columns = {BANDS: bands}, {BANDS: bands.depth}, {}
    for name in (name for name in names if name != BANDS):
        one = _image(metadata[f"{name}/.zarray"], samples)
        spec = _column(metadata[f"{name}/.zarray"])
        shapes = ((samples,), (samples, 1), (samples, timestamps_of(bands)))
        if one is not None and is_image(one, bands):
            images[name], depth[name] = one, one.depth
        elif spec is not None and (name in NAMES or (spec.shape in shapes and not _dated(spec))):
            columns[name] = spec
    _check_count(samples, images, depth, columns)
    others = frozenset(names) - set(images) - set(columns)
    return Many(samples, images, depth, columns, others, metadata)


def _of_one(header: Mapping[str, Any]) -> dict[str, Any]:
    """The header of an array of one sample, from that of many."""
    return {**header, "shape": header["shape"][1:], "chunks": header["chunks"][1:]}


def _bands(metadata: Mapping[str, Any]) -> tuple[int, ArraySpec]:
    """How many samples there are, and the bands of one."""
    header = metadata.get(f"{BANDS}/.zarray")
    if header is None:
        raise ValueError("there is no array 'bands'")
    shape = header.get("shape")
    if not isinstance(shape, list) or len(shape) != 5 or type(shape[0]) is not int or shape[0] < 1:
        raise ValueError(f"array 'bands' must be [sample, time, band, y, x], got shape {shape}")
    if shape[0] > MOST_SAMPLES:
        raise ValueError(f"array 'bands' has {shape[0]} samples, more than {MOST_SAMPLES}")
    try:
        spec = _one(header)
    except ValueError as error:
        raise ValueError(f"array 'bands': {error}") from error
    if spec.dtype.kind not in "biuf" or 0 in spec.shape:
        raise ValueError(
            f"array 'bands' must be numbers [sample, time, band, y, x], got {spec.dtype} {shape}"
        )
    return shape[0], spec


def _one(header: Mapping[str, Any]) -> ArraySpec:
    """The array of one sample; its number in a chunk is 0."""
    chunks = header.get("chunks")
    if not isinstance(chunks, list) or not chunks or type(chunks[0]) is not int or chunks[0] < 1:
        raise ValueError(f"chunks must be a list of integers from 1 on, got {chunks!r}")
    if chunks[0] > MOST_DEPTH:
        raise ValueError(f"chunks hold {chunks[0]} samples, more than {MOST_DEPTH}")
    return ArraySpec.parse(_of_one(header)).within(chunks[0], 0)


def _image(header: Any, samples: int) -> ArraySpec | None:
    """An array of all samples; None where it is none, or of an unknown kind."""
    try:
        return _one(header) if header["shape"][0] == samples else None
    except (ValueError, TypeError, LookupError, AttributeError):
        return None


def _column(header: Any) -> ArraySpec | None:
    """A small array; None where it is none, or of an unknown kind."""
    try:
        spec = ArraySpec.parse(header)
    except (ValueError, TypeError, AttributeError):
        return None
    small = len(spec.shape) <= 2 and spec.dtype.itemsize <= _MOST_ITEM
    return spec if small and spec.dtype.kind in "biufUSOM" else None


def _dated(spec: ArraySpec) -> bool:
    return spec.dtype.kind == "M"


def _check_count(
    samples: int,
    images: Mapping[str, ArraySpec],
    depth: Mapping[str, int],
    columns: Mapping[str, ArraySpec],
) -> None:
    """Bound the chunks in the zip, and the rows of the index that point to them."""
    stored = sum(-(-samples // depth[n]) * math.prod(s.grid) for n, s in images.items())
    stored += sum(math.prod(s.grid) for s in columns.values())
    rows = sum(samples * math.prod(s.grid) for s in images.values())
    if max(stored, rows) > MOST_ENTRIES:
        raise ValueError(
            f"the arrays of its {samples} samples have {max(stored, rows)} chunks, more than "
            f"{MOST_ENTRIES}"
        )
