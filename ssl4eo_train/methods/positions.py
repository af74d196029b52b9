"""Positions of a vision transformer for images of another size, as DINO's code has them."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor


def resampled(patches: Tensor, old: tuple[int, int], new: tuple[int, int]) -> Tensor:
    """Positions of patches for another grid: ``[1, L, D]`` to ``[1, l, D]``, row by row.

    Bicubic, without antialiasing. The factors are a tenth of a patch larger than they should be,
    which FB, whose weights are trained so, do against rounding (facebookresearch/dino,
    vision_transformer.py, ``interpolate_pos_encoding``): they decide where the samples are taken.

    Args:
        patches: positions.
        old, new: rows and columns of the grids; L and l are their products.
    """
    if old == new:
        return patches
    factors = tuple((n + 0.1) / o for o, n in zip(old, new, strict=True))
    image = patches.view(1, *old, -1).permute(0, 3, 1, 2)
    image = F.interpolate(image, scale_factor=factors, mode="bicubic")
    return image.permute(0, 2, 3, 1).flatten(1, 2)


def resample_as_published(vit: Any) -> None:
    """Let a transformer of timm resample its positions by `resampled`.

    Names and weights stay timm's: the class of the object is a subclass of the one that it was.
    """
    kind: Any = type(vit)

    class Published(kind):  # type: ignore[misc]
        def _pos_embed(self, x: Tensor) -> Tensor:
            """Tokens ``[N, 1 + L, D]`` of patches ``[N, H, W, D]``, with positions."""
            prefix = 0 if self.no_embed_class else self.num_prefix_tokens
            own, patches = self.pos_embed.split([prefix, self.pos_embed.shape[1] - prefix], dim=1)
            _, H, W, _ = x.shape
            x = x.flatten(1, 2) + resampled(patches, self.patch_embed.grid_size, (H, W))
            first = [t for t in (self.cls_token, self.reg_token) if t is not None]
            if first:
                tokens = torch.cat([t.expand(len(x), -1, -1) for t in first], dim=1)
                x = torch.cat([tokens + own if prefix else tokens, x], dim=1)
            dropped: Tensor = self.pos_drop(x)
            return dropped

    if vit.pos_embed is not None:
        vit.__class__ = Published
