"""Whether a backbone is a vision transformer, and how large its patches are."""

import functools

import torch

from ssl4eo_train import backbones
from ssl4eo_train.errors import SetupError


@functools.cache
def patch_size(arch: str) -> int | None:
    """Side of a vision transformer's patches in pixels; None for other backbones.

    Raises:
        SetupError: where timm has no such model.
    """
    from timm.models import VisionTransformer

    with torch.device("meta"):  # Shapes only: nothing is allocated or drawn.
        made = backbones.build(arch, bands=1, image_size=224)
    return int(made.patch_embed.patch_size[0]) if isinstance(made, VisionTransformer) else None


def is_transformer(arch: str, image_size: int) -> bool:
    """Whether a backbone is one, whose patches tile images of `image_size` pixels a side.

    Raises:
        SetupError: where it is one, but its patches do not.
    """
    patch = patch_size(arch)
    if patch and image_size % patch:
        raise SetupError(
            f"--image-size: expected a multiple of {patch}, the patch of {arch}, got {image_size}"
        )
    return patch is not None
