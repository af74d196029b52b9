"""Positions of a transformer's patches, resampled for another number of patches.

Absolute ones by bicubic interpolation without antialiasing, as the evaluations of MAE and DINO do
(facebookresearch/mae, util/pos_embed.py). Tables of relative ones as BEiT's code does, whose steps
grow with the distance; timm's is linear between its points, BEiT's was cubic.
"""

import math
from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

ABSOLUTE, RELATIVE = "pos_embed", "relative_position_bias_table"
BESIDE = 3
"""Entries of a relative table that are no distance: class to patch, patch to class, class to class.
"""


def resampled(
    tensors: Mapping[str, Tensor], backbone: nn.Module
) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    """Fit positions to a backbone's grid; all else stays as it is.

    Args:
        tensors: by timm's names; positions absolute ``[1, P + N, D]`` of P tokens beside N patches,
            or relative ``[(2 H - 1) (2 W - 1) + 3, heads]``.
        backbone: of timm, which says what it wants.

    Returns:
        All tensors, and the grids that were changed, in words. What cannot be resampled (another
        width, no square grid) is left for who compares shapes.
    """
    wanted = backbone.state_dict()
    found, words = dict(tensors), []
    for name, x in tensors.items():
        if name not in wanted or x.shape == wanted[name].shape:
            continue
        told = None
        if name == ABSOLUTE:
            told = _absolute(found, name, backbone)
        elif name.endswith(RELATIVE):
            told = _relative(found, name, backbone)
        if told and told not in words:
            words.append(told)
    return found, tuple(words)


def _absolute(found: dict[str, Tensor], name: str, backbone: Any) -> str | None:
    """Replace absolute positions; None where they are of another kind."""
    from timm.layers.pos_embed import resample_abs_pos_embed

    x, wanted = found[name], backbone.state_dict()[name]
    grid = getattr(getattr(backbone, "patch_embed", None), "grid_size", None)
    if grid is None or x.ndim != 3 or x.shape[-1] != wanted.shape[-1]:
        return None
    beside = wanted.shape[1] - math.prod(grid)
    side = math.isqrt(max(0, x.shape[1] - beside))
    if side == 0 or side**2 + beside != x.shape[1]:
        return None
    found[name] = resample_abs_pos_embed(x, list(grid), num_prefix_tokens=beside, antialias=False)
    return f"positions resampled from {side} x {side} to {grid[0]} x {grid[1]} patches"


def _relative(found: dict[str, Tensor], name: str, backbone: nn.Module) -> str | None:
    """Replace a table of relative positions; None where it is of another kind."""
    from timm.layers.pos_embed_rel import resize_rel_pos_bias_table

    x, wanted = found[name], backbone.state_dict()[name]
    owner: Any = backbone.get_submodule(name.rpartition(".")[0])
    window = getattr(owner, "window_size", None)
    if window is None or x.ndim != 2 or x.shape[1] != wanted.shape[1]:
        return None
    side = math.isqrt(max(0, len(x) - BESIDE))  # 2 H - 1
    if side % 2 == 0 or side**2 + BESIDE != len(x):
        return None
    found[name] = resize_rel_pos_bias_table(x, tuple(window), tuple(wanted.shape))
    before = (side + 1) // 2
    return (
        f"relative positions resampled from {before} x {before} to {window[0]} x {window[1]} "
        "patches"
    )


def image_size(tensors: Mapping[str, Tensor]) -> int | None:
    """Side of the square images that a transformer's positions are for; None where unknown."""
    patch = tensors.get("patch_embed.proj.weight")
    absolute = tensors.get(ABSOLUTE)
    relative = next((x for name, x in tensors.items() if name.endswith(RELATIVE)), None)
    if patch is None:
        return None
    side = 0
    if absolute is not None and absolute.ndim == 3:
        side = math.isqrt(max(0, absolute.shape[1] - ("cls_token" in tensors)))
    elif relative is not None:
        side = (math.isqrt(max(0, len(relative) - BESIDE)) + 1) // 2
    return side * patch.shape[-1] or None
