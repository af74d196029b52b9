"""What executes a plan: a mover, which brings bytes, and a target, which makes pixels of them.

The two are chosen independently and know each other only through what stands here. Engines differ
in speed, never in result. `MOVERS` and `TARGETS` are all there are; a new one is one file and one
line.

The way of a batch: the target *draws* its parameters and looks up its chunks (a `Request`); the
mover *begins* to move their bytes (a `Load`); the target *makes* the batch of them: it allocates
its memory and fills the slots, or launches that on a device (a `Pending`); whoever wants the batch
*waits* for it, and it is delivered. A producer thread does all but the last, ahead of time and in
the order of the steps, see `ring`.
"""

from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from fastload.engines.batch import Request
from fastload.engines.workers import Workers
from fastload.profile import Profile, Stages
from fastload.storage.errors import DataError

MOVERS = {
    "threads": "fastload.engines.threads:Threads",
    "dali": "fastload.engines.dali:Dali",
}
"""By the name of the engine."""

TARGETS = {
    "cpu": "fastload.engines.host:HostTarget",
    "cuda": "fastload.engines.device.target:DeviceTarget",
}
"""By the type of the device."""


@dataclass(frozen=True)
class Options:
    """What engines want to know beside the dataset.

    Attributes:
        device: where the pixels are delivered.
        seed: of every view.
        profile: the loader's clocks and counters.
        largest: most samples in a batch; None where that is not known.
        on_error, report: see `assembler.Repair`.
        pinned: whether batches in host memory are page-locked.
        device_cache, count_pixels: see `DataLoader`.
    """

    device: torch.device
    seed: int
    profile: Profile
    largest: int | None = None
    on_error: str = "raise"
    report: Path | None = None
    pinned: bool = False
    device_cache: int = 0
    count_pixels: bool = True


class Load(Protocol):
    """The compressed bytes of a request, under way or arrived."""

    def arrive(self) -> None:
        """Wait until the bytes are where the target wants them; called once, by the producer.

        Raises:
            MachineError: where the machine lacks what reading takes.
        """

    def release(self) -> None:
        """The target needs the bytes no more: on the host now, on a device when it has passed what
        is enqueued now. Called once, in any thread; never for a load that is given up, whose memory
        is simply dropped."""


class HostLoad(Load, Protocol):
    """What a mover without a queue gives."""

    def chunks(
        self, name: str, slot: int, span: slice, stages: Stages
    ) -> list[NDArray[np.uint8] | None]:
        """The stored bytes of some chunks of a slot; None for what has none.

        Called in any worker. They are valid until the same thread asks again, or `release`.

        Args:
            name: the modality.
            slot: of the request.
            span: numbers of the chunks in the request's part, all of this slot.
            stages: the calling thread's clock.

        Raises:
            DataError: names the first chunk that cannot be had.
        """


class DeviceLoad(Load, Protocol):
    """What a mover with a queue gives. All is complete after `arrive`.

    Attributes:
        failures: by modality, why chunks could not be had, by their number in the request's part;
            frames were compared with their checksums. The bytes of such chunks are arbitrary.
        host: address of a buffer in host memory where each chunk lies at its `Part.at`.
        address: of the same on the device, for what is enqueued before `release`.
    """

    failures: dict[str, dict[int, DataError]]
    host: int
    address: int


class Mover(Protocol):
    """Brings bytes. One for each loader; several iterations may use it at once, in threads.

    Its constructor takes the dataset, the profile, the target's queue (None for the host) and the
    most samples that a batch may have, or None where that is not known.
    """

    def begin(self, request: Request, workers: Workers) -> Any:
        """Begin to move a request's bytes; called by a producer, in the order of the steps.

        It gives a `HostLoad` or, with a queue, a `DeviceLoad`. Memory that it takes for that is
        taken once and used again.
        """

    def close(self) -> None:
        """Let go of what is held; the mover is not used again."""


class Pending(Protocol):
    """A batch in the making."""

    def wait(self) -> dict[str, Any]:
        """The finished batch; called once, by the consumer.

        On a device the caller's current stream waits for it, not the CPU. Whatever was wrong with
        the batch is raised here, if `Target.make` did not: the first error by the order of slots.
        """


class Target(Protocol):
    """Makes pixels. One for each loader; several iterations may use it at once, in threads.

    Its constructor takes the dataset and `Options`.

    Attributes:
        queue: where device work is enqueued, or None on the host.
    """

    queue: Any

    def draw(self, epoch: int, samples: NDArray[np.int64]) -> Request:
        """Draw the parameters of a batch and look up its chunks; called by a producer."""

    def make(self, request: Any, load: Any, workers: Workers) -> Pending:
        """Begin to make a batch; called by a producer, in the order of the steps.

        It gets the request that it drew, and the load that a mover with its queue began for that.

        It lets the load arrive, and releases it when it needs the bytes no more. A sample that
        cannot be had goes to `assembler.Repair`.
        """

    def drain(self) -> None:
        """Wait until no device reads or writes the memory of batches that are given up."""

    def summary(self) -> dict[str, Any]:
        """Entries for `DataLoader.stats`."""


def imported(name: str) -> Any:
    """A mover or target by its place in a table; heavy libraries are imported only now."""
    module, _, attribute = name.partition(":")
    return getattr(import_module(module), attribute)


__all__ = [
    "MOVERS",
    "TARGETS",
    "DeviceLoad",
    "HostLoad",
    "Load",
    "Mover",
    "Options",
    "Pending",
    "Target",
    "imported",
]
