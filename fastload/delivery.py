"""The last steps of a batch: page-locked or not, onto the device, or apart into samples."""

import warnings
from typing import Any

import torch


def can_pin() -> bool:
    """Whether there is an accelerator to pin memory for; warns, as torch does, if not."""
    if not torch.accelerator.is_available():
        warnings.warn(
            "'pin_memory' argument is set as true but no accelerator is found, "
            "then device pinned memory won't be used.",
            stacklevel=4,
        )
        return False
    accelerator = torch.accelerator.current_accelerator()
    return accelerator is not None and accelerator.type != "mps"


def to_device(value: Any, device: torch.device) -> Any:
    """A batch, or a part of it, with its tensors on a device."""
    if isinstance(value, dict):
        return {name: to_device(v, device) for name, v in value.items()}
    if isinstance(value, torch.Tensor):
        return value.to(device, non_blocking=True)
    return [to_device(v, device) for v in value] if isinstance(value, list) else value


def sample_of(batch: Any, b: int) -> dict[str, Any]:
    """Sample `b` of a batch, as `dataset[i]` would give it, without a copy of pixels."""

    def pick(value: Any) -> Any:
        if isinstance(value, torch.Tensor):
            return value[b] if value[b].ndim else value[b].item()
        if value and isinstance(value[0], str):
            return value[b]
        return [v[b] for v in value]

    return {name: pick(value) for name, value in batch.items()}
