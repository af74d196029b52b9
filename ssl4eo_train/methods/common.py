"""What several methods share: radiometry, schedules, moving averages, parameter groups."""

import math
from collections.abc import Iterable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import Optimizer

from fastload.recipe import OTHERS, Radiometry
from ssl4eo_train.errors import SetupError
from ssl4eo_train.methods.method import Progress

# SSL4EO-S12 casts DN / 10000 * 255 to uint8 without a clip, so that 12000 DN wraps to grey 50, and
# so do pixels that brightness and contrast push out of range. Its README says "clip to [0, 1]";
# that is what is done here, in float, without rounding to grey levels of 39.2 DN, unless the option
# `pixels` asks for the published way (`pixels.recipe_of`). Like SSL4EO-S12, no mean is subtracted.
RADIOMETRY = {
    "S2L1C": Radiometry.reflectance(),
    "S2L2A": Radiometry.reflectance(),
    "S2RGB": Radiometry.quantile(0.0, 255.0),
    "S1GRD": Radiometry.two_sigma(),
    # Not in SSL4EO-S12's code; in [0, 1] as the others, since views are jittered and clipped there.
    "S1RTC": Radiometry.two_sigma(),
    "NDVI": Radiometry.two_sigma(),
    "DEM": Radiometry.two_sigma(),
    # Of other archives: Copernicus-Pretrain's name, and whatever has statistics.
    "s2_toa": Radiometry.reflectance(),
    OTHERS: Radiometry.two_sigma(),
}


def warmup_cosine(progress: Progress, warmup_epochs: float, start: float, end: float) -> float:
    """Linear from 0 to `start` over the warm-up, then half a cosine to `end`, per step."""
    steps = round(warmup_epochs * progress.steps_per_epoch)
    if progress.step < steps:
        return start * progress.step / steps
    return cosine((progress.step - steps) / max(1, progress.total - steps), start, end)


def cosine(share: float, start: float, end: float) -> float:
    """Half a cosine from `start`, at share 0, to `end`, at share 1 and beyond."""
    return end + (start - end) * 0.5 * (1 + math.cos(math.pi * min(1.0, share)))


def set_rate(optimizer: Optimizer, rate: float) -> float:
    """Give every parameter group the learning rate `rate`, and return it."""
    for group in optimizer.param_groups:
        group["lr"] = rate
    return rate


@torch.no_grad()
def follow(follower: nn.Module, leader: nn.Module, momentum: float) -> None:
    """Move parameters: ``follower = momentum follower + (1 - momentum) leader``. Not buffers."""
    moved: list[Tensor] = list(follower.parameters())
    towards: list[Tensor] = list(leader.parameters())
    torch._foreach_mul_(moved, momentum)
    torch._foreach_add_(moved, towards, alpha=1 - momentum)


def decay_groups(
    named: Iterable[tuple[str, nn.Parameter]], weight_decay: float, exempt: Iterable[str] = ()
) -> list[dict[str, Any]]:
    """Parameter groups: `weight_decay` for matrices and kernels, none for biases and vectors.

    Args:
        named: names and parameters; those that are not trained are left out.
        weight_decay: of the first group, which is marked ``decays``; 0 for the second.
        exempt: further names that do not decay.
    """
    spared = set(exempt)
    decays: list[nn.Parameter] = []
    rest: list[nn.Parameter] = []
    for name, parameter in named:
        if parameter.requires_grad:
            is_vector = parameter.ndim <= 1 or name.endswith(".bias") or name in spared
            (rest if is_vector else decays).append(parameter)
    return [
        {"params": decays, "weight_decay": weight_decay, "decays": True},
        {"params": rest, "weight_decay": 0.0, "decays": False},
    ]


@torch.no_grad()
def spread(features: Tensor) -> Tensor:
    """How widely features ``[N, D]`` point: 1 for evenly in all directions, 0 for all alike.

    The standard deviation over N of the unit rows, averaged over D, times sqrt(D). Source: Chen and
    He, arXiv:2011.10566, section 4.1.
    """
    unit = F.normalize(features.detach().float(), dim=1)
    return unit.std(dim=0, unbiased=False).mean() * math.sqrt(unit.shape[1])


def expect(holds: bool, option: str, value: object, wanted: str) -> None:
    """Refuse an option's value.

    Raises:
        SetupError: where it does not hold what was `wanted`; names both.
    """
    if not holds:
        raise SetupError(f"{option} is {value}, expected {wanted}")
