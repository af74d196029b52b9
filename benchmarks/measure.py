"""Timing: contestants that give streams of batches, raced in interleaved rounds."""

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from math import ceil
from time import perf_counter
from typing import Any

from benchmarks.results import Comparison, Figure, Race

Stream = Generator[Any, None, None]


@dataclass(frozen=True)
class Contestant:
    """Something that delivers batches."""

    name: str
    stream: Callable[[], Stream]
    """Opens an endless stream; closing the generator stops its workers."""
    check: Callable[[Any], None]
    """Raises AssertionError with a sentence where a batch is not what was asked for."""
    batch: int
    """Samples in a batch."""
    burst: int = 1
    """Batches that arrive close together, one a worker. A timed span holds whole bursts."""
    ahead: int = 6
    """Batches that pass before the time starts: what may wait in queues, and memory's first use."""
    note: str = ""


@dataclass
class Running:
    """An opened stream that has given away what it had fetched ahead."""

    contestant: Contestant
    stream: Stream
    last: Any = None

    @classmethod
    def start(cls, contestant: Contestant) -> "Running":
        """Open, check the first batch and let the queues run dry."""
        self = cls(contestant, contestant.stream())
        try:
            contestant.check(next(self.stream))
            self.take(contestant.burst * ceil(contestant.ahead / contestant.burst))
        except BaseException:
            self.stream.close()
            raise
        return self

    def take(self, batches: int) -> None:
        """Receive a number of batches."""
        for _ in range(batches):
            self.last = next(self.stream)

    def stop(self) -> None:
        """Check the last batch and close."""
        try:
            if self.last is not None:
                self.contestant.check(self.last)
        finally:
            self.last = None
            self.stream.close()


def calibrate(contestant: Contestant, seconds: float) -> int:
    """How many batches, in whole bursts, take about `seconds`."""
    running = Running.start(contestant)
    start, batches = perf_counter(), 0
    while batches == 0 or perf_counter() - start < seconds / 2:
        running.take(contestant.burst)
        batches += contestant.burst
    elapsed = perf_counter() - start
    running.stop()
    bursts = seconds * batches / elapsed / contestant.burst
    return contestant.burst * max(1, round(bursts))


def rate(running: Running, batches: int) -> float:
    """Samples per second over a number of batches."""
    start = perf_counter()
    running.take(batches)
    return batches * running.contestant.batch / (perf_counter() - start)


def once(contestant: Contestant, batches: int) -> float:
    """One round: open, time, close."""
    running = Running.start(contestant)
    try:
        return rate(running, batches)
    finally:
        running.stop()


Pedantic = Callable[..., Any]
"""`pytest_benchmark`'s ``benchmark.pedantic``, or anything that is called alike."""


def race(
    title: str,
    contestants: Sequence[Contestant],
    comparisons: Sequence[Comparison],
    *,
    rounds: int,
    seconds: float,
    pedantic: Pedantic,
) -> Race:
    """Race contestants in interleaved rounds.

    The first is timed by `pedantic` as well, so that it stands in pytest-benchmark's own table; the
    others run in its set-up, between the rounds.

    Args:
        title: what is raced.
        contestants: the first is ours.
        comparisons: ratios to report.
        rounds: rounds of each contestant.
        seconds: about how long a timed span is.
        pedantic: ``benchmark.pedantic``.

    Raises:
        AssertionError: where a contestant gives a wrong batch.
    """
    batches = {c.name: calibrate(c, seconds) for c in contestants}
    found: dict[str, list[float]] = {c.name: [] for c in contestants}
    first, *others = contestants

    def between() -> tuple[tuple[Running], dict[str, Any]]:
        for c in others:
            found[c.name].append(once(c, batches[c.name]))
        return (Running.start(first),), {}

    def timed(running: Running) -> None:
        found[first.name].append(rate(running, batches[first.name]))

    def after(running: Running) -> None:
        running.stop()

    pedantic(timed, setup=between, teardown=after, rounds=rounds, iterations=1)
    figures = tuple(Figure(c.name, tuple(found[c.name]), c.note) for c in contestants)
    return Race(title, figures, tuple(comparisons))
