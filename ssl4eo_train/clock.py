"""Where the time of a training loop goes, as the device sees it."""

import time
from collections.abc import Iterator
from typing import TypeVar

import torch

T = TypeVar("T")


class Clock:
    """Splits each step's time into waiting for data and the rest.

    The wait for the very first batch is apart, in `first`, and no part of any figure: it holds what
    happens once, such as compiling and opening files.

    On a GPU the marks are events on its stream: between the end of a step's work and the arrival of
    the next batch the device has nothing to do, whatever the CPU is at. Reading them needs a sync,
    so that is left to `window`. On the CPU they are the time of day.
    """

    def __init__(self, device: torch.device) -> None:
        self._is_cuda = device.type == "cuda"
        self._totals: list[tuple[int, float, float]] = []  # Steps, seconds, seconds waited.
        self.first: float | None = None
        """Seconds until the first batch was there; None before."""
        self.restart()

    def _mark(self) -> "torch.cuda.Event | float":
        if not self._is_cuda:
            return time.perf_counter()
        event = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
        event.record()
        return event

    def restart(self) -> None:
        """Begin a window now. What came since the last one, such as a save, is not counted."""
        self._marks: list[tuple[torch.cuda.Event | float, torch.cuda.Event | float]] = []

    def next(self, batches: Iterator[T]) -> T:
        """Take the next batch, and count the wait as such."""
        asked, began = self._mark(), time.perf_counter()
        batch = next(batches)
        got = self._mark()
        if self.first is None:
            self.first = time.perf_counter() - began
            asked = got
        self._marks.append((asked, got))
        return batch

    def forget(self, steps: int) -> None:
        """Keep so many steps of the window: a batch after them was taken, but not trained on."""
        del self._marks[steps:]

    def window(self) -> list[tuple[float, float]]:
        """Close the window: of each step its seconds, and the share of them spent waiting.

        On a GPU a CPU-GPU sync.
        """
        end = self._mark()
        if isinstance(end, torch.cuda.Event):
            end.synchronize()
        ends = [asked for asked, _ in self._marks[1:]] + [end]
        steps = [
            (_seconds(asked, until), _seconds(asked, got))
            for (asked, got), until in zip(self._marks, ends, strict=True)
        ]
        self._totals.append((len(steps), sum(s for s, _ in steps), sum(w for _, w in steps)))
        self.restart()
        return [(seconds, waited / seconds) for seconds, waited in steps]

    def overall(self) -> tuple[float, float]:
        """Steps a second and the share spent waiting, over all windows but the first; 0 before one.

        The first holds what else happens once: filling the pipeline, compiling the networks. Where
        there is no other, it counts.
        """
        kept = self._totals[1:] or self._totals
        if not kept:
            return 0.0, 0.0
        steps, seconds, waited = (sum(column) for column in zip(*kept, strict=True))
        return steps / seconds, waited / seconds


def _seconds(start: "torch.cuda.Event | float", end: "torch.cuda.Event | float") -> float:
    if isinstance(start, torch.cuda.Event) and isinstance(end, torch.cuda.Event):
        return float(start.elapsed_time(end)) / 1000
    assert isinstance(start, float)
    assert isinstance(end, float)
    return end - start
