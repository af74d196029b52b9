"""MoCo-v3 as SSL4EO-S12 trained it (Wang et al., arXiv:2211.07044, its published code).

Momentum contrast without a queue: a predicted query must find its key among those of the step.
Chen et al., arXiv:2104.02057; "FB" below is their code, facebookresearch/moco-v3.
"""

import copy
import dataclasses
import itertools
import math
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import AdamW, Optimizer

from fastload.recipe import Recipe
from fastload_kernels import View
from ssl4eo_train import backbones, distributed
from ssl4eo_train.methods.common import (
    cosine,
    expect,
    follow,
    set_rate,
    spread,
    warmup_cosine,
)
from ssl4eo_train.methods.method import Learner, Progress, Published, Samples, Settings
from ssl4eo_train.methods.pixels import expect_pixels, recipe_of
from ssl4eo_train.methods.vit import is_transformer

PUBLISHED = Published(arch="vit_small_patch16_224", image_size=224, batch=256, epochs=100)
# At 256 samples; the published code has the line that scales it with the batch commented out. Its
# only MoCo-v3 is the transformer; FB trains a ResNet by LARS, where here both go by AdamW.
LEARNING_RATE = 1.5e-4


@dataclass(frozen=True, kw_only=True)
class Options:
    """What may be set; the defaults are the published values, where it is not said otherwise."""

    temperature: float = 0.2
    """Divides the similarities."""
    momentum: float = 0.99
    """Of the key encoder's moving average at the start; it ends at 1."""
    hidden: int = 4096
    """Width of the hidden layers of projector and predictor."""
    width: int = 256
    """Of the embeddings."""
    warmup: float = 10.0
    """Epochs over which the learning rate rises; FB has 40, of 300."""
    weight_decay: float = 0.1
    """On all parameters, biases and norms included."""
    frozen_patches: bool = True
    """Leave a transformer's patch projection as it was drawn."""
    published_patch_bound: bool = False
    """Draw that projection as if there were 3 bands, however many there are, as published."""
    pixels: str = "float"
    """``float``, or as published ``uint8_wrap``, or ``uint8``; see `pixels.recipe_of`."""

    def __post_init__(self) -> None:
        m, t = self.momentum, self.temperature
        expect(0 <= m < 1, "momentum", m, "a number in [0, 1)")
        expect(t > 0, "temperature", t, "a number above 0")
        expect_pixels(self.pixels)


DEFAULTS = Options()


def recipe(
    image_size: int = 224, arch: str = PUBLISHED.arch, options: Options = DEFAULTS
) -> Recipe:
    """Two views, each at a season of its own, that differ in how often they are blurred.

    Args:
        image_size: side of a view in pixels.
        arch: makes no difference.
        options: see `Options.pixels`.
    """
    first = View(
        size=image_size,
        scale=(0.08, 1.0),
        ratio_law="uniform",  # As cvtorchvision 0.0.1 crops, see `moco_v2.recipe`.
        timestamp="independent",
        jitter=0.8,
        brightness=0.4,
        contrast=0.4,
        gray=0.2,
        blur=1.0,
        sigma=(0.1, 2.0),
        hflip=0.5,
    )
    # FB also solarizes one in five second views; SSL4EO-S12 does not.
    return recipe_of((first, dataclasses.replace(first, blur=0.1)), options.pixels)


class MoCoV3(Learner):
    """Query encoder, its predictor, and the key encoder that follows.

    Args:
        encoder: images ``[N, C, h, w]`` to embeddings ``[N, D]``, by a submodule ``backbone`` and
            more; the key encoder is its copy.
        predictor: embeddings to embeddings ``[N, D]``.
        options: see there.
    """

    step_norm = True

    def __init__(
        self, encoder: nn.Module, predictor: nn.Module, options: Options = DEFAULTS
    ) -> None:
        super().__init__()
        self.query = encoder
        self.predictor = predictor
        self.key = copy.deepcopy(encoder).requires_grad_(False)
        self.options = options

    @property
    def backbone(self) -> nn.Module:
        """See `Learner.backbone`."""
        return self.query.get_submodule("backbone")

    def forward(self, views: list[Tensor], samples: Samples) -> tuple[Tensor, dict[str, Tensor]]:
        """Let each view find the other one's key.

        Args:
            views: two tensors ``[N, C, h, w]``.
            samples: make no difference.

        Returns:
            The loss; ``accuracy``, the share of queries nearest to their own key; and ``spread`` of
            the first view's queries. Scalars.
        """
        q1, q2 = (self.predictor(self.query(view)) for view in views)  # [N, D] each
        with torch.no_grad():
            k1, k2 = (self.key(view) for view in views)
        there, accuracy_there = contrast(q1, k2, self.options.temperature)
        back, accuracy_back = contrast(q2, k1, self.options.temperature)
        accuracy = (accuracy_there + accuracy_back) / 2
        return there + back, {"accuracy": accuracy, "spread": spread(q1)}

    def optimizer(self, lr: float | None = None) -> Optimizer:
        """AdamW; weight decay on all parameters, as FB."""
        self.lr = LEARNING_RATE if lr is None else lr
        parts = (*self.query.parameters(), *self.predictor.parameters())
        trained = [p for p in parts if p.requires_grad]
        return AdamW(trained, lr=self.lr, weight_decay=self.options.weight_decay)

    def before_step(self, optimizer: Optimizer, progress: Progress) -> float:
        """Warm up, then half a cosine to 0, per step; the key encoder follows, ever more slowly.

        FB moves it between the two encoders' forward passes, which is the same: parameters only,
        batch norm's running statistics are its own. At the start both are alike, also where the
        query encoder was given weights after it was made.
        """
        share = progress.epoch / progress.epochs
        start = progress.step == 0
        follow(self.key, self.query, 0.0 if start else cosine(share, self.options.momentum, 1.0))
        return set_rate(optimizer, warmup_cosine(progress, self.options.warmup, self.lr, 0.0))


def contrast(q: Tensor, k: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
    """InfoNCE among the keys of the step, computed in float32 whatever autocast says. Collective.

    Args:
        q: queries ``[N, D]`` of any length.
        k: their keys ``[N, D]``; those of the other processes are gathered.
        temperature: divides the similarities, and multiplies the loss.

    Returns:
        The mean over N of ``-2 temperature log softmax(cos(q, keys) / temperature)[own]``, and the
        share of queries whose greatest logit is their own key's. Scalars.
    """
    with torch.autocast(q.device.type, enabled=False):
        q, k = (F.normalize(x.float(), dim=1) for x in (q, k))
        keys = distributed.gather(k)  # [G, D]
        logits = torch.einsum("nd,gd->ng", q, keys) / temperature
        # The step deals samples in turn, so rank r owns columns r, r + world, ... FB's are blocks.
        own = distributed.mine(torch.arange(len(keys), device=q.device))
        loss = F.cross_entropy(logits, own) * 2 * temperature
        accuracy = (logits.detach().argmax(dim=1) == own).float().mean()
    return loss, accuracy


def mlp(*widths: int, last_norm: bool = True) -> nn.Sequential:
    """Linear layers without bias; batch norm and ReLU between, plain batch norm at the end."""
    layers: list[nn.Module] = []
    for inputs, outputs in itertools.pairwise(widths):
        layers += [nn.Linear(inputs, outputs, bias=False), nn.BatchNorm1d(outputs), nn.ReLU()]
    last = [nn.BatchNorm1d(widths[-1], affine=False)] if last_norm else []
    return nn.Sequential(*layers[:-2], *last)


@torch.no_grad()
def fix(backbone: Any, options: Options) -> None:
    """Give a transformer the parts that MoCo-v3 does not train: positions and patch projection."""
    from timm.layers.pos_embed_sincos import build_sincos2d_pos_embed

    if backbone.pos_embed is not None:
        # As FB: sine and cosine of the row, then of the column. Tokens other than patches: 0.
        rows, columns = backbone.patch_embed.grid_size
        patches = build_sincos2d_pos_embed(
            [rows, columns], backbone.embed_dim, interleave_sin_cos=True
        )
        backbone.pos_embed.zero_()[0, -rows * columns :] = patches
        backbone.pos_embed.requires_grad_(False)
    weight = backbone.patch_embed.proj.weight
    outputs, inputs, height, width = weight.shape
    # SSL4EO-S12 kept FB's 3 in this bound with 13 bands: 0.0722 for ViT-S/16 where 0.0402 is due.
    inputs = 3 if options.published_patch_bound else inputs
    bound = math.sqrt(6 / (inputs * height * width + outputs))
    nn.init.uniform_(weight, -bound, bound)
    if backbone.patch_embed.proj.bias is not None:
        nn.init.zeros_(backbone.patch_embed.proj.bias)
    backbone.patch_embed.requires_grad_(not options.frozen_patches)


def build(settings: Settings) -> MoCoV3:
    """See `Method.build`."""
    options: Options = settings.options
    is_vit = is_transformer(settings.arch, settings.image_size)
    # timm knows FB's initialisation of everything but what `fix` sets.
    more: dict[str, Any] = {"weight_init": "moco"} if is_vit else {}
    # FB and SSL4EO-S12 make a ResNet with zero_init_residual, and neither replaces conv1.
    own = {"redrawn_conv1": False, "zero_last": True}
    size = settings.image_size
    backbone: Any = backbones.build(settings.arch, settings.bands, size, **own, **more)
    if is_vit:
        fix(backbone, options)
    backbone.set_grad_checkpointing(settings.checkpointing)
    features, hidden, width = backbones.width(backbone), options.hidden, options.width
    encoder = nn.Sequential()
    encoder.add_module("backbone", backbone)
    # FB's head of a ResNet is a layer shorter, and its predictor ends without a norm.
    projector = [features, *[hidden] * (2 if is_vit else 1), width]
    encoder.add_module("projector", mlp(*projector))
    predictor = mlp(width, hidden, width, last_norm=is_vit)
    return MoCoV3(encoder, predictor, options)
