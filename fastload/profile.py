"""Where the time goes: a clock on every stage, and the verdict."""

import threading
from collections.abc import Mapping
from dataclasses import dataclass, fields
from time import perf_counter
from typing import Any

from numba.core.event import Event, Listener, register


@dataclass
class Stages:
    """Seconds and counts of one thread. Only its thread writes it."""

    read: float = 0.0
    """Reading and check-summing."""
    decode: float = 0.0
    copy: float = 0.0
    views: float = 0.0
    bytes_in: int = 0
    """Compressed bytes that were decoded."""
    bytes_out: int = 0
    """Decoded bytes, before the views."""
    samples: int = 0
    """Samples that were finished. Those of batches made ahead count too."""

    def add(self, other: "Stages") -> None:
        """Add another's figures to these."""
        for f in fields(Stages):
            setattr(self, f.name, getattr(self, f.name) + getattr(other, f.name))


MOST_UNWRITTEN = 1000


class Compiling(Listener):  # type: ignore[misc]
    """Seconds that Numba compiled in this process. Calls for it come one at a time, under its lock.

    What is taken from its cache on disk does not count.
    """

    def __init__(self) -> None:
        self.seconds = 0.0
        self._depth, self._since = 0, 0.0

    def on_start(self, event: Event) -> None:
        """A function, or one that it calls, begins to be compiled."""
        if not self._depth:
            self._since = perf_counter()
        self._depth += 1

    def on_end(self, event: Event) -> None:
        """It is compiled."""
        self._depth -= 1
        if not self._depth:
            self.seconds += perf_counter() - self._since


COMPILING = Compiling()
register("numba:compile", COMPILING)
STAGES = ("read", "decode", "copy", "views")


class Profile:
    """The sum over threads, and the two ends of the ring."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._local = threading.local()
        self._threads: list[tuple[threading.Thread, Stages]] = []
        self._ended = Stages()
        self._compiled = COMPILING.seconds
        self._before = dict.fromkeys(STAGES, 0.0)
        self.first_batch = 0.0
        """Seconds until the first batch was there, which `consumer_waiting` and `elapsed` leave
        out: they hold what happens once, such as compiling and opening files."""
        self.consumer_waiting = 0.0
        """Seconds that the consumer waited for a batch."""
        self.wait_for_consumer = 0.0
        """Seconds that finished batches lay ready before they were asked for."""
        self.elapsed = 0.0
        self.batches = 0
        self.replaced = 0
        self.errors = self.storage_errors = 0
        self.unwritten: list[dict[str, Any]] = []
        """Reports of unreadable samples that no file could keep; the first `MOST_UNWRITTEN`."""

    def __reduce__(self) -> tuple[type["Profile"], tuple[()]]:
        """A copy in another process counts from zero."""
        return Profile, ()

    def stages(self) -> Stages:
        """The calling thread's own."""
        if not hasattr(self._local, "stages"):
            self._local.stages = Stages()
            with self._lock:
                self._fold()
                self._threads.append((threading.current_thread(), self._local.stages))
        mine: Stages = self._local.stages
        return mine

    def _fold(self) -> None:
        """Sum up threads that have ended, so that many epochs do not gather many threads."""
        alive = []
        for thread, stages in self._threads:
            if thread.is_alive():
                alive.append((thread, stages))
            else:
                self._ended.add(stages)
        self._threads = alive

    def delivered(self, waited: float, passed: float) -> None:
        """Count a batch: seconds that the consumer waited, out of those since the batch before."""
        self.batches += 1
        if self.batches == 1:
            self.first_batch = waited
            self._before = self._busy(self._total())
            return
        self.consumer_waiting += waited
        self.elapsed += passed

    def _total(self) -> Stages:
        total = Stages()
        with self._lock:
            for stages in (self._ended, *(s for _, s in self._threads)):
                total.add(stages)
        return total

    @staticmethod
    def _busy(total: Stages) -> dict[str, float]:
        return {name: getattr(total, name) for name in STAGES}

    def summary(self) -> dict[str, Any]:
        """All figures as plain numbers, and the verdict."""
        total = self._total()
        busy = self._busy(total)
        out: dict[str, Any] = {
            "seconds": busy
            | {
                "wait_for_consumer": self.wait_for_consumer,
                "consumer_waiting": self.consumer_waiting,
            },
            "first_batch": self.first_batch,
            "compiling": COMPILING.seconds - self._compiled,
            "elapsed": self.elapsed,
            "bytes_in": total.bytes_in,
            "bytes_out": total.bytes_out,
            "samples": total.samples,
            "batches": self.batches,
            "replaced": self.replaced,
            "errors": self.errors,
            "storage_errors": self.storage_errors,
        }
        if self.unwritten:
            out["unwritten"] = list(self.unwritten)
        since = {name: max(0.0, busy[name] - self._before[name]) for name in STAGES}
        return out | {"verdict": verdict(out, since)}


def verdict(summary: Mapping[str, Any], busy: Mapping[str, float]) -> str:
    """One line on what limits the run.

    Args:
        summary: of a `Profile`.
        busy: seconds of each stage since the first batch.
    """
    seconds, elapsed = summary["seconds"], summary["elapsed"]
    if not summary["batches"]:
        return "nothing delivered yet"
    if summary["batches"] == 1 or elapsed <= 0:
        return f"one batch delivered, after {summary['first_batch']:.1f} s; nothing to compare yet"
    waiting = seconds["consumer_waiting"] / elapsed
    total = sum(busy.values())
    largest = max(busy, key=lambda name: busy[name])
    share = busy[largest] / total if total else 0.0
    if waiting < 0.05:
        return f"the consumer limits: it waited {waiting:.1%} of the time for data"
    return (
        f"the loader limits: the consumer waited {waiting:.1%} of the time; "
        f"{largest} takes {share:.0%} of the workers' busy time"
    )
