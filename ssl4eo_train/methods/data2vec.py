"""data2vec as SSL4EO-S12 trained it (Wang et al., arXiv:2211.07044, its published code).

A student that sees parts of an image predicts what its own moving average makes of all of it.
Baevski et al., arXiv:2202.03555; "FB" below is their code, facebookresearch/data2vec_vision.

The backbone is timm's BEiT, in the sizes of the vision transformer that the run names, and without
positions but for a relative one that all blocks share. `backbone_options` says how timm makes it.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import AdamW, Optimizer

from fastload.recipe import Recipe
from fastload_kernels import View
from ssl4eo_train import backbones, distributed
from ssl4eo_train.methods import masks
from ssl4eo_train.methods.common import (
    decay_groups,
    expect,
    follow,
    set_rate,
    spread,
    warmup_cosine,
)
from ssl4eo_train.methods.data2vec_networks import Student, Teacher
from ssl4eo_train.methods.method import Learner, Progress, Published, Samples, Settings
from ssl4eo_train.methods.patches import transformer
from ssl4eo_train.methods.pixels import expect_pixels, recipe_of

if TYPE_CHECKING:
    from timm.models import Beit

# The script in the repository is a trial of 2 epochs; the published weights are of 100.
PUBLISHED = Published(arch="vit_small_patch16_224", image_size=224, batch=256, epochs=100)
LEARNING_RATE = 1e-3


@dataclass(frozen=True, kw_only=True)
class Options:
    """What may be set; the defaults are the published values, where it is not said otherwise."""

    masked: float = 120 / 196
    """Share of the patches that is hidden."""
    block: float = 16 / 196
    """Least area of a hidden block, as a share of the image's."""
    target_blocks: int | None = None
    """Last blocks whose outputs are the target; None for 6, and for half of a small network."""
    beta: float = 2.0
    """Error up to which the loss is quadratic."""
    momentum: float = 0.9998
    """Of the teacher's moving average. FB's ramp from 0.999 is switched off by the scripts."""
    drop_path: float = 0.25
    """Of the student's last block; from 0 at the first it rises evenly."""
    attention_drop: float = 0.05
    """Dropout of the student's attention."""
    layer_scale: float = 1e-4
    """At the start."""
    clip: float = 3.0
    """Largest norm of the gradient."""
    warmup: float = 10.0
    """Epochs. What the published run had is open: its script, a trial, has 1 of 2, and its weights
    do not tell. These are FB's for ViT-B."""
    end_rate: float = 1e-5
    """Learning rate at the end."""
    scale_rate: bool = False
    """Multiply the learning rate by samples of a step / 256."""
    weight_decay: float = 0.05
    """None on biases and norms."""
    half_teacher: bool = False
    """Let the teacher too compute in half precision, where the run does. Published: the student
    alone."""
    pixels: str = "float"
    """``float``, or as published ``uint8_wrap``, or ``uint8``; see `pixels.recipe_of`."""

    def __post_init__(self) -> None:
        shares = {"masked": self.masked, "block": self.block}
        for name, share in shares.items():
            expect(0 < share <= 1, name, share, "a share in (0, 1]")
        expect(0 <= self.momentum < 1, "momentum", self.momentum, "a number in [0, 1)")
        for name in ("beta", "layer_scale", "clip"):
            expect(getattr(self, name) > 0, name, getattr(self, name), "a number above 0")
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
        ratio_law="uniform",  # As cvtorchvision 0.0.1 crops, see `moco_v2.recipe`.
        timestamp="independent",
        hflip=0.5,
    )
    return recipe_of((view,), options.pixels)


class Data2Vec(Learner):
    """Student, and the teacher that follows.

    Args:
        student, teacher: the networks, whose backbones have the same parameters.
        batch: G, samples of a step over all processes.
        options: see there.
    """

    def __init__(
        self, student: Student, teacher: Teacher, *, batch: int, options: Options = DEFAULTS
    ) -> None:
        super().__init__()
        self.student, self.teacher = student, teacher.requires_grad_(False)
        self.options = options
        self.scale = batch / 256 if options.scale_rate else 1.0
        self.follow(0.0)

    @property
    def backbone(self) -> nn.Module:
        """See `Learner.backbone`. Its feature is the mean over the patches, each normed before.

        The published linear evaluation takes the mean first and norms it, without scale and shift
        (SSL4EO-S12's modeling_finetune.py): on a barely trained network the same direction, but
        13 % off. Who compares with its figures must do so, too.
        """
        return self.student.backbone

    def forward(self, views: list[Tensor], samples: Samples) -> tuple[Tensor, dict[str, Tensor]]:
        """Predict what the teacher makes of view 0.

        Args:
            views: one tensor ``[N, C, h, w]``.
            samples: their masks are a function of them.

        Returns:
            The loss; the `spread` of the predictions' means over the patches; and ``target_std``,
            the standard deviation of a target's numbers over all patches, averaged. Scalars.
        """
        (images,) = views
        device = images.device
        mask = masks.placed(self.mask(samples), device)
        half = self.options.half_teacher and torch.is_autocast_enabled(device.type)
        dtype = torch.get_autocast_dtype(device.type)
        with torch.no_grad(), torch.autocast(device.type, dtype, enabled=half):
            target = self.teacher(images)
        predicted = self.student(images, mask)
        loss = regression(predicted, target, mask, self.options.beta)
        deviation = target.flatten(0, 1).std(dim=0, unbiased=False).mean()
        return loss, {"spread": spread(predicted.mean(dim=1)), "target_std": deviation}

    def mask(self, samples: Samples) -> masks.Mask:
        """Which patches are hidden: ``[N, L]``, 0 is keep, 1 is hide."""
        rows, columns = self.student.backbone.patch_embed.grid_size
        count = rows * columns
        most, least = round(count * self.options.masked), count * self.options.block
        return masks.blocks(samples, rows, columns, most, least, aspect=0.3)

    def optimizer(self, lr: float | None = None) -> Optimizer:
        """AdamW; no weight decay on biases, norms, scales and the class token, as FB."""
        self.lr = (LEARNING_RATE if lr is None else lr) * self.scale
        named = self.student.named_parameters()
        decay = self.options.weight_decay
        return AdamW(decay_groups(named, decay, exempt=["backbone.cls_token"]), lr=self.lr)

    def before_step(self, optimizer: Optimizer, progress: Progress) -> float:
        """Warm up, then follow a cosine to `Options.end_rate`, step by step.

        FB's rise reaches the base rate a step before the warm-up ends, this one when it ends: 1e-7
        of 1e-3 apart at the published length.
        """
        if progress.step == 0:
            self.follow(0.0)  # The student may have been given weights since it was made.
        rate = warmup_cosine(progress, self.options.warmup, self.lr, self.options.end_rate)
        return set_rate(optimizer, rate)

    def after_backward(self, progress: Progress) -> None:
        """Clip the gradient, as one vector over all parameters. No CPU-GPU sync."""
        nn.utils.clip_grad_norm_(self.student.parameters(), self.options.clip)

    def after_step(self, progress: Progress) -> None:
        """Move the teacher."""
        self.follow(self.options.momentum)

    def follow(self, momentum: float) -> None:
        """Move the teacher towards the student; with momentum 0 all the way."""
        follow(self.teacher.backbone, self.student.backbone, momentum)


def regression(predicted: Tensor, target: Tensor, mask: Tensor, beta: float = 2.0) -> Tensor:
    """Smooth L1 over hidden patches, computed in float32 whatever autocast says. Collective.

    Where |d| is below beta it is d^2 / (2 beta), beyond it |d| - beta / 2. Masks differ in how much
    they hide, so FB's mean over a process's patches would depend on the number of processes. Here
    it is the mean over processes that equals the mean over all patches of the step.

    Args:
        predicted, target: ``[N, L, D]``.
        mask: ``[N, L]``: 0 is keep, 1 is hide.
        beta: see above.
    """
    with torch.autocast(predicted.device.type, enabled=False):
        error = F.smooth_l1_loss(predicted.float(), target, reduction="none", beta=beta)
        hidden = distributed.mean(mask.sum()).clamp(min=1)
        return (error.mean(dim=2) * mask).sum() / hidden


def backbone_options(settings: Settings) -> dict[str, Any]:
    """How to make the backbone again: ``timm.create_model(**backbone_options(settings))``.

    Dropout and drop path, which have no weights, are left to those who train it further.

    Raises:
        SetupError: where `settings.arch` is no plain vision transformer, or its patches do not
            tile the image.
    """
    with torch.device("meta"):  # Shapes only.
        vit = transformer("data2vec", settings.arch, settings.bands, settings.image_size)
    block: Any = vit.blocks[0]
    return {
        "model_name": "beit_base_patch16_224",  # The numbers below make it any other.
        "img_size": settings.image_size,
        "patch_size": vit.patch_embed.patch_size[0],
        "in_chans": settings.bands,
        "num_classes": 0,
        "embed_dim": vit.embed_dim,
        "depth": len(vit.blocks),
        "num_heads": block.attn.num_heads,
        "mlp_ratio": block.mlp.fc1.out_features / vit.embed_dim,
        "use_rel_pos_bias": False,
        "use_shared_rel_pos_bias": True,
        "init_values": settings.options.layer_scale,
        # The norm before the mean over patches, where it was trained.
        "use_fc_norm": False,
    }


def build(settings: Settings) -> Data2Vec:
    """See `Method.build`."""
    options: Options = settings.options
    how = backbone_options(settings)
    patches = settings.image_size // how["patch_size"]
    expect(patches > 1, "--image-size", settings.image_size, "at least 2 x 2 patches")
    depth = how["depth"]
    # 6 of 12 in ViT-S and B, and FB's 6 of 24 in ViT-L.
    blocks = max(1, min(6, depth // 2)) if options.target_blocks is None else options.target_blocks
    expect(0 < blocks <= depth, "target_blocks", blocks, f"some of the {depth} blocks")
    name = how.pop("model_name")

    def beit(**more: Any) -> "Beit":
        made = backbones.build(name, settings.bands, settings.image_size, **how, **more)
        return cast("Beit", made)

    backbone = beit(drop_path_rate=options.drop_path, attn_drop_rate=options.attention_drop)
    backbone.set_grad_checkpointing(settings.checkpointing)
    # The teacher drops nothing. FB has it in evaluation mode, which is the same.
    student, teacher = Student(backbone), Teacher(beit(), blocks)
    return Data2Vec(student, teacher, batch=settings.batch, options=options)
