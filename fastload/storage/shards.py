"""Byte ranges of local shards, by memory map and without a copy."""

import mmap
from pathlib import Path
from typing import Any

from fastload.storage.errors import DataError

MOST_OPEN = 256
"""Maps kept open; each holds a file descriptor."""


class Shards:
    """Read-only views into a list of files. Safe in threads, and picklable."""

    def __init__(self, paths: list[Path], sizes: list[int]) -> None:
        """Take the files and the sizes that they had when they were indexed."""
        self.paths = paths
        self.sizes = sizes
        self._maps: dict[int, mmap.mmap] = {}

    def view(self, shard: int, offset: int, size: int) -> memoryview:
        """`size` bytes at `offset`; valid as long as the view lives.

        Raises:
            DataError: where the file cannot be read, or is not what was indexed.
        """
        mapped = self._maps.get(shard) or self._open(shard)
        # A map of a file that shrank would crash on access, so ask for its size each time.
        if mapped.size() != self.sizes[shard] or offset + size > self.sizes[shard]:
            self._maps.pop(shard, None)
            raise self._changed(shard, mapped.size(), offset)
        return memoryview(mapped)[offset : offset + size]

    def _open(self, shard: int) -> mmap.mmap:
        try:
            with self.paths[shard].open("rb") as file:
                mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except (OSError, ValueError) as error:
            raise DataError(
                str(self.paths[shard]), "", -1, f"cannot be read ({error})"
            ) from error
        if len(mapped) != self.sizes[shard]:
            raise self._changed(shard, len(mapped), -1)
        if len(self._maps) >= MOST_OPEN:
            # Views keep their map alive; dropping it here only forgets it.
            self._maps.pop(list(self._maps)[0], None)
        self._maps[shard] = mapped
        return mapped

    def _changed(self, shard: int, size: int, offset: int) -> DataError:
        reason = f"had {self.sizes[shard]} bytes when it was indexed, has {size} now; open it anew"
        return DataError(str(self.paths[shard]), "", offset, reason)

    def __getstate__(self) -> dict[str, Any]:
        return {"paths": self.paths, "sizes": self.sizes, "_maps": {}}
