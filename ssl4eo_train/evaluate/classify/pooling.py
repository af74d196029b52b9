"""From a backbone's tokens or maps to one vector an image, as each method's authors evaluate it."""

from typing import Any, Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ssl4eo_train import backbones
from ssl4eo_train.errors import SetupError
from ssl4eo_train.evaluate.pretrained import Pretrained

Pool = Literal["auto", "backbone", "cls", "cls4", "mean", "mean_norm"]
"""``backbone``: what timm's network gives: of a ResNet the mean over its last maps, of a
transformer the class token behind the last norm, of a BEiT the mean over its patches. ``cls``: the
class token behind the last norm. ``cls4``: those of the last four blocks, each behind the last
norm, one after the other. ``mean``: over the patches, behind the last norm. ``mean_norm``: over the
patches of the last block, then a norm without weights. ``auto``: see `default`."""
POOLS = get_args(Pool)
_BLOCKS = 4
_EPS = 1e-6


def default(pretrained: Pretrained) -> Pool:
    """What the authors of the method that made a backbone take.

    - DINO's transformers: ``cls4`` (facebookresearch/dino, eval_linear.py, for ViT-S, whose
      --n_last_blocks is 4 and --avgpool_patchtokens false; SSL4EO-S12's linear_*_dino.py keep
      that).
    - data2vec: ``mean_norm`` (modeling_finetune.py of BEiT's code as SSL4EO-S12 has it: `fc_norm`
      behind the mean, in place of `norm`, and without weights for a linear classifier).
    - MoCo-v3 and MAE: the class token (main_lincls.py of the one; main_linprobe.py of the other,
      with --cls_token).
    - ResNets, of MoCo-v2, DINO and SeCo: the mean over the last maps.

    The last two are what ``backbone`` is.
    """
    if pretrained.method == "dino" and is_transformer(pretrained.network):
        return "cls4"
    if pretrained.method == "data2vec" and is_transformer(pretrained.network):
        return "mean_norm"
    return "backbone"


def is_transformer(network: nn.Module) -> bool:
    """Whether a network of timm has blocks and tokens."""
    return all(hasattr(network, n) for n in ("patch_embed", "blocks", "forward_intermediates"))


class Pooled(nn.Module):
    """A backbone with its pooling: ``[N, C, h, w]`` to features ``[N, F]``.

    Args:
        network: of timm.
        pool: anything but ``auto``.

    Raises:
        SetupError: where the network has no such tokens.
    """

    def __init__(self, network: nn.Module, pool: Pool) -> None:
        super().__init__()
        if pool != "backbone" and not is_transformer(network):
            raise SetupError(f"pool {pool} is for transformers; this network has no tokens")
        if pool in ("cls", "cls4") and not getattr(network, "num_prefix_tokens", 0):
            raise SetupError(f"pool {pool} needs a class token, and this network has none")
        blocks: Any = getattr(network, "blocks", ())
        if pool == "cls4" and len(blocks) < _BLOCKS:
            raise SetupError(f"pool cls4 needs {_BLOCKS} blocks, there are {len(blocks)}")
        self.network, self.pool = network, pool
        self.width = backbones.width(network) * (_BLOCKS if pool == "cls4" else 1)
        """F."""

    def forward(self, images: Tensor) -> Tensor:
        """Features of images ``[N, C, h, w]``."""
        if self.pool == "backbone":
            pooled: Tensor = self.network(images)
            return pooled
        count = _BLOCKS if self.pool == "cls4" else 1
        found = _tokens(self.network, images, count, norm=self.pool != "mean_norm")
        if self.pool in ("cls", "cls4"):
            return torch.cat([prefix[:, 0] for _, prefix in found], dim=1)
        mean = found[-1][0].mean(dim=1)
        return F.layer_norm(mean, mean.shape[1:], eps=_EPS) if self.pool == "mean_norm" else mean


def _tokens(network: Any, images: Tensor, count: int, norm: bool) -> list[tuple[Tensor, Tensor]]:
    """Of each of the last `count` blocks the patches ``[N, L, D]`` and what stands before them."""
    found: list[tuple[Tensor, Tensor]] = network.forward_intermediates(
        images,
        indices=count,
        return_prefix_tokens=True,
        norm=norm,
        output_fmt="NLC",
        intermediates_only=True,
    )
    return found


def resolved(pool: str, pretrained: Pretrained) -> Pool:
    """A pool by name, ``auto`` being the default of the method.

    Raises:
        SetupError: where there is none of that name.
    """
    if pool not in POOLS:
        raise SetupError(f"pool is {pool!r}, expected one of {', '.join(POOLS)}")
    return default(pretrained) if pool == "auto" else pool  # type: ignore[return-value]
