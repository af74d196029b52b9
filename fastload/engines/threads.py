"""The CPU engine: threads that take one sample each, from mapped bytes to finished slot."""

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from time import perf_counter
from typing import Any

from numpy.typing import NDArray

from fastload.engines.batch import Assembler, Batch


class ThreadEngine:
    """`workers` threads and a ring of `depth` batches; 0 workers do all in the calling thread."""

    def __init__(self, workers: int, depth: int) -> None:
        self.workers, self.depth = workers, depth

    def run(
        self, assembler: Assembler, epoch: int, steps: Sequence[NDArray[Any]], start: int
    ) -> Iterator[dict[str, Any]]:
        """See `Engine.run`."""
        if self.workers == 0:
            return _inline(assembler, epoch, steps, start)
        return self._threaded(assembler, epoch, steps, start)

    def _threaded(
        self, assembler: Assembler, epoch: int, steps: Sequence[NDArray[Any]], start: int
    ) -> Iterator[dict[str, Any]]:
        pool = ThreadPoolExecutor(self.workers, thread_name_prefix="fastload")
        ring: deque[tuple[Batch, list[Future[None]]]] = deque()
        try:
            for step in range(start, len(steps)):
                batch = assembler.allocate(assembler.begin(epoch, steps[step]))
                slots = range(len(batch.ids))
                tasks = [pool.submit(assembler.fill, batch, epoch, slot) for slot in slots]
                ring.append((batch, tasks))
                if len(ring) > self.depth:
                    yield collect(assembler, *ring.popleft())
            while ring:
                yield collect(assembler, *ring.popleft())
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def collect(assembler: Assembler, batch: Batch, tasks: list[Future[None]]) -> dict[str, Any]:
    """Wait for a batch's slots and hand it out; the first error in slot order is raised."""
    asked = perf_counter()
    for task in tasks:
        task.result()
    now = perf_counter()
    assembler.profile.consumer_waiting += now - asked
    assembler.profile.wait_for_consumer += max(0.0, asked - batch.finished_at)
    return assembler.finish(batch)


def _inline(
    assembler: Assembler, epoch: int, steps: Sequence[NDArray[Any]], start: int
) -> Iterator[dict[str, Any]]:
    for step in range(start, len(steps)):
        asked = perf_counter()
        batch = assembler.allocate(assembler.begin(epoch, steps[step]))
        for slot in range(len(batch.ids)):
            assembler.fill(batch, epoch, slot)
        assembler.profile.consumer_waiting += perf_counter() - asked
        yield assembler.finish(batch)
