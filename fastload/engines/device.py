"""The device's part of a batch: compressed or decoded bytes in, finished views out.

Everything is enqueued on one lane and nothing is waited for, but the outcome of a decoding that was
enqueued long before, when its batch is handed out.
"""

import math
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import Any

import numpy as np
import torch
from fastload_kernels.cuda.draw import draw_bands_on, draw_on, rules
from fastload_kernels.cuda.view import Plan, pack, plan, render
from fastload_kernels.view import VIEW_PARAMS
from numpy.typing import NDArray

from fastload.datasets.base import TORCH_DTYPES, Dataset
from fastload.engines.device_cache import DTYPES, DeviceCache
from fastload.engines.device_decode import Decoder, Tables
from fastload.engines.lane import Lane
from fastload.engines.nvcomp import NvComp
from fastload.storage.codecs import Buffer as Bytes

KINDS_OF_COUNT = ("nan", "infinite", "no_data")


@dataclass
class Frames:
    """Blosc frames whose bytes are on the device, and where they shall be decoded to."""

    slots: list[int] = field(default_factory=list)
    data: list[Bytes] = field(default_factory=list)
    sizes: list[int] = field(default_factory=list)
    sources: list[int] = field(default_factory=list)
    destinations: list[int] = field(default_factory=list)


@dataclass
class Decoding:
    """A decoding that is under way."""

    tables: Tables
    slots: list[int]
    results: torch.Tensor
    """On the host, once `mark` is reached."""
    mark: Any

    def failed(self) -> dict[int, str]:
        """Slots with a frame that was not decoded, and why. The CPU waits for the decoding."""
        if self.mark is not None:
            self.mark.synchronize()
        found = Decoder.failed(self.tables, self.results.numpy())
        return {self.slots[frame]: why for frame, why in found}


class DeviceSide:
    """What a loader keeps on its device: the lane, launch plans, a cache and counters."""

    def __init__(
        self, dataset: Dataset, lane: Lane, decoder: Decoder | None = None, cache_bytes: int = 0
    ) -> None:
        """`decoder` is wanted where compressed bytes come to the device.

        Raises:
            ValueError: where a modality's pixels cannot be read on the device, by name.
        """
        self.dataset, self.lane, self.decoder = dataset, lane, decoder
        recipe = dataset.recipe
        self.plans: dict[str, Plan] = {}
        for name, m in dataset.modalities.items():
            if m.dtype.name not in DTYPES:
                raise ValueError(
                    f"modality {name} has {m.dtype} pixels, a GPU reads {', '.join(DTYPES)}; "
                    "deliver to the CPU instead"
                )
            if recipe is not None:
                kind, last = recipe.dtype, recipe.channels_last
                self.plans[name] = plan(recipe.views, m.shape, m.dtype.name, kind, last)
        self.cache = DeviceCache(cache_bytes, dataset.modalities, lane.device)
        with lane.work():
            self.counts = torch.zeros(len(KINDS_OF_COUNT), dtype=torch.int64, device=lane.device)
        self.most_bytes = 0
        self._rules: torch.Tensor | None = None

    @property
    def draws(self) -> bool:
        """Whether parameters can be drawn on the device: all modalities have the same dates."""
        dates = {m.timestamps for m in self.dataset.modalities.values()}
        return self.dataset.recipe is not None and len(dates) == 1

    def outputs(self, name: str, samples: int) -> list[torch.Tensor]:
        """Memory for a modality's tensors: one per view, or one for the raw pixels."""
        recipe = self.dataset.recipe
        dtype = (
            TORCH_DTYPES[recipe.dtype]
            if recipe
            else DTYPES[self.dataset.modalities[name].dtype.name]
        )
        return [self.lane.empty((samples, *shape), dtype) for shape in self.dataset.slots(name)]

    def decode(self, frames: Frames) -> Tables:
        """Describe a decoding, see `Decoder.prepare`."""
        assert self.decoder is not None
        return self.decoder.prepare(frames.data, frames.sizes, frames.sources, frames.destinations)

    def enqueue(self, tables: Tables, slots: list[int]) -> Decoding:
        """Enqueue a decoding, and the copy of its outcome to the host."""
        assert self.decoder is not None
        table = self.lane.upload(tables.host)
        scratch = self.lane.empty((max(1, tables.scratch_bytes),), torch.uint8)
        results = self.lane.empty((tables.results_bytes,), torch.uint8)
        self.decoder.enqueue(tables, table.data_ptr(), scratch.data_ptr(), results.data_ptr())
        is_cuda = self.lane.stream is not None
        outcome = torch.empty(results.shape, dtype=torch.uint8, pin_memory=is_cuda)
        outcome.copy_(results, non_blocking=True)
        return Decoding(tables, slots, outcome, self.lane.mark())

    def draw(
        self, seed: int, epoch: int, ids: NDArray[np.int64]
    ) -> tuple[torch.Tensor, dict[str, torch.Tensor | None]]:
        """Draw a batch's parameters on the device: records ``[N, V]``, and bands to keep."""
        recipe = self.dataset.recipe
        assert recipe is not None
        m = next(iter(self.dataset.modalities.values()))
        source, runner = (m.timestamps, m.height, m.width), self.lane.runner
        if self._rules is None:
            table = rules(recipe.views, m.height, m.width, m.timestamps)
            self._rules = self.lane.upload(table.view(np.uint8))
        samples = self.lane.upload(ids.view(np.uint8))
        shape = (len(ids), len(recipe.views))
        params = self.lane.empty((math.prod(shape) * VIEW_PARAMS.itemsize,), torch.uint8)
        draw_on(runner, self._rules, shape, seed, epoch, samples, source, params)
        keep: dict[str, torch.Tensor | None] = dict.fromkeys(self.dataset.modalities)
        if any(view.drop for view in recipe.views):
            for name, each in self.dataset.modalities.items():
                bands = self.lane.empty((*shape, each.bands), torch.uint8)
                draw_bands_on(runner, self._rules, shape, seed, epoch, samples, each.bands, bands)
                keep[name] = bands
        return params, keep

    def render(
        self,
        name: str,
        outs: list[torch.Tensor],
        planes: NDArray[np.uint64],
        params: NDArray[np.void] | torch.Tensor,
        keep: NDArray[np.uint8] | torch.Tensor | None,
    ) -> None:
        """Make all views of a modality.

        Args:
            name: of the modality.
            outs: as `outputs` gives them.
            planes: ``[N, T]`` device addresses of decoded pixels ``[C, H, W]``; 0 if not needed.
            params: ``[N, V]`` records of `VIEW_PARAMS`, drawn on the host or on the device.
            keep: uint8 ``[N, V, C]``, likewise, or None.
        """
        launch, N = self.plans[name], len(planes)
        nodata = self.dataset.layers[name].specs[0].fill_value
        packed = pack(
            launch, outs, planes, self.dataset.scalings[name],
            nodata=float(nodata) if nodata is not None else None,
            params=self._dates_of(name, params) if isinstance(params, np.ndarray) else None,
            keep=keep if isinstance(keep, np.ndarray) else None,
        )  # fmt: skip
        data = self.lane.upload(packed.data)
        means = self.lane.empty((max(1, launch.mean_bytes(N)),), torch.uint8)
        counts = torch.zeros(
            (N * len(launch.jobs), len(KINDS_OF_COUNT)), dtype=torch.int32, device=data.device
        )
        render(
            self.lane.runner, launch, packed, data, means=means, counts=counts,
            params=params if isinstance(params, torch.Tensor) else 0,
            keep=keep if isinstance(keep, torch.Tensor) else 0,
        )  # fmt: skip
        self.counts += counts.sum(dim=0)

    def _dates_of(self, name: str, params: NDArray[np.void]) -> NDArray[np.void]:
        """Parameters with the dates of a modality: one that has a single one shows it always."""
        if self.dataset.modalities[name].timestamps > 1 or self.dataset.timestamps == 1:
            return params
        params = params.copy()
        params["timestamp"] = np.minimum(params["timestamp"], 0)
        return params

    def summary(self) -> dict[str, Any]:
        """Bytes on the device and what was counted in the views. A CPU-GPU sync."""
        with self.lane.work():
            counts = self.counts.tolist()
        return {
            "device_bytes": {"cache": self.cache.bytes, "largest_batch": self.most_bytes},
            "pixels": dict(zip(KINDS_OF_COUNT, counts, strict=True)),
        }


def open_side(
    dataset: Dataset, device: torch.device, decodes: bool, cache_bytes: int
) -> DeviceSide:
    """The device's part for a GPU. `decodes`: compressed bytes will come to it.

    Raises:
        ImportError: says what to install.
    """
    need_cupy()
    lane = Lane(device)
    decoder = Decoder(lane.runner, NvComp(), lane.handle) if decodes else None
    return DeviceSide(dataset, lane, decoder, cache_bytes)


def need_cupy() -> None:
    """Make sure that CuPy is there, without importing it.

    Raises:
        ImportError: says which extra to install.
    """
    if find_spec("cupy") is None:
        raise ImportError(
            "a device='cuda' loader needs CuPy: pip install 'fastload[cuda13]' "
            "(or 'fastload[cuda12]' for drivers of CUDA 12)"
        )
