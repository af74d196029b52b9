"""Student and teacher of data2vec: BEiT's transformer, by timm. "FB" is the code of data2vec."""

from typing import TYPE_CHECKING, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ssl4eo_train.methods.patches import through

if TYPE_CHECKING:
    from timm.models import Beit

STD = 0.02


class Student(nn.Module):
    """Predicts what the teacher sees, of images some of whose patches are hidden."""

    def __init__(self, backbone: "Beit") -> None:
        super().__init__()
        self.backbone = backbone
        self.hidden = nn.Parameter(torch.empty(1, 1, backbone.embed_dim))
        self.predict = nn.Linear(backbone.embed_dim, backbone.embed_dim)
        self.apply(initialise)
        backbone.fix_init_weight()  # FB too scales the weights down by depth.
        for token in (self.hidden, backbone.cls_token):
            nn.init.trunc_normal_(token, std=STD, a=-STD, b=STD)

    def forward(self, images: Tensor, mask: Tensor) -> Tensor:
        """Predict for all patches.

        Args:
            images: ``[N, C, h, w]``.
            mask: ``[N, L]``: 0 is keep, 1 is hide.

        Returns:
            ``[N, L, D]``.
        """
        beit = self.backbone
        patches = beit.patch_embed(images)
        patches = torch.where(mask[..., None] > 0, self.hidden.to(patches.dtype), patches)
        x = torch.cat([beit.cls_token.expand(len(patches), -1, -1), patches], dim=1)
        assert beit.rel_pos_bias is not None
        bias = beit.rel_pos_bias()  # [heads, 1 + L, 1 + L]
        x = through(beit.blocks, x, beit.grad_checkpointing, shared_rel_pos_bias=bias)
        predicted: Tensor = self.predict(beit.norm(x[:, 1:]))
        return predicted


class Teacher(nn.Module):
    """Says what patches are in the context of the whole image."""

    def __init__(self, backbone: "Beit", blocks: int) -> None:
        super().__init__()
        self.backbone, self.blocks = backbone, blocks

    def forward(self, images: Tensor) -> Tensor:
        """Average the outputs of the last blocks for images ``[N, C, h, w]``: ``[N, L, D]``."""
        outputs = self.backbone.forward_intermediates(
            images, indices=self.blocks, output_fmt="NLC", intermediates_only=True
        )
        return average(cast(list[Tensor], outputs))


def average(outputs: list[Tensor]) -> Tensor:
    """Mean of blocks' outputs ``[N, L, D]``, each token normalised before and after; float32."""
    with torch.autocast(outputs[0].device.type, enabled=False):
        total = sum(_normalised(x) for x in outputs)
        assert isinstance(total, Tensor)
        return _normalised(total / len(outputs))


def _normalised(x: Tensor) -> Tensor:
    return F.layer_norm(x.float(), x.shape[-1:])


def initialise(module: nn.Module) -> None:
    """Draw the weights of a layer as FB: normal, cut off at one standard deviation."""
    if isinstance(module, (nn.Linear, nn.Conv2d)):
        nn.init.trunc_normal_(module.weight, std=STD, a=-STD, b=STD)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
