"""What a protocol found."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor


@dataclass(frozen=True)
class Scored:
    """What was said of each image of the test split.

    Attributes:
        scores: float32 ``[N, K]``: of each class, the greater the likelier; any scale.
        targets: int64 ``[N]``, or of several labels an image 0 and 1 ``[N, K]``.
        batch: size of the batches they came in, for metrics that the papers take by batch.
        logits: the logistic function of a score is its label's probability; without it scores are
            probabilities. Of one label an image it does not matter.
    """

    scores: Tensor
    targets: Tensor
    batch: int
    logits: bool = True

    @property
    def images(self) -> int:
        """N."""
        return len(self.targets)


@dataclass(frozen=True)
class Mapped:
    """What was said of the pixels of each image of the test split.

    Attributes:
        confusion: int64 ``[N, K, K]``: of each image, how many pixels of a class (rows) were said
            to be of another (columns). Ignored pixels are in none.
        batch: as of `Scored`.
    """

    confusion: Tensor
    batch: int

    @property
    def images(self) -> int:
        """N."""
        return len(self.confusion)


@dataclass(frozen=True)
class Example:
    """An image of the test split, to look at.

    Attributes:
        key: its name.
        images: uint8 ``[h, w, 3]``, one a date.
        truth, said: a class's name, several by commas, or uint8 ``[h, w]``.
    """

    key: str
    images: list[NDArray[np.uint8]]
    truth: str | NDArray[np.uint8]
    said: str | NDArray[np.uint8]


@dataclass(frozen=True)
class Outcome:
    """What a protocol found.

    Attributes:
        test: of the test split.
        chosen: what was chosen on the validation split, by name, and its figure there.
        settings: all that the protocol was run with.
        history: of each epoch, figures by name.
        examples: some.
        told: oddities to be named in the report, in sentences.
    """

    test: Scored | Mapped
    chosen: dict[str, Any] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)
    history: list[dict[str, float]] = field(default_factory=list)
    examples: list[Example] = field(default_factory=list)
    told: list[str] = field(default_factory=list)
