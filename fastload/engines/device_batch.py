"""Assembling a batch on the device. The host only checks the bytes, unless it must decode them."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any

import numpy as np
import torch
from fastload_kernels.view import VIEW_PARAMS, draw_timestamps
from numpy.typing import NDArray

from fastload.datasets.layer import Chunk
from fastload.engines.batch import Assembler, Batch, Packed
from fastload.engines.device import Decoding, DeviceSide, Frames
from fastload.engines.device_cache import DTYPES
from fastload.profile import Profile, Stages
from fastload.storage.codecs import Buffer as Bytes
from fastload.storage.frames import ON_HOST


@dataclass
class Launched:
    """What has been enqueued for a batch."""

    outs: dict[str, list[torch.Tensor]]
    decoding: Decoding | None
    mark: Any


@dataclass
class DeviceBatch(Batch):
    """A step in the making, by slot and modality."""

    cached: list[bool] = field(default_factory=list)
    """Whether the sample has a place in the cache."""
    resident: list[bool] = field(default_factory=list)
    """Whether its pixels are there, so that nothing is read."""
    drawn: bool = True
    """Whether `params` holds all; if not, only the dates, and the rest is drawn on the device."""
    frames: list[dict[str, Sequence[tuple[Chunk, Bytes]]]] = field(default_factory=list)
    pixels: list[dict[str, torch.Tensor]] = field(default_factory=list)
    launched: Launched | None = None


class DeviceAssembler(Assembler):
    """As `Assembler`, with views, and where it can be the decoding, on a device.

    A slot comes either as checked Blosc frames that an engine has moved to the device, or as pixels
    that the host decoded. The latter is the way of the thread engine, of frames that the device
    cannot take, and of replaced samples.
    """

    def __init__(
        self, side: DeviceSide, seed: int, profile: Profile, on_error: str, report: Any = None
    ) -> None:
        super().__init__(side.dataset, seed, profile, on_error, report, side.lane.memory)
        self.side, self.device = side, side.lane.device
        self._said: set[str] = set()

    def begin(self, epoch: int, ids: NDArray[np.int64]) -> DeviceBatch:
        """See `Assembler.begin`. Where all pixels are on the device, it draws the rest."""
        cache, recipe = self.side.cache, self.dataset.recipe
        # Raw pixels are copied into each batch anyway, so they gain too little from a cache.
        cached = [recipe is not None and cache.take(sample) for sample in ids.tolist()]
        resident = [cache.holds(sample) for sample in ids.tolist()]
        if recipe is not None and self.side.draws and all(resident):
            params = np.zeros((len(ids), len(recipe.views)), VIEW_PARAMS)
            dates = self.dataset.timestamps
            params["timestamp"] = draw_timestamps(recipe.views, self.seed, epoch, ids, dates)
            return DeviceBatch(
                epoch, ids.copy(), params, {}, cached=cached, resident=resident, drawn=False
            )
        base = super().begin(epoch, ids)
        return DeviceBatch(
            epoch, base.ids, base.params, base.keep, cached=cached, resident=resident
        )

    def allocate(self, batch: Batch) -> Batch:
        """Device memory is taken when the slots are filled; here is only what they are noted in."""
        assert isinstance(batch, DeviceBatch)
        batch.frames = [{} for _ in batch.ids]
        batch.pixels = [{} for _ in batch.ids]
        return batch

    def wanted(self, batch: Batch, slot: int, modality: str) -> Sequence[int]:
        """See `Assembler.wanted`. A cached sample is read once, with all its dates."""
        assert isinstance(batch, DeviceBatch)
        if batch.resident[slot]:
            return ()
        if batch.cached[slot]:
            return range(self.dataset.modalities[modality].timestamps)
        return super().wanted(batch, slot, modality)

    def _redraw(self, batch: Batch, slot: int, sample: int) -> None:
        assert isinstance(batch, DeviceBatch)
        batch.cached[slot] = batch.resident[slot] = False
        super()._redraw(batch, slot, sample)

    def _render(self, batch: Batch, slot: int, packed: Packed | None, stages: Stages) -> None:
        assert isinstance(batch, DeviceBatch)
        sample = int(batch.ids[slot])
        batch.frames[slot], batch.pixels[slot] = {}, {}
        for name, layer in self.dataset.layers.items():
            wanted = self.wanted(batch, slot, name)
            if not wanted:
                continue
            chunks = layer.chunks(sample, wanted)
            data = [layer.fetch(c) for c in chunks] if packed is None else packed[name]
            found = [(c, d) for c, d in zip(chunks, data, strict=True) if d is not None]
            if packed is not None and layer.are_frames(sample, chunks):
                if all(int(d[2]) >> 5 not in ON_HOST for _, d in found if len(d) > 2):
                    layer.verify(sample, chunks, data, stages)
                    batch.frames[slot][name] = found
                    continue
                self._say("Blosc frames that are neither LZ4 nor zstd are decoded on the CPU")
            elif packed is not None:
                self._say(f"{name} has chunks that are no Blosc frames, decoded on the CPU")
            m = self.dataset.modalities[name]
            buffer = self._pool.take((len(wanted), *m.shape[1:]), m.dtype)
            layer.decode(sample, wanted, chunks, data, buffer.array, stages)
            batch.pixels[slot][name] = buffer.tensor()

    def _say(self, what: str) -> None:
        """Warn, once."""
        if what not in self._said:
            self._said.add(what)
            warnings.warn(what, stacklevel=2)

    def drain(self) -> None:
        """See `Assembler.drain`."""
        self.side.lane.wait()

    def close(self, batch: Batch) -> None:
        """Enqueue the decoding and the views, once all slots are filled."""
        assert isinstance(batch, DeviceBatch)
        if batch.launched is not None:
            return
        start = perf_counter()
        with self.side.lane.work():
            batch.launched = self._launched(batch)
        self.profile.stages().copy += perf_counter() - start

    def _launched(self, batch: DeviceBatch) -> Launched:
        while True:
            frames = Frames()
            outs = {name: self.side.outputs(name, len(batch.ids)) for name in self.dataset.layers}
            held = {n: self._placed(batch, n, outs[n], frames) for n in self.dataset.layers}
            tables = self.side.decode(frames) if frames.data else None
            if tables is None or not (refused := tables.on_host + tables.damaged):
                break
            # A sound checksum, and yet not for the device. The CPU says whether it is for anyone.
            for slot in {frames.slots[frame] for frame, _ in refused}:
                self.fill(batch, slot)
        decoding = None if tables is None else self.side.enqueue(tables, frames.slots)
        if self.dataset.recipe is not None:
            self._views(batch, outs, {name: planes for name, (planes, _) in held.items()})
        memory = [t.nbytes for ts in outs.values() for t in ts] + [
            p.nbytes for _, p in held.values()
        ]
        scratch = 0 if tables is None else tables.scratch_bytes
        self.side.most_bytes = max(self.side.most_bytes, sum(memory) + scratch)
        return Launched(outs, decoding, self.side.lane.mark())

    def _placed(
        self, batch: DeviceBatch, name: str, outs: list[torch.Tensor], frames: Frames
    ) -> tuple[NDArray[np.uint64], torch.Tensor]:
        """Send a modality's pixels to where they belong, or note where frames shall go.

        Returns:
            Addresses of the planes ``[N, T]``, and the memory of those that are not cached, which
            must live until all that uses it is enqueued.
        """
        m = self.dataset.modalities[name]
        wanted = [list(self.wanted(batch, slot, name)) for slot in range(len(batch.ids))]
        mine = [[] if c else w for w, c in zip(wanted, batch.cached, strict=True)]
        planes = np.zeros((len(batch.ids), m.timestamps), np.uint64)
        scratch = outs[0].flatten(0, 1)
        if self.dataset.recipe is not None:
            shape = (sum(map(len, mine)), *m.shape[1:])
            scratch = self.side.lane.empty(shape, DTYPES[m.dtype.name])
        at = 0
        for slot, sample in enumerate(batch.ids.tolist()):
            dates = wanted[slot]
            if batch.cached[slot]:
                target = self.side.cache.pixels(name, sample)
                shown = list(range(m.timestamps))
            else:
                target, shown = scratch[at : at + len(dates)], dates
                at += len(dates)
            step, first = target.stride(0) * target.element_size(), target.data_ptr()
            planes[slot, shown] = [first + i * step for i in range(len(shown))]
            self._fill_in(batch, slot, name, target, frames)
        return planes, scratch

    def _fill_in(
        self, batch: DeviceBatch, slot: int, name: str, target: torch.Tensor, frames: Frames
    ) -> None:
        """One slot of `_placed`: target is ``[dates, C, H, W]`` on the device."""
        if name in batch.pixels[slot]:
            # Page-locked memory goes to nobody else before the copy has run.
            target.copy_(batch.pixels[slot][name], non_blocking=True)
        size = target[0].nbytes if len(target) else 0
        places = self._places(batch, slot) if batch.frames[slot].get(name) else {}
        for i, (chunk, data) in enumerate(batch.frames[slot].get(name, ())):
            frames.slots.append(slot)
            frames.data.append(data)
            frames.sizes.append(size)
            frames.sources.append(places[chunk])
            frames.destinations.append(target[i].data_ptr())

    def _places(self, batch: DeviceBatch, slot: int) -> dict[Chunk, int]:
        """Device address of each chunk of a slot."""
        chunks = [c for its in self.chunks(batch, slot).values() for c in its if c.stored]
        return dict(zip(chunks, batch.moved.places(slot, chunks), strict=True))

    def _views(
        self,
        batch: DeviceBatch,
        outs: dict[str, list[torch.Tensor]],
        planes: dict[str, NDArray[np.uint64]],
    ) -> None:
        params: NDArray[np.void] | torch.Tensor | None = batch.params
        keep: dict[str, Any] = dict(batch.keep)
        if not batch.drawn:
            params, keep = self.side.draw(self.seed, batch.epoch, batch.ids)
        assert params is not None
        for name in outs:
            self.side.render(name, outs[name], planes[name], params, keep[name])

    def finish(self, batch: Batch) -> dict[str, Any]:
        """The batch on the device. Where frames failed to decode there, the CPU has tried again."""
        assert isinstance(batch, DeviceBatch)
        assert batch.launched is not None
        launched = batch.launched
        failed = {} if launched.decoding is None else launched.decoding.failed()
        if failed:
            for slot, why in failed.items():
                self._say(f"the device could not decode what the CPU may: {why}")
                self.fill(batch, slot)
            batch.launched = None
            self.close(batch)
            return self.finish(batch)
        for slot, sample in enumerate(batch.ids.tolist()):
            if batch.cached[slot]:
                self.side.cache.filled(sample)
        tensors = [t for its in launched.outs.values() for t in its]
        self.side.lane.hand_over(tensors, launched.mark)
        return self._finished(batch, launched.outs)
