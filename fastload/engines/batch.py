"""Assembling a batch: each sample is read, decoded and rendered straight into its slot."""

import json
import threading
import time
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter
from typing import Any

import fastload_kernels.cpu
import numpy as np
import torch
from fastload_kernels import View
from fastload_kernels.philox import REPLACE, choice, words
from numpy.typing import NDArray

from fastload.datasets.base import TORCH_DTYPES, Dataset
from fastload.datasets.layer import Chunk
from fastload.engines.memory import Buffer, Pinned, PinnedBuffer, Pool, aligned
from fastload.profile import Profile, Stages
from fastload.storage.codecs import Buffer as Bytes
from fastload.storage.errors import DataError

MOST_ATTEMPTS = 16
"""How many replacements are tried for one unreadable sample."""

Packed = dict[str, Sequence[Bytes | None]]
"""Fetched bytes of a sample: by modality, one entry per chunk."""


@dataclass
class Batch:
    """One step in the making. Where a sample is replaced, its id and parameters are, too."""

    epoch: int
    ids: NDArray[np.int64]
    params: NDArray[np.void] | None
    keep: dict[str, NDArray[np.uint8] | None]
    buffers: dict[str, list[Buffer | PinnedBuffer]] = field(default_factory=dict)
    moved: Any = None
    """Compressed bytes that an engine has moved, which must live as long as the batch."""
    finished_at: float = 0.0


class Assembler:
    """Knows the dataset, the seed and what to do about errors. Safe in threads."""

    device = torch.device("cpu")
    """Where compressed bytes are wanted."""

    def __init__(
        self,
        dataset: Dataset,
        seed: int,
        profile: Profile,
        on_error: str = "raise",
        report: Path | None = None,
        memory: Pool | Pinned | None = None,
    ) -> None:
        self.dataset, self.seed, self.profile = dataset, seed, profile
        self.on_error, self.report = on_error, report
        self._pool = memory or Pool()
        self._local = threading.local()
        self._report_lock = threading.Lock()
        recipe = dataset.recipe
        self._bits = np.dtype(
            np.float32 if recipe is None or recipe.dtype == "float32" else np.int16
        )

    def begin(self, epoch: int, ids: NDArray[np.int64]) -> Batch:
        """Draw the parameters of a batch. It has no memory yet, see `allocate`."""
        ds = self.dataset
        params, keep = None, dict[str, Any]()
        if ds.recipe is not None:
            params = ds.draw(ids, self.seed, epoch)
            keep = ds.keep(ids, self.seed, epoch)
        return Batch(epoch, ids.copy(), params, keep)

    def allocate(self, batch: Batch) -> Batch:
        """Take the memory that the batch's slots are filled in."""
        for name, m in self.dataset.modalities.items():
            dtype = m.dtype if self.dataset.recipe is None else self._bits
            batch.buffers[name] = [
                self._pool.take((len(batch.ids), *shape), dtype)
                for shape in self.dataset.slots(name)
            ]
        return batch

    def wanted(self, batch: Batch, slot: int, modality: str) -> Sequence[int]:
        """The timestamps of a modality that a slot's views need, ascending, each once."""
        if batch.params is None:
            return range(self.dataset.modalities[modality].timestamps)
        needed = {
            t
            for drawn in batch.params[slot]["timestamp"].tolist()
            for t in self.dataset.stored_timestamps(modality, drawn)
        }
        return sorted(needed)

    def chunks(self, batch: Batch, slot: int) -> dict[str, list[Chunk]]:
        """The chunks that a slot needs, by modality."""
        sample = int(batch.ids[slot])
        return {
            name: layer.chunks(sample, self.wanted(batch, slot, name))
            for name, layer in self.dataset.layers.items()
        }

    def fill(self, batch: Batch, slot: int, packed: Packed | None = None) -> None:
        """Read (unless `packed` holds the bytes), decode and render one slot.

        Raises:
            DataError: where the sample cannot be read and `on_error` is "raise".
        """
        stages = self.profile.stages()
        try:
            self._render(batch, slot, packed, stages)
        except DataError as error:
            self._replace(batch, slot, error, stages)
        stages.samples += 1
        batch.finished_at = perf_counter()

    def _replace(self, batch: Batch, slot: int, error: DataError, stages: Stages) -> None:
        """Put a sound sample into the slot: the first of a fixed sequence of candidates."""
        epoch, sample = batch.epoch, int(batch.ids[slot])
        if self.on_error == "raise":
            self._note(epoch, sample, error, None)
            raise error
        drawn = words(self.seed, epoch, [sample], REPLACE, 0, MOST_ATTEMPTS)[0]
        for candidate in choice(drawn, len(self.dataset)).tolist():
            self._redraw(batch, slot, candidate)
            try:
                self._render(batch, slot, None, stages)
            except DataError:
                continue
            self._note(epoch, sample, error, candidate)
            return
        self._note(epoch, sample, error, None)
        raise error

    def _redraw(self, batch: Batch, slot: int, sample: int) -> None:
        """Let a slot show another sample."""
        ids = np.array([sample])
        batch.ids[slot] = sample
        if batch.params is None:
            return
        batch.params[slot] = self.dataset.draw(ids, self.seed, batch.epoch)[0]
        for name, kept in self.dataset.keep(ids, self.seed, batch.epoch).items():
            mine = batch.keep[name]
            if kept is not None and mine is not None:
                mine[slot] = kept[0]

    def _note(self, epoch: int, sample: int, error: DataError, replaced_by: int | None) -> None:
        """Count an error and append it to the report file."""
        with self._report_lock:
            self.profile.errors += 1
            self.profile.replaced += replaced_by is not None
            if self.report is None:
                return
            line = {
                "when": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
                "epoch": epoch,
                "index": sample,
                "shard": error.shard,
                "member": error.member,
                "offset": error.offset,
                "reason": error.reason,
                "replaced_by": replaced_by,
            }
            try:
                self.report.parent.mkdir(parents=True, exist_ok=True)
                with self.report.open("a") as file:
                    file.write(json.dumps(line) + "\n")
            except OSError as problem:  # must not hide what is wrong with the data
                warnings.warn(f"the error report {self.report}: {problem}", stacklevel=2)

    def _render(self, batch: Batch, slot: int, packed: Packed | None, stages: Stages) -> None:
        """Fill a slot with what its sample and parameters say."""
        ds, sample = self.dataset, int(batch.ids[slot])
        for name, layer in ds.layers.items():
            wanted = self.wanted(batch, slot, name)
            chunks = layer.chunks(sample, wanted)
            data = [layer.fetch(c) for c in chunks] if packed is None else packed[name]
            if batch.params is None:
                out = batch.buffers[name][0].array[slot]
                layer.decode(sample, wanted, chunks, data, out, stages)
                continue
            # A timestamp is rendered right after it was decoded, while the caches hold it.
            parts = [(wanted, chunks, data)]
            if layer.spec(sample).whole_rows:
                parts = [([t], [c], [d]) for t, c, d in zip(wanted, chunks, data, strict=True)]
            kept = batch.keep[name]
            for timestamps, its_chunks, its_data in parts:
                pixels = self._scratch(name)[: len(timestamps)]
                layer.decode(sample, timestamps, its_chunks, its_data, pixels, stages)
                start = perf_counter()
                for v, view in enumerate(ds.recipe.views if ds.recipe else ()):
                    out = batch.buffers[name][v].array[slot]
                    keep = None if kept is None else kept[slot]
                    self._view(name, view, batch.params[slot, v], keep, v, timestamps, pixels, out)
                stages.views += perf_counter() - start

    def _view(
        self,
        name: str,
        view: View,
        params: np.void,
        keep: NDArray[np.uint8] | None,
        v: int,
        timestamps: Sequence[int],
        pixels: NDArray[Any],
        out: NDArray[Any],
    ) -> None:
        """Render what a view shows of the decoded `timestamps`, which `pixels` holds."""
        recipe = self.dataset.recipe
        assert recipe is not None
        t = int(params["timestamp"])
        planes = out.view(np.uint16) if recipe.dtype != "float32" else out
        for i, stored in enumerate(self.dataset.stored_timestamps(name, t)):
            if stored not in timestamps:
                continue
            fastload_kernels.cpu.apply(
                pixels[timestamps.index(stored)],
                params,
                view,
                self.dataset.scalings[name],
                None if keep is None else keep[v],
                planes[i] if t < 0 else planes,
                dtype=recipe.dtype,
                channels_last=recipe.channels_last,
            )

    def _scratch(self, modality: str) -> NDArray[Any]:
        """The calling thread's own memory for decoded pixels ``[T, C, H, W]``."""
        if not hasattr(self._local, "scratch"):
            self._local.scratch = {}
        scratch: dict[str, NDArray[Any]] = self._local.scratch
        if modality not in scratch:
            m = self.dataset.modalities[modality]
            size = int(np.prod(m.shape)) * m.dtype.itemsize
            scratch[modality] = aligned(size).view(m.dtype).reshape(m.shape)
        return scratch[modality]

    def close(self, batch: Batch) -> None:
        """Begin what can be done once all slots are filled; nothing here. May be called again."""

    def drain(self) -> None:
        """Wait until no device reads or writes the memory of batches that are given up."""

    def finish(self, batch: Batch) -> dict[str, Any]:
        """The batch as a dict of tensors and lists; the memory now belongs to its tensors."""
        return self._finished(
            batch, {name: [b.tensor() for b in its] for name, its in batch.buffers.items()}
        )

    def _finished(self, batch: Batch, tensors: dict[str, list[torch.Tensor]]) -> dict[str, Any]:
        """The batch, of the filled tensors of each modality, see `Dataset.slots`."""
        recipe, out = self.dataset.recipe, dict[str, Any]()
        for name, its in tensors.items():
            if recipe is None:
                out[name] = its[0]
                continue
            # A kernel of NumPy's dtypes makes bfloat16 as bits.
            views = [t.view(TORCH_DTYPES[recipe.dtype]) for t in its]
            out[name] = [t.movedim(-1, -3) for t in views] if recipe.channels_last else views
        dates = None if batch.params is None else batch.params["timestamp"]
        return out | self.dataset.describe(batch.ids, dates)
