"""The ISPRS 2D semantic labelling contests: Potsdam and Vaihingen, colours as classes."""

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from fastload.datasets.scenes.tables import Classes
from ssl4eo_train.evaluate.trees.scenes import (
    IGNORED,
    Cutting,
    Divided,
    Found,
    Look,
    Scene,
    SceneTask,
)
from ssl4eo_train.evaluate.trees.tree import Tree
from ssl4eo_train.methods.common import expect

COLOURS = {
    "impervious surfaces": (255, 255, 255),
    "building": (0, 0, 255),
    "low vegetation": (0, 255, 255),
    "tree": (0, 255, 0),
    "car": (255, 255, 0),
    "clutter": (255, 0, 0),
}
BOUNDARY = (0, 0, 0)
"""What variants of the labels have within three pixels of a border between classes."""


@dataclass(frozen=True, kw_only=True)
class Options(Cutting):
    """What may be set."""

    window: int = 512
    clutter: bool = False
    """Whether clutter is a sixth class; else it is ignored, as the contests' figures have it."""
    boundary: bool = True
    """Whether pixels at borders between classes count; else the labels "without boundary" are
    read, where they are ignored."""
    unknown: str = "refuse"
    """What is done about colours that are none of a class: "refuse" or "ignore"."""

    def __post_init__(self) -> None:
        super().__post_init__()
        known = ("refuse", "ignore")
        expect(self.unknown in known, "unknown", self.unknown, " or ".join(known))


class ISPRSTask(SceneTask):
    """One of both."""

    size = 512
    settable = Options
    options: Options
    train: ClassVar[Sequence[str]]
    """Names of the tiles, as of `test`."""
    test: ClassVar[Sequence[str]]

    def __init__(self, options: Options | None = None) -> None:
        super().__init__(options)
        self.classes = tuple(COLOURS)[: None if self.options.clutter else -1]

    @abstractmethod
    def tile(self, tree: Tree, name: str) -> Scene:
        """The files of a tile.

        Raises:
            FileNotFoundError: see `SceneTask.divided`.
        """

    @abstractmethod
    def bands(self, tree: Tree) -> tuple[str, ...]:
        """Names of the images' bands.

        Raises:
            FileNotFoundError: see `SceneTask.divided`.
        """

    def look(self, tree: Tree) -> Look:
        """See `SceneTask.look`."""
        numbers = {colour: k for k, colour in enumerate(COLOURS.values())}
        if not self.options.clutter:
            numbers[COLOURS["clutter"]] = IGNORED
        if not self.options.boundary:
            numbers[BOUNDARY] = IGNORED
        other = IGNORED if self.options.unknown == "ignore" else None
        return Look({"RGB": self.bands(tree)}, Classes(numbers, other))

    def divided(self, tree: Tree) -> Divided:
        """See `SceneTask.divided`."""
        train, test = self._tiles(tree, self.train), self._tiles(tree, self.test)
        return Divided(train, test, f"the contest's {len(train)} and {len(test)} tiles")

    def _tiles(self, tree: Tree, names: Sequence[str]) -> Found:
        return {name: self.tile(tree, name) for name in names}
