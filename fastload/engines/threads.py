"""The mover of the package's own: threads that read what they need when they need it.

For the host, a worker reads a sample's chunks right before it decodes them, into memory of its own
that its caches hold; of what is far, a whole batch is asked for ahead of time. For a device, the
workers together read a whole batch into page-locked memory, which is then copied in one piece.
"""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from fastload.datasets.base import Dataset
from fastload.datasets.source import ChunkedSource
from fastload.engines.batch import Request, most_bytes
from fastload.engines.memory import Scratch
from fastload.engines.staging import Reading, Staging, read
from fastload.engines.workers import Workers
from fastload.profile import Profile, Stages


class Threads:
    """See `fastload.engines.Mover`."""

    def __init__(self, dataset: Dataset, profile: Profile, queue: Any, largest: int | None) -> None:
        """`queue` is the device's, or None for the host; `largest` samples are in a batch, or None
        where that is not known."""
        self.dataset, self.profile, self.queue = dataset, profile, queue
        self._scratch = Scratch()
        self._far = any(isinstance(s, ChunkedSource) and s.store.far
                        for s in dataset.sources.values())  # fmt: skip
        if queue is not None or self._far:
            pinned = queue is not None and queue.is_device
            self._staging = Staging(most_bytes(dataset, largest or 1), pinned)

    def begin(self, request: Request, workers: Workers) -> "Lazy | Ahead | Staged":
        """See `Mover.begin`."""
        if self.queue is None and not self._far:
            return Lazy(self.dataset, request, self._scratch)
        buffer = self._staging.take(request.nbytes)
        if self.queue is None:
            return Ahead(self, read(self.dataset, request, buffer, workers, self.profile, False))
        reading = read(self.dataset, request, buffer, workers, self.profile, True)
        return Staged(self, reading)

    def upload(self, reading: Reading) -> torch.Tensor:
        """Enqueue the copy of a batch's bytes to the device."""
        with self.queue.work():
            moved: torch.Tensor = self.queue.copy(reading.buffer, reading.request.nbytes)
            return moved

    def release(self, reading: Reading) -> None:
        """Let the buffer be used again, once the device has passed all that is enqueued now."""
        self._staging.give(reading.buffer, None if self.queue is None else self.queue.mark())

    def close(self) -> None:
        """See `Mover.close`."""


class Lazy:
    """A load that is read piece by piece, in the thread that asks."""

    def __init__(self, dataset: Dataset, request: Request, scratch: Scratch) -> None:
        self._dataset, self._request, self._scratch = dataset, request, scratch

    def arrive(self) -> None:
        """See `Load.arrive`: nothing to wait for."""

    def chunks(
        self, name: str, slot: int, span: slice, stages: Stages
    ) -> list[NDArray[np.uint8] | None]:
        """See `HostLoad.chunks`."""
        part, source = self._request.parts[name], self._dataset.sources[name]
        assert part.chunks is not None
        assert isinstance(source, ChunkedSource)
        rows = part.chunks.rows[span]
        buffer = self._scratch.take("bytes", int(rows["stored"].sum()))
        return source.fetch(int(part.rows[slot]), rows, buffer, stages)

    def release(self) -> None:
        """See `Load.release`."""


class Ahead:
    """A load for the host that is read as a whole before it is wanted."""

    def __init__(self, mover: Threads, reading: Reading) -> None:
        self._mover, self._reading = mover, reading

    def arrive(self) -> None:
        """See `Load.arrive`."""
        self._reading.wait()

    def chunks(
        self, name: str, slot: int, span: slice, stages: Stages
    ) -> list[NDArray[np.uint8] | None]:
        """See `HostLoad.chunks`."""
        failures = self._reading.failures[name]
        for i in range(span.start, span.stop) if failures else ():
            if i in failures:
                raise failures[i]
        part = self._reading.request.parts[name]
        return part.stored(span, self._reading.buffer.address)

    def release(self) -> None:
        """See `Load.release`."""
        self._mover.release(self._reading)


class Staged:
    """A load in page-locked memory, and on the device."""

    def __init__(self, mover: Threads, reading: Reading) -> None:
        self._mover, self._reading = mover, reading
        self._moved: torch.Tensor | None = None
        self.failures, self.host, self.address = reading.failures, reading.buffer.address, 0

    def arrive(self) -> None:
        """See `Load.arrive`."""
        self._reading.wait()
        self._moved = self._mover.upload(self._reading)
        self.address = self._moved.data_ptr()

    def release(self) -> None:
        """See `Load.release`."""
        self._mover.release(self._reading)
        self._moved = None
