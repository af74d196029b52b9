"""The DALI engine: a pipeline moves the compressed bytes, our kernels do the rest.

The pipeline's source is stateless: iteration i asks the plan for the i-th step that is left of the
epoch, so nothing has to be check-pointed or fast-forwarded. DALI copies the bytes out of
the mapped shards with its own threads, ahead of time. On the CPU the bytes then go through the same
decoding and the same views as in the thread engine.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from importlib.util import find_spec
from itertools import count
from time import perf_counter
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from fastload.datasets.layer import Chunk
from fastload.engines import Batches
from fastload.engines.batch import Assembler, Batch, Packed
from fastload.engines.threads import THREAD_NAME, ring, stop
from fastload.plan import Step
from fastload.storage.errors import DataError

MOST_OUTPUTS = 8
"""Outputs of the pipeline: a sample's chunks travel one in each, the rest together in the last."""
_NOTHING = np.zeros(1, np.uint8)


def has_dali() -> bool:
    """Whether DALI is installed."""
    return find_spec("nvidia") is not None and find_spec("nvidia.dali") is not None


def need_dali() -> None:
    """Make sure that DALI is there, without importing it.

    Raises:
        ImportError: says which extra to install.
    """
    if not has_dali():
        raise ImportError(
            "engine='dali' needs NVIDIA DALI: pip install 'fastload[cuda13]' "
            "(or 'fastload[cuda12]' for drivers of CUDA 12), or choose engine='threads'"
        )


class DaliEngine:
    """DALI threads that move, `workers` threads that decode and render, a ring of batches.

    Without a worker of its own, one thread decodes and renders. No batch may hold more samples than
    `largest`.
    """

    def __init__(self, workers: int, depth: int, largest: int) -> None:
        self.workers, self.depth, self.largest = max(1, workers), depth, largest

    def run(self, assembler: Assembler, epoch: int, steps: Step) -> Batches:
        """See `Engine.run`."""
        if steps(0) is None:
            return
        source = Source(assembler, epoch, steps)
        pipeline = build(source, self.largest, self.workers, assembler.device)
        pool = ThreadPoolExecutor(self.workers, thread_name_prefix=THREAD_NAME)
        try:
            yield from ring(_begun(pipeline, pool, source), self.depth, assembler)
        finally:
            stop(pool)


def _begun(
    pipeline: Any, pool: ThreadPoolExecutor, source: "Source"
) -> Iterator[tuple[Batch, list[Future[None]]]]:
    """Hand each step's bytes to the workers, as soon as the pipeline has moved them."""
    assembler = source.assembler
    for step in count():
        outputs = _run(pipeline, assembler)
        if outputs is None:
            return
        batch, sent = source.begun.pop(step)
        moved = assembler.allocate(batch).moved = Moved(outputs, sent)
        slots = range(len(batch.ids))
        yield batch, [pool.submit(_fill, assembler, batch, slot, moved) for slot in slots]
        del batch, sent, moved, outputs


def _run(pipeline: Any, assembler: Assembler) -> Any:
    """The pipeline's next outputs; None after the last."""
    asked = perf_counter()
    try:
        return pipeline.run()
    except StopIteration:
        return None
    finally:
        assembler.profile.stages().copy += perf_counter() - asked


class Source:
    """Feeds the pipeline: the compressed chunks of a step's samples, a function of the iteration.

    What it begins for a step is kept in `begun`, so that it is not drawn twice, and with it the
    mapped bytes, which must outlive DALI's copy of them.
    """

    def __init__(self, assembler: Assembler, epoch: int, steps: Step) -> None:
        self.assembler, self.epoch, self.steps = assembler, epoch, steps
        self.begun: dict[int, tuple[Batch, list[list[NDArray[np.uint8]]]]] = {}
        first = steps(0)
        assert first is not None
        batch = assembler.begin(epoch, first)
        chunks = [assembler.chunks(batch, slot) for slot in range(len(first))]
        most = max(sum(len(c) for c in by_modality.values()) for by_modality in chunks)
        self.outputs = min(most + 2, MOST_OUTPUTS)

    def __call__(self, info: Any) -> tuple[list[NDArray[np.uint8]], ...]:
        """Bytes of step ``info.iteration``: for each output, an array per sample."""
        ids = self.steps(info.iteration)
        if ids is None:
            raise StopIteration
        batch = self.assembler.begin(self.epoch, ids)
        samples = [self._bytes(batch, slot) for slot in range(len(batch.ids))]
        self.begun[info.iteration] = batch, samples
        return tuple([sample[k] for sample in samples] for k in range(self.outputs))

    def _bytes(self, batch: Batch, slot: int) -> list[NDArray[np.uint8]]:
        """A sample's chunks over the outputs; nothing where they cannot be read (see `_packed`)."""
        layers = self.assembler.dataset.layers
        try:
            found = [
                layers[name].fetch(chunk)
                for name, chunks in self.assembler.chunks(batch, slot).items()
                for chunk in chunks
            ]
        except DataError:
            found = []
        parts = [np.frombuffer(f, np.uint8) for f in found if f is not None]
        alone, rest = parts[: self.outputs - 1], parts[self.outputs - 1 :]
        tail = rest[0] if len(rest) == 1 else np.concatenate([*rest, _NOTHING])
        return [*alone, *[_NOTHING] * (self.outputs - 1 - len(alone)), tail]


def build(source: Source, batch_size: int, threads: int, device: torch.device) -> Any:
    """The pipeline: a stateless source of ragged byte arrays, prefetched; on a GPU moved there."""
    from nvidia.dali import fn
    from nvidia.dali.pipeline import Pipeline

    index = device.index if device.type == "cuda" else None
    pipeline = Pipeline(batch_size, threads, device_id=index, prefetch_queue_depth=2)
    with pipeline:
        outputs = fn.external_source(
            source=source,
            num_outputs=source.outputs,
            batch=True,
            batch_info=True,
            no_copy=True,
            cycle=None,
        )
        pipeline.set_outputs(*(outputs if index is None else [x.gpu() for x in outputs]))
    pipeline.build()
    return pipeline


@dataclass(frozen=True)
class Moved:
    """The compressed bytes of a step where DALI has put them."""

    outputs: Any
    """DALI's tensor lists, one sample an entry."""
    sent: list[list[NDArray[np.uint8]]]
    """The same bytes where they came from: by slot, an array for each output."""

    def places(self, slot: int, chunks: Iterable[Chunk]) -> list[int]:
        """Address of each stored chunk, in the order in which they were sent."""
        at = [int(tensors[slot].data_ptr()) for tensors in self.outputs]
        return [at[k] + start for k, start, _ in _ranges(chunks, len(at))]


def _ranges(chunks: Iterable[Chunk], outputs: int) -> Iterator[tuple[int, int, int]]:
    """Output, first byte and size of each stored chunk of a slot."""
    at = 0
    for i, chunk in enumerate(c for c in chunks if c.stored):
        k = min(i, outputs - 1)
        yield k, at if k == outputs - 1 else 0, chunk.stored
        at += chunk.stored if k == outputs - 1 else 0


def _fill(assembler: Assembler, batch: Batch, slot: int, moved: Moved) -> None:
    if assembler.device.type == "cpu":
        arrays = [np.asarray(tensors[slot]) for tensors in moved.outputs]
    else:
        arrays = moved.sent[slot]
    try:
        packed = _packed(assembler.chunks(batch, slot), arrays)
    except DataError:  # The worker comes upon it again, where it is handled.
        packed = None
    assembler.fill(batch, slot, packed)


def _packed(
    chunks: Mapping[str, Sequence[Chunk]], arrays: Sequence[NDArray[np.uint8]]
) -> Packed | None:
    """Tell the chunks apart again; None where nothing came: the worker then reads and reports."""
    every = [chunk for its in chunks.values() for chunk in its]
    parts = [arrays[k][start : start + n] for k, start, n in _ranges(every, len(arrays))]
    sizes = [chunk.stored for chunk in every if chunk.stored]
    if [len(part) for part in parts] != sizes:
        return None
    found = iter(parts)
    return {n: [next(found) if c.stored else None for c in its] for n, its in chunks.items()}
