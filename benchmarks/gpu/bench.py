"""What a part works with: a device, what runs kernels and decoders there, loaders, pixels."""

import importlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.gpu.options import Options
from benchmarks.results import Missing, Race
from fastload import SSL4EOS12, DataLoader, Recipe
from fastload.cache import folder
from fastload.engines.device.nvcomp import Codecs, NvComp
from fastload.engines.device.queue import DeviceQueue
from fastload.processors import processors
from fastload.synth import synth

MODALITY = "S2L1C"
SHARDS = 16
"""Shards of the made dataset at least: the published path gives whole ones to its workers."""


class Skip(Exception):  # noqa: N818, it is no error
    """A part cannot run here, and why."""


@dataclass
class Found:
    """What a group of figures found."""

    races: list[Race] = field(default_factory=list)
    missing: list[Missing] = field(default_factory=list)


@dataclass
class Bench:
    """A device for checks and figures: a GPU, or in the tests the host in its place."""

    options: Options
    queue: DeviceQueue
    codecs: Codecs | None
    """None where nvCOMP is not installed."""
    open: Callable[..., DataLoader]
    """`DataLoader` with the device as its default."""
    tests: str
    """What the names of the kernels' tests on this device contain."""

    @classmethod
    def on_gpu(cls, options: Options) -> "Bench":
        """The first GPU."""
        device = torch.device("cuda", 0)
        torch.cuda.set_device(device)
        try:
            codecs: Codecs | None = NvComp()
        except ImportError:
            codecs = None

        def open_there(*args: Any, **options: Any) -> DataLoader:
            return DataLoader(*args, device=device, **options)

        return cls(options, DeviceQueue(device), codecs, open_there, "cuda")

    @property
    def device(self) -> torch.device:
        """Where results lie."""
        return self.queue.device

    @property
    def is_cuda(self) -> bool:
        """Whether it is a GPU."""
        return self.device.type == "cuda"

    def synchronize(self) -> None:
        """Wait for all that the device has to do, on any stream."""
        if self.is_cuda:
            torch.cuda.synchronize(self.device)

    def arrived(self) -> None:
        """Wait for what the current stream waits for, such as a batch."""
        if self.is_cuda:
            torch.cuda.current_stream(self.device).synchronize()

    @cached_property
    def scenes(self) -> Path:
        """Root of the made dataset, which is kept in the cache."""
        o = self.options
        return synth(
            folder() / f"gpu-{MODALITY}-{o.locations}x{o.size}",
            o.locations,
            modalities=[MODALITY],
            size=o.size,
            samples_per_shard=max(1, o.locations // SHARDS),
            seed=1,
        )

    def dataset(self, recipe: Recipe | None = None) -> SSL4EOS12:
        """The made dataset."""
        return SSL4EOS12(self.scenes, modalities=[MODALITY], recipe=recipe, progress=False)

    def pixels(self, samples: int) -> Tensor:
        """The first samples, decoded: int16 ``[N, T, C, H, W]`` on the device."""
        dataset = self.dataset()
        with ThreadPoolExecutor(processors()) as pool:
            found = list(pool.map(lambda i: dataset.read(MODALITY, i), range(samples)))
        return torch.from_numpy(np.stack(found)).to(self.device)


def from_tests(name: str) -> Any:
    """A module of the tests, whose tables and data the checks share.

    Raises:
        Skip: where it cannot be imported, such as outside of the repository.
    """
    try:
        return importlib.import_module(f"tests.{name}")
    except ImportError as error:
        raise Skip(f"tests.{name} cannot be imported: {error}") from error
