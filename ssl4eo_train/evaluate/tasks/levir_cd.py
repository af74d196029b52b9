"""LEVIR-CD (Chen and Shi, Remote Sensing 12(10), 2020): change of buildings, 637 pairs of 1024 px.

See `ssl4eo_train.evaluate.trees.pairs` for the layouts. Trees that are already cut to 256 pixels
are read as well. Split: as distributed. Published figures are of windows of 256 pixels (BIT,
arXiv:2103.00208).
"""

from dataclasses import dataclass

from ssl4eo_train.evaluate.trees.pairs import PairTask
from ssl4eo_train.evaluate.trees.scenes import Cutting, Divided
from ssl4eo_train.evaluate.trees.tree import Tree


@dataclass(frozen=True, kw_only=True)
class Options(Cutting):
    """What may be set."""

    window: int = 256


class LEVIRCD(PairTask):
    """See the module."""

    metric = "f1"
    size = 256
    settable = Options

    def divided(self, tree: Tree) -> Divided:
        """See `SceneTask.divided`."""
        return self.pairs(tree)
