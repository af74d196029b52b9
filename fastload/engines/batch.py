"""What a batch needs, made once for the whole of it, and carried from there on."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastload.datasets.base import Dataset
from fastload.datasets.source import ChunkedSource, Chunks
from fastload.storage.native import bytes_at

_ALIGN = 16
"""Bytes between the starts of chunks in a staging buffer are a multiple of this."""

Keep = dict[str, NDArray[np.uint8] | None]
Wanted = Mapping[str, NDArray[np.bool_]]


@dataclass
class Part:
    """What a request needs of one modality.

    Attributes:
        rows: int64 ``[B]``, the samples in the source's own numbering.
        wanted: bool ``[B, T]``, the timestamps to be had; none that the sample does not have.
        chunks: where their bytes lie; None where the source has no chunks.
        at: int64 ``[n]``, where each chunk's bytes go in a staging buffer of the request.
        params: `VIEW_PARAMS` ``[B, V]``, those of the request on the modality's grid.
    """

    rows: NDArray[np.int64]
    wanted: NDArray[np.bool_]
    chunks: Chunks | None
    at: NDArray[np.int64]
    params: NDArray[np.void] | None = None

    def timestamps(self, slot: int) -> list[int]:
        """Those of a slot, ascending."""
        return np.flatnonzero(self.wanted[slot]).tolist()

    def span(self, slot: int) -> slice:
        """A slot's chunks."""
        assert self.chunks is not None
        return slice(int(self.chunks.starts[slot]), int(self.chunks.starts[slot + 1]))

    def stored(self, span: slice, address: int) -> list[NDArray[np.uint8] | None]:
        """The stored bytes of some chunks in a staging buffer at an address; None for what has
        none."""
        assert self.chunks is not None
        sizes = self.chunks.rows["stored"][span].tolist()
        places = (self.at[span] + address).tolist()
        return [bytes_at(at, n) if n else None for at, n in zip(places, sizes, strict=True)]


@dataclass
class Request:
    """A step in the making. Where a sample is replaced, its id and parameters are, too.

    Attributes:
        epoch: that of the draws.
        samples: int64 ``[B]``.
        params: `VIEW_PARAMS` ``[B, V]``; None without a recipe.
        keep: by modality the bands to keep, uint8 ``[B, V, C]``; None where none is dropped.
        parts: by modality.
        nbytes: of a staging buffer that holds all chunks.
    """

    epoch: int
    samples: NDArray[np.int64]
    params: NDArray[np.void] | None
    keep: Keep
    parts: dict[str, Part]
    nbytes: int

    def __len__(self) -> int:
        """B."""
        return len(self.samples)

    def show(self, slot: int, other: "Request") -> None:
        """Let a slot show the one sample of another request."""
        self.samples[slot] = other.samples[0]
        if self.params is not None and other.params is not None:
            self.params[slot] = other.params[0]
        for name, kept in other.keep.items():
            mine = self.keep.get(name)
            if kept is not None and mine is not None:
                mine[slot] = kept[0]


def draw(dataset: Dataset, seed: int, epoch: int, samples: NDArray[np.int64]) -> Request:
    """Draw the parameters of a batch of samples ``[B]``, and look up what it needs."""
    params, keep = None, Keep()
    if dataset.recipe is not None:
        params = dataset.draw(samples, seed, epoch)
        keep = dataset.keep(samples, seed, epoch)
    return look_up(dataset, epoch, samples, params, keep, wanted(dataset, params, len(samples)))


def wanted(dataset: Dataset, params: NDArray[np.void] | None, B: int) -> dict[str, Any]:
    """The timestamps ``[B, T]`` of each modality that the views of `params` ``[B, V]`` show."""
    out = {}
    for name, m in dataset.modalities.items():
        T = m.timestamps
        if params is None or T == 1:
            out[name] = np.ones((B, T), bool)
            continue
        drawn = params["timestamp"]
        flags = (drawn < 0).any(axis=1, keepdims=True).repeat(T, axis=1)
        slots, views = np.nonzero(drawn >= 0)
        flags[slots, drawn[slots, views]] = True
        out[name] = flags
    return out


def look_up(
    dataset: Dataset,
    epoch: int,
    samples: NDArray[np.int64],
    params: NDArray[np.void] | None,
    keep: Keep,
    needed: Wanted,
) -> Request:
    """The request for some timestamps of a batch. Array work alone, for any number of samples."""
    parts, end = {}, 0
    for name, source in dataset.sources.items():
        rows, there = dataset.rows_of(name, samples), dataset.present_of(name, samples)
        some = needed[name] if there is None else needed[name] & there
        mine = None if params is None else dataset.drawn_on(name, params)
        if not isinstance(source, ChunkedSource):
            parts[name] = Part(rows, some, None, np.empty(0, np.int64), mine)
            continue
        chunks = source.chunks(rows, some)
        room = -(-chunks.rows["stored"] // _ALIGN) * _ALIGN
        ends = end + np.cumsum(room)
        parts[name] = Part(rows, some, chunks, ends - room, mine)
        end = int(ends[-1]) if len(ends) else end
    return Request(epoch, samples.copy(), params, keep, parts, end)


def most_bytes(dataset: Dataset, samples: int) -> int:
    """Bytes that a request for so many samples can have at the most."""
    total = 0
    for name, source in dataset.sources.items():
        if not isinstance(source, ChunkedSource):
            continue
        T, views = dataset.modalities[name].timestamps, dataset.recipe and dataset.recipe.views
        shown = T if not views or any(v.timestamp == "all" for v in views) else min(T, len(views))
        total += shown * source.chunks_a_timestamp * (source.largest + _ALIGN)
    return total * samples
