"""DFC2020 (IEEE GRSS Data Fusion Contest 2020): land cover of Sentinel-1 and -2, chips of 256 px.

Layout: ``ROIs0000_test`` with ``s1_0``, ``s2_0``, ``dfc_0`` and ``lc_0``, 5,128 chips, and
``ROIs0000_validation`` with ``s1_validation`` and so on, 986 chips; or these folders in the root.
Files are ``ROIs0000_test_s2_0_p1.tif``: s2 uint16 DN of L1C, 13 bands; s1 float32 dB, VV and VH;
dfc one band, the contest's ten classes at 10 m; lc four, the first of which has MODIS' (IGBP).

As SSL4EO-S12's segmentation (DeepAI4EO/RSI-Segmentation, tools/convert_datasets/dfc2020.py),
models train on the official test set and are tested on the official validation set, and savanna and
snow are ignored. It reads its labels of ``lc``, through the contest's table of IGBP's classes: that
is ``published``. Of MODIS they are coarser than a chip's pixels; ``labels=dfc``, the default, takes
the contest's own.
"""

from dataclasses import dataclass

from fastload.bands import PUBLISHED
from fastload.datasets.scenes.tables import Classes
from fastload.statistics import Statistics
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

CLASSES = (
    "Forest", "Shrubland", "Grassland", "Wetland", "Cropland", "Urban", "Barren", "Water",
)  # fmt: skip
IGBP = (0, 1, 1, 1, 1, 1, 2, 2, 3, 3, 4, 5, 6, 7, 6, 8, 9, 10)
"""The contest's class of each of IGBP."""
OURS = (0, 1, 2, 0, 3, 4, 5, 6, 0, 7, 8)
"""Number, from 1, of each of the contest's classes; 0 for none, savanna and snow."""
LAND_COVER = ("IGBP", "LCCS_land_cover", "LCCS_land_use", "LCCS_hydrology")
FOLDERS = {"test": ("ROIs0000_test", "0"), "validation": ("ROIs0000_validation", "validation")}
SENSORS = {"S2L1C": "s2", "S1GRD": "s1"}
DN = Statistics("DFC2020, L1C", 0.0, {}, {})


@dataclass(frozen=True, kw_only=True)
class Options(Cutting):
    """What may be set."""

    labels: str = "dfc"
    """Or "lc", those of MODIS."""
    train: str = "test"
    """Official set to train on, "test" or "validation"; the other one is tested."""

    def __post_init__(self) -> None:
        super().__post_init__()
        expect(self.labels in ("dfc", "lc"), "labels", self.labels, "dfc or lc")
        expect(self.train in FOLDERS, "train", self.train, "test or validation")


class DFC2020(SceneTask):
    """See the module."""

    classes = CLASSES
    size = 256
    settable = Options
    options: Options

    def look(self, tree: Tree) -> Look:
        """See `SceneTask.look`."""
        there = {
            name: PUBLISHED[name]
            for name, sensor in SENSORS.items()
            if self._folder(tree, self.options.train, sensor) is not None
        }
        if not there:
            self._expect(tree, self.options.train, "s2")
        ours = {k: OURS[k] - 1 if OURS[k] else IGNORED for k in range(len(OURS))}
        if self.options.labels == "dfc":
            return Look(there, Classes(ours), DN)
        igbp = {k: ours[dfc] for k, dfc in enumerate(IGBP)}
        return Look(there, Classes(igbp), DN, LAND_COVER, LAND_COVER[:1])

    def divided(self, tree: Tree) -> Divided:
        """See `SceneTask.divided`."""
        train = self.options.train
        test = next(name for name in FOLDERS if name != train)
        told = f"trained on the official {train} set, tested on the official {test} set"
        return Divided(self._chips(tree, train), self._chips(tree, test), told)

    def _chips(self, tree: Tree, split: str) -> Found:
        labels = self._expect(tree, split, self.options.labels)
        sensors = {
            name: sensor for name, sensor in SENSORS.items() if name in self.look(tree).names
        }
        folders = {name: self._expect(tree, split, sensor) for name, sensor in sensors.items()}
        found = {}
        for file in tree.files(labels, ".tif"):
            named = {name: _named(file, self.options.labels, s) for name, s in sensors.items()}
            images = {n: [[tree.file(f"{folders[n]}/{named[n]}")]] for n in sensors}
            found[file.removesuffix(".tif")] = Scene(images, f"{labels}/{file}")
        return found

    def _folder(self, tree: Tree, split: str, what: str) -> str | None:
        """Where files of a kind lie, of an official set; None for nowhere."""
        top, end = FOLDERS[split]
        places = (f"{top}/{what}_{end}", f"{what}_{end}")
        return next((place for place in places if tree.names(place, ".tif")), None)

    def _expect(self, tree: Tree, split: str, what: str) -> str:
        found = self._folder(tree, split, what)
        if found is None:
            top, end = FOLDERS[split]
            raise FileNotFoundError(
                f"{tree.path('')}: expected *.tif in {top}/{what}_{end} or {what}_{end}, found "
                f"{tree.held(top if top in tree.folders() else '')}"
            )
        return found


def _named(file: str, labels: str, sensor: str) -> str:
    return file.replace(f"_{labels}_", f"_{sensor}_", 1)
