"""Images as rows of patches, and the transformers that see them so."""

import functools
from collections.abc import Iterable
from typing import TYPE_CHECKING

from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from ssl4eo_train import backbones
from ssl4eo_train.errors import SetupError
from ssl4eo_train.methods.vit import is_transformer

if TYPE_CHECKING:
    from timm.models import VisionTransformer


def patchify(images: Tensor, patch: int) -> Tensor:
    """Cut images ``[N, C, h, w]`` into patches ``[N, L, patch x patch x C]``, row by row.

    Inside a patch the bands of a pixel lie together: pixel-major, band last.
    """
    N, C, h, w = images.shape
    cut = images.reshape(N, C, h // patch, patch, w // patch, patch)
    return cut.permute(0, 2, 4, 3, 5, 1).reshape(N, -1, patch * patch * C)


def unpatchify(patches: Tensor, patch: int, columns: int) -> Tensor:
    """Undo `patchify`, for images of `columns` patches across: to ``[N, C, h, w]``."""
    N, L, D = patches.shape
    rows, C = L // columns, D // patch**2
    cut = patches.reshape(N, rows, columns, patch, patch, C)
    return cut.permute(0, 5, 1, 3, 2, 4).reshape(N, C, rows * patch, columns * patch)


def transformer(method: str, arch: str, bands: int, image_size: int) -> "VisionTransformer":
    """Make a plain vision transformer: patches that tile the image, positions, one class token.

    Args:
        method: whose name the errors give.
        arch, bands, image_size: see `backbones.build`.

    Raises:
        SetupError: where `arch` is something else, or patches do not tile the image.
    """
    from timm.models import VisionTransformer

    made = backbones.build(arch, bands, image_size) if is_transformer(arch, image_size) else None
    if (
        not isinstance(made, VisionTransformer)
        or not made.has_class_token
        or made.num_prefix_tokens > 1
        or made.pos_embed is None
    ):
        raise SetupError(
            f"--arch: {method} needs a plain vision transformer, such as vit_small_patch16_224, "
            f"got {arch!r}"
        )
    return made


def through(blocks: Iterable[nn.Module], x: Tensor, checkpointing: bool, **more: Tensor) -> Tensor:
    """Pass tokens ``[N, L, D]`` through blocks, which may take `more`.

    With `checkpointing`, the inside of a block is computed again in the backward pass.
    """
    for block in blocks:
        step = functools.partial(block, **more)
        x = checkpoint(step, x, use_reentrant=False) if checkpointing else step(x)
    return x
