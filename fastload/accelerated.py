"""What Hugging Face Accelerate expects of a loader that it prepared: the end of an epoch is told.

Accelerate leaves a loader alone that is marked as prepared. It then looks for the end of an epoch
(where gradients are exchanged whatever the accumulation, and where `gather_for_metrics` cuts off
what pads the last step) in an object that the loader registers.
"""

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
    """Whether Accelerate prepared a loader; shared by the loader and its sampler."""

    def __init__(self) -> None:
        self.by_accelerate = False

    def begin(self, remainder: int) -> Told | None:
        """An epoch begins; what Accelerate looks at, if it prepared the loader."""
        return Told(remainder) if self.by_accelerate else None


def device() -> torch.device:
    """Accelerate's device of this process."""
    from accelerate.state import AcceleratorState

    found: torch.device = AcceleratorState().device
    return found


def on(batch: Any, device: torch.device) -> Any:
    """A batch with all of its tensors on a device, as Accelerate delivers it."""
    from accelerate.utils import send_to_device

    return send_to_device(batch, device, non_blocking=True)
