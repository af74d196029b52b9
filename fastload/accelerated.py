"""What Hugging Face Accelerate expects of a loader that it prepared: the end of an epoch is told.

Accelerate leaves a loader alone that is marked as prepared. It then looks for the end of an epoch
(where gradients are exchanged whatever the accumulation, and where `gather_for_metrics` cuts off
what pads the last step) in an object that the loader registers.
"""

import warnings
from typing import Any

import torch


class Told:
    """An epoch, as Accelerate looks at it.

    Attributes:
        end_of_dataloader: whether the batch that was delivered last is the last one.
        remainder: samples in the last step of all ranks; 0 where it is full, -1 where not known.
    """

    def __init__(self, remainder: int) -> None:
        from accelerate.state import GradientState

        self.end_of_dataloader, self.remainder = False, remainder
        self._state = GradientState()
        self._state._add_dataloader(self)

    def close(self) -> None:
        """The epoch is over."""
        self._state._remove_dataloader(self)


class Prepared:
    """Whether Accelerate prepared a loader; shared by the loader and its batch sampler."""

    def __init__(self) -> None:
        self.by_accelerate = False
        self.num_workers = 0

    def begin(self, remainder: int) -> Told | None:
        """An epoch begins; what Accelerate looks at, if it prepared the loader."""
        return Told(remainder) if self.by_accelerate else None

    def warn_of_processes(self) -> None:
        """Say what a loader of Accelerate's cannot know, see `PlanBatches`."""
        if self.num_workers:
            warnings.warn(
                "skip_first_batches makes torch's loader, with worker processes that run ahead "
                f"(num_workers={self.num_workers}): accumulation, gather_for_metrics and saved "
                "states take the epoch for over too early; use loader.skip(n) and the loader "
                "itself, or num_workers=0",
                stacklevel=3,
            )


def refuse_undivided(sampler: object) -> None:
    """See that a user's sampler does not give all of Accelerate's processes the same samples.

    Raises:
        ValueError: names the sampler.
    """
    from accelerate.state import PartialState

    count = PartialState().num_processes
    if count > 1:
        raise ValueError(
            f"{type(sampler).__name__} does not know of Accelerate's {count} processes, which "
            "would all get the same samples: use shuffle and seed, dataset.subset, or a "
            "DistributedSampler"
        )


def device() -> torch.device:
    """Accelerate's device of this process."""
    from accelerate.state import AcceleratorState

    found: torch.device = AcceleratorState().device
    return found


def on(batch: Any, device: torch.device) -> Any:
    """A batch with all of its tensors on a device, as Accelerate delivers it."""
    from accelerate.utils import send_to_device

    return send_to_device(batch, device, non_blocking=True)
