"""MoCo-v2 as SSL4EO-S12 trained it (Wang et al., arXiv:2211.07044, its published code).

Momentum contrast: a query must find its own key among a queue of older keys. He et al.,
arXiv:1911.05722 and 2003.04297; "FB" below is their code, facebookresearch/moco.
"""

import copy
import math
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import SGD, Optimizer

from fastload.recipe import Recipe
from fastload_kernels import View
from ssl4eo_train import backbones, distributed, split_norm
from ssl4eo_train.errors import SetupError
from ssl4eo_train.methods.common import cosine, expect, follow, set_rate, spread
from ssl4eo_train.methods.method import Learner, Progress, Published, Samples, Settings
from ssl4eo_train.methods.pixels import expect_pixels, recipe_of

# 100 epochs where FB has 200: the published scripts. They ran 4 processes of 64 samples.
PUBLISHED = Published(arch="resnet50", image_size=224, batch=256, epochs=100)
WIDTH = 128
LEARNING_RATE = 0.03  # At 256 samples; the published code does not scale it with the batch.


@dataclass(frozen=True, kw_only=True)
class Options:
    """What may be set; the defaults are the published values."""

    queue: int = 65536
    """Keys that are remembered."""
    momentum: float = 0.999
    """Of the key encoder's moving average."""
    temperature: float = 0.2
    """Divides the similarities. FB's default of 0.07 is overridden by the published scripts."""
    splits: int = 0
    """Parts of a forward pass, over all processes, whose batch norms have statistics of their own;
    keys are dealt to others than their queries. Published: 4 processes of 64 samples, which 4 parts
    of 256 are on 1, 2 or 4 processes. 0: a part is what a process holds, and one process alone
    normalises query and key by the very same samples; without shuffled keys FB's single-GPU
    notebook loses 4 % on CIFAR-10."""
    pixels: str = "float"
    """``float``, or as published ``uint8_wrap``, or ``uint8``; see `pixels.recipe_of`."""

    def __post_init__(self) -> None:
        expect_pixels(self.pixels)


DEFAULTS = Options()


def recipe(
    image_size: int = 224, arch: str = PUBLISHED.arch, options: Options = DEFAULTS
) -> Recipe:
    """Two views drawn alike, each at a season of its own. Deviations from FB are SSL4EO-S12's.

    Args:
        image_size: side of a view in pixels.
        arch: makes no difference.
        options: see `Options.pixels`.
    """
    view = View(
        size=image_size,
        scale=(0.2, 1.0),
        # FB crops with torchvision: uniform in log(ratio). SSL4EO-S12 crops with cvtorchvision
        # 0.0.1: uniform in the ratio, then width and height swapped half of the time.
        ratio_law="uniform",
        timestamp="independent",
        # FB also jitters saturation and hue, which 13 bands do not have, and in a random order;
        # SSL4EO-S12 has brightness, then contrast about each band's mean.
        jitter=0.8,
        brightness=0.4,
        contrast=0.4,
        gray=0.2,
        blur=0.5,
        sigma=(0.1, 2.0),
        hflip=0.5,
    )
    return recipe_of((view, view), options.pixels)


class MoCo(Learner):
    """Query encoder, key encoder and the queue of keys.

    Args:
        encoder: images ``[N, C, h, w]`` to embeddings ``[N, D]``; the key encoder is its copy.
        width: D.
        queue: K, keys remembered.
        batch: G, samples of a step over all processes; divides K.
        temperature: divides the similarities.
        momentum: of the key encoder's moving average.
        seed: of the queue's first content and of the shuffles.
        parts: of this process, whose batch norms are apart.

    Raises:
        SetupError: where `batch` does not divide `queue`, or `momentum` is not in [0, 1).
    """

    queue: Tensor

    def __init__(
        self,
        encoder: nn.Module,
        *,
        queue: int,
        batch: int,
        width: int = WIDTH,
        temperature: float = DEFAULTS.temperature,
        momentum: float = DEFAULTS.momentum,
        seed: int = 0,
        parts: int = 1,
    ) -> None:
        super().__init__()
        wanted = (
            f"a multiple of the {batch} samples of a step (batch size times processes), since a "
            f"step replaces that many keys; {max(1, round(queue / batch)) * batch} would do"
        )
        expect(queue >= batch and queue % batch == 0, "queue", queue, wanted)
        expect(0 <= momentum < 1, "momentum", momentum, "a number in [0, 1)")
        self.query = encoder
        self.key = copy.deepcopy(encoder).requires_grad_(False)
        generator = torch.Generator().manual_seed(seed)
        self.register_buffer(
            "queue", F.normalize(torch.randn(width, queue, generator=generator), dim=0)
        )
        self.temperature, self.momentum, self.seed, self.batch = temperature, momentum, seed, batch
        self.parts = parts
        self.steps = 0  # A Python number, so that the pointer costs no CPU-GPU sync.

    @property
    def pointer(self) -> int:
        """Column of the queue that the next step writes first."""
        return self.steps * self.batch % self.queue.shape[-1]

    def get_extra_state(self) -> dict[str, int]:
        """What `state_dict` holds besides tensors."""
        return {"steps": self.steps}

    def set_extra_state(self, state: dict[str, int]) -> None:
        """Undo `get_extra_state`."""
        self.steps = state["steps"]

    @property
    def backbone(self) -> nn.Module:
        """See `Learner.backbone`."""
        return self.query.get_submodule("backbone")

    def forward(self, views: list[Tensor], samples: Samples) -> tuple[Tensor, dict[str, Tensor]]:
        """Contrast view 0 (query) with view 1 (key), then remember the keys.

        Args:
            views: two tensors ``[N, C, h, w]``.
            samples: make no difference.

        Returns:
            The loss; ``accuracy``, the share of queries nearest to their own key; ``spread`` of the
            queries; and ``similarity``, the mean one of queries to the queue. Scalars.
        """
        images_q, images_k = views
        q = F.normalize(self.query(images_q), dim=1)
        with torch.no_grad():
            shuffled = distributed.shuffle(images_k, self.seed, self.steps, self.parts)
            # Normalised in float32, since under autocast the encoder gives half precision.
            shuffled = F.normalize(self.key(shuffled).float(), dim=1)
            keys = distributed.unshuffle(shuffled, self.seed, self.steps, self.parts)  # [G, D]
            k = distributed.mine(keys)  # [N, D]
        # The published order: this step's keys enter the queue only after the logits.
        loss, metrics = contrast(q, k, self.queue.clone(), self.temperature)
        self.enqueue(keys)
        return loss, {**metrics, "spread": spread(q)}

    @torch.no_grad()
    def enqueue(self, keys: Tensor) -> None:
        """Replace the oldest keys by ``[G, D]`` new ones, in the step's order."""
        if len(keys) != self.batch:
            raise ValueError(f"the queue takes {self.batch} keys a step, got {len(keys)}")
        self.queue[:, self.pointer : self.pointer + self.batch] = keys.T
        self.steps += 1

    def optimizer(self, lr: float | None = None) -> Optimizer:
        """SGD; weight decay on all parameters, batch norm's and biases included, as FB."""
        self.lr = LEARNING_RATE if lr is None else lr
        return SGD(self.query.parameters(), lr=self.lr, momentum=0.9, weight_decay=1e-4)

    def before_step(self, optimizer: Optimizer, progress: Progress) -> float:
        """Cosine in whole epochs, without warm-up, as FB with ``--cos``; the key encoder follows.

        It does so as the last step left the query encoder. FB moves it between the two forward
        passes, which is the same: parameters only, batch norm's running statistics are its own.
        """
        # At first it is the query encoder, whatever weights that was given.
        follow(self.key, self.query, self.momentum if progress.step else 0.0)
        share = math.floor(progress.epoch) / progress.epochs
        return set_rate(optimizer, cosine(share, self.lr, 0.0))


def contrast(
    q: Tensor, k: Tensor, queue: Tensor, temperature: float
) -> tuple[Tensor, dict[str, Tensor]]:
    """InfoNCE of He et al. (2020), equation 1, computed in float32 whatever autocast says.

    Args:
        q: queries ``[N, D]``, unit rows.
        k: their keys ``[N, D]``, unit rows.
        queue: negatives ``[D, K]``, unit columns.
        temperature: divides the similarities.

    Returns:
        The mean over N of ``-log softmax([q.k, q @ queue] / temperature)[0]``; ``accuracy``, the
        share of queries whose greatest logit is their key's; and ``similarity``, the mean of
        q @ queue. Scalars.
    """
    with torch.autocast(q.device.type, enabled=False):
        q, k = q.float(), k.float()
        positive = torch.einsum("nd,nd->n", q, k)[:, None]
        negative = torch.einsum("nd,dk->nk", q, queue)
        logits = torch.cat([positive, negative], dim=1) / temperature  # [N, 1 + K]
        loss = F.cross_entropy(logits, logits.new_zeros(len(q), dtype=torch.long))
        accuracy = (logits.detach().argmax(dim=1) == 0).float().mean()
    return loss, {"accuracy": accuracy, "similarity": negative.detach().mean()}


def projector(features: int, width: int = WIDTH) -> nn.Module:
    """Two layers in place of the classifier, without batch norm, as FB."""
    return nn.Sequential(nn.Linear(features, features), nn.ReLU(), nn.Linear(features, width))


def separate(encoder: nn.Module, splits: int, settings: Settings) -> int:
    """Part the batch norms of an encoder as `Options.splits` says; returns the parts of a process.

    Raises:
        SetupError: where processes or samples cannot be parted so, or the batch norms cannot.
    """
    if splits == 0:
        return 1
    batch, world = settings.pass_batch, distributed.size()
    wanted = (
        f"parts that {world} processes share evenly, or 0 for one part in each process, however "
        "many samples that are"
    )
    expect(splits > 0 and splits % world == 0, "splits", splits, wanted)
    wanted = f"a divisor of the {batch} samples of a forward pass that leaves at least 2 in a part"
    expect(batch % splits == 0 and batch > splits, "splits", splits, wanted)
    try:
        count = split_norm.split(encoder, splits // world)
    except TypeError as error:
        raise SetupError(f"splits is {splits}, but of {settings.arch} {error}") from error
    expect(count > 0, "splits", splits, f"0, since {settings.arch} has no batch norm")
    return splits // world


def build(settings: Settings) -> MoCo:
    """See `Method.build`."""
    # SSL4EO-S12 replaces conv1 where there are 2, 12, 13 or 15 bands, and not for RGB.
    redrawn = settings.bands != 3
    backbone: Any = backbones.build(
        settings.arch, settings.bands, settings.image_size, redrawn_conv1=redrawn
    )
    backbone.set_grad_checkpointing(settings.checkpointing)
    head = projector(backbones.width(backbone))
    encoder = nn.Sequential()
    encoder.add_module("backbone", backbone)
    encoder.add_module("projector", head)
    options: Options = settings.options
    return MoCo(
        encoder,
        queue=options.queue,
        batch=settings.pass_batch,
        temperature=options.temperature,
        momentum=options.momentum,
        seed=settings.seed,
        parts=separate(encoder, options.splits, settings),
    )
