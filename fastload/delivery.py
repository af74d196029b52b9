"""The last steps of a batch: page-locked or not, onto the device, or apart into samples."""

import os
import warnings
from collections.abc import Iterable
from typing import Any

import torch


def can_pin() -> bool:
    """Whether there is an accelerator to pin memory for; warns, as torch does, if not."""
    if not torch.accelerator.is_available():
        warnings.warn(
            "'pin_memory' argument is set as true but no accelerator is found, "
            "then device pinned memory won't be used.",
            stacklevel=5,
        )
        return False
    accelerator = torch.accelerator.current_accelerator()
    return accelerator is not None and accelerator.type != "mps"


def resolved(device: str | torch.device) -> torch.device:
    """A device, with its number: "cuda" is the one that torch was set to, or else that of
    torchrun's `LOCAL_RANK`, if it is visible.

    Raises:
        ValueError: where there is no such GPU.
    """
    wanted = torch.device(device)
    if wanted.type != "cuda":
        return wanted
    if not torch.cuda.is_available():
        raise ValueError(f"device is {str(device)!r}, but torch finds no GPU here")
    count = torch.cuda.device_count()
    index = wanted.index
    if str(wanted) == "cuda":
        # Before CUDA has started, nobody can have chosen a device; asking for it would start it.
        begun = torch.cuda.is_initialized()  # type: ignore[no-untyped-call]
        current = torch.cuda.current_device() if begun else 0
        index = default_index(current, os.environ.get("LOCAL_RANK"), count)
    if index >= count:
        raise ValueError(f"device cuda:{index}: there are {count} GPUs here")
    return torch.device("cuda", index)


def default_index(current: int, local_rank: str | None, count: int) -> int:
    """Which GPU "cuda" is.

    Args:
        current: the one that torch is set to; 0 where nobody chose.
        local_rank: of torchrun, as far as it is set.
        count: how many are visible.
    """
    if current or local_rank is None or not local_rank.isdigit():
        return current
    return int(local_rank) if int(local_rank) < count else current


def moved(batch: dict[str, Any], pixels: Iterable[str], device: torch.device) -> dict[str, Any]:
    """A batch with the tensors of some modalities on a device."""
    to = {
        name: [t.to(device, non_blocking=True) for t in batch[name]]
        if isinstance(batch[name], list)
        else batch[name].to(device, non_blocking=True)
        for name in pixels
    }
    return batch | to


def sample_of(batch: Any, b: int) -> dict[str, Any]:
    """Sample `b` of a batch, as `dataset[i]` would give it, without a copy of pixels."""

    def pick(value: Any, of_view: bool = False) -> Any:
        if isinstance(value, torch.Tensor):
            return value[b] if of_view or value[b].ndim else value[b].item()
        if value and isinstance(value[0], str):
            return value[b]
        return [pick(v, True) for v in value]

    return {name: pick(value) for name, value in batch.items()}
