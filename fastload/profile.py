"""Where the time goes: a clock on every stage, and the verdict."""

import threading
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any


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
STAGES = ("read", "decode", "copy", "views")


class Profile:
    """The sum over threads, and the two ends of the ring."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._local = threading.local()
        self._threads: list[tuple[threading.Thread, Stages]] = []
        self._ended = Stages()
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
        self.consumer_waiting += waited
        self.elapsed += passed

    def summary(self) -> dict[str, Any]:
        """All figures as plain numbers, and the verdict."""
        total = Stages()
        with self._lock:
            for stages in (self._ended, *(s for _, s in self._threads)):
                total.add(stages)
        out: dict[str, Any] = {
            "seconds": {name: getattr(total, name) for name in STAGES}
            | {
                "wait_for_consumer": self.wait_for_consumer,
                "consumer_waiting": self.consumer_waiting,
            },
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
        return out | {"verdict": verdict(out)}


def verdict(summary: Mapping[str, Any]) -> str:
    """One line on what limits the run."""
    seconds, elapsed = summary["seconds"], summary["elapsed"]
    if not summary["batches"] or elapsed <= 0:
        return "nothing delivered yet"
    waiting = seconds["consumer_waiting"] / elapsed
    busy = {name: seconds[name] for name in STAGES}
    total = sum(busy.values())
    largest = max(busy, key=lambda name: busy[name])
    share = busy[largest] / total if total else 0.0
    if waiting < 0.05:
        return f"the consumer limits: it waited {waiting:.1%} of the time for data"
    return (
        f"the loader limits: the consumer waited {waiting:.1%} of the time; "
        f"{largest} takes {share:.0%} of the workers' busy time"
    )
