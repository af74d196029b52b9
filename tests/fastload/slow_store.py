"""A store whose every read takes some time, as one far away."""

import time
from typing import Any

from fastload.storage.store import Local


class Slow(Local):
    """A folder behind a delay; other folders in it are as slow."""

    def __init__(self, folder: Any, delay: float = 0.02) -> None:
        super().__init__(folder)
        self.delay = delay

    def below(self, name: str) -> "Slow":
        return Slow(self._folder / name, self.delay)

    def fetch(self, *args: Any, **options: Any) -> None:
        time.sleep(self.delay)
        super().fetch(*args, **options)

    def read_ranges(self, names: Any, sizes: Any, ranges: Any) -> Any:
        time.sleep(self.delay * len(ranges.file))
        return super().read_ranges(names, sizes, ranges)
