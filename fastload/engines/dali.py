"""The DALI engine: a pipeline moves the compressed bytes, our kernels do the rest.

The pipeline's source is stateless: iteration i asks the plan for step `start + i`, so nothing has
to be check-pointed or fast-forwarded. DALI copies the bytes out of the mapped shards with its own
threads, ahead of time. On the CPU the bytes then go through the same decoding and the same views as
in the thread engine.
"""

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastload.engines.batch import Assembler, Batch, Packed
from fastload.engines.threads import collect
from fastload.storage.codecs import Buffer as Bytes
from fastload.storage.errors import DataError

MOST_OUTPUTS = 8
"""Outputs of the pipeline: a sample's chunks travel one in each, the rest together in the last."""
_NOTHING = np.zeros(1, np.uint8)


class DaliEngine:
    """DALI threads that move, `workers` threads that decode and render, a ring of batches."""

    def __init__(self, workers: int, depth: int) -> None:
        self.workers, self.depth = max(1, workers), depth

    def run(
        self, assembler: Assembler, epoch: int, steps: Sequence[NDArray[Any]], start: int
    ) -> Iterator[dict[str, Any]]:
        """See `Engine.run`."""
        if start >= len(steps):
            return
        source = Source(assembler, epoch, steps, start)
        pipeline = build(source, self.workers)
        pool = ThreadPoolExecutor(self.workers, thread_name_prefix="fastload")
        ring: deque[tuple[Batch, list[Future[None]]]] = deque()
        try:
            for _ in range(start, len(steps)):
                asked = perf_counter()
                moved = pipeline.run()
                assembler.profile.stages().copy += perf_counter() - asked
                batch = assembler.allocate(source.batches.popleft())
                ring.append((batch, _submit(pool, assembler, epoch, batch, moved, source.outputs)))
                if len(ring) > self.depth:
                    yield collect(assembler, *ring.popleft())
            while ring:
                yield collect(assembler, *ring.popleft())
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


class Source:
    """Feeds the pipeline: for every iteration, the compressed chunks of a step's samples."""

    def __init__(
        self, assembler: Assembler, epoch: int, steps: Sequence[NDArray[Any]], start: int
    ) -> None:
        self.assembler, self.epoch, self.steps, self.start = assembler, epoch, steps, start
        self.batches: deque[Batch] = deque()
        """Batches whose bytes are on the way, oldest first."""
        self.batch_size = max(len(steps[s]) for s in {start, len(steps) - 1})
        first = assembler.begin(epoch, steps[start])
        most = max(sum(map(len, assembler.chunks(first, s).values())) for s in range(len(first.ids)))
        self.outputs = min(most + 2, MOST_OUTPUTS)

    def __call__(self, info: Any) -> tuple[list[NDArray[np.uint8]], ...]:
        """Bytes of step ``start + info.iteration``: for each output, an array per sample."""
        step = self.start + info.iteration
        if step >= len(self.steps):
            raise StopIteration
        batch = self.assembler.begin(self.epoch, self.steps[step])
        self.batches.append(batch)
        samples = [self._bytes(batch, slot) for slot in range(len(batch.ids))]
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


def build(source: Source, threads: int) -> Any:
    """The pipeline: a stateless source of ragged byte arrays, prefetched."""
    from nvidia.dali import fn, pipeline_def

    @pipeline_def(  # type: ignore[untyped-decorator]
        batch_size=source.batch_size, num_threads=threads, device_id=None, prefetch_queue_depth=2
    )
    def move() -> Any:
        outputs = fn.external_source(
            source=source,
            num_outputs=source.outputs,
            batch=True,
            batch_info=True,
            no_copy=True,
            cycle=None,
        )
        return tuple(outputs)

    pipeline = move()
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
        arrays = [np.asarray(moved[k][slot]) for k in range(outputs)]
        tasks.append(pool.submit(_fill, assembler, batch, epoch, slot, arrays))
    return tasks


def _fill(
    assembler: Assembler, batch: Batch, epoch: int, slot: int, arrays: list[NDArray[np.uint8]]
) -> None:
    assembler.fill(batch, epoch, slot, _packed(assembler, batch, slot, arrays))


def _packed(
    assembler: Assembler, batch: Batch, slot: int, arrays: list[NDArray[np.uint8]]
) -> Packed | None:
    """Tell the chunks apart again; None where nothing came, so that the worker reads and reports."""
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
