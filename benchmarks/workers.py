"""Torch workers for the peers: clean processes that start fast."""

import multiprocessing
from multiprocessing.context import BaseContext
from typing import Any

from benchmarks.measure import Stream

HEAVY = (
    "torch",
    "torchvision.transforms.v2",
    "webdataset",
    "zarr",
    "fsspec.implementations.zip",
    "cv2",
    "albumentations",
    "kornia.augmentation",
)


def context() -> BaseContext:
    """A fork server that has imported the heavy libraries.

    A worker forked from the benchmark itself would inherit its threads and locks; a spawned one
    would spend seconds on imports in every round.
    """
    server = multiprocessing.get_context("forkserver")
    server.set_forkserver_preload(list(HEAVY))
    return server


def start(worker: int) -> None:
    """What a worker does first: one thread for OpenCV, as torch gives one to itself."""
    import cv2

    cv2.setNumThreads(1)


def stream(dataset: Any, workers: int, **options: Any) -> Stream:
    """Batches of `torch.utils.data.DataLoader`; the workers end when the generator is closed.

    No workers: all in the calling process, for tests.
    """
    from torch.utils.data import DataLoader

    if workers:
        options |= {"multiprocessing_context": context(), "worker_init_fn": start}
    yield from DataLoader(dataset, num_workers=workers, **options)
