"""The bare loop: decompress the same chunks from memory maps into buffers made beforehand.

Threads, one Blosc context each through numcodecs, no CRC, no batch of its own, no Python per pixel.
A reader cannot be much faster on the same cores without another decoder.
"""

import mmap
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from itertools import cycle, islice
from typing import Any

import numpy as np
from numcodecs import blosc
from numpy.typing import NDArray

from benchmarks.data import Sample, Shards
from benchmarks.measure import Stream

Pixels = NDArray[Any]

BUFFERS = 3
"""Batches in memory that are written in turn."""


@contextmanager
def mapped(shards: Shards) -> Iterator[list[memoryview]]:
    """Every shard as a memory map."""
    with ExitStack() as stack:
        views = []
        for path in shards.paths:
            file = stack.enter_context(path.open("rb"))
            whole = stack.enter_context(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
            views.append(stack.enter_context(memoryview(whole)))
        yield views


def stream(shards: Shards, batch: int, workers: int, dtype: np.dtype[np.generic]) -> Stream:
    """Endless batches of raw pixels, in the order on disk, over and over.

    A batch is the samples' keys and ``[B, T, C, H, W]``. The next one is under way while one is
    handed out, so that no thread waits at a batch's end.
    """
    buffers = cycle([np.empty((batch, *shards.shape), dtype) for _ in range(BUFFERS)])
    order = cycle(shards.samples.values())
    with mapped(shards) as maps, ThreadPoolExecutor(workers) as pool:

        def decode(slot: Pixels, sample: Sample) -> None:
            if len(sample.chunks) < len(slot):
                slot[:] = 0
            for c in sample.chunks:
                blosc.decompress(
                    maps[sample.shard][c.offset : c.offset + c.size], slot[c.timestamp]
                )

        under_way: deque[tuple[list[str], Pixels, list[Future[None]]]] = deque()
        while True:
            while len(under_way) < BUFFERS - 1:
                samples, buffer = list(islice(order, batch)), next(buffers)
                tasks = [pool.submit(decode, *pair) for pair in zip(buffer, samples, strict=True)]
                under_way.append(([s.key for s in samples], buffer, tasks))
            keys, buffer, tasks = under_way.popleft()
            for task in tasks:
                task.result()
            yield keys, buffer
