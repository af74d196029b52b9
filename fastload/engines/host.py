"""The target that is the host: each sample is decoded and rendered straight into its slot."""

from dataclasses import dataclass, replace
from time import perf_counter
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

import fastload_kernels.cpu
from fastload.datasets.base import Dataset
from fastload.datasets.source import ChunkedSource
from fastload.dtypes import TORCH, bits
from fastload.engines import HostLoad, Options
from fastload.engines.assembler import Repair
from fastload.engines.batch import Request, draw
from fastload.engines.memory import Buffer, Pinned, PinnedBuffer, Pool, Scratch
from fastload.engines.shown import Shown
from fastload.engines.workers import Task, Workers
from fastload.profile import Profile, Stages
from fastload.recipe import mask_of
from fastload.storage.errors import DataError


@dataclass
class Filling:
    """A batch whose slots are being filled; see `Pending`."""

    profile: Profile
    shown: Shown | None
    request: Request
    load: HostLoad
    buffers: dict[str, list[Buffer | PinnedBuffer]]
    task: Task | None = None
    finished_at: float = 0.0

    def wait(self) -> dict[str, Any]:
        """See `Pending.wait`."""
        assert self.task is not None
        asked = perf_counter()
        batch: dict[str, Any] = self.task.wait()
        self.profile.wait_for_consumer += max(0.0, asked - self.finished_at)
        if self.shown is not None:
            self.shown.say()
        return batch


@dataclass
class Slot:
    """Where one sample's share of a modality goes.

    Attributes:
        views: by view its pixels, see `Dataset.slots`; or all raw ones alone.
        masks: by view, see `Dataset.mask_slots`.
        counts: int64 ``[3]`` that the views' counts are added to; None counts nothing.
    """

    views: list[NDArray[Any]]
    masks: list[NDArray[np.bool_]]
    counts: NDArray[np.int64] | None


class HostTarget:
    """See `fastload.engines.Target`. Safe in threads."""

    queue = None

    def __init__(self, dataset: Dataset, options: Options) -> None:
        self.dataset, self.seed, self.profile = dataset, options.seed, options.profile
        self.repair = Repair(dataset, options)
        self.shown = Shown(dataset) if options.count_pixels else None
        self._pool: Pool | Pinned = Pinned() if options.pinned else Pool()
        self._scratch = Scratch()
        self._bits = bits(dataset.recipe.dtype if dataset.recipe else None)

    def draw(self, epoch: int, samples: NDArray[np.int64]) -> Request:
        """See `Target.draw`."""
        return draw(self.dataset, self.seed, epoch, samples)

    def make(self, request: Request, load: HostLoad, workers: Workers) -> Filling:
        """See `Target.make`: the workers take one slot each."""
        load.arrive()
        batch = Filling(self.profile, self.shown, request, load, self._allocate(request))
        batch.task = workers.share(
            len(request), lambda slot: self._fill(batch, slot), lambda: self._deliver(batch)
        )
        return batch

    def drain(self) -> None:
        """See `Target.drain`: nothing outlives the workers."""

    def summary(self) -> dict[str, Any]:
        """See `Target.summary`: what the views show of pixels that are no numbers."""
        return {} if self.shown is None else {"pixels": self.shown.summary()}

    def _allocate(self, request: Request) -> dict[str, list[Buffer | PinnedBuffer]]:
        """Memory that the slots are filled in."""
        out, B = dict[str, list[Buffer | PinnedBuffer]](), len(request)
        for name, m in self.dataset.modalities.items():
            dtype = m.dtype if request.params is None else self._bits
            shapes = self.dataset.slots(name)
            out[name] = [self._pool.take((B, *shape), dtype) for shape in shapes]
            if masks := self.dataset.mask_slots(name):
                bools = [self._pool.take((B, *shape), np.dtype(bool)) for shape in masks]
                out[mask_of(name)] = bools
        return out

    def _fill(self, batch: Filling, slot: int) -> None:
        """Decode and render one slot, or a sound sample in its place.

        Raises:
            DataError: where the sample cannot be had and is not to be replaced.
        """
        stages, request = self.profile.stages(), batch.request
        counts = None if self.shown is None else self.shown.counts()
        try:
            self._render(batch.buffers, slot, request, slot, batch.load, stages, counts)
        except DataError as error:

            def attempt(one: Request) -> None:
                if counts is not None:
                    counts[:] = 0
                self._render(batch.buffers, slot, one, 0, None, stages, counts)

            self.repair.replace(request, slot, error, attempt)
        if self.shown is not None and counts is not None:
            self.shown.add(counts, int(request.samples[slot]))
        stages.samples += 1
        batch.finished_at = perf_counter()

    def _render(
        self,
        buffers: dict[str, list[Buffer | PinnedBuffer]],
        into: int,
        request: Request,
        slot: int,
        load: HostLoad | None,
        stages: Stages,
        counts: NDArray[np.int64] | None,
    ) -> None:
        """Fill slot `into` of the buffers with what a slot of a request shows; without a load its
        source reads it. Adds to the modalities' counts ``[M, 3]``."""
        for m, (name, part) in enumerate(request.parts.items()):
            outs = Slot(
                [buffer.array[into] for buffer in buffers[name]],
                [buffer.array[into] for buffer in buffers.get(mask_of(name), ())],
                None if counts is None else counts[m],
            )
            source, row = self.dataset.sources[name], int(part.rows[slot])
            timestamps = part.timestamps(slot)
            self._absent(name, request, slot, outs, stages)
            if load is None or part.chunks is None or not isinstance(source, ChunkedSource):
                raw = request.params is None
                pixels = outs.views[0] if raw else self._pixels(name, len(timestamps))
                pixels = pixels[: len(timestamps)]
                source.read(row, timestamps, pixels, stages)
                self._views(name, request, slot, timestamps, pixels, outs, stages)
                continue
            span = part.span(slot)
            pieces = [(span, timestamps)]
            if source.whole_timestamps(row):
                # A timestamp is read, decoded and rendered while the caches hold it.
                pieces = [(slice(span.start + i, span.start + i + 1), [t])
                          for i, t in enumerate(timestamps)]  # fmt: skip
            for some, shown in pieces:
                raw = request.params is None
                pixels = _of(outs.views[0], shown) if raw else self._pixels(name, len(shown))
                data = load.chunks(name, slot, some, stages)
                source.decode(row, part.chunks.rows[some], data, shown, pixels, stages)
                self._views(name, request, slot, shown, pixels, outs, stages)

    def _absent(self, name: str, request: Request, slot: int, outs: Slot, stages: Stages) -> None:
        """Show the dates that a sample does not have, which count nothing and have no mask."""
        there = self.dataset.present_of(name, request.samples[slot : slot + 1])
        timestamps = [] if there is None else np.flatnonzero(~there[0]).tolist()
        if not timestamps:
            return
        m = self.dataset.modalities[name]
        if request.params is None:
            outs.views[0][timestamps] = m.absent
            return
        if not (request.params["timestamp"][slot] < 0).any():
            return  # no view shows all
        pixels = self._pixels(name, 1)
        pixels[...] = m.absent
        shown = np.broadcast_to(pixels, (len(timestamps), *pixels.shape[1:]))
        self._views(name, request, slot, timestamps, shown, replace(outs, counts=None), stages)
        for v, mask in enumerate(outs.masks):
            if request.params["timestamp"][slot, v] < 0:
                mask[timestamps] = False

    def _pixels(self, name: str, timestamps: int) -> NDArray[Any]:
        """The calling thread's own memory for decoded pixels ``[timestamps, C, H, W]``."""
        m = self.dataset.modalities[name]
        memory = self._scratch.take(name, m.timestamps * m.plane_bytes)
        return memory[: timestamps * m.plane_bytes].view(m.dtype).reshape(timestamps, *m.shape[1:])

    def _views(
        self,
        name: str,
        request: Request,
        slot: int,
        timestamps: list[int],
        pixels: NDArray[Any],
        outs: Slot,
        stages: Stages,
    ) -> None:
        """Render what each view shows of the decoded `timestamps`, which `pixels` holds."""
        recipe, drawn = self.dataset.recipe, request.parts[name].params
        if drawn is None or recipe is None:
            return
        start = perf_counter()
        kept, scaling = request.keep[name], self.dataset.scalings[name]
        nodata = self.dataset.modalities[name].fill_value
        for v, view in enumerate(recipe.views):
            params = drawn[slot, v]
            t = int(params["timestamp"])
            out = outs.views[v]
            planes = out.view(np.uint16) if recipe.dtype != "float32" else out
            for i, stored in enumerate(self.dataset.stored_timestamps(name, t)):
                if stored not in timestamps:
                    continue
                image = pixels[timestamps.index(stored)]
                fastload_kernels.cpu.apply(
                    image,
                    params,
                    view,
                    scaling,
                    None if kept is None else kept[slot, v],
                    planes[i] if t < 0 else planes,
                    dtype=recipe.dtype,
                    channels_last=recipe.channels_last,
                    nodata=nodata,
                    counts=outs.counts,
                )
                if outs.masks:
                    mask = outs.masks[v][i] if t < 0 else outs.masks[v]
                    fastload_kernels.cpu.mask(image, params, view, scaling, nodata, mask)
        stages.views += perf_counter() - start

    def _deliver(self, batch: Filling) -> dict[str, Any]:
        """The batch as a dict; the memory now belongs to its tensors."""
        batch.load.release()
        tensors = {n: [b.tensor() for b in buffers] for n, buffers in batch.buffers.items()}
        return finished(self.dataset, batch.request, tensors)


def _of(pixels: NDArray[Any], timestamps: list[int]) -> NDArray[Any]:
    """Neighbouring timestamps of raw pixels ``[T, C, H, W]``."""
    return pixels[timestamps[0] : timestamps[-1] + 1]


def finished(
    dataset: Dataset, request: Request, tensors: dict[str, list[torch.Tensor]]
) -> dict[str, Any]:
    """The batch, of the filled tensors of each modality, see `Dataset.slots`, and masks."""
    recipe, out = dataset.recipe, dict[str, Any]()
    for name, filled in tensors.items():
        if recipe is None:
            out[name] = filled[0]
            continue
        if name not in dataset.modalities:
            out[name] = filled
            continue
        # NumPy, which lacks bfloat16, holds its bits.
        views = [t.view(TORCH[recipe.dtype]) for t in filled]
        out[name] = [t.movedim(-1, -3) for t in views] if recipe.channels_last else views
    timestamps = None if request.params is None else request.params["timestamp"]
    return out | dataset.describe(request.samples, timestamps)
