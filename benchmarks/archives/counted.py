"""A store that counts what is asked of it."""

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastload.storage.store import Failures, Local, Ranges


class Count:
    """Bytes and requests, of all stores of a place."""

    def __init__(self) -> None:
        self.bytes = self.requests = 0
        self._lock = threading.Lock()

    def add(self, nbytes: int, requests: int = 1) -> None:
        """Count."""
        with self._lock:
            self.bytes += nbytes
            self.requests += requests


class Counted(Local):
    """A folder whose reads are counted."""

    def __init__(self, folder: str | Path, count: Count) -> None:
        super().__init__(folder)
        self.count = count

    def below(self, name: str) -> "Counted":
        """See `Store.below`."""
        return Counted(self.folder / name, self.count)

    def content(self, name: str) -> bytes:
        """See `Store.content`."""
        data = super().content(name)
        self.count.add(len(data))
        return data

    def read(self, name: str, offset: int, out: memoryview) -> int:
        """See `Store.read`."""
        got = super().read(name, offset, out)
        self.count.add(got)
        return got

    def fetch(
        self, name: str, size: int, offset: int, out: NDArray[np.uint8], patient: bool = True
    ) -> None:
        """See `Store.fetch`."""
        super().fetch(name, size, offset, out, patient)
        self.count.add(len(out))

    def read_ranges(
        self, names: Sequence[str], sizes: NDArray[np.int64], ranges: Ranges
    ) -> Failures:
        """See `Store.read_ranges`."""
        self.count.add(int(ranges.size.sum()), len(ranges.size))
        return super().read_ranges(names, sizes, ranges)

    def __reduce__(self) -> Any:
        return Counted, (self.folder, self.count)
