"""This loader and its kernels as streams."""

from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import count, cycle
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import RandomSampler

import fastload_kernels
import fastload_kernels.cpu
from benchmarks.data import Shards
from benchmarks.measure import Stream
from fastload import SSL4EOS12, DataLoader, Recipe
from fastload_kernels import Scaling, View

STEPS = 4096
"""Batches of a stream: more than a benchmark takes."""

BUFFERS = 3
"""Batches of views in memory that are written in turn, as the loader does."""


def stream(
    shards: Shards,
    recipe: Recipe | None,
    batch: int,
    workers: int,
    engine: Literal["threads", "dali"] = "threads",
    check_crc: bool = True,
) -> Stream:
    """Batches of the loader, shuffled; see `fastload.DataLoader`."""
    dataset = SSL4EOS12(
        shards.root, shards.split, [shards.modality], recipe, check_crc=check_crc, progress=False
    )
    order = RandomSampler(dataset, num_samples=STEPS * batch)
    loader = DataLoader(
        dataset, batch_size=batch, sampler=order, num_workers=workers, engine=engine, drop_last=True
    )
    batches: Any = iter(loader)
    try:
        yield from batches
    finally:
        batches.close()


def views(source: Tensor, view: View, scaling: Scaling, batch: int, workers: int) -> Stream:
    """The CPU kernel alone: batches float32 ``[B, C, h, w]`` of views of int16 ``[N, C, H, W]``.

    Threads, one sample each, into batches that are used in turn; the parameters are drawn a batch
    at a time, inside the timed span.
    """
    pixels = source.numpy()
    _, C, H, W = pixels.shape
    ring = cycle([np.empty((batch, C, *view.shape), np.float32) for _ in range(BUFFERS)])
    picks = cycle(range(len(pixels)))
    with ThreadPoolExecutor(workers) as pool:
        under_way: deque[tuple[NDArray[np.float32], list[Future[None]]]] = deque()
        for epoch in count():
            ids = np.array([next(picks) for _ in range(batch)])
            params = fastload_kernels.draw([view], 0, epoch, ids, H, W, 1)[:, 0]
            out = next(ring)
            tasks = [
                pool.submit(fastload_kernels.cpu.apply, pixels[i], p, view, scaling, None, o)
                for i, p, o in zip(ids, params, out, strict=True)
            ]
            under_way.append((out, tasks))
            if len(under_way) == BUFFERS - 1:
                done, tasks = under_way.popleft()
                for task in tasks:
                    task.result()
                yield torch.from_numpy(done)
