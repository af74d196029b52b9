"""What training of a network for maps is: all its settings, as data."""

from dataclasses import dataclass
from typing import Literal, get_args

from ssl4eo_train.methods.common import expect

Decoder = Literal["upernet", "deeplabv3plus", "fpn", "difference"]
"""``fpn`` is Semantic FPN. ``difference`` is for change alone, and all others are not."""
Optimiser = Literal["adamw", "adam", "sgd"]
Schedule = Literal["poly", "cosine", "exponential", "constant"]
SLIDES = -1
"""Of `Plan.slide`: two thirds of a crop."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How a network for maps is trained, and how it is tested."""

    train: Literal["head", "all"] = "head"
    """The decoder on a frozen backbone, or both."""
    backbone_mode: Literal["auto", "train", "eval"] = "auto"
    """Mode of the backbone in training: in ``train`` the statistics of batch norms move, even of a
    frozen backbone. ``auto``: that of what is trained."""
    decoder: Decoder = "upernet"
    channels: int = 256
    """Of the decoder; ``difference`` has those of the backbone."""
    dropout: float = 0.1
    """Share of the decoder's maps that are left out before they are classified, or, of
    ``difference``, after each of its levels."""
    auxiliary: float = 0.0
    """Weight of the loss of a small head on the third stage."""
    stem: Literal["conv1", "act1"] = "act1"
    """Of a ResNet, what ``difference`` takes of the stem: its convolution, or all of it."""

    epochs: int = 50
    steps: int = 0
    """In place of `epochs`; 0 for these."""
    batch: int = 8
    """Samples a step."""
    optimiser: Optimiser = "adamw"
    """``sgd`` has momentum 0.9."""
    rate: float = 1e-3
    backbone_rate: float = 1.0
    """Of the backbone, as a share of `rate`."""
    weight_decay: float = 1e-2
    schedule: Schedule = "poly"
    """``poly``: falls by (1 - step / steps) ** 0.9 to `least`; ``cosine``: by half a cosine;
    ``exponential``: by `decay` an epoch."""
    decay: float = 0.95
    least: float = 0.0
    """Rate that ``poly`` and ``cosine`` end at."""
    warmup: int = 0
    """Steps of a linear rise at first."""
    mean_of_all: bool = False
    """Divide a loss by the number of all pixels, also of those that are ignored."""

    size: int = 0
    """Side that the network is shown images at; 0 for the task's pixels as they are, and for what a
    transformer was made for."""
    crop: int = 0
    """Side of a training view in the task's pixels; 0 for all of an image."""
    zoom: tuple[float, ...] = ()
    """Least and greatest enlargement of what a view shows; none for pixels as they are."""
    flip: float = 0.5
    """Probability of a horizontal flip."""
    turns: bool = False
    """Flips and quarter turns: the square's eight symmetries, evenly."""
    slide: int = SLIDES
    """Test images that are larger than a crop by windows so far apart, whose overlaps are averaged;
    0 tests whole images, -1 is two thirds of a crop."""

    judge: bool = True
    """Look at the validation split, and keep the best epoch; else the last one counts."""
    every: int = 1
    """Epochs from one look to the next; the last one is looked at."""
    judge_batch: int = 8
    """Images of a forward pass in evaluation."""
    figures_batch: int = 0
    """Images of a batch of the figures by batch; 0 for `judge_batch`."""
    shuffled_test: bool = False
    """Test in a drawn order, which figures by batch depend on."""

    def __post_init__(self) -> None:
        for name in ("channels", "epochs", "batch", "every", "judge_batch"):
            expect(getattr(self, name) > 0, name, getattr(self, name), "a count")
        for name in ("steps", "warmup", "size", "crop", "figures_batch"):
            expect(getattr(self, name) >= 0, name, getattr(self, name), "a count, or 0")
        for name in ("auxiliary", "weight_decay", "least", "backbone_rate"):
            expect(getattr(self, name) >= 0, name, getattr(self, name), "a number from 0")
        for name in ("flip", "dropout"):
            expect(0 <= getattr(self, name) <= 1, name, getattr(self, name), "a share in [0, 1]")
        expect(self.rate > 0, "rate", self.rate, "a number above 0")
        expect(0 < self.decay <= 1, "decay", self.decay, "a factor in (0, 1]")
        expect(self.slide >= SLIDES, "slide", self.slide, "pixels, 0 or -1")
        ascending = len(self.zoom) == 2 and 0 < self.zoom[0] <= self.zoom[-1]
        expect(
            not self.zoom or ascending, "zoom", self.zoom, "two factors above 0, the lesser first"
        )
        _known(self)


def _known(plan: Plan) -> None:
    names = {
        "train": ("head", "all"),
        "backbone_mode": ("auto", "train", "eval"),
        "decoder": get_args(Decoder),
        "stem": ("conv1", "act1"),
        "optimiser": get_args(Optimiser),
        "schedule": get_args(Schedule),
    }
    for name, known in names.items():
        value = getattr(plan, name)
        expect(value in known, name, repr(value), f"one of {', '.join(known)}")
