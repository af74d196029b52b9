"""Decoding chunks of zarr arrays straight to where their pixels belong."""

import threading
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastload.storage.formats.zarr import ArraySpec, decode_chunk


class _Scratch(threading.local):
    """A thread's own memory for bands of which some are shown."""

    memory = np.empty(0, np.uint8)

    def take(self, nbytes: int) -> NDArray[np.uint8]:
        """So many bytes, until the thread asks again."""
        if len(self.memory) < nbytes:
            self.memory = np.empty(nbytes, np.uint8)
        return self.memory[:nbytes]


_SCRATCH = _Scratch()


def decode_timestamp(
    spec: ArraySpec, content: Any, out: NDArray[Any], picked: Sequence[int] | None
) -> None:
    """Decode a chunk that is one whole timestamp straight to where it belongs, if all of it is."""
    if content is None:
        out[...] = _fill(spec)
    elif picked is None:
        spec.codec.decode(content, out.reshape(-1).view(np.uint8))
    else:
        whole = _SCRATCH.take(spec.chunk_bytes)
        spec.codec.decode(content, whole)
        np.take(whole.view(spec.dtype).reshape(spec.shape[1:]), picked, 0, out, "clip")


def _fill(spec: ArraySpec) -> Any:
    """The fill value; with its bytes swapped where all of the array will be swapped back."""
    value = np.asarray(spec.fill_value, spec.dtype)
    return (value if spec.disk_dtype.isnative else value.byteswap())[()]


def decode_part(
    spec: ArraySpec,
    cell: int,
    content: Any,
    timestamps: Sequence[int],
    out: NDArray[Any],
    picked: Sequence[int] | None,
) -> None:
    """Decode a chunk of any grid and spread it over the timestamps that it holds part of."""
    chunk = None if content is None else decode_chunk(spec, content, spec.dtype)
    grid = np.unravel_index(cell, spec.grid)
    starts = [int(g) * c for g, c in zip(grid, spec.chunks, strict=True)]
    box = tuple(slice(s, s + c) for s, c in zip(starts[2:], spec.chunks[2:], strict=True))
    bands = range(spec.shape[1]) if picked is None else picked
    shown = [(c, b - starts[1]) for c, b in enumerate(bands) if 0 <= b - starts[1] < spec.chunks[1]]
    for j, t in enumerate(timestamps):
        if not 0 <= t - starts[0] < spec.chunks[0]:
            continue
        for c, b in shown:
            target = out[j, c][box]
            if chunk is None:
                target[...] = _fill(spec)
            else:
                target[...] = chunk[t - starts[0], b][: target.shape[0], : target.shape[1]]
