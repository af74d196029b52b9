"""What the parts of a loader do alone: reading, decoding, making views, copying."""

import itertools
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastload.datasets.base import Dataset
from fastload.datasets.source import ChunkedSource
from fastload.engines.batch import Part, Request, draw
from fastload.profile import Stages
from fastload_kernels import cpu

MOST_BYTES = 2**29
"""Of decoded samples that are held in memory at once."""
Data = dict[str, list[NDArray[np.uint8] | None]]
Pixels = dict[str, NDArray[Any]]


@dataclass
class Ready:
    """Some samples with all that each part needs of them in memory."""

    dataset: Dataset
    request: Request
    data: list[Data]
    pixels: list[Pixels]

    def __len__(self) -> int:
        return len(self.request)


def ready(dataset: Dataset, samples: NDArray[np.int64], seed: int) -> Ready:
    """Read and decode samples ``[B]``, as many of them as memory is meant to hold.

    Raises:
        DataError: names what cannot be read.
    """
    planes = sum(m.timestamps * m.plane_bytes for m in dataset.modalities.values())
    request = draw(dataset, seed, 0, samples[: max(1, MOST_BYTES // max(1, planes))])
    out = Ready(dataset, request, [], [])
    for slot in range(len(request)):
        out.data.append({n: fetch(dataset, n, p, slot) for n, p in request.parts.items()})
        out.pixels.append({n: decode(out, n, slot) for n in request.parts})
    return out


def fetch(dataset: Dataset, name: str, part: Part, slot: int) -> list[NDArray[np.uint8] | None]:
    """A slot's stored bytes of a modality; none where its source has no chunks."""
    source = dataset.sources[name]
    if part.chunks is None or not isinstance(source, ChunkedSource):
        return []
    rows = part.chunks.rows[part.span(slot)]
    buffer = np.empty(int(rows["stored"].sum()), np.uint8)
    return source.fetch(int(part.rows[slot]), rows, buffer, Stages())


def decode(have: Ready, name: str, slot: int, out: NDArray[Any] | None = None) -> NDArray[Any]:
    """A slot's pixels ``[t, C, H, W]``, of bytes in memory where the source has chunks."""
    source, part = have.dataset.sources[name], have.request.parts[name]
    m, timestamps, row = source.modality, part.timestamps(slot), int(part.rows[slot])
    out = np.empty((len(timestamps), *m.shape[1:]), m.dtype) if out is None else out
    if part.chunks is None or not isinstance(source, ChunkedSource):
        source.read(row, timestamps, out, Stages())
    else:
        rows = part.chunks.rows[part.span(slot)]
        source.decode(row, rows, have.data[slot][name], timestamps, out, Stages())
    return out


def views(have: Ready, slot: int) -> None:
    """Make all views of a slot from pixels in memory."""
    dataset, request = have.dataset, have.request
    recipe = dataset.recipe
    if recipe is None or request.params is None:
        return
    for name, pixels in have.pixels[slot].items():
        shown, kept = request.parts[name].timestamps(slot), request.keep[name]
        for v, view in enumerate(recipe.views):
            params = request.params[slot, v]
            h, w = view.shape
            C = pixels.shape[1]
            shape = (h, w, C) if recipe.channels_last else (C, h, w)
            out = np.empty(shape, np.float32 if recipe.dtype == "float32" else np.uint16)
            for t in dataset.stored_timestamps(name, int(params["timestamp"])):
                cpu.apply(
                    pixels[shown.index(t)], params, view, dataset.scalings[name],
                    None if kept is None else kept[slot, v], out,
                    dtype=recipe.dtype, channels_last=recipe.channels_last,
                )  # fmt: skip


def rate(work: Callable[[int], object], slots: int, threads: int, seconds: float) -> float:
    """Samples/s of threads that do the slots' work over and over, for about so long."""
    work(0)  # what happens once, such as compiling
    done, start = itertools.count(), perf_counter()

    def turn(_: int) -> int:
        count = 0
        while perf_counter() - start < seconds:
            work(next(done) % slots)
            count += 1
        return count

    with ThreadPoolExecutor(max(1, threads)) as pool:
        total = sum(pool.map(turn, range(max(1, threads))))
    return max(1, total) / (perf_counter() - start)


def once(work: Callable[[int], object], slots: Sequence[int], threads: int) -> float:
    """Samples/s of threads that do each slot's work once."""
    start = perf_counter()
    with ThreadPoolExecutor(max(1, threads)) as pool:
        for _ in pool.map(work, slots):
            pass
    return len(slots) / max(1e-9, perf_counter() - start)


def has_storage(dataset: Dataset) -> bool:
    """Whether reading can be told from decoding: all sources have chunks."""
    return all(isinstance(source, ChunkedSource) for source in dataset.sources.values())


def read_all(dataset: Dataset, request: Request, slot: int) -> None:
    """Read a slot's bytes and drop them."""
    for name, part in request.parts.items():
        fetch(dataset, name, part, slot)


def floors(have: Ready, threads: int, seconds: float) -> dict[str, float | None]:
    """Decoding, views and copying alone, samples/s; None for what cannot be told or is not done."""
    slots = range(len(have))
    room = [{n: np.empty_like(a) for n, a in p.items()} for p in have.pixels[: len(have)]]

    def copied(slot: int) -> None:
        for name, pixels in have.pixels[slot].items():
            np.copyto(room[slot][name], pixels)

    def decoded(slot: int) -> None:
        for name in have.request.parts:
            decode(have, name, slot)

    rendered = have.dataset.recipe is not None
    return {
        "decode": rate(decoded, len(slots), threads, seconds),
        "views": rate(lambda s: views(have, s), len(slots), threads, seconds) if rendered else None,
        "memory": rate(copied, len(slots), threads, seconds),
    }
