"""What a task is, as protocols see it: labelled images with splits.

A task is one file in `ssl4eo_train.evaluate.tasks` and one line in its table.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import fastload
from fastload.storage.at import Place

Kind = Literal["class", "labels", "segment", "change"]
"""``class``: one label an image; ``labels``: any number of them; ``segment``: a class a pixel;
``change``: a class a pixel of two dates."""
Split = Literal["train", "val", "test"]
MASK = "mask"
"""The modality of a task's classes a pixel."""
Bands = Mapping[str, Sequence[str]]
"""Names of bands, by modality."""


@dataclass(frozen=True)
class Splits:
    """Datasets without a recipe. Nothing is chosen by looking at `test`."""

    train: fastload.Dataset
    val: fastload.Dataset
    test: fastload.Dataset
    told: str
    """How they were made, in a sentence, for the report."""


@dataclass(frozen=True, kw_only=True)
class NoOptions:
    """Of a task that has none."""


class Task(ABC):
    """Labelled images with splits.

    Obligations. `offers` and `splits` are called once each, in this order; `classes` are known
    after that. The datasets have statistics of their own, whose offset and scale say what a
    reflectance of 0 and of 1 is on disk. Samples carry, beside the pixels of the modalities that
    are asked for, of the kind ``class`` a column `label`, int64 ``[N]``, of the kind ``labels`` one
    of ``[N, 1, K]`` that is 0 or 1, and of the other kinds the modality `MASK`, ``[1, 1, H, W]``, a
    whole number a pixel. Images of ``change`` have two dates.
    What is missing in a user's copy is refused by the name of the file and what was expected.
    """

    kind: Kind
    classes: tuple[str, ...]
    """Names, in the order of their numbers; of ``change``, ("unchanged", "changed")."""
    metric: str
    """The number that the literature quotes; a name that the kind's metrics have."""
    label: str = "label"
    """Name of the column, see `Task`."""
    ignored: int | None = None
    """Number of pixels that no class is known of; they count nowhere."""
    size: int
    """Side of an image in pixels, as it is shown to a network unless it is asked otherwise."""
    settable: ClassVar[type[Any]] = NoOptions
    """Frozen dataclass of numbers, flags and names, all with defaults, which are the usual choice;
    set by ``--task-options``."""

    options: Any = None
    """What was set, see `settable`."""

    def __init__(self, options: Any = None) -> None:
        self.options = self.settable() if options is None else options

    @abstractmethod
    def offers(self, root: Place) -> dict[str, tuple[str, ...]]:
        """Names of the bands that there are, by modality; of 8-bit images R, G and B.

        Raises:
            FileNotFoundError: says what lies there instead.
        """

    @abstractmethod
    def splits(self, root: Place, bands: Bands, seed: int) -> Splits:
        """Open the images.

        Args:
            root: where the distributor's files lie.
            bands: what is wanted of what is offered.
            seed: of splits that are drawn, where the distributor has none.

        Raises:
            FileNotFoundError, DataError, ValueError: name the file and what was expected.
        """
