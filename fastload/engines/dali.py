"""The mover that is DALI: it carries one buffer a batch, ahead of time, in threads of its own.

The workers read a batch's chunks into page-locked memory. DALI takes that as it is and hands it on
as one array, on a GPU or, once more copied, in host memory. The pipeline keeps no state and is
built once a loader, so nothing has to be check-pointed or fast-forwarded.
"""

import os
import threading
import weakref
from collections import deque
from importlib.util import find_spec
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastload.datasets.base import Dataset
from fastload.engines.batch import Request, most_bytes
from fastload.engines.staging import Reading, Staging, read
from fastload.engines.workers import Workers
from fastload.extras import missing
from fastload.profile import Profile, Stages

_SHARES = 4
"""Samples that a buffer is cut into where DALI's threads copy it on the host."""


def has_dali() -> bool:
    """Whether DALI is installed."""
    return find_spec("nvidia") is not None and find_spec("nvidia.dali") is not None


def need_dali() -> None:
    """Make sure that DALI is there, without importing it.

    Raises:
        ImportError: says which extra to install.
    """
    if not has_dali():
        raise missing("engine='dali' needs NVIDIA DALI", "cuda13", "choose engine='threads'")


class Dali:
    """See `fastload.engines.Mover`."""

    def __init__(self, dataset: Dataset, profile: Profile, queue: Any, largest: int | None) -> None:
        """As of `Threads`."""
        self.dataset, self.profile, self.queue = dataset, profile, queue
        pinned = queue is not None and queue.is_device
        self._staging = Staging(most_bytes(dataset, largest or 1), pinned)
        self._lock = threading.Lock()
        self._pipeline: Any = None
        self._held = deque[tuple[Any, Any]]()
        _MOVERS.add(self)

    def begin(self, request: Request, workers: Workers) -> "Carried":
        """See `Mover.begin`."""
        buffer = self._staging.take(request.nbytes + _SHARES)
        on_device = self.queue is not None
        return Carried(self, read(self.dataset, request, buffer, workers, self.profile, on_device))

    def carry(self, reading: Reading) -> Any:
        """What DALI makes of a buffer: a tensor list, whose shares lie one after the other.

        Iterations may run in several threads at once; the pipeline serves one at a time.
        """
        start = perf_counter()
        nbytes = max(1, reading.request.nbytes)
        shares = _SHARES if self.queue is None else 1
        each = -(-nbytes // shares)
        array = reading.buffer.array[: shares * each].reshape(shares, each)
        stream = (self.queue.stream,) if self.queue is not None and self.queue.is_device else ()
        with self._lock:
            if self._pipeline is None:
                self._pipeline = build(shares, self.queue)
            (outputs,) = self._pipeline.run(*stream, bytes=array)
        self.profile.stages().copy += perf_counter() - start
        return outputs

    def release(self, reading: Reading, outputs: Any = None) -> None:
        """Let the buffer and the outputs go, once the device has passed all that is enqueued now.

        The outputs' memory belongs to a stream of DALI's own, also where they are asked for on
        another: whoever lets go of them lets the next run overwrite what the queue still reads.
        """
        mark = None if self.queue is None else self.queue.mark()
        self._staging.give(reading.buffer, mark)
        if mark is not None:
            with self._lock:
                self._held.append((outputs, mark))
                while self._held and self._held[0][1].query():
                    self._held.popleft()

    def close(self) -> None:
        """See `Mover.close`."""
        while self._held:
            self._held[0][1].synchronize()
            self._held.popleft()
        self._pipeline = None


def build(shares: int, queue: Any) -> Any:
    """The pipeline: bytes in, and out again; on a GPU there, on the queue's stream."""
    from nvidia.dali import fn, types
    from nvidia.dali.pipeline import Pipeline

    index = queue.device.index if queue is not None and queue.is_device else None
    pipeline = Pipeline(shares, shares, device_id=index, prefetch_queue_depth=1, exec_dynamic=True)
    with pipeline:
        moved = fn.external_source(name="bytes", ndim=1, dtype=types.UINT8, no_copy=True)
        pipeline.set_outputs(moved if index is None else moved.gpu())
    pipeline.build()
    return pipeline


_MOVERS: "weakref.WeakSet[Dali]" = weakref.WeakSet()
_INHERITED: list[Any] = []
"""Pipelines of the process that this one was forked from, and their outputs. Their threads are not
here, and whoever frees one, if only the garbage collector, crashes or waits for ever; so nobody
does."""


def _after_fork() -> None:
    """In the child, let movers build pipelines of their own."""
    for mover in _MOVERS:
        _INHERITED.append((mover._pipeline, mover._held))
        mover._pipeline, mover._lock, mover._held = None, threading.Lock(), deque()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


class Carried:
    """A load that DALI carries."""

    def __init__(self, mover: Dali, reading: Reading) -> None:
        self._mover, self._reading = mover, reading
        self._outputs: Any = None
        self.address = 0

    @property
    def failures(self) -> Any:
        """See `DeviceLoad.failures`."""
        return self._reading.failures

    @property
    def host(self) -> int:
        """See `DeviceLoad.host`."""
        return self._reading.buffer.address

    def arrive(self) -> None:
        """See `Load.arrive`."""
        self._reading.wait()
        self._outputs = self._mover.carry(self._reading)
        self.address = int(self._outputs.as_tensor().data_ptr())
        if self._mover.queue is None:
            self._mover.release(self._reading)

    def chunks(
        self, name: str, slot: int, span: slice, stages: Stages
    ) -> list[NDArray[np.uint8] | None]:
        """See `HostLoad.chunks`."""
        failures = self._reading.failures[name]
        if failures:
            for i in range(span.start, span.stop):
                if i in failures:
                    raise failures[i]
        return self._reading.request.parts[name].stored(span, self.address)

    def release(self) -> None:
        """See `Load.release`."""
        if self._mover.queue is not None:
            self._mover.release(self._reading, self._outputs)
        self._outputs = None
