"""What supervised training of a classifier is: all its settings, as data."""

from dataclasses import dataclass
from typing import Literal, get_args

from ssl4eo_train.evaluate.classify.heads import HEADS, STARTS
from ssl4eo_train.evaluate.classify.pooling import POOLS
from ssl4eo_train.evaluate.task import Split
from ssl4eo_train.methods.common import expect

Schedule = Literal["constant", "milestones", "cosine", "cosine_steps", "cosine_beit"]
"""See `schedules.rate`."""
Optimiser = Literal["sgd", "nesterov", "adam", "adamw"]


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How a classifier is trained and which of its epochs counts."""

    trains: Literal["head", "all"] = "all"
    """What the optimiser steps; without the backbone, no gradient is made for it."""
    backbone_mode: Literal["train", "eval"] = "train"
    """In training. In `train` the statistics of batch norms move, even of a frozen backbone."""
    fixed: tuple[str, ...] = ()
    """Parameters of the backbone that stay, though the rest is trained."""
    pool: str = "backbone"
    """See `pooling.Pool`; never ``auto``."""
    head: str = "linear"
    """See `heads.HEADS`."""
    head_start: str = "normal"
    """See `heads.STARTS`."""
    drop_path: float = 0.0
    """Of the last block, growing from 0 at the first."""

    epochs: int = 100
    batch: int = 256
    """Samples a step."""
    optimiser: Optimiser = "sgd"
    """``sgd`` and ``nesterov`` have momentum 0.9."""
    rate: float = 0.1
    schedule: Schedule = "cosine"
    milestones: tuple[int, ...] = ()
    """Epochs before which the rate is divided by ten."""
    warmup: float = 0.0
    """Epochs."""
    least: float = 0.0
    """Rate that cosines end at."""
    weight_decay: float = 0.0
    layer_decay: float = 1.0
    """Factor of the rate from a layer to the one before."""

    size: int = 224
    """Side in pixels of what is shown."""
    crop: tuple[float, ...] = (0.08, 1.0)
    """Least and greatest share of the image's area that a training view shows; none for all."""
    ratio_law: Literal["log", "uniform"] = "log"
    flip: float = 0.5
    """Probability of a horizontal flip of training views."""
    resize: int = 0
    """Side that images are resampled to, whose middle is shown in evaluation; 0 for `size`."""

    steps: Literal["fused", "uint8", "uint8_wrap"] = "fused"
    """How pixels are kept before the network, see `View.steps`."""

    judge: Split = "val"
    """Split that is looked at in training, and by which the best epoch is chosen."""
    report: Split = "test"
    """Split that the figures are of."""
    keep: Literal["best", "last"] = "best"
    """Epoch that counts."""
    every: int = 1
    """Epochs from one look to the next."""
    first: int = 0
    """Epoch of the first look, from 0."""
    look_at_last: bool = True
    """Look after the last epoch, whatever `every` says."""
    judge_batch: int = 64
    """Images of a forward pass in evaluation, and of a batch of the metrics by batch."""
    drop_last: bool = False
    """Leave out what is less than a batch in evaluation."""

    def __post_init__(self) -> None:
        for name in ("epochs", "batch", "every", "size", "judge_batch"):
            expect(getattr(self, name) > 0, name, getattr(self, name), "a count")
        for name in ("drop_path", "flip"):
            expect(0 <= getattr(self, name) <= 1, name, getattr(self, name), "a share in [0, 1]")
        for name in ("warmup", "least", "weight_decay"):
            expect(getattr(self, name) >= 0, name, getattr(self, name), "a number from 0")
        expect(self.rate > 0, "rate", self.rate, "a number above 0")
        expect(0 < self.layer_decay <= 1, "layer_decay", self.layer_decay, "a factor in (0, 1]")
        expect(self.warmup < self.epochs, "warmup", self.warmup, f"fewer than {self.epochs} epochs")
        low_high = len(self.crop) == 2 and 0 < self.crop[0] <= self.crop[-1] <= 1
        expect(not self.crop or low_high, "crop", self.crop, "two shares in (0, 1]")
        fits = self.resize == 0 or self.resize >= self.size
        expect(fits, "resize", self.resize, f"0 or a side from {self.size}")
        _known(self)


def _known(plan: Plan) -> None:
    names = {
        "optimiser": get_args(Optimiser),
        "schedule": get_args(Schedule),
        "head": HEADS,
        "head_start": STARTS,
        "pool": [name for name in POOLS if name != "auto"],
        "trains": ("head", "all"),
        "backbone_mode": ("train", "eval"),
        "keep": ("best", "last"),
        "ratio_law": ("log", "uniform"),
        "steps": ("fused", "uint8", "uint8_wrap"),
    }
    for name, known in names.items():
        value = getattr(plan, name)
        expect(value in known, name, repr(value), f"one of {', '.join(known)}")
