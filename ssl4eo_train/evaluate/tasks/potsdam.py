"""ISPRS Potsdam: six classes of a city, 38 tiles of 6000 pixels of 5 cm.

Layout: ``2_Ortho_RGB/top_potsdam_2_10_RGB.tif``, or ``4_Ortho_RGBIR/.._RGBIR.tif`` or
``3_Ortho_IRRG/.._IRRG.tif``, the same pixels; labels as colours, ``.._label.tif`` in
``5_Labels_all``, ``5_Labels_for_participants`` or, as torchgeo unpacks them, in the root; without
boundary ``.._label_noBoundary.tif``. The split is the contest's, as mmsegmentation and torchgeo
have it (some leave out 7_10, whose labels have errors).
"""

from dataclasses import dataclass

from ssl4eo_train.evaluate.trees.isprs import ISPRSTask
from ssl4eo_train.evaluate.trees.isprs import Options as ISPRSOptions
from ssl4eo_train.evaluate.trees.scenes import Scene
from ssl4eo_train.evaluate.trees.tree import Tree
from ssl4eo_train.methods.common import expect

IMAGES = {
    "RGB": ("2_Ortho_RGB", ("R", "G", "B")),
    "RGBIR": ("4_Ortho_RGBIR", ("R", "G", "B", "NIR")),
    "IRRG": ("3_Ortho_IRRG", ("NIR", "R", "G")),
}
LABELS = {
    True: ("label", ("5_Labels_all", "5_Labels_for_participants")),
    False: (
        "label_noBoundary", ("5_Labels_all_noBoundary", "5_Labels_for_participants_no_Boundary"),
    ),
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Options(ISPRSOptions):
    """What may be set."""

    images: str = ""
    """One of "RGB", "RGBIR" and "IRRG"; by default the first of them that there is."""

    def __post_init__(self) -> None:
        super().__post_init__()
        expect(self.images in ("", *IMAGES), "images", self.images, f"one of {', '.join(IMAGES)}")


class Potsdam(ISPRSTask):
    """See the module."""

    settable = Options
    options: Options
    train = (
        "2_10", "2_11", "2_12", "3_10", "3_11", "3_12", "4_10", "4_11", "4_12", "5_10", "5_11",
        "5_12", "6_10", "6_11", "6_12", "6_7", "6_8", "6_9", "7_10", "7_11", "7_12", "7_7", "7_8",
        "7_9",
    )  # fmt: skip
    test = (
        "2_13", "2_14", "3_13", "3_14", "4_13", "4_14", "4_15", "5_13", "5_14", "5_15", "6_13",
        "6_14", "6_15", "7_13",
    )  # fmt: skip

    def bands(self, tree: Tree) -> tuple[str, ...]:
        """See `ISPRSTask.bands`."""
        return IMAGES[self._kind(tree)][1]

    def tile(self, tree: Tree, name: str) -> Scene:
        """See `ISPRSTask.tile`."""
        kind = self._kind(tree)
        image = tree.file(f"{IMAGES[kind][0]}/top_potsdam_{name}_{kind}.tif")
        end, folders = LABELS[self.options.boundary]
        places = [f"{folder}/top_potsdam_{name}_{end}.tif" for folder in folders]
        in_root = f"top_potsdam_{name}_{end}.tif"
        label = next((p for p in (*places, in_root) if tree.has(p)), places[0])
        return Scene({"RGB": [[image]]}, tree.file(label))

    def _kind(self, tree: Tree) -> str:
        """Which images are read."""
        wanted = [self.options.images] if self.options.images else list(IMAGES)
        folder = tree.folder([IMAGES[kind][0] for kind in wanted], "images")
        return next(kind for kind in wanted if IMAGES[kind][0] == folder)
