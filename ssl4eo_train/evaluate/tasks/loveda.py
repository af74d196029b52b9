"""LoveDA (Wang et al., arXiv:2110.08733): land cover, 5,987 aerial images of 1024 pixels.

Layout: ``{Train|Val|Test}/{Rural|Urban}/images_png/0.png`` and ``masks_png/0.png``, numbers 1 to 7,
0 where nothing is known. The masks of Test are not public: published figures are of its server.
So Val is tested here, and some of Train validate, which is another figure.
"""

from dataclasses import dataclass

from fastload.datasets.scenes.tables import Classes
from ssl4eo_train.evaluate.trees.scenes import (
    IGNORED,
    RGB,
    Cutting,
    Divided,
    Found,
    Look,
    Scene,
    SceneTask,
)
from ssl4eo_train.evaluate.trees.tree import Tree
from ssl4eo_train.methods.common import expect

SCENES = ("Rural", "Urban")


@dataclass(frozen=True, kw_only=True)
class Options(Cutting):
    """What may be set."""

    window: int = 512
    scene: str = "both"
    """Or "rural" or "urban"."""

    def __post_init__(self) -> None:
        super().__post_init__()
        known = ("both", "rural", "urban")
        expect(self.scene in known, "scene", self.scene, f"one of {', '.join(known)}")


class LoveDA(SceneTask):
    """See the module."""

    classes = ("background", "building", "road", "water", "barren", "forest", "agriculture")
    size = 512
    settable = Options
    options: Options

    def look(self, tree: Tree) -> Look:
        """See `SceneTask.look`."""
        numbers = {k + 1: k for k in range(len(self.classes))}
        return Look(RGB, Classes({0: IGNORED, **numbers}))

    def divided(self, tree: Tree) -> Divided:
        """See `SceneTask.divided`."""
        told = "trained on Train, tested on Val, since the masks of Test are not public"
        return Divided(self._images(tree, "Train"), self._images(tree, "Val"), told)

    def _images(self, tree: Tree, split: str) -> Found:
        wanted = [s for s in SCENES if self.options.scene in ("both", s.lower())]
        found = {}
        for scene in wanted:
            folder = f"{split}/{scene}"
            for name in tree.files(f"{folder}/images_png", ".png"):
                mask = tree.file(f"{folder}/masks_png/{name}")
                images = {"RGB": [[f"{folder}/images_png/{name}"]]}
                found[f"{split}_{scene}_{name.removesuffix('.png')}"] = Scene(images, mask)
        return found
