"""Tasks of scenes: images of any size with a class a pixel, cut into windows."""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import fastload
from fastload.datasets.scenes.cut import BORDERS
from fastload.datasets.scenes.tables import Classes
from fastload.datasets.scenes.window_source import Layer
from fastload.datasets.scenes.windowed import windowed
from fastload.statistics import Statistics
from fastload.storage.at import Place, at
from fastload.storage.errors import DataError
from ssl4eo_train.evaluate.held_out import Validation, chosen_told, lowest
from ssl4eo_train.evaluate.task import MASK, Bands, Kind, Split, Splits, Task
from ssl4eo_train.evaluate.trees.tree import Tree
from ssl4eo_train.methods.common import expect

IGNORED = 255
"""Class number of pixels that no class is known of, and of those that pad a window."""
RGB = {"RGB": ("R", "G", "B")}
COLOURS = Statistics("pictures of eight bits", 0.0, {}, {}, dn_scale=255.0)
Files = list[list[str]]
"""Of a scene: of each date its files, one with all bands, or one a band."""


@dataclass(frozen=True, kw_only=True)
class Cutting(Validation):
    """Options of how scenes are cut into windows. Scenes validate, not windows."""

    window: int = 0
    """Side in pixels; 0 for scenes as they are."""
    stride: int = 0
    """From a window of training to the next; 0 for `window`."""
    border: str = "pad"
    """What is done about windows that hang over the border: "pad" them by pixels that count
    nowhere, "drop" them, "shift" them back inside, or "refuse" the scene."""

    def __post_init__(self) -> None:
        super().__post_init__()
        expect(self.window >= 0, "window", self.window, "a side in pixels, or 0")
        expect(self.stride >= 0, "stride", self.stride, "pixels, or 0")
        expect(self.border in BORDERS, "border", self.border, f"one of {', '.join(BORDERS)}")


@dataclass(frozen=True)
class Scene:
    """Where a scene's files lie.

    Attributes:
        files: by modality.
        mask: the file of its classes.
    """

    files: Mapping[str, Files]
    mask: str


Found = dict[str, Scene]
"""Scenes by their keys."""


@dataclass(frozen=True)
class Look:
    """How scenes are read.

    Attributes:
        names: of the stored bands, by modality.
        classes: from what masks hold to class numbers.
        statistics: of the images.
        mask_names, mask_bands: see `Layer`, where masks have several bands.
        alike: whether all files of a scene have one size; else windows are those of the first.
    """

    names: Bands
    classes: Classes
    statistics: Statistics = COLOURS
    mask_names: Sequence[str] = (MASK,)
    mask_bands: Sequence[str] | None = None
    alike: bool = True


@dataclass(frozen=True)
class Divided:
    """Scenes by split; without `val`, some of `train` validate. `told` is how, in words."""

    train: Found
    test: Found
    told: str
    val: Found = field(default_factory=dict)


class SceneTask(Task):
    """Subclasses say where files lie; see `Task` for the rest."""

    kind: Kind = "segment"
    metric = "miou"
    ignored = IGNORED
    settable = Cutting
    options: Any

    def __init__(self, options: Any = None) -> None:
        super().__init__(options)
        self.size = self.options.window or self.size

    @abstractmethod
    def divided(self, tree: Tree) -> Divided:
        """Find the files.

        Raises:
            FileNotFoundError, DataError: name a file that is not there, or is not as expected.
        """

    @abstractmethod
    def look(self, tree: Tree) -> Look:
        """How they are read."""

    def offers(self, root: Place) -> dict[str, tuple[str, ...]]:
        """See `Task.offers`."""
        return {name: tuple(bands) for name, bands in self.look(Tree(at(root))).names.items()}

    def splits(self, root: Place, bands: Bands, seed: int) -> Splits:
        """See `Task.splits`."""
        tree, o = Tree(at(root)), self.options
        found, told = self.divided(tree), ""
        train, val = found.train, found.val
        if not val:
            chosen = lowest(list(train), o.val_share, "validation")
            val = {key: train[key] for key in chosen}
            train = train if o.val_trains else {k: s for k, s in train.items() if k not in val}
            told = f"; {chosen_told(o, 'scenes')}"
        return Splits(
            self._opened(tree, train, bands, "train"),
            self._opened(tree, val, bands, "val"),
            self._opened(tree, found.test, bands, "test"),
            f"{found.told}{told}",
        )

    def _opened(self, tree: Tree, scenes: Found, bands: Bands, split: Split) -> fastload.Dataset:
        """Windows of scenes; those of training may overlap."""
        o, look = self.options, self.look(tree)
        if not scenes:
            raise DataError(tree.path(""), "", -1, f"there is no scene to {split}")
        stride = (o.stride if split == "train" else 0) or o.window
        return windowed(
            tree.store,
            list(scenes),
            _layers(scenes, bands, look, o.border == "pad"),
            o.window or None,
            stride or None,
            o.border,
            statistics=look.statistics,
        )


def _layers(scenes: Found, bands: Bands, look: Look, padded: bool) -> dict[str, Layer]:
    layers = {
        name: Layer(
            files=[scene.files[name] for scene in scenes.values()],
            names=look.names[name],
            bands=some,
            pad=0 if padded else None,
            alike=look.alike,
        )
        for name, some in bands.items()
    }
    layers[MASK] = Layer(
        files=[[[scene.mask]] for scene in scenes.values()],
        names=look.mask_names,
        bands=look.mask_bands,
        classes=look.classes,
        pad=IGNORED if padded else None,
        alike=look.alike,
    )
    return layers
