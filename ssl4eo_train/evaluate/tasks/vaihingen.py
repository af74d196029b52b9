"""ISPRS Vaihingen: six classes of a town, 33 tiles of some 2000 pixels of 9 cm.

Layout: ``top/top_mosaic_09cm_area1.tif``, near infrared, red and green, in the root or in
``ISPRS_semantic_labeling_Vaihingen``; labels as colours, files of the same name in
``ISPRS_semantic_labeling_Vaihingen_ground_truth_COMPLETE``, ``gts_for_participants`` or, as
torchgeo unpacks them, in the root; without boundary ``.._noBoundary.tif`` in
``.._ground_truth_eroded_COMPLETE``. The split is the contest's, as mmsegmentation and torchgeo have
it.

There is no blue. Papers show the three bands to backbones of red, green and blue by position; here
bands go by name, and `as_rgb` does what the papers do.
"""

from dataclasses import dataclass

from ssl4eo_train.evaluate.trees.isprs import ISPRSTask
from ssl4eo_train.evaluate.trees.isprs import Options as ISPRSOptions
from ssl4eo_train.evaluate.trees.scenes import Divided, Scene
from ssl4eo_train.evaluate.trees.tree import Tree

TOP = "ISPRS_semantic_labeling_Vaihingen"
LABELS = {
    True: ("", (f"{TOP}_ground_truth_COMPLETE", "gts_for_participants",
                f"{TOP}/gts_for_participants")),
    False: ("_noBoundary", (f"{TOP}_ground_truth_eroded_COMPLETE",)),
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Options(ISPRSOptions):
    """What may be set."""

    as_rgb: bool = False
    """Show near infrared, red and green in the places of red, green and blue."""


class Vaihingen(ISPRSTask):
    """See the module."""

    settable = Options
    options: Options
    train = ("1", "3", "5", "7", "11", "13", "15", "17", "21", "23", "26", "28", "30", "32", "34",
             "37")  # fmt: skip
    test = ("2", "4", "6", "8", "10", "12", "14", "16", "20", "22", "24", "27", "29", "31", "33",
            "35", "38")  # fmt: skip

    def bands(self, tree: Tree) -> tuple[str, ...]:
        """See `ISPRSTask.bands`."""
        return ("R", "G", "B") if self.options.as_rgb else ("NIR", "R", "G")

    def divided(self, tree: Tree) -> Divided:
        """See `SceneTask.divided`."""
        found = super().divided(tree)
        said = "; near infrared, red and green are shown as red, green and blue"
        told = f"{found.told}{said if self.options.as_rgb else ''}"
        return Divided(found.train, found.test, told)

    def tile(self, tree: Tree, name: str) -> Scene:
        """See `ISPRSTask.tile`."""
        stem = f"top_mosaic_09cm_area{name}"
        above = "" if "top" in tree.folders() or TOP not in tree.folders() else f"{TOP}/"
        image = tree.file(f"{above}top/{stem}.tif")
        end, folders = LABELS[self.options.boundary]
        places = [f"{folder}/{stem}{end}.tif" for folder in folders]
        label = next((p for p in (*places, f"{stem}{end}.tif") if tree.has(p)), places[0])
        return Scene({"RGB": [[image]]}, tree.file(label))
