"""Seasonal Contrast (Mañas et al., arXiv:2103.16607), as its published code trains it.

MoCo in three sub-spaces of one backbone, each with a head and a queue of its own. In space 0 the
query must find the key that differs in season and in augmentation, in space 1 the one that differs
in season, in space 2 the one that differs in augmentation. So space 0 becomes invariant to both,
and the others keep what theirs do not share. "SeCo" below is the code,
ServiceNow/seasonal-contrast.
"""

import math
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import Optimizer

from fastload.recipe import Recipe
from fastload_kernels import View
from ssl4eo_train import backbones, distributed
from ssl4eo_train.methods.common import RADIOMETRY, expect, follow, set_rate, spread
from ssl4eo_train.methods.method import Progress, Published, Samples, Settings
from ssl4eo_train.methods.moco_v2 import WIDTH, MoCo, contrast, projector, separate

PUBLISHED = Published(arch="resnet18", image_size=224, batch=256, epochs=200)
SPACES = {"moco": 1, "moco_tp": 1, "seco": 3}
"""Sub-spaces by data mode: as many as there are keys to a query."""


@dataclass(frozen=True, kw_only=True)
class Options:
    """What may be set; the defaults are the published values, but for the flags."""

    data_mode: str = "seco"
    """What is contrasted. ``seco``: see above. Its baselines, each in one space: ``moco``, two
    augmentations of one image, and ``moco_tp``, augmentations of two dates."""
    queue: int = 16384
    """Keys that each space remembers."""
    momentum: float = 0.999
    """Of the key encoder's moving average."""
    temperature: float = 0.07
    """Divides the similarities."""
    milestones: tuple[float, ...] = (0.6, 0.8)
    """Shares of the schedule after which the learning rate is a tenth: epochs 120, 160 of 200."""
    with_replacement: bool = False
    """Draw each date by itself, as SeCo, whose ``np.random.choice`` puts dates back: of four dates,
    "another season" is then the same image a quarter of the time. By default all differ."""
    local_negatives: bool = False
    """Take as in-batch negatives the keys of this process only, as SeCo, whose loss then depends on
    the number of processes. By default they are those of the whole step, as in its queues."""
    splits: int = 0
    """As of `moco_v2`. SeCo trains on one GPU, as one part, where nothing else is asked for."""
    published_colours: bool = False
    """Change colours as SeCo, for red, green and blue alone: saturation and hue jitter too, in a
    random order, grey is the luma, contrast is about its mean, and pixels are whole levels of 255,
    truncated and clipped after each operation. In the mode ``seco`` the crop then comes last, so
    that blur is in pixels of the source. By default there are brightness and contrast, which is
    about each band's mean, grey is the mean of the bands, and nothing is clipped in between."""

    def __post_init__(self) -> None:
        mode, t = self.data_mode, self.temperature
        expect(mode in SPACES, "data_mode", repr(mode), f"one of {', '.join(SPACES)}")
        expect(t > 0, "temperature", t, "a number above 0")


DEFAULTS = Options()


def recipe(
    image_size: int = 224, arch: str = PUBLISHED.arch, options: Options = DEFAULTS
) -> Recipe:
    """The query, then its keys: one in the modes `moco` and `moco_tp`, three in `seco`.

    Args:
        image_size: side of a view in pixels.
        arch: makes no difference.
        options: see `Options.data_mode`, `with_replacement` and `published_colours` there.
    """

    crop = View(size=image_size, scale=(0.2, 1.0))
    augmented = replace(
        crop,
        # SeCo also jitters saturation and hue, which bands other than red, green and blue do not
        # have, see `Options.published_colours`.
        jitter=0.8,
        brightness=0.4,
        contrast=0.4,
        gray=0.2,
        blur=0.5,
        sigma=(0.1, 2.0),
        hflip=0.5,
    )
    if options.published_colours:
        crop = replace(crop, steps="uint8", colours="rgb")
        # SeCo's blur is Pillow's, of three box filters, and its crop antialiases where it shrinks.
        augmented = replace(
            augmented,
            steps="uint8",
            colours="rgb",
            saturation=0.4,
            hue=0.1,
            crop_last=options.data_mode == "seco",
        )
    other: Literal["independent", "distinct"] = "distinct"
    if options.with_replacement:
        other = "independent"
    views = {
        # SeCo counts each date of a location as a sample; here a sample is a location, and the
        # date is drawn. With `--epoch-of dates` an epoch has as many steps as SeCo's, though a date
        # may come more than once in it, or not at all.
        "moco": (replace(augmented, timestamp="same"),) * 2,
        "moco_tp": (replace(augmented, timestamp=other),) * 2,
        # Of the dates t0, t1, t2: the query t0, and the keys A(t1), t2 and A(t0).
        "seco": (
            replace(crop, timestamp=other),
            replace(augmented, timestamp=other),
            replace(crop, timestamp=other),
            replace(augmented, timestamp="as_first"),
        ),
    }[options.data_mode]
    # SeCo stretches red, green and blue of its own 8-bit files by fixed quantiles, which S2RGB has
    # done already, image by image. It then subtracts ImageNet's mean and divides by its standard
    # deviation. That comes after the jitter, where a `Radiometry`, which comes first, cannot be;
    # per band it is an affine map, which the first convolution and its batch norm learn.
    return Recipe(views, RADIOMETRY)


class Encoder(nn.Module):
    """A backbone with one head a space: images ``[N, C, h, w]`` to unit rows ``[S, N, D]``.

    Args:
        backbone: images to features ``[N, F]``.
        features: F.
        spaces: S.
    """

    def __init__(self, backbone: nn.Module, features: int, spaces: int) -> None:
        super().__init__()
        self.backbone = backbone
        self.heads = nn.ModuleList(projector(features) for _ in range(spaces))

    def forward(self, images: Tensor) -> Tensor:
        """Embed images in every space; float32 also under autocast."""
        features = self.backbone(images)
        z = torch.stack([head(features) for head in self.heads]).float()
        return F.normalize(z, dim=-1)


class SeCo(MoCo):
    """`MoCo` with a key, a head and a queue for each of S spaces.

    Args:
        encoder: images ``[N, C, h, w]`` to unit rows ``[S, N, D]``; the key encoder is its copy.
        spaces: S.
        batch: samples of a forward pass over all processes; divides the queue.
        options: see `Options`.
        width: D.
        seed: of the queues' first content and of the shuffles.
        parts: of this process, whose batch norms are apart.

    Raises:
        SetupError: as `MoCo`.
    """

    def __init__(
        self,
        encoder: nn.Module,
        *,
        spaces: int,
        batch: int,
        options: Options = DEFAULTS,
        width: int = WIDTH,
        seed: int = 0,
        parts: int = 1,
    ) -> None:
        super().__init__(
            encoder,
            queue=options.queue,
            batch=batch,
            temperature=options.temperature,
            momentum=options.momentum,
            seed=seed,
            parts=parts,
        )
        generator = torch.Generator().manual_seed(seed)
        random = torch.randn(spaces, width, options.queue, generator=generator)
        self.queue = F.normalize(random, dim=1)  # [S, D, K]
        self.milestones, self.local = options.milestones, options.local_negatives

    def forward(self, views: list[Tensor], samples: Samples) -> tuple[Tensor, dict[str, Tensor]]:
        """Contrast view 0 (query) with view 1 + i (its key) in space i, then remember the keys.

        Args:
            views: 1 + S tensors ``[N, C, h, w]``.
            samples: make no difference.

        Returns:
            The sum of the spaces' losses; of each space i ``loss_i`` and ``accuracy_i``, the share
            of queries nearest to their own key; the least ``spread`` of the queries in a space; and
            ``similarity``, the mean one of queries to negatives. Scalars.
        """
        q = self.query(views[0])  # [S, N, D]
        with torch.no_grad():
            keys = [self._keys(images, i) for i, images in enumerate(views[1:])]  # each [S, G, D]
        losses, similarity = [], []
        metrics: dict[str, Tensor] = {}
        for i, queue in enumerate(self.queue.clone()):
            k = distributed.mine(keys[i][i])
            loss, seen = contrast(q[i], k, self._negatives(queue, keys, i), self.temperature)
            losses.append(loss)
            metrics |= {f"loss_{i}": loss.detach(), f"accuracy_{i}": seen["accuracy"]}
            similarity.append(seen["similarity"])
        self.enqueue(torch.stack([key[i] for i, key in enumerate(keys)]))
        metrics["spread"] = torch.stack([spread(z) for z in q]).min()
        metrics["similarity"] = torch.stack(similarity).mean()
        return torch.stack(losses).sum(), metrics

    def _keys(self, images: Tensor, number: int) -> Tensor:
        """Keys ``[S, G, D]`` of the whole step, in its order, from one view of this process."""
        draw = self.steps * len(self.queue) + number  # Each view is shuffled anew, as SeCo.
        shuffled = distributed.shuffle(images, self.seed, draw, self.parts)
        rows = self.key(shuffled).transpose(0, 1)  # [N, S, D]
        return distributed.unshuffle(rows, self.seed, draw, self.parts).transpose(0, 1)

    def _negatives(self, queue: Tensor, keys: list[Tensor], space: int) -> Tensor:
        """The queue ``[D, K]``, and in spaces past the first the other keys beside it.

        The own location's are among them: there they differ in what the space must tell apart.
        Space 0 has none of these. The paper says that there all keys share the query's class; SeCo
        takes the first alone for positive, and so is done here.
        """
        if space == 0:
            return queue
        others = [key[space] for i, key in enumerate(keys) if i != space]
        if self.local:
            others = [distributed.mine(rows) for rows in others]
        return torch.cat([queue, *(rows.T for rows in others)], dim=1)

    @torch.no_grad()
    def enqueue(self, keys: Tensor) -> None:
        """Replace the oldest keys of each space by ``[S, G, D]`` new ones, in the step's order."""
        if keys.shape[1] != self.batch:
            raise ValueError(f"the queues take {self.batch} keys a step, got {keys.shape[1]}")
        self.queue[:, :, self.pointer : self.pointer + self.batch] = keys.transpose(1, 2)
        self.steps += 1

    def before_step(self, optimizer: Optimizer, progress: Progress) -> float:
        """A tenth of the rate after each milestone, in whole epochs; the key encoder follows.

        At the start both are alike, also where the query encoder was given weights after it was
        made.
        """
        follow(self.key, self.query, self.momentum if progress.step else 0.0)
        share = math.floor(progress.epoch) / progress.epochs
        return set_rate(optimizer, self.lr * 0.1 ** sum(share >= m for m in self.milestones))


def build(settings: Settings) -> SeCo:
    """See `Method.build`."""
    # SeCo leaves conv1 as torchvision draws it.
    backbone: Any = backbones.build(
        settings.arch, settings.bands, settings.image_size, redrawn_conv1=False
    )
    backbone.set_grad_checkpointing(settings.checkpointing)
    options: Options = settings.options
    spaces = SPACES[options.data_mode]
    encoder = Encoder(backbone, backbones.width(backbone), spaces)
    return SeCo(
        encoder,
        spaces=spaces,
        batch=settings.pass_batch,
        options=options,
        seed=settings.seed,
        parts=separate(encoder, options.splits, settings),
    )
