"""Byte ranges of local shards, by memory map and without a copy."""

import mmap
import os
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
        mapped = self.check(shard, offset)
        if offset + size > self.sizes[shard]:
            reason = f"{size} bytes are promised but the file ends at {self.sizes[shard]}"
            raise DataError(str(self.paths[shard]), "", offset, reason)
        return memoryview(mapped)[offset : offset + size]

    def check(self, shard: int, offset: int = -1) -> mmap.mmap:
        """The map of a file, after a look at its size: one that shrank would crash on access.

        Raises:
            DataError: where the file cannot be read, or is not what was indexed.
        """
        mapped = self._maps.get(shard) or self._open(shard)
        if mapped.size() != self.sizes[shard]:
            self._maps.pop(shard, None)
            raise self._changed(shard, mapped.size(), offset)
        return mapped

    def _open(self, shard: int) -> mmap.mmap:
        try:
            with self.paths[shard].open("rb") as file:
                size = os.fstat(file.fileno()).st_size
                if size != self.sizes[shard]:
                    raise self._changed(shard, size, -1)
                mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except (OSError, ValueError) as error:
            raise DataError(str(self.paths[shard]), "", -1, f"cannot be read ({error})") from error
        if len(self._maps) >= MOST_OPEN:
            # Views keep their map alive; dropping it here only forgets it. `list` is atomic, an
            # iterator would fail where another thread adds a map.
            self._maps.pop(list(self._maps)[0], None)  # noqa: RUF015
        self._maps[shard] = mapped
        return mapped

    def _changed(self, shard: int, size: int, offset: int) -> DataError:
        reason = f"had {self.sizes[shard]} bytes when it was indexed, has {size} now; open it anew"
        return DataError(str(self.paths[shard]), "", offset, reason)

    def __getstate__(self) -> dict[str, Any]:
        return {"paths": self.paths, "sizes": self.sizes, "_maps": {}}
