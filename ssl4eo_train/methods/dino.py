"""DINO as SSL4EO-S12 trained it (Wang et al., arXiv:2211.07044, its published code).

Self-distillation: from any view of a sample, large or small, the student must guess what the
teacher, its moving average, says of another, large one. Caron et al., arXiv:2104.14294; "FB" below
is their code, facebookresearch/dino.
"""

from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import SGD, AdamW, Optimizer

from fastload.recipe import Recipe
from fastload_kernels import View
from ssl4eo_train import distributed
from ssl4eo_train.methods.common import (
    cosine,
    decay_groups,
    expect,
    follow,
    set_rate,
    spread,
    warmup_cosine,
)
from ssl4eo_train.methods.dino_network import network
from ssl4eo_train.methods.method import Learner, Progress, Published, Samples, Settings
from ssl4eo_train.methods.pixels import expect_pixels, recipe_of
from ssl4eo_train.methods.vit import patch_size

PUBLISHED = Published(arch="vit_small_patch16_224", image_size=224, batch=256, epochs=100)


@dataclass(frozen=True)
class Family:
    """What was published differently for transformers and for ResNets."""

    lr: float
    """At 256 samples; scaled with the batch."""
    weight_decay: tuple[float, ...]
    """At the start and at the end; none on biases and norms."""
    split: float
    """Area, as a share of the source's, that parts the small crops from the large ones."""


TRANSFORMER = Family(1.5e-4, (0.04, 0.4), 0.4)
RESNET = Family(0.03, (1e-4, 1e-4), 0.14)


def family(arch: str) -> Family:
    """What was published for a backbone."""
    return RESNET if patch_size(arch) is None else TRANSFORMER


@dataclass(frozen=True, kw_only=True)
class Options:
    """What may be set; the defaults are the published values, where it is not said otherwise."""

    local_views: int = 8
    """Small crops, which only the student sees."""
    split: float = 0.0
    """See `Family`; 0 for the one published for the backbone."""
    solarize_dark: bool = True
    """Solarize below the threshold, as SSL4EO-S12 published. FB's, by Pillow, is at and above it,
    which is for photographs that fill 0 to 1: of clear Sentinel-2 L2A it inverts 0.02 % of the
    values, and 10 % of TerraMesh's L1C, where the published one inverts 99.98 % and 90 %. Under
    cloud it is the other way round."""
    published_positions: bool = True
    """Resample a transformer's positions for small views as FB: bicubic without antialiasing, by
    the factor 6.1/14 where 6/14 would do. Without it as timm, and as an exported backbone does."""
    outputs: int = 65536
    """K, what the head tells apart."""
    hidden: int = 2048
    """Width of the head's hidden layers."""
    bottleneck: int = 256
    """Width of the head before its last layer."""
    student_temperature: float = 0.1
    """Divides the student's answers."""
    teacher_temperature: float = 0.04
    """Constant: the published scripts warm up over 0 epochs."""
    centre_momentum: float = 0.9
    """Of the moving average of the teacher's answers, which is taken off them."""
    momentum: float = 0.996
    """Of the teacher's moving average at the start; it ends at 1."""
    drop_path: float = 0.1
    """Stochastic depth of a transformer student; the teacher has none."""
    clip: float = 3.0
    """Largest norm that each parameter's gradient may have by itself."""
    frozen_last: float = 1.0
    """Epochs in which the head's last layer does not learn."""
    warmup: float = 10.0
    """Epochs over which the learning rate rises."""
    final_lr: float = 1e-6
    """Learning rate at the end."""
    weight_decay: tuple[float, ...] = ()
    """See `Family`; empty for the one published for the backbone."""
    pixels: str = "float"
    """``float``, or as published ``uint8_wrap``, or ``uint8``; see `pixels.recipe_of`."""

    def __post_init__(self) -> None:
        for name in ("student_temperature", "teacher_temperature", "clip"):
            value = getattr(self, name)
            expect(value > 0, name, value, "a number above 0")
        for name in ("momentum", "centre_momentum", "drop_path", "split"):
            value = getattr(self, name)
            expect(0 <= value < 1, name, value, "a number in [0, 1)")
        views, decay = self.local_views, self.weight_decay
        expect(views >= 0, "local_views", views, "a count")
        expect(len(decay) in (0, 2), "weight_decay", decay, "its values at the start and the end")
        expect_pixels(self.pixels)


DEFAULTS = Options()


def recipe(
    image_size: int = 224, arch: str = PUBLISHED.arch, options: Options = DEFAULTS
) -> Recipe:
    """Two large views, each at a season of its own, and small ones, all at a third.

    Args:
        image_size: side of a large view in pixels; the small ones are 96/224 of it.
        arch: a transformer's small views are whole patches; the crops are its family's.
        options: see `Options.local_views`, `split`, `solarize_dark` and `pixels` there.
    """
    split = options.split or family(arch).split
    first = View(
        size=image_size,
        scale=(split, 1.0),
        ratio_law="uniform",  # As cvtorchvision 0.0.1 crops, see `moco_v2.recipe`.
        interpolation="bicubic",
        timestamp="independent",
        jitter=0.8,
        brightness=0.4,
        contrast=0.4,
        gray=0.2,
        blur=1.0,
        sigma=(0.1, 2.0),
        hflip=0.5,
    )
    second = replace(first, blur=0.1, solarize=0.2, solarize_dark=options.solarize_dark)
    size, lowest = local_size(image_size, arch), min(0.05, split)
    local = replace(first, size=size, scale=(lowest, split), blur=0.5, timestamp="same")
    return recipe_of((first, second, *[local] * options.local_views), options.pixels)


def local_size(image_size: int, arch: str) -> int:
    """Side of the small views: 96 where the large ones have 224; whole patches, at least one."""
    unit = patch_size(arch) or 1
    return max(1, round(image_size * 96 / 224 / unit)) * unit


class DINO(Learner):
    """Student, teacher, and the centre of what the teacher says.

    Args:
        student: images ``[N, C, h, w]`` of several sizes to logits ``[N, K]``, by a submodule
            ``backbone`` and a `Head` named ``head``.
        teacher: the same with the same weights; it is not trained.
        published: the defaults of the backbone's family.
        batch: G, samples of a step over all processes, by which the learning rate is scaled.
        options: see there.
    """

    step_norm = True
    centre: Tensor

    def __init__(
        self,
        student: nn.Module,
        teacher: nn.Module,
        published: Family = TRANSFORMER,
        batch: int = PUBLISHED.batch,
        options: Options = DEFAULTS,
    ) -> None:
        super().__init__()
        self.student = student
        self.teacher = teacher.requires_grad_(False)
        self.register_buffer("centre", torch.zeros(options.outputs))
        self.published, self.batch, self.options = published, batch, options
        self.weight_decay = options.weight_decay or published.weight_decay

    @property
    def backbone(self) -> nn.Module:
        """See `Learner.backbone`. The teacher's, which is the better one of the two."""
        return self.teacher.get_submodule("backbone")

    def forward(self, views: list[Tensor], samples: Samples) -> tuple[Tensor, dict[str, Tensor]]:
        """Teach all views what the teacher says of the first two.

        Args:
            views: two large ones ``[N, C, h, w]``, then small ones, all of one size.
            samples: make no difference.

        Returns:
            The loss; of the teacher ``entropy``, from 0 to log K, and ``spread``; and ``centre``,
            the norm of its centre. Scalars.
        """
        large, small = views[:2], views[2:]
        with torch.no_grad():
            said = self.teacher(torch.cat(large)).float()  # [2N, K]
            target = self.target(said.view(2, -1, said.shape[1]))  # [2, N, K]
        # Views of one size pass as one batch, in whose statistics a batch norm sees them, as FB.
        answers = torch.cat([self.student(torch.cat(group)) for group in (large, small) if group])
        answers = answers.view(len(views), *target.shape[1:])  # [V, N, K]
        loss = distil(answers, target, self.options.student_temperature)
        self.recentre(said)
        return loss, {
            "entropy": torch.special.entr(target).sum(dim=-1).mean(),
            "spread": spread(said[: len(large[0])]),
            "centre": self.centre.norm(),
        }

    def target(self, said: Tensor) -> Tensor:
        """Teacher's logits ``[..., K]``, float32, to what the student must say, which sums to 1."""
        return F.softmax((said - self.centre) / self.options.teacher_temperature, dim=-1)

    @torch.no_grad()
    def recentre(self, said: Tensor) -> None:
        """Move the centre towards the mean of the teacher's logits ``[N, K]``. Collective."""
        mean = distributed.mean(said.mean(dim=0))
        self.centre.lerp_(mean, 1 - self.options.centre_momentum)

    def optimizer(self, lr: float | None = None) -> Optimizer:
        """AdamW for a transformer, SGD for a ResNet; `lr` is scaled to the batch, as FB."""
        self.lr = (self.published.lr if lr is None else lr) * self.batch / 256
        groups = decay_groups(self.student.named_parameters(), self.weight_decay[0])
        if self.published is RESNET:
            return SGD(groups, lr=self.lr, momentum=0.9)
        return AdamW(groups, lr=self.lr)

    def before_step(self, optimizer: Optimizer, progress: Progress) -> float:
        """Warm up, then half a cosine to `Options.final_lr`; the weight decay by a cosine, too.

        FB's rises reach the base rate a step before the warm-up ends, these when it ends. At the
        start both networks are alike, also where the teacher was given weights after it was made.
        """
        if progress.step == 0:
            follow(self.student, self.teacher, 0.0)
        first, last = self.weight_decay
        for group in optimizer.param_groups:
            if group["decays"]:
                group["weight_decay"] = cosine(progress.step / progress.total, first, last)
        options = self.options
        rate = warmup_cosine(progress, options.warmup, self.lr, options.final_lr)
        return set_rate(optimizer, rate)

    def after_backward(self, progress: Progress) -> None:
        """Clip each parameter's gradient; hold the head's last layer at first."""
        clip([p.grad for p in self.student.parameters() if p.grad is not None], self.options.clip)
        if progress.epoch < self.options.frozen_last:
            for parameter in self.student.get_submodule("head.last").parameters():
                parameter.grad = None  # Without one, weight decay passes it by as well.

    def after_step(self, progress: Progress) -> None:
        """Move the teacher, ever more slowly. Parameters only, as FB."""
        share = progress.step / progress.total
        follow(self.teacher, self.student, cosine(share, self.options.momentum, 1.0))


def distil(answers: Tensor, target: Tensor, temperature: float) -> Tensor:
    """Cross-entropy of all pairs of different views, in float32 whatever autocast says.

    Args:
        answers: the student's logits ``[V, N, K]``.
        target: probabilities ``[T, N, K]`` of the first T views, without a gradient.
        temperature: divides the logits.

    Returns:
        The mean over T (V - 1) pairs and N samples of ``-sum_K target log softmax(answer)``.
    """
    with torch.autocast(answers.device.type, enabled=False):
        said = F.log_softmax(answers.float() / temperature, dim=-1)
        T, V = len(target), len(said)
        others = said.sum(dim=0) - said[:T]  # [T, N, K]: of a target, all views but its own
        return -(target * others).sum(dim=-1).mean(dim=1).sum() / (T * (V - 1))


@torch.no_grad()
def clip(gradients: list[Tensor], largest: float) -> None:
    """Scale each gradient by itself to a norm of at most `largest`. No CPU-GPU sync."""
    norms = torch._foreach_norm(gradients)
    factors = [(largest / (norm + 1e-6)).clamp(max=1) for norm in norms]
    torch._foreach_mul_(gradients, factors)


def build(settings: Settings) -> DINO:
    """See `Method.build`."""
    student = network(settings, settings.options.drop_path)
    teacher = network(settings, 0.0)
    teacher.load_state_dict(student.state_dict())
    return DINO(student, teacher, family(settings.arch), settings.batch, settings.options)
