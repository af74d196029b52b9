"""The DALI engine: a pipeline moves the compressed bytes, our kernels do the rest.

The pipeline's source is stateless: iteration i asks the plan for the i-th step that is left of the
epoch, so nothing has to be check-pointed or fast-forwarded. DALI copies the bytes out of
the mapped shards with its own threads, ahead of time. On the CPU the bytes then go through the same
decoding and the same views as in the thread engine.
"""

from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from importlib.util import find_spec
from itertools import count
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastload.engines import Batches
from fastload.engines.batch import Assembler, Batch, Packed
from fastload.engines.threads import THREAD_NAME, collect, stop
from fastload.plan import Step
from fastload.storage.codecs import Buffer as Bytes
from fastload.storage.errors import DataError

MOST_OUTPUTS = 8
"""Outputs of the pipeline: a sample's chunks travel one in each, the rest together in the last."""
_NOTHING = np.zeros(1, np.uint8)


def need_dali() -> None:
    """Make sure that DALI is there, without importing it.

    Raises:
        ImportError: says which extra to install.
    """
    if find_spec("nvidia") is None or find_spec("nvidia.dali") is None:
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
        pipeline = build(source, self.largest, self.workers)
        pool = ThreadPoolExecutor(self.workers, thread_name_prefix=THREAD_NAME)
        ring: deque[tuple[Batch, list[Future[None]]]] = deque()
        try:
            for step in count():
                moved = _moved(pipeline, assembler)
                if moved is None:
                    break
                batch = assembler.allocate(source.begun.pop(step)[0])
                ring.append((batch, _submit(pool, assembler, epoch, batch, moved, source.outputs)))
                del batch, moved  # so that the consumer alone holds what leaves the ring
                if len(ring) > self.depth:
                    yield collect(assembler, *ring.popleft())
            while ring:
                yield collect(assembler, *ring.popleft())
        finally:
            stop(pool)


def _moved(pipeline: Any, assembler: Assembler) -> Any:
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


def build(source: Source, batch_size: int, threads: int) -> Any:
    """The pipeline: a stateless source of ragged byte arrays, prefetched."""
    from nvidia.dali import fn
    from nvidia.dali.pipeline import Pipeline

    pipeline = Pipeline(batch_size, threads, device_id=None, prefetch_queue_depth=2)
    with pipeline:
        outputs = fn.external_source(
            source=source,
            num_outputs=source.outputs,
            batch=True,
            batch_info=True,
            no_copy=True,
            cycle=None,
        )
        pipeline.set_outputs(*outputs)
    pipeline.build()
    return pipeline


def _submit(
    pool: ThreadPoolExecutor,
    assembler: Assembler,
    epoch: int,
    batch: Batch,
    moved: Any,
    outputs: int,
) -> list[Future[None]]:
    """Hand each sample's bytes to a worker."""
    tasks = []
    for slot in range(len(batch.ids)):
        tasks.append(pool.submit(_fill, assembler, batch, epoch, slot, moved, outputs))
    return tasks


def _fill(
    assembler: Assembler, batch: Batch, epoch: int, slot: int, moved: Any, outputs: int
) -> None:
    arrays = [np.asarray(moved[k][slot]) for k in range(outputs)]
    try:
        packed = _packed(assembler, batch, slot, arrays)
    except DataError:  # The worker comes upon it again, where it is handled.
        packed = None
    assembler.fill(batch, epoch, slot, packed)


def _packed(
    assembler: Assembler, batch: Batch, slot: int, arrays: list[NDArray[np.uint8]]
) -> Packed | None:
    """Tell the chunks apart again; None where nothing came: the worker then reads and reports."""
    by_modality = assembler.chunks(batch, slot)
    sizes = [c.stored for chunks in by_modality.values() for c in chunks if c.stored]
    alone = iter(arrays[:-1])
    rest, at = arrays[-1], 0
    parts: list[Bytes] = []
    for i, size in enumerate(sizes):
        part: NDArray[np.uint8] = next(alone) if i < len(arrays) - 1 else rest[at : at + size]
        at += size if i >= len(arrays) - 1 else 0
        if len(part) != size:
            return None
        parts.append(part)
    found = iter(parts)
    return {n: [next(found) if c.stored else None for c in cs] for n, cs in by_modality.items()}
