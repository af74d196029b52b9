"""Where the time goes: a clock on every stage, and the verdict."""

import threading
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any


@dataclass
class Stages:
    """Seconds and counts of one thread. Only its thread writes it."""

    read: float = 0.0
    """Check-summing, which is what first touches the mapped bytes. Without it, decode pays."""
    decode: float = 0.0
    copy: float = 0.0
    views: float = 0.0
    bytes_in: int = 0
    bytes_out: int = 0
    samples: int = 0


STAGES = ("read", "decode", "copy", "views")


class Profile:
    """The sum over threads, and the two ends of the ring."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._local = threading.local()
        self._threads: list[Stages] = []
        self.consumer_waiting = 0.0
        """Seconds that the consumer waited for a batch."""
        self.wait_for_consumer = 0.0
        """Seconds that finished batches lay ready before they were asked for."""
        self.elapsed = 0.0
        self.batches = 0
        self.replaced = 0
        self.errors = 0

    def stages(self) -> Stages:
        """The calling thread's own."""
        if not hasattr(self._local, "stages"):
            self._local.stages = Stages()
            with self._lock:
                self._threads.append(self._local.stages)
        mine: Stages = self._local.stages
        return mine

    def summary(self) -> dict[str, Any]:
        """All figures as plain numbers, and the verdict."""
        with self._lock:
            total = {f.name: sum(getattr(s, f.name) for s in self._threads) for f in fields(Stages)}
        out: dict[str, Any] = {
            "seconds": {name: total[name] for name in STAGES}
            | {
                "wait_for_consumer": self.wait_for_consumer,
                "consumer_waiting": self.consumer_waiting,
            },
            "elapsed": self.elapsed,
            "bytes_in": total["bytes_in"],
            "bytes_out": total["bytes_out"],
            "samples": total["samples"],
            "batches": self.batches,
            "replaced": self.replaced,
            "errors": self.errors,
        }
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
