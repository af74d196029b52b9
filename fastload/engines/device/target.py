"""The target that is a device: the host describes a batch, the device decodes and renders it.

Everything is enqueued on one queue and nothing is waited for, but the outcome of a decoding when
its batch is taken, which is many steps after it was enqueued. What the device cannot decode (other
codecs, sources without chunks, replaced samples) the host decodes, and copies there.
"""

import warnings
from collections.abc import Iterable
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from fastload.datasets.base import Dataset
from fastload.datasets.source import FRAME, ChunkedSource
from fastload.dtypes import TORCH
from fastload.engines import DeviceLoad, Options
from fastload.engines.assembler import Repair
from fastload.engines.batch import Request, look_up, wanted
from fastload.engines.device.decode import Tables
from fastload.engines.device.state import Decoding, DeviceState, open_state
from fastload.engines.host import finished
from fastload.engines.workers import Workers
from fastload.profile import Stages
from fastload.recipe import mask_of
from fastload.storage.errors import DataError
from fastload_kernels.view import VIEW_PARAMS

Planes = dict[str, NDArray[np.uint64]]
Pixels = dict[str, tuple[list[int], torch.Tensor]]
"""Pixels that the host decoded: by modality the timestamps, and ``[.., C, H, W]``."""


@dataclass
class DeviceRequest(Request):
    """A request, and what the device knows of it.

    Attributes:
        cached: bool ``[B]``, whether the sample has a place in the cache.
        resident: whether its pixels are there, so that nothing is read.
        drawn: whether `params` holds all; if not, only the timestamps, and the device draws.
        on_host: by slot, pixels that the host decoded.
    """

    cached: NDArray[np.bool_] = field(default_factory=lambda: np.empty(0, bool))
    resident: NDArray[np.bool_] = field(default_factory=lambda: np.empty(0, bool))
    drawn: bool = True
    on_host: dict[int, Pixels] = field(default_factory=dict)


@dataclass
class Launched:
    """A batch that has been enqueued; see `Pending`."""

    target: "DeviceTarget"
    request: DeviceRequest
    workers: Workers
    outs: dict[str, list[torch.Tensor]]
    decoding: Decoding | None
    mark: Any

    def wait(self) -> dict[str, Any]:
        """See `Pending.wait`."""
        return self.target.deliver(self)


class DeviceTarget:
    """See `fastload.engines.Target`."""

    def __init__(
        self, dataset: Dataset, options: Options, state: DeviceState | None = None
    ) -> None:
        """`state` is that of the options' device by default."""
        if state is None:
            cache, count = options.device_cache, options.count_pixels
            state = open_state(dataset, options.device, cache, count)
        self.dataset, self.state, self.queue = dataset, state, state.queue
        self.seed, self.profile = options.seed, options.profile
        self.repair = Repair(dataset, options)
        self._said: set[str] = set()

    def draw(self, epoch: int, samples: NDArray[np.int64]) -> DeviceRequest:
        """See `Target.draw`. Where it can, the device draws all but the timestamps."""
        ds, recipe, cache = self.dataset, self.dataset.recipe, self.state.cache
        # Raw pixels are copied into each batch anyway, so they gain too little from a cache.
        raw = recipe is None
        places = ds.places_of(samples)
        with self.queue.work():
            cached = np.zeros(len(samples), bool) if raw else cache.take(places)
            resident = cached & cache.holds(places)
        params, keep = None, {}
        drawn = not self.state.draws
        if recipe is not None and drawn:
            params, keep = ds.draw(samples, self.seed, epoch), ds.keep(samples, self.seed, epoch)
        elif recipe is not None:
            params = np.zeros((len(samples), len(recipe.views)), VIEW_PARAMS)
            params["timestamp"] = ds.draw_timestamps(samples, self.seed, epoch)
        needed = wanted(ds, params, len(samples))
        if cached.any():  # a cached sample is read once, with all its timestamps
            for flags in needed.values():
                flags[cached] = True
                flags[resident] = False
        base = look_up(ds, epoch, samples, params, keep, needed)
        return DeviceRequest(**vars(base), cached=cached, resident=resident, drawn=drawn)

    def make(self, request: DeviceRequest, load: DeviceLoad, workers: Workers) -> Launched:
        """See `Target.make`: enqueues the decoding and the views."""
        load.arrive()
        stages = self.profile.stages()
        self._decode_on_host(request, self._not_for_the_device(request), load, workers)
        start = perf_counter()
        launched = self._launch(request, load, workers)
        load.release()
        stages.copy += perf_counter() - start
        stages.samples += len(request)
        return launched

    # What the host decodes

    def _failed(self, request: DeviceRequest, load: DeviceLoad) -> dict[int, DataError]:
        """Slots whose bytes could not be had, with their first error."""
        found: dict[int, DataError] = {}
        for name, failures in load.failures.items():
            chunks = request.parts[name].chunks
            if not failures or chunks is None:
                continue
            for number, error in sorted(failures.items()):
                found.setdefault(int(chunks.rows["slot"][number]), error)
        return found

    def _not_for_the_device(self, request: DeviceRequest) -> dict[int, set[str]]:
        """Slots with modalities that the device cannot decode."""
        found: dict[int, set[str]] = {}
        for name, part in request.parts.items():
            if part.chunks is None:
                slots: Iterable[int] = np.flatnonzero(part.wanted.any(axis=1)).tolist()
            elif self.state.decoder is None:
                slots = np.unique(part.chunks.rows["slot"]).tolist()
            else:
                others = part.chunks.rows["codec"] != FRAME
                slots = np.unique(part.chunks.rows["slot"][others]).tolist() if others.any() else ()
                if slots:
                    some = self.dataset.modalities[name].picked is not None
                    what = (
                        "shows a choice of its bands"
                        if some
                        else "has chunks that are no Blosc frames"
                    )
                    self._say(f"{name} {what}, decoded on the CPU")
            for slot in slots:
                found.setdefault(slot, set()).add(name)
        return found

    def _decode_on_host(
        self,
        request: DeviceRequest,
        slots: dict[int, set[str]],
        load: DeviceLoad | None,
        workers: Workers,
    ) -> None:
        """Decode modalities of some slots; the workers take one each. Replace the samples of which
        that fails, or whose bytes `load` lacks, by the order of the slots."""
        failed = {} if load is None else self._failed(request, load)
        todo = sorted(slots.keys() - failed.keys())

        def decode(i: int) -> None:
            slot, stages = todo[i], self.profile.stages()
            try:
                pixels = {n: self._pixels(request, n, slot, load, stages) for n in slots[slot]}
                request.on_host[slot] = request.on_host.get(slot, {}) | pixels
            except DataError as error:
                failed[slot] = error

        workers.share(len(todo), decode).wait()
        for slot, error in sorted(failed.items()):
            self._replace(request, slot, error, self.profile.stages())

    def _pixels(
        self, request: Request, name: str, slot: int, load: DeviceLoad | None, stages: Stages
    ) -> tuple[list[int], torch.Tensor]:
        """A modality of a slot, decoded on the host from a load, or else read anew."""
        part, m = request.parts[name], self.dataset.modalities[name]
        source, row = self.dataset.sources[name], int(part.rows[slot])
        timestamps = part.timestamps(slot)
        buffer = self.queue.memory.take((len(timestamps), *m.shape[1:]), m.dtype)
        if load is None or part.chunks is None or not isinstance(source, ChunkedSource):
            source.read(row, timestamps, buffer.array, stages)
        else:
            span = part.span(slot)
            rows, data = part.chunks.rows[span], part.stored(span, load.host)
            source.decode(row, rows, data, timestamps, buffer.array, stages)
        return timestamps, buffer.tensor()

    def _replace(self, request: DeviceRequest, slot: int, error: DataError, stages: Stages) -> None:
        """Let a slot show a sound sample, which the host decodes."""
        made: list[tuple[Request, Pixels]] = []

        def attempt(one: Request) -> None:
            pixels = {name: self._pixels(one, name, 0, None, stages) for name in one.parts}
            made.append((one, pixels))

        self.repair.replace(request, slot, error, attempt)
        one, pixels = made[-1]
        request.cached[slot] = request.resident[slot] = False
        request.on_host[slot] = pixels
        for name, part in request.parts.items():
            part.rows = part.rows.copy()
            part.rows[slot] = one.parts[name].rows[0]
            part.wanted[slot] = one.parts[name].wanted[0]

    def _say(self, what: str) -> None:
        """Warn, once."""
        if what not in self._said:
            self._said.add(what)
            warnings.warn(what, stacklevel=2)

    # What the device does

    def _launch(
        self, request: DeviceRequest, load: DeviceLoad | None, workers: Workers
    ) -> Launched:
        while True:
            with self.queue.work():
                outs = {name: self.state.outputs(name, len(request)) for name in request.parts}
                masks = {mask_of(n): self.state.masks(n, len(request)) for n in request.parts}
                held = {name: self._planes(request, name, outs[name]) for name in request.parts}
                outs |= {name: some for name, some in masks.items() if some}
                planes = {name: table for name, (table, _) in held.items()}
                tables, slots = self._tables(request, planes, load)
                refused = [] if tables is None else tables.on_host + tables.damaged
                if not refused:
                    return self._enqueue(request, workers, outs, held, tables, slots)
            # A sound checksum, and yet not for the device. The CPU says whether it is for anyone.
            self._say("Blosc frames that are neither LZ4 nor zstd are decoded on the CPU")
            others = sorted({int(slots[frame]) for frame, _ in refused})
            names = set(request.parts)
            self._decode_on_host(request, dict.fromkeys(others, names), None, workers)

    def _enqueue(
        self,
        request: DeviceRequest,
        workers: Workers,
        outs: dict[str, list[torch.Tensor]],
        held: dict[str, tuple[NDArray[np.uint64], torch.Tensor]],
        tables: Tables | None,
        slots: NDArray[np.int64],
    ) -> Launched:
        self._copy_pixels(request, held)
        decoding = None if tables is None else self.state.enqueue(tables, slots)
        if request.params is not None:
            self._views(request, outs, {name: planes for name, (planes, _) in held.items()})
        memory = [t.nbytes for tensors in outs.values() for t in tensors]
        memory += [scratch.nbytes for _, scratch in held.values()]
        total = sum(memory) + (0 if tables is None else tables.scratch_bytes)
        self.state.most_bytes = max(self.state.most_bytes, total)
        return Launched(self, request, workers, outs, decoding, self.queue.mark())

    def _planes(
        self, request: DeviceRequest, name: str, outs: list[torch.Tensor]
    ) -> tuple[NDArray[np.uint64], torch.Tensor]:
        """Where each plane of a modality goes or lies.

        Returns:
            Addresses ``[B, T]``, 0 where nothing is needed; and the memory of those that are not
            cached, which must live until all that uses it is enqueued.
        """
        m, part = self.dataset.modalities[name], request.parts[name]
        planes = np.zeros((len(request), m.timestamps), np.uint64)
        flags = part.wanted & ~request.cached[:, None]
        if request.params is None:
            scratch, numbers = outs[0].flatten(0, 1), np.flatnonzero(flags)
        else:
            numbers = np.arange(np.count_nonzero(flags))
            scratch = self.queue.empty((len(numbers), *m.shape[1:]), TORCH[m.dtype.name])
        first, step = np.uint64(scratch.data_ptr()), np.uint64(m.plane_bytes)
        planes[flags] = first + numbers.astype(np.uint64) * step
        if request.cached.any():
            cached = np.flatnonzero(request.cached)
            planes[cached] = self.state.cache.places(
                name, self.dataset.places_of(request.samples[cached])
            )
        self._absent(request, name, planes, scratch)
        return planes, scratch

    def _absent(
        self, request: DeviceRequest, name: str, planes: NDArray[np.uint64], scratch: torch.Tensor
    ) -> None:
        """Put pixels in the place of dates that samples do not have."""
        there = self.dataset.present_of(name, request.samples)
        if there is None:
            return
        if request.params is not None:
            planes[~there] = self.state.absent(name).data_ptr()
            return
        for number in np.flatnonzero(~there).tolist():
            scratch[number].fill_(self.dataset.modalities[name].absent)

    def _tables(
        self, request: DeviceRequest, planes: Planes, load: DeviceLoad | None
    ) -> tuple[Tables | None, NDArray[np.int64]]:
        """Describe the decoding of all frames; and the slot of each."""
        columns: list[tuple[NDArray[Any], ...]] = []
        for name, part in request.parts.items():
            if part.chunks is None or load is None or self.state.decoder is None:
                continue
            rows = part.chunks.rows
            frames = rows["codec"] == FRAME
            for slot in (slot for slot, pixels in request.on_host.items() if name in pixels):
                frames &= rows["slot"] != slot
            some, at = (rows, part.at) if frames.all() else (rows[frames], part.at[frames])
            size = np.full(len(some), self.dataset.modalities[name].plane_bytes)
            target = planes[name][some["slot"], some["timestamp"]]
            columns.append((at, some["stored"], size, target, some["slot"]))
        if not sum(len(column[0]) for column in columns):
            return None, np.empty(0, np.int64)
        assert load is not None
        assert self.state.decoder is not None
        at, stored, size, target, slots = (
            np.concatenate(parts) for parts in zip(*columns, strict=True)
        )
        source = (at + load.address).astype(np.uint64)
        tables = self.state.decoder.prepare(at + load.host, stored, size, source, target)
        return tables, slots

    def _copy_pixels(
        self, request: DeviceRequest, held: dict[str, tuple[NDArray[np.uint64], torch.Tensor]]
    ) -> None:
        """Send what the host decoded to where it belongs."""
        for slot, decoded in request.on_host.items():
            for name, (timestamps, pixels) in decoded.items():
                planes, scratch = held[name]
                plane = self.dataset.modalities[name].plane_bytes
                for t, image in zip(timestamps, pixels, strict=True):
                    if request.cached[slot]:
                        place = self.dataset.places_of(request.samples[slot : slot + 1])
                        target = self.state.cache.plane(name, int(place[0]), t)
                    else:
                        number = (int(planes[slot, t]) - scratch.data_ptr()) // plane
                        target = scratch[number]
                    # Page-locked memory goes to nobody else before the copy has run.
                    target.copy_(image, non_blocking=True)

    def _views(
        self, request: DeviceRequest, outs: dict[str, list[torch.Tensor]], planes: Planes
    ) -> None:
        params: NDArray[np.void] | torch.Tensor | None = request.params
        keep: dict[str, Any] = dict(request.keep)
        if not request.drawn:
            params, keep = self.state.draw(self.seed, request.epoch, request.samples)
        assert params is not None
        for name in request.parts:
            masks = outs.get(mask_of(name), [])
            self.state.render(
                name, outs[name], planes[name], params, keep[name], masks, request.samples
            )

    def deliver(self, batch: Launched) -> dict[str, Any]:
        """The batch on the device. Where frames failed to decode there, the CPU tries again."""
        failed = {} if batch.decoding is None else batch.decoding.failed()
        if failed:
            why = next(iter(failed.values()))
            self._say(f"the device could not decode what the CPU may: {why}")
            request = batch.request
            # The bytes are gone by now, so that all that was read is read again.
            todo = np.flatnonzero(~request.resident).tolist()
            slots = {slot: set(request.parts) for slot in todo if slot not in request.on_host}
            self._decode_on_host(request, slots, None, batch.workers)
            batch = self._launch(request, None, batch.workers)
        request = batch.request
        self.state.cache.filled(self.dataset.places_of(request.samples[request.cached]))
        tensors = [t for outs in batch.outs.values() for t in outs]
        self.queue.hand_over(tensors, batch.mark)
        self.state.look()
        return finished(self.dataset, request, batch.outs)

    def drain(self) -> None:
        """See `Target.drain`."""
        self.queue.wait()

    def summary(self) -> dict[str, Any]:
        """See `Target.summary`."""
        return self.state.summary()
