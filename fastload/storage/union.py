"""Several stores as one: the files of each, one store after the other."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from fastload.storage.store import Failures, Ranges, Stat, Store


class Union(Store):
    """Stores side by side. A file's name is the store's number, a slash, and its name there."""

    def __init__(self, stores: Sequence[Store], files: Sequence[Sequence[str]]) -> None:
        """`files`: the names that are read of each store, which `names` lists in this order."""
        self.stores, self.files = list(stores), [list(some) for some in files]
        self.names = [f"{k}/{name}" for k, some in enumerate(self.files) for name in some]
        self._bounds = np.cumsum([0, *map(len, self.files)])

    @property
    def far(self) -> bool:  # type: ignore[override]
        """See `Store.far`."""
        return any(store.far for store in self.stores)

    @property
    def place(self) -> str:
        """See `Store.place`."""
        return " + ".join(store.place for store in self.stores)

    def _of(self, name: str) -> tuple[Store, str]:
        number, _, inner = name.partition("/")
        return self.stores[int(number)], inner

    def path(self, name: str) -> str:
        """See `Store.path`."""
        store, inner = self._of(name)
        return store.path(inner)

    def list(self, suffix: str = "") -> dict[str, Stat]:
        """See `Store.list`."""
        found = enumerate(store.list(suffix) for store in self.stores)
        return {f"{k}/{name}": stat for k, stats in found for name, stat in stats.items()}

    def read(self, name: str, offset: int, out: memoryview) -> int:
        """See `Store.read`."""
        store, inner = self._of(name)
        return store.read(inner, offset, out)

    def fetch(
        self, name: str, size: int, offset: int, out: NDArray[np.uint8], patient: bool = True
    ) -> None:
        """See `Store.fetch`."""
        store, inner = self._of(name)
        store.fetch(inner, size, offset, out, patient)

    def read_ranges(
        self, names: Sequence[str], sizes: NDArray[np.int64], ranges: Ranges
    ) -> Failures:
        """See `Store.read_ranges`; each store gets its own in one call."""
        if names is not self.names:
            return super().read_ranges(names, sizes, ranges)
        failures: Failures = {}
        for k, store in enumerate(self.stores):
            low, high = self._bounds[k], self._bounds[k + 1]
            mine = np.flatnonzero((ranges.file >= low) & (ranges.file < high))
            if not len(mine):
                continue
            some = ranges.some(mine)
            own = Ranges(some.file - np.int32(low), some.offset, some.size, some.address)
            failed = store.read_ranges(self.files[k], sizes[low:high], own)
            failures |= {int(mine[i]): error for i, error in failed.items()}
        return failures
