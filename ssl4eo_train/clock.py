"""Where the time of a training loop goes."""

import time
from collections.abc import Iterator
from typing import TypeVar

T = TypeVar("T")


class Clock:
    """Splits time into waiting for data and the rest.

    On a GPU the loop runs ahead of the device, so single steps mean little; a window that ends with
    a sync is right.
    """

    def __init__(self) -> None:
        self._windows: list[tuple[int, float, float]] = []  # Steps, seconds, seconds waited.
        self.restart()

    def restart(self) -> None:
        """Begin a window now. What came since the last one, such as a save, is not counted."""
        self._steps, self._waited, self._began = 0, 0.0, time.perf_counter()

    def next(self, batches: Iterator[T]) -> T:
        """Take the next batch, and count the wait as such."""
        began = time.perf_counter()
        batch = next(batches)
        self._waited += time.perf_counter() - began
        self._steps += 1
        return batch

    def window(self) -> tuple[float, float]:
        """Close the window: its steps a second, and the share of its time spent waiting."""
        self._windows.append((self._steps, time.perf_counter() - self._began, self._waited))
        self.restart()
        return _rates(self._windows[-1:])

    def overall(self) -> tuple[float, float]:
        """The same over all windows but the first, where there are more.

        The first holds what happens once: compiling, opening files, filling the pipeline.
        """
        return _rates(self._windows[1:] or self._windows)


def _rates(windows: list[tuple[int, float, float]]) -> tuple[float, float]:
    steps, seconds, waited = (sum(column) for column in zip(*windows, strict=True))
    return steps / seconds, waited / seconds
