"""WHU-CD (Ji et al., TGRS 57(1), 2019): change of buildings in Christchurch, 2012 and 2016.

Layouts: as first shipped, ``before/before.tif``, ``after/after.tif`` and
``change label/change_label.tif`` of 32507 x 15354 pixels; as shipped later, with an official split,
``2012/whole_image/train/image/2012_train.tif``, ``2016/..`` and ``change_label/train/..``, and
``test``; any of these below ``1. The two-period image data``; or pairs that others have cut, see
`ssl4eo_train.evaluate.trees.pairs`.

The first has no split. The literature cuts it to windows of 256 pixels and draws 80, 10 and 10 % of
them; so does this, by their places: neighbours are then on either side.
"""

from dataclasses import dataclass

import fastload
from fastload.storage.at import Place, at
from ssl4eo_train.evaluate.held_out import hold_out, validating
from ssl4eo_train.evaluate.task import Bands, Splits
from ssl4eo_train.evaluate.trees.pairs import PairTask
from ssl4eo_train.evaluate.trees.scenes import Cutting, Divided, Scene
from ssl4eo_train.evaluate.trees.tree import Tree
from ssl4eo_train.methods.common import expect

WHOLE = ("before/before.tif", "after/after.tif", "change label/change_label.tif")
DIVIDED = (
    "2012/whole_image/{split}/image/2012_{split}.tif",
    "2016/whole_image/{split}/image/2016_{split}.tif",
    "change_label/{split}/change_label.tif",
)
TOP = "two-period image data"


@dataclass(frozen=True, kw_only=True)
class Options(Cutting):
    """What may be set. `val_share` is of the windows that train."""

    window: int = 256
    test_share: float = 0.1
    """Share of the windows of a whole image that is tested."""

    def __post_init__(self) -> None:
        super().__post_init__()
        expect(0 < self.test_share < 1, "test_share", self.test_share, "a share in (0, 1)")
        expect(self.window > 0, "window", self.window, "a side in pixels")


class WHUCD(PairTask):
    """See the module."""

    metric = "iou"
    size = 256
    settable = Options
    options: Options

    def divided(self, tree: Tree) -> Divided:
        """See `SceneTask.divided`."""
        top = _top(tree)
        if "2012" in tree.folders(top):
            train, test = (_pair(tree, top, DIVIDED, split) for split in ("train", "test"))
            return Divided({"train": train}, {"test": test}, "the official halves of the image")
        return self.pairs(tree)

    def splits(self, root: Place, bands: Bands, seed: int) -> Splits:
        """See `Task.splits`. One scene is divided by its windows."""
        tree = Tree(at(root))
        if "before" in tree.folders(_top(tree)):
            scene = {"whole": _pair(tree, _top(tree), WHOLE, "")}
            rest, test = hold_out(self._opened(tree, scene, bands, "test"), self.options.test_share)
            told = f"{self.options.test_share:.0%} of the windows are tested, neighbours of others"
            return self._validated(rest, test, told)
        found = self.divided(tree)
        if found.val or len(found.train) > 1:
            return super().splits(root, bands, seed)
        train = self._opened(tree, found.train, bands, "train")
        test = self._opened(tree, found.test, bands, "test")
        return self._validated(train, test, found.told)

    def _validated(self, train: fastload.Dataset, test: fastload.Dataset, told: str) -> Splits:
        train, val, chosen = validating(train, self.options)
        return Splits(train, val, test, f"{told}; {chosen}")


def _top(tree: Tree) -> str:
    """The folder that has all others; "" for the root."""
    return next((name for name in tree.folders() if TOP in name), "")


def _pair(tree: Tree, top: str, files: tuple[str, ...], split: str) -> Scene:
    named = [f"{top}/{file}" if top else file for file in files]
    before, after, label = (tree.file(file.format(split=split)) for file in named)
    return Scene({"RGB": [[before], [after]]}, label)
