"""The two transformers of a masked autoencoder. "FB" is facebookresearch/mae."""

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from ssl4eo_train.methods.patches import through

if TYPE_CHECKING:
    from timm.models import VisionTransformer


class Encoder(nn.Module):
    """A vision transformer that is shown some of the patches. Its positions are fixed."""

    def __init__(self, backbone: "VisionTransformer") -> None:
        super().__init__()
        self.backbone = backbone
        assert backbone.pos_embed is not None
        assert backbone.cls_token is not None
        rows, columns = backbone.patch_embed.grid_size
        positions = sin_cos(rows, columns, backbone.embed_dim)
        # Some architectures have no position for the class token.
        length = backbone.pos_embed.shape[1]
        backbone.pos_embed.requires_grad_(False).copy_(positions[:, -length:])
        nn.init.normal_(backbone.cls_token, std=0.02)
        self.apply(initialise)

    def forward(self, images: Tensor, keep: Tensor) -> Tensor:
        """Encode the patches ``keep [N, K]`` of ``[N, C, h, w]``: to ``[N, 1 + K, D]``."""
        vit = self.backbone
        tokens = vit._pos_embed(vit.patch_embed(images))  # [N, 1 + L, D]
        index = keep[..., None].expand(-1, -1, tokens.shape[2])
        x = torch.cat([tokens[:, :1], tokens[:, 1:].gather(1, index)], dim=1)
        x = vit.norm_pre(x)
        encoded: Tensor = vit.norm(through(vit.blocks, x, vit.grad_checkpointing))
        return encoded


class Decoder(nn.Module):
    """A narrower transformer that sees encoded patches, and a token where one was removed.

    Args:
        features: D of the encoded tokens.
        pixels: P, numbers of a patch.
        rows, columns: patches down and across.
        width, depth, heads: of the transformer.
        checkpointing: recompute activations in the backward pass.
    """

    positions: Tensor

    def __init__(
        self,
        features: int,
        pixels: int,
        rows: int,
        columns: int,
        *,
        width: int,
        depth: int,
        heads: int,
        checkpointing: bool = False,
    ) -> None:
        super().__init__()
        from timm.models.vision_transformer import Block

        self.embed = nn.Linear(features, width)
        self.removed = nn.Parameter(torch.empty(1, 1, width))
        self.register_buffer("positions", sin_cos(rows, columns, width), persistent=False)
        self.blocks = nn.Sequential(*(Block(width, heads, qkv_bias=True) for _ in range(depth)))
        self.norm = nn.LayerNorm(width, eps=1e-6)
        self.predict = nn.Linear(width, pixels)
        self.checkpointing = checkpointing
        nn.init.normal_(self.removed, std=0.02)
        self.apply(initialise)

    def forward(self, encoded: Tensor, rank: Tensor) -> Tensor:
        """Paint all patches.

        Args:
            encoded: the class token and K patches, ``[N, 1 + K, D]``.
            rank: ``[N, L]``: patch l is the one encoded at place 1 + rank, or removed from K on.

        Returns:
            ``[N, L, P]``.
        """
        x = self.embed(encoded)
        N, tokens, D = x.shape
        removed = self.removed.expand(N, 1 + rank.shape[1] - tokens, D)
        patches = torch.cat([x[:, 1:], removed], dim=1).gather(1, rank[..., None].expand(-1, -1, D))
        x = torch.cat([x[:, :1], patches], dim=1) + self.positions
        x = through(self.blocks, x, self.checkpointing)
        painted: Tensor = self.predict(self.norm(x[:, 1:]))
        return painted


def sin_cos(rows: int, columns: int, width: int) -> Tensor:
    """Fixed positions of the class token, at zero, and of patches: ``[1, 1 + L, width]``.

    A quarter of the features each is the sine and the cosine of the column, then of the row. As FB,
    computed in float64, which timm's are not.
    """
    frequencies = 10000.0 ** -torch.linspace(0, 1, width // 4 + 1, dtype=torch.float64)[:-1]
    row, column = torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij")
    angles = (at.reshape(-1, 1) * frequencies for at in (column, row))
    patches = torch.cat([f(angle) for angle in angles for f in (torch.sin, torch.cos)], dim=1)
    return torch.cat([patches.new_zeros(1, width), patches])[None].to(torch.float32)


def initialise(module: nn.Module) -> None:
    """Draw the weights of a layer as FB: Glorot, also for patches, as if these were linear."""
    if isinstance(module, (nn.Linear, nn.Conv2d)):
        nn.init.xavier_uniform_(module.weight.detach().flatten(1))
    if isinstance(module, nn.Linear):
        nn.init.zeros_(module.bias)
