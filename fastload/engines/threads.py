"""The CPU engine: threads that take one sample each, from mapped bytes to finished slot."""

import threading
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from time import perf_counter
from typing import Any

from fastload.engines import Batches
from fastload.engines.batch import Assembler, Batch
from fastload.plan import Indices, Step

THREAD_NAME = "fastload"


class ThreadEngine:
    """`workers` threads and a ring of `depth` batches; 0 workers do all in the calling thread."""

    def __init__(self, workers: int, depth: int) -> None:
        self.workers, self.depth = workers, depth

    def run(self, assembler: Assembler, epoch: int, steps: Step) -> Batches:
        """See `Engine.run`."""
        if self.workers == 0:
            return _inline(assembler, epoch, steps)
        return self._threaded(assembler, epoch, steps)

    def _threaded(self, assembler: Assembler, epoch: int, steps: Step) -> Batches:
        pool = ThreadPoolExecutor(self.workers, thread_name_prefix=THREAD_NAME)

        def begun() -> Iterator[tuple[Batch, list[Future[None]]]]:
            for ids in each(steps):
                batch = assembler.allocate(assembler.begin(epoch, ids))
                slots = range(len(ids))
                yield batch, [pool.submit(assembler.fill, batch, slot) for slot in slots]

        try:
            yield from ring(begun(), self.depth, assembler)
        finally:
            stop(pool)


def ring(
    begun: Iterator[tuple[Batch, list[Future[None]]]], depth: int, assembler: Assembler
) -> Batches:
    """Deliver batches in order, while `depth` more are in the making."""
    waiting: deque[tuple[Batch, list[Future[None]]]] = deque()
    try:
        for entry in begun:
            waiting.append(entry)
            del entry  # so that the consumer alone holds what leaves the ring
            if len(waiting) > depth:
                _close_ready(waiting, assembler)
                yield collect(assembler, *waiting.popleft())
        while waiting:
            _close_ready(waiting, assembler)
            yield collect(assembler, *waiting.popleft())
    except BaseException:  # Abandoned: a device may still read what the batches hold.
        assembler.drain()
        raise


def _close_ready(waiting: deque[tuple[Batch, list[Future[None]]]], assembler: Assembler) -> None:
    """Let what follows the slots begin for every batch whose slots are filled, in order."""
    for batch, tasks in waiting:
        if not all(task.done() and task.exception() is None for task in tasks):
            return
        assembler.close(batch)


def each(steps: Step) -> Iterator[Indices]:
    """All steps, in order."""
    i = 0
    while (ids := steps(i)) is not None:
        yield ids
        i += 1


def collect(assembler: Assembler, batch: Batch, tasks: list[Future[None]]) -> dict[str, Any]:
    """Wait for a batch's slots and hand it out; the first error in slot order is raised."""
    asked = perf_counter()
    for task in tasks:
        task.result()
    assembler.profile.wait_for_consumer += max(0.0, asked - batch.finished_at)
    assembler.close(batch)
    return assembler.finish(batch)


def stop(pool: ThreadPoolExecutor) -> None:
    """End a pool: what has not begun is dropped, what has is waited for.

    The garbage collector may close an iterator in any thread. A worker cannot wait for itself, so
    there the threads are only told to end.
    """
    in_worker = threading.current_thread().name.startswith(THREAD_NAME)
    pool.shutdown(wait=not in_worker, cancel_futures=True)


def _inline(assembler: Assembler, epoch: int, steps: Step) -> Batches:
    for ids in each(steps):
        yield _made(assembler, epoch, ids)


def _made(assembler: Assembler, epoch: int, ids: Indices) -> dict[str, Any]:
    batch = assembler.allocate(assembler.begin(epoch, ids))
    for slot in range(len(ids)):
        assembler.fill(batch, slot)
    assembler.close(batch)
    return assembler.finish(batch)
