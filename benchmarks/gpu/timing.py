"""Timing on a device: work that is repeated, raced in interleaved rounds."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median
from time import perf_counter
from typing import Any

import torch

from benchmarks.gpu.bench import Bench, Found
from benchmarks.results import Comparison, Figure, Missing, Race

WARM_UP = 3
MOST_CALLS = 20_000
BOUND = 0.9
"""Share of the time that the CPU spends on launches, from which on it is what limits."""


@dataclass(frozen=True)
class Work:
    """Something to be repeated."""

    name: str
    run: Callable[[], Any]
    """Enqueues it, or does it; gives the result."""
    amount: float
    """What a call does, in the race's unit times seconds."""
    check: Callable[[Any], None]
    """Raises AssertionError where a result is not what was asked for. It may wait for the GPU."""
    note: str = ""


def elapsed(bench: Bench, run: Callable[[], Any], calls: int) -> tuple[float, float]:
    """Time a number of calls, from an idle device to an idle device.

    Returns:
        Seconds by the device's events, on whatever stream the work runs, and seconds after which
        the CPU had enqueued all. On the host both by its clock.
    """
    if not bench.is_cuda:
        start = perf_counter()
        for _ in range(calls):
            run()
        passed = perf_counter() - start
        return passed, passed
    begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]
    bench.synchronize()
    begin.record()  # The device is idle, so this is now.
    start = perf_counter()
    for _ in range(calls):
        run()
    enqueued = perf_counter() - start
    bench.synchronize()
    end.record()
    end.synchronize()
    return begin.elapsed_time(end) / 1000, enqueued


def tried(
    bench: Bench, title: str, works: Sequence[Work]
) -> tuple[dict[str, tuple[Work, int]], list[Missing]]:
    """Warm up, check and calibrate.

    Returns:
        What is to be raced, with the calls of a round, by name; and what fails, which is left out.
    """
    good, failed = dict[str, tuple[Work, int]](), []
    for work in works:
        try:
            result = work.run()
            bench.synchronize()
            work.check(result)
            elapsed(bench, work.run, WARM_UP)
            one = elapsed(bench, work.run, WARM_UP)[0] / WARM_UP
            calls = round(bench.options.seconds / max(one, 1e-7))
            good[work.name] = work, min(MOST_CALLS, max(1, calls))
        except Exception as error:
            failed.append(Missing(f"{title}: {work.name}", "failed", sentence(error)))
    return good, failed


def compete(
    bench: Bench, title: str, unit: str, works: Sequence[Work], comparisons: Sequence[Comparison]
) -> Found:
    """Race works in interleaved rounds; what was asked of a result is checked again at the end."""
    good, failed = tried(bench, title, works)
    rates: dict[str, list[float]] = {name: [] for name in good}
    launches: dict[str, list[float]] = {name: [] for name in good}
    for _ in range(bench.options.rounds):
        for name, (work, calls) in good.items():
            seconds, enqueued = elapsed(bench, work.run, calls)
            rates[name].append(work.amount * calls / seconds)
            launches[name].append(enqueued / seconds)
    for work, _ in good.values():
        result = work.run()
        bench.synchronize()
        work.check(result)
    figures = [
        Figure(name, tuple(rates[name]), _note(bench, work, launches[name]))
        for name, (work, _) in good.items()
    ]
    return Found([raced(title, unit, figures, comparisons)] if figures else [], failed)


def raced(
    title: str, unit: str, figures: Sequence[Figure], comparisons: Sequence[Comparison]
) -> Race:
    """A race, with those of the comparisons that have both their figures."""
    names = {figure.name for figure in figures}
    possible = [c for c in comparisons if {c.over, c.under} <= names]
    return Race(title, tuple(figures), tuple(possible), unit)


def _note(bench: Bench, work: Work, launches: Sequence[float]) -> str:
    limited = bench.is_cuda and median(launches) > BOUND
    parts = [work.note, "the CPU limits, not the GPU" if limited else ""]
    return "; ".join(part for part in parts if part)


def sentence(error: BaseException) -> str:
    """An error in one line."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {' '.join(lines)[:400]}".rstrip(": ")
