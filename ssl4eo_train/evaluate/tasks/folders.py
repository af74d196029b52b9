"""Images and masks of the same names in two folders: segmentation of one's own.

Layout: ``images/*`` and ``masks/*``, with lists ``{split}.txt`` of names; or ``images/{split}/*``
and ``masks/{split}/*``; or ``{split}/images/*`` and ``{split}/masks/*``. Images are TIFF, PNG or
JPEG of any size, with as many bands each; masks have one band of class numbers.
"""

from dataclasses import dataclass

from fastload.bands import PUBLISHED
from fastload.datasets.labels.listed import names_in
from fastload.datasets.scenes.pictures import Pictures
from fastload.datasets.scenes.tables import Classes
from fastload.statistics import Statistics
from fastload.storage.errors import DataError
from ssl4eo_train.errors import SetupError
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

SUFFIXES = (".tif", ".tiff", ".png", ".jpg", ".jpeg")
SPLITS = ("train", "val", "test")


@dataclass(frozen=True, kw_only=True)
class Options(Cutting):
    """What may be set."""

    classes: tuple[str, ...] = ()
    """Names of the classes 0, 1, ...; needed."""
    first: int = 0
    """Number of the first class in the masks."""
    ignored: int = -1
    """Number in the masks of pixels that count nowhere; -1 for none."""
    images: str = "images"
    masks: str = "masks"
    modality: str = "RGB"
    """What the images are, as backbones have it, such as S2L2A."""
    bands: tuple[str, ...] = ()
    """Names of the stored bands; by default the published ones of the modality."""
    dn_offset: float = 0.0
    """What a reflectance of 0 is on disk, and"""
    dn_scale: float = 10000.0
    """what one of 1 adds to it, of modalities of reflectance."""

    def __post_init__(self) -> None:
        super().__post_init__()
        expect(self.dn_scale > 0, "dn_scale", self.dn_scale, "a number above 0")
        expect(self.first >= 0, "first", self.first, "a number from 0")


class Folders(SceneTask):
    """See the module."""

    settable = Options
    options: Options
    size = 224

    def __init__(self, options: Options | None = None) -> None:
        super().__init__(options)
        self.classes = tuple(map(str, self.options.classes))
        if len(self.classes) < 2:
            raise SetupError("--task-options classes=[NAME, NAME, ...]: expected two at least")

    def look(self, tree: Tree) -> Look:
        """See `SceneTask.look`."""
        o = self.options
        numbers = {o.first + k: k for k in range(len(self.classes))}
        if o.ignored >= 0:
            numbers[o.ignored] = IGNORED
        units = Statistics("--task-options", o.dn_offset, {}, {}, dn_scale=o.dn_scale)
        return Look({o.modality: self._names(tree)}, Classes(numbers), units)

    def _names(self, tree: Tree) -> tuple[str, ...]:
        if self.options.bands:
            return tuple(map(str, self.options.bands))
        known = {"RGB": ("R", "G", "B"), **PUBLISHED}.get(self.options.modality)
        if known is not None:
            return known
        scene = next(iter(self.divided(tree).train.values()))
        file = scene.files[self.options.modality][0][0]
        return tuple(f"B{k + 1}" for k in range(Pictures(tree.store).look(file).bands))

    def divided(self, tree: Tree) -> Divided:
        """See `SceneTask.divided`."""
        o = self.options
        there = tree.folders()
        if any(split in there for split in SPLITS):
            places = {s: (f"{s}/{o.images}", f"{s}/{o.masks}") for s in SPLITS}
            return self._by_folder(tree, places, "by folders")
        tree.folder([o.images], "images")
        tree.folder([o.masks], "masks")
        if any(split in tree.folders(o.images) for split in SPLITS):
            places = {s: (f"{o.images}/{s}", f"{o.masks}/{s}") for s in SPLITS}
            return self._by_folder(tree, places, "by folders")
        found = {s: self._listed(tree, s) for s in SPLITS if s != "val" or tree.has("val.txt")}
        _disjoint(tree, found)
        return Divided(
            found["train"], found["test"], "by the lists {split}.txt", found.get("val", {})
        )

    def _by_folder(self, tree: Tree, places: dict[str, tuple[str, str]], told: str) -> Divided:
        found = {}
        for split, (images, masks) in places.items():
            if split == "val" and not tree.names(images, SUFFIXES):
                continue
            files = tree.files(images, SUFFIXES)
            found[split] = self._scenes(tree, images, masks, files, f"{split}_")
        return Divided(found["train"], found["test"], told, found.get("val", {}))

    def _listed(self, tree: Tree, split: str) -> Found:
        o, by_stem = self.options, dict[str, str]()
        for name in tree.files(self.options.images, SUFFIXES):
            by_stem[_stem(name)] = name
        file = tree.file(f"{split}.txt")
        wanted = [_stem(row[0]) for row in names_in(tree.store, file, split)]
        lacking = [name for name in wanted if name not in by_stem]
        if lacking:
            reason = f"names {lacking[0]}, of which there is no image in {tree.path(o.images)}"
            raise DataError(tree.path(file), "", -1, reason)
        return self._scenes(tree, o.images, o.masks, [by_stem[name] for name in wanted], "")

    def _scenes(self, tree: Tree, images: str, masks: str, names: list[str], before: str) -> Found:
        of_stem = {_stem(name): name for name in tree.files(masks, SUFFIXES)}
        found = Found()
        for name in names:
            key = f"{before}{_stem(name)}"
            if key in found:
                raise DataError(tree.path(f"{images}/{name}"), "", -1, "there are two of this name")
            if _stem(name) not in of_stem:
                raise FileNotFoundError(
                    f"{tree.path(f'{images}/{name}')}: there is no mask of this name in "
                    f"{tree.path(masks)}, which has {tree.held(masks)}"
                )
            mask = f"{masks}/{of_stem[_stem(name)]}"
            found[key] = Scene({self.options.modality: [[f"{images}/{name}"]]}, mask)
        return found


def _disjoint(tree: Tree, found: dict[str, Found]) -> None:
    for a, b in (("train", "val"), ("train", "test"), ("val", "test")):
        both = sorted(set(found.get(a, {})) & set(found.get(b, {})))
        if both:
            reason = f"names {both[0]}, as {a}.txt does"
            raise DataError(tree.path(f"{b}.txt"), "", -1, reason)


def _stem(name: str) -> str:
    last = name.replace("\\", "/").rpartition("/")[2]
    return last.rpartition(".")[0] if last.endswith(SUFFIXES) else last
