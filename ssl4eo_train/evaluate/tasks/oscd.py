"""OSCD (Daudt et al., arXiv:1810.08468 and IGARSS 2018): change between two dates of 24 cities.

Layout: a folder a city, in ``Onera Satellite Change Detection dataset - Images`` or in the root,
with ``imgs_1_rect`` and ``imgs_2_rect``, 13 files of one size, ``B01.tif`` to ``B12.tif``, uint16
DN of L1C, and ``imgs_1`` and ``imgs_2``, files as ESA ships them, whose names end in ``_B02.tif``
and whose sizes are those of the bands and differ between dates. Labels are ``cm/cm.png``, 0 or 255,
below ``... - Train Labels`` and ``... - Test Labels``, or in the city's folder. 14 cities train and
10 are tested. Sources: torchgeo, SeCo's and SSL4EO-S12's oscd_dataset.py.

SSL4EO-S12 cuts the ``_rect`` into windows of 96 pixels and drops those at the border
(``l[0] + patch_size < img.width``, so that one that just fits is dropped, too; here it is kept).
SeCo takes red, green and blue of the others and pads.
"""

from dataclasses import dataclass

from fastload.bands import PUBLISHED
from fastload.datasets.scenes.tables import Classes
from fastload.statistics import Statistics
from ssl4eo_train.evaluate.trees.scenes import (
    Cutting,
    Divided,
    Files,
    Found,
    Look,
    Scene,
    SceneTask,
)
from ssl4eo_train.evaluate.trees.tree import Tree
from ssl4eo_train.methods.common import expect

TRAIN = (
    "abudhabi", "aguasclaras", "beihai", "beirut", "bercy", "bordeaux", "cupertino", "hongkong",
    "mumbai", "nantes", "paris", "pisa", "rennes", "saclay_e",
)  # fmt: skip
TEST = (
    "brasilia", "chongqing", "dubai", "lasvegas", "milano", "montpellier", "norcia", "rio",
    "saclay_w", "valencia",
)  # fmt: skip
NATIVE = ("B02", "B03", "B04", "B08")
"""Bands that share a size where files are as ESA ships them."""
_TOP = "Onera Satellite Change Detection dataset - "
_LABELS = {"train": f"{_TOP}Train Labels", "test": f"{_TOP}Test Labels"}
DN = Statistics("OSCD, L1C", 0.0, {}, {})


@dataclass(frozen=True, kw_only=True)
class Options(Cutting):
    """What may be set."""

    window: int = 96
    images: str = "rect"
    """Or "native", files as ESA ships them: of B02, B03, B04 and B08 alone."""

    def __post_init__(self) -> None:
        super().__post_init__()
        expect(self.images in ("rect", "native"), "images", self.images, "rect or native")
        native = self.images == "native" and self.border != "pad"
        expect(not native, "border", self.border, "pad, since sizes of native images differ")


class OSCD(SceneTask):
    """See the module."""

    kind = "change"
    classes = ("unchanged", "changed")
    metric = "f1"
    size = 96
    settable = Options
    options: Options

    def look(self, tree: Tree) -> Look:
        """See `SceneTask.look`."""
        rect = self.options.images == "rect"
        names = PUBLISHED["S2L1C"] if rect else NATIVE
        # torchgeo takes any number above 0 for change.
        return Look({"S2L1C": names}, Classes({0: 0}, other=1), DN, alike=rect)

    def divided(self, tree: Tree) -> Divided:
        """See `SceneTask.divided`."""
        top = f"{_TOP}Images" if f"{_TOP}Images" in tree.folders() else ""
        train, test = (
            self._cities(tree, top, cities, _LABELS[split] if top else "")
            for split, cities in (("train", TRAIN), ("test", TEST))
        )
        return Divided(train, test, "the official 14 and 10 cities")

    def _cities(self, tree: Tree, top: str, cities: tuple[str, ...], labels: str) -> Found:
        return {
            city: Scene(
                {"S2L1C": self._files(tree, f"{top}/{city}" if top else city)},
                tree.file(f"{labels}/{city}/cm/cm.png" if labels else f"{city}/cm/cm.png"),
            )
            for city in cities
        }

    def _files(self, tree: Tree, city: str) -> Files:
        if self.options.images == "rect":
            folders = [f"{city}/imgs_{date}_rect" for date in (1, 2)]
            return [[tree.file(f"{f}/{b}.tif") for b in PUBLISHED["S2L1C"]] for f in folders]
        dates = []
        for folder in (f"{city}/imgs_{date}" for date in (1, 2)):
            each = [tree.files(folder, f"_{band}.tif")[0] for band in NATIVE]
            dates.append([f"{folder}/{file}" for file in each])
        return dates
