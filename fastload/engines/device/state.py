"""What a loader keeps on its device: the queue, launch plans, a decoder, a cache and counters."""

import math
import threading
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from fastload.datasets.base import Dataset
from fastload.dtypes import TORCH
from fastload.engines.device.cache import DeviceCache
from fastload.engines.device.decode import Decoder, Tables
from fastload.engines.device.nvcomp import NvComp
from fastload.engines.device.queue import DeviceQueue
from fastload.engines.shown import COUNTED, Shown
from fastload.extras import missing
from fastload_kernels import Scaling
from fastload_kernels.cuda.draw import draw_bands_on, draw_on, rules
from fastload_kernels.cuda.planning import SOURCES, LaunchPlan, plan_views
from fastload_kernels.cuda.shared_memory import SMALLEST, SharedMemory
from fastload_kernels.cuda.view import pack, render
from fastload_kernels.view import VIEW_PARAMS


@dataclass
class Decoding:
    """A decoding that is under way.

    Attributes:
        tables: of the frames.
        slots: int64, the slot of each frame.
        results: on the host, once `mark` is reached.
    """

    tables: Tables
    slots: NDArray[np.int64]
    results: torch.Tensor
    mark: Any

    def failed(self) -> dict[int, str]:
        """Slots with a frame that was not decoded, and why. The CPU waits for the decoding."""
        if self.mark is not None:
            self.mark.synchronize()
        found = Decoder.failed(self.tables, self.results.numpy())
        return {int(self.slots[frame]): why for frame, why in found}


@dataclass
class Watched:
    """How many pixels of samples ``[B]`` are NaN or infinite, there once `mark` is reached."""

    name: str
    samples: NDArray[np.int64]
    bad: torch.Tensor
    mark: Any

    def is_there(self) -> bool:
        """Whether it is known."""
        return self.mark is None or bool(self.mark.query())


class DeviceState:
    """See above. Whoever enqueues is within `DeviceQueue.work`."""

    def __init__(
        self,
        dataset: Dataset,
        queue: DeviceQueue,
        decoder: Decoder | None,
        cache_bytes: int = 0,
        count_pixels: bool = True,
        memory: SharedMemory = SMALLEST,
    ) -> None:
        """Without a `decoder` all is decoded on the host. `memory` is the device's shared memory.

        Raises:
            ValueError: where a modality's pixels cannot be read on the device, by name.
        """
        self.dataset, self.queue, self.decoder = dataset, queue, decoder
        recipe = dataset.recipe
        self.plans: dict[str, LaunchPlan] = {}
        for name, m in dataset.modalities.items():
            if m.dtype.name not in SOURCES:
                raise ValueError(
                    f"modality {name} has {m.dtype} pixels, a GPU reads {', '.join(SOURCES)}; "
                    "deliver to the CPU instead"
                )
            if recipe is not None:
                kind, last = recipe.dtype, recipe.channels_last
                labels = dataset.scalings[name].labels
                self.plans[name] = plan_views(
                    recipe.views, m.shape, m.dtype.name, kind, last, memory, labels,
                    dataset.grids[name],
                )  # fmt: skip
        self.cache = DeviceCache(cache_bytes, dataset.modalities, dataset.places, queue.device)
        self.counts: torch.Tensor | None = None
        self.shown, self._watched = Shown(dataset), deque[Watched]()
        self._looking = threading.Lock()
        if count_pixels:
            with queue.work():
                self.counts = torch.zeros(len(COUNTED), dtype=torch.int64, device=queue.device)
        self.most_bytes = 0
        self._rules: torch.Tensor | None = None
        self._absent: dict[str, torch.Tensor] = {}

    @property
    def draws(self) -> bool:
        """Whether parameters can be drawn on the device: all modalities have as many timestamps."""
        counts = {m.timestamps for m in self.dataset.modalities.values()}
        return self.dataset.recipe is not None and len(counts) == 1

    def outputs(self, name: str, samples: int) -> list[torch.Tensor]:
        """Memory for a modality's tensors: one per view, or one for the raw pixels."""
        recipe, m = self.dataset.recipe, self.dataset.modalities[name]
        dtype = TORCH[recipe.dtype if recipe else m.dtype.name]
        return [self.queue.empty((samples, *shape), dtype) for shape in self.dataset.slots(name)]

    def masks(self, name: str, samples: int) -> list[torch.Tensor]:
        """Memory for a modality's masks, where the recipe wants some."""
        shapes = self.dataset.mask_slots(name)
        return [self.queue.empty((samples, *shape), torch.bool) for shape in shapes]

    def enqueue(self, tables: Tables, slots: NDArray[np.int64]) -> Decoding:
        """Enqueue a decoding, and the copy of its outcome to the host."""
        assert self.decoder is not None
        table = self.queue.upload(tables.host)
        scratch = self.queue.scratch(tables.scratch_bytes)
        results = self.queue.empty((tables.results_bytes,), torch.uint8)
        self.decoder.enqueue(tables, table.data_ptr(), scratch.data_ptr(), results.data_ptr())
        outcome = torch.empty(results.shape, dtype=torch.uint8, pin_memory=self.queue.is_device)
        outcome.copy_(results, non_blocking=True)
        return Decoding(tables, slots, outcome, self.queue.mark())

    def draw(
        self, seed: int, epoch: int, samples: NDArray[np.int64]
    ) -> tuple[torch.Tensor, dict[str, torch.Tensor | None]]:
        """Draw a batch's parameters on the device: records ``[B, V]``, and bands to keep."""
        recipe = self.dataset.recipe
        assert recipe is not None
        m = next(iter(self.dataset.modalities.values()))
        source, runner = (m.timestamps, m.height, m.width), self.queue.runner
        if self._rules is None:
            fewest = int(self.dataset.all_dates.min(initial=m.timestamps))
            table = rules(recipe.views, m.height, m.width, fewest)
            self._rules = self.queue.upload(table.view(np.uint8))
        ids = self.queue.upload(self.dataset.draw_ids(samples).view(np.uint8))
        shape = (len(samples), len(recipe.views))
        params = self.queue.empty((math.prod(shape) * VIEW_PARAMS.itemsize,), torch.uint8)
        dates = self._dates(samples)
        draw_on(runner, self._rules, shape, seed, epoch, ids, source, params, dates)
        keep: dict[str, torch.Tensor | None] = dict.fromkeys(self.dataset.modalities)
        if any(view.drop for view in recipe.views):
            for name, each in self.dataset.modalities.items():
                bands = self.queue.empty((*shape, each.bands), torch.uint8)
                draw_bands_on(runner, self._rules, shape, seed, epoch, ids, each.bands, bands)
                keep[name] = bands
        return params, keep

    def _dates(self, samples: NDArray[np.int64]) -> int | torch.Tensor:
        """How many dates samples ``[B]`` have, on the device; 0 where all have all."""
        first = next(iter(self.dataset.modalities))
        if self.dataset.present_of(first, samples[:0]) is None:
            return 0
        dates = np.ascontiguousarray(self.dataset.dates_of(first, samples))
        return self.queue.upload(dates.view(np.uint8))

    def absent(self, name: str) -> torch.Tensor:
        """A plane ``[C, H, W]`` of a modality that stands for dates that samples do not have."""
        if name not in self._absent:
            m = self.dataset.modalities[name]
            plane = self.queue.empty(m.shape[1:], TORCH[m.dtype.name])
            self._absent[name] = plane.fill_(m.absent)
        return self._absent[name]

    def render(
        self,
        name: str,
        outs: list[torch.Tensor],
        planes: NDArray[np.uint64],
        params: NDArray[np.void] | torch.Tensor,
        keep: NDArray[np.uint8] | torch.Tensor | None,
        masks: Sequence[torch.Tensor] = (),
        samples: NDArray[np.int64] | None = None,
    ) -> None:
        """Make all views of a modality.

        Args:
            name: of the modality.
            outs: as `outputs` gives them.
            planes: ``[B, T]`` device addresses of decoded pixels ``[C, H, W]``; 0 if not needed.
            params: ``[B, V]`` records of `VIEW_PARAMS`, drawn on the host or on the device.
            keep: uint8 ``[B, V, C]``, likewise, or None.
            masks: as `masks` gives them.
            samples: ``[B]``, to name those that show NaN or infinity.
        """
        if samples is None or len(parts := self.dataset.by_scaling(name, samples)) == 1:
            one = self.dataset.scalings[name] if samples is None else parts[0].scaling
            self._render(name, outs, planes, params, keep, masks, samples, one)
            return
        for scaling, slots in parts:
            at = torch.from_numpy(slots).to(outs[0].device)
            own, seen = self.outputs(name, len(slots)), self.masks(name, len(slots))
            drawn = _some(params, slots, at, len(planes))
            kept = None if keep is None else _some(keep, slots, at, len(planes))
            some = planes[slots], drawn, kept
            self._render(name, own, *some, seen, samples[slots], scaling)
            for whole, part in zip([*outs, *masks], [*own, *seen], strict=True):
                whole.index_copy_(0, at, part)

    def _render(
        self,
        name: str,
        outs: list[torch.Tensor],
        planes: NDArray[np.uint64],
        params: NDArray[np.void] | torch.Tensor,
        keep: NDArray[np.uint8] | torch.Tensor | None,
        masks: Sequence[torch.Tensor],
        samples: NDArray[np.int64] | None,
        scaling: Scaling,
    ) -> None:
        """As `render`, of samples that share a radiometry."""
        launch, B = self.plans[name], len(planes)
        work = self.queue.empty((max(1, launch.work_bytes(B)),), torch.uint8)
        packed = pack(
            launch, outs, planes, scaling,
            nodata=self.dataset.modalities[name].fill_value,
            params=self._shown(name, params) if isinstance(params, np.ndarray) else None,
            keep=keep if isinstance(keep, np.ndarray) else None,
            masks=masks, work=work,
        )  # fmt: skip
        data = self.queue.upload(packed.data)
        means = self.queue.empty((max(1, launch.mean_bytes(B)),), torch.uint8)
        counts: torch.Tensor | None = None
        if self.counts is not None:
            shape = (B * len(launch.bounds), len(COUNTED))
            counts = torch.zeros(shape, dtype=torch.int32, device=data.device)
        render(
            self.queue.runner, launch, packed, data, means=means,
            counts=0 if counts is None else counts,
            params=params if isinstance(params, torch.Tensor) else 0,
            keep=keep if isinstance(keep, torch.Tensor) else 0,
            absent=self._absent.get(name, 0),
        )  # fmt: skip
        if counts is not None and self.counts is not None:
            self.counts += counts.sum(dim=0)
            if samples is not None and self.shown.watches(name):
                self._watch(name, samples, counts[:, :2].reshape(B, -1).sum(dim=1))

    def _watch(self, name: str, samples: NDArray[np.int64], bad: torch.Tensor) -> None:
        """Enqueue a look at how many bad pixels each sample shows."""
        seen = torch.empty(bad.shape, dtype=bad.dtype, pin_memory=self.queue.is_device)
        seen.copy_(bad, non_blocking=True)
        self._watched.append(Watched(name, samples.copy(), seen, self.queue.mark()))

    def look(self) -> None:
        """Warn, in the consumer's thread, if what the device has finished shows NaN or infinity.
        The CPU does not wait."""
        with self._looking:
            while self._watched and self._watched[0].is_there():
                first = self._watched.popleft()
                for i in first.bad.nonzero().flatten().tolist():
                    self.shown.find(first.name, int(first.samples[i]))
        self.shown.say()

    def _shown(self, name: str, params: NDArray[np.void]) -> NDArray[np.void]:
        """Parameters with the timestamps of a modality: one that has a single one shows it."""
        if self.dataset.modalities[name].timestamps > 1 or self.dataset.timestamps == 1:
            return params
        params = params.copy()
        params["timestamp"] = np.minimum(params["timestamp"], 0)
        return params

    def summary(self) -> dict[str, Any]:
        """Bytes on the device and what was counted in the views. A CPU-GPU sync."""
        out: dict[str, Any] = {
            "device_bytes": {"cache": self.cache.bytes, "largest_batch": self.most_bytes}
        }
        if self.counts is not None:
            with self.queue.work():
                counts = self.counts.tolist()
            self.look()
            out["pixels"] = self.shown.summary(counts)
        return out


def _some(values: Any, slots: NDArray[np.int64], at: torch.Tensor, B: int) -> Any:
    """Entries of some slots of a batch of B, whose bytes lie sample by sample."""
    if isinstance(values, torch.Tensor):
        return values.reshape(B, -1)[at].contiguous().reshape(-1, *values.shape[1:])
    return np.ascontiguousarray(values[slots])


def open_state(
    dataset: Dataset, device: torch.device, cache_bytes: int, count_pixels: bool
) -> DeviceState:
    """The state for a GPU.

    Raises:
        ImportError: says what to install, or which CUDA releases do not fit each other.
    """
    need_cupy()
    queue = DeviceQueue(device)
    decoder = Decoder(queue.runner, NvComp(), queue.handle)
    memory = SharedMemory.of(device.index)
    return DeviceState(dataset, queue, decoder, cache_bytes, count_pixels, memory)


def need_cupy() -> None:
    """Make sure that CuPy is there, and of torch's CUDA release.

    Raises:
        ImportError: says which extra to install, or what does not fit.
    """
    if find_spec("cupy") is None:
        raise missing("a device='cuda' loader needs CuPy", "cuda13")
    import cupy

    mine = cupy.cuda.runtime.runtimeGetVersion() // 1000
    check_releases(torch.version.cuda, mine)


def check_releases(torch_cuda: str | None, cupy_major: int) -> None:
    """Compare the major CUDA releases that libraries were built for.

    Raises:
        ImportError: names them.
    """
    major = int((torch_cuda or "0").split(".")[0])
    if major != cupy_major:
        raise ImportError(
            f"torch is built for CUDA {torch_cuda}, CuPy for CUDA {cupy_major}; both must be of "
            f"one major release: install cupy-cuda{major}x"
        )
