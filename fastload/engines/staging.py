"""Host memory that a batch's compressed bytes are read into, by many readers at once."""

from collections import deque
from dataclasses import dataclass, field
from time import perf_counter
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from fastload.datasets.base import Dataset
from fastload.datasets.source import FRAME, ChunkedSource
from fastload.engines.batch import Request
from fastload.engines.memory import aligned
from fastload.engines.workers import Task, Workers
from fastload.profile import Profile
from fastload.storage.checksum import CRC_FAULT
from fastload.storage.errors import DataError
from fastload.storage.native import crc_ranges
from fastload.storage.store import Ranges

_RING = 3
"""Buffers of one iteration: one is read into, one waits, one is copied to a device."""


class Event(Protocol):
    """Something that a device reaches; see `torch.cuda.Event`."""

    def query(self) -> bool:
        """Whether it is reached."""

    def synchronize(self) -> None:
        """Wait for it."""


class Buffer:
    """Bytes in host memory, page-locked where a device will copy them."""

    def __init__(self, nbytes: int, pinned: bool) -> None:
        self.tensor: torch.Tensor | None = None
        if pinned:
            self.tensor = torch.empty(nbytes, dtype=torch.uint8, pin_memory=True)
            self.array: NDArray[np.uint8] = self.tensor.numpy()
        else:
            self.array = aligned(nbytes)
        self.address = int(self.array.ctypes.data)


class Staging:
    """Buffers that are used in turn. Each is made once, for the largest request that may come."""

    def __init__(self, nbytes: int, pinned: bool) -> None:
        self.nbytes, self._pinned = nbytes, pinned
        self._free: deque[tuple[Buffer, Event | None]] = deque()

    def take(self, nbytes: int) -> Buffer:
        """A buffer of at least so many bytes, which no device copies from any more."""
        self.nbytes = max(self.nbytes, nbytes)
        try:
            buffer, copied = self._free.popleft()
        except IndexError:
            return Buffer(self.nbytes, self._pinned)
        if copied is not None and not copied.query():
            if len(self._free) + 1 < _RING:
                self._free.appendleft((buffer, copied))
                return Buffer(self.nbytes, self._pinned)
            copied.synchronize()
        return buffer if len(buffer.array) >= nbytes else Buffer(self.nbytes, self._pinned)

    def give(self, buffer: Buffer, copied: Event | None = None) -> None:
        """Take a buffer back, which is free as soon as `copied` is reached."""
        self._free.append((buffer, copied))


@dataclass
class Reading:
    """A request whose bytes are being read into a buffer.

    Attributes:
        failures: by modality, why chunks cannot be had, by their number in the request's part.
    """

    request: Request
    buffer: Buffer
    failures: dict[str, dict[int, DataError]]
    tasks: list[Task] = field(default_factory=list)

    def wait(self) -> None:
        """Until all is read.

        Raises:
            MachineError: where the machine lacks what reading takes.
        """
        for task in self.tasks:
            task.wait()


def read(
    dataset: Dataset, request: Request, buffer: Buffer, workers: Workers, profile: Profile,
    for_device: bool,
) -> Reading:  # fmt: skip
    """Begin to read all chunks of a request, in as many shares as there are workers.

    Frames that a device will decode are compared with their checksums here, while caches hold them.
    """
    reading = Reading(request, buffer, {name: {} for name in request.parts})
    for name, part in request.parts.items():
        source = dataset.sources[name]
        if part.chunks is None or not len(part.chunks.rows):
            continue
        assert isinstance(source, ChunkedSource)
        # What is far has threads of its own, and joins what is near each other in a batch.
        most = 1 if source.store.far else max(1, workers.count)
        shares = min(most, len(part.chunks.rows))
        bounds = np.linspace(0, len(part.chunks.rows), shares + 1).astype(int).tolist()
        share = _Share(reading, name, source, bounds, profile, for_device)
        reading.tasks.append(workers.share(shares, share))
    return reading


@dataclass(frozen=True)
class _Share:
    """Reads one share of a modality's chunks: two calls that release the GIL."""

    reading: Reading
    name: str
    source: ChunkedSource
    bounds: list[int]
    profile: Profile
    for_device: bool

    def __call__(self, i: int) -> None:
        stages, start = self.profile.stages(), perf_counter()
        first, last = self.bounds[i], self.bounds[i + 1]
        part = self.reading.request.parts[self.name]
        assert part.chunks is not None
        rows = part.chunks.rows[first:last]
        address = part.at[first:last] + self.reading.buffer.address
        ranges = Ranges(rows["file"], rows["offset"], rows["stored"], address)
        read = self.source.store.read_ranges(self.source.files, self.source.sizes, ranges)
        failures: dict[int, str | DataError] = dict(read)
        frames = np.flatnonzero(rows["codec"] == FRAME) if self.for_device else ()
        if len(frames):
            stages.bytes_in += int(rows["stored"][frames].sum())
        if len(frames) and self.source.check_crc:
            found = crc_ranges(address[frames], rows["stored"][frames])
            for k in frames[found != rows["crc"][frames]].tolist():
                failures.setdefault(k, CRC_FAULT)
        for k, reason in failures.items():
            sample = int(part.rows[rows["slot"][k]])
            error = self.source.error(sample, rows[k], reason)
            self.reading.failures[self.name][first + k] = error
        stages.read += perf_counter() - start
