"""Masked autoencoder as SSL4EO-S12 trained it (Wang et al., arXiv:2211.07044, its published code).

Most patches of an image are removed; what is left must suffice to paint them. He et al.,
arXiv:2111.06377; "FB" below is their code, facebookresearch/mae.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.optim import AdamW, Optimizer

from fastload.recipe import Recipe
from fastload_kernels import View
from ssl4eo_train.methods import masks
from ssl4eo_train.methods.common import (
    decay_groups,
    expect,
    set_rate,
    spread,
    warmup_cosine,
)
from ssl4eo_train.methods.mae_networks import Decoder, Encoder
from ssl4eo_train.methods.method import Learner, Progress, Published, Samples, Settings
from ssl4eo_train.methods.patches import patchify, transformer
from ssl4eo_train.methods.pixels import expect_pixels, recipe_of

# The published table is of 100 epochs; the script that is in the repository runs 200. It trains on
# locations drawn with replacement, which is no sane default; the configurations ask for it by
# `resample`.
PUBLISHED = Published(arch="vit_small_patch16_224", image_size=224, batch=256, epochs=100)
LEARNING_RATE = 1.5e-4


@dataclass(frozen=True, kw_only=True)
class Options:
    """What may be set; the defaults are the published values."""

    mask_ratio: float = 0.7
    """Share of the patches that is removed. FB has 0.75."""
    decoder_width: int = 512
    """Of the decoder's tokens."""
    decoder_depth: int = 8
    """Its blocks."""
    decoder_heads: int = 16
    """Attention heads of each of them."""
    normalise: bool = True
    """Predict patches less their mean and over their standard deviation, over all bands at once."""
    scale_rate: bool = True
    """Multiply the learning rate by samples of a step / 256."""
    warmup: float = 10.0
    """Epochs. FB has 40."""
    weight_decay: float = 0.05
    """None on biases and norms."""
    pixels: str = "float"
    """``float``, or as published ``uint8_wrap``, or ``uint8``; see `pixels.recipe_of`."""

    def __post_init__(self) -> None:
        width, heads, share = self.decoder_width, self.decoder_heads, self.mask_ratio
        wanted = f"a multiple of 4 and of the {heads} heads"
        expect(heads > 0 and width % math.lcm(4, heads) == 0, "decoder_width", width, wanted)
        expect(0 < share < 1, "mask_ratio", share, "a share in (0, 1)")
        expect_pixels(self.pixels)


DEFAULTS = Options()


def recipe(
    image_size: int = 224, arch: str = PUBLISHED.arch, options: Options = DEFAULTS
) -> Recipe:
    """One view of one season, cropped and flipped.

    Args:
        image_size: side of a view in pixels.
        arch: makes no difference.
        options: see `Options.pixels`.
    """
    view = View(
        size=image_size,
        scale=(0.2, 1.0),
        # As in the recipe of `moco_v2`. FB resamples bicubically, SSL4EO-S12 bilinearly.
        ratio_law="uniform",
        timestamp="independent",
        hflip=0.5,
    )
    return recipe_of((view,), options.pixels)


class MAE(Learner):
    """Encoder and decoder.

    Args:
        encoder, decoder: the networks.
        patch: side of a patch in pixels.
        kept: K, patches of an image that the encoder sees.
        batch: G, samples of a step over all processes, by which the learning rate is scaled.
        options: see there.
    """

    def __init__(
        self,
        encoder: Encoder,
        decoder: Decoder,
        *,
        patch: int,
        kept: int,
        batch: int,
        options: Options = DEFAULTS,
    ) -> None:
        super().__init__()
        self.encoder, self.decoder = encoder, decoder
        self.patch, self.kept, self.options = patch, kept, options
        self.scale = batch / 256 if options.scale_rate else 1.0

    @property
    def backbone(self) -> nn.Module:
        """See `Learner.backbone`. Its feature is the class token."""
        return self.encoder.backbone

    def forward(self, views: list[Tensor], samples: Samples) -> tuple[Tensor, dict[str, Tensor]]:
        """Paint what was removed from view 0.

        Args:
            views: one tensor ``[N, C, h, w]``.
            samples: their masks are a function of them.

        Returns:
            The loss, and the `spread` of the encoded class tokens. Scalars.
        """
        (images,) = views
        target = targets(images, self.patch, self.options.normalise)
        shuffle = masks.placed(masks.shuffles(samples, target.shape[1]), images.device)  # [N, L]
        rank = shuffle.argsort(dim=1)
        encoded = self.encoder(images, shuffle[:, : self.kept])
        loss = reconstruction(self.decoder(encoded, rank), target, (rank >= self.kept).float())
        return loss, {"spread": spread(encoded[:, 0])}

    def optimizer(self, lr: float | None = None) -> Optimizer:
        """AdamW; no weight decay on biases and norms, but on the class token, as published."""
        self.lr = (LEARNING_RATE if lr is None else lr) * self.scale
        groups = decay_groups(self.named_parameters(), self.options.weight_decay)
        return AdamW(groups, lr=self.lr, betas=(0.9, 0.95))

    def before_step(self, optimizer: Optimizer, progress: Progress) -> float:
        """Warm up, then follow a cosine to 0, step by step."""
        return set_rate(optimizer, warmup_cosine(progress, self.options.warmup, self.lr, 0.0))


def targets(images: Tensor, patch: int, normalise: bool = True) -> Tensor:
    """What is to be painted: float32 patches ``[N, L, P]`` of ``[N, C, h, w]``.

    Normalised ones have mean 0 and (unbiased) variance 1 over all their P numbers, bands together;
    constant ones are 0.
    """
    with torch.autocast(images.device.type, enabled=False):
        patches = patchify(images.float(), patch)
        if not normalise:
            return patches
        variance, mean = torch.var_mean(patches, dim=2, keepdim=True)
        return (patches - mean) / (variance + 1e-6).sqrt()


def reconstruction(painted: Tensor, target: Tensor, mask: Tensor) -> Tensor:
    """Mean squared error over removed patches, computed in float32 whatever autocast says.

    Args:
        painted, target: ``[N, L, P]``.
        mask: ``[N, L]``: 0 is keep, 1 is remove.
    """
    with torch.autocast(painted.device.type, enabled=False):
        error = (painted.float() - target).square().mean(dim=2)
        return (error * mask).sum() / mask.sum()


def build(settings: Settings) -> MAE:
    """See `Method.build`."""
    options: Options = settings.options
    vit = transformer("mae", settings.arch, settings.bands, settings.image_size)
    rows, columns = vit.patch_embed.grid_size
    kept = int(rows * columns * (1 - options.mask_ratio))
    wanted = f"a share that keeps some of {rows * columns} patches and removes others"
    expect(0 < kept < rows * columns, "mask_ratio", options.mask_ratio, wanted)
    vit.set_grad_checkpointing(settings.checkpointing)
    patch = vit.patch_embed.patch_size[0]
    decoder = Decoder(
        vit.embed_dim,
        patch * patch * settings.bands,
        rows,
        columns,
        width=options.decoder_width,
        depth=options.decoder_depth,
        heads=options.decoder_heads,
        checkpointing=settings.checkpointing,
    )
    return MAE(Encoder(vit), decoder, patch=patch, kept=kept, batch=settings.batch, options=options)
