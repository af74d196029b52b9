"""Pairs of RGB images, before and after, with a mask of what changed, as change detection has them.

Layouts, of files of the same name, ``A`` before, ``B`` after, and ``label`` or ``OUT``, which holds
0 where nothing changed, and 255, or 1, where something did:

- ``{split}/A/*.png``: LEVIR-CD as shipped; RSP, with OUT;
- ``A/{split}_*.png``: the same, with all splits in one folder, as torchgeo keeps it;
- ``A/*.png`` with ``list/{split}.txt``, a name a line: BIT, cut to 256 pixels.
"""

from fastload.datasets.labels.listed import names_in
from fastload.datasets.scenes.tables import Classes
from fastload.storage.errors import DataError
from ssl4eo_train.evaluate.trees.scenes import RGB, Divided, Found, Look, Scene, SceneTask
from ssl4eo_train.evaluate.trees.tree import Tree

SUFFIXES = (".png", ".jpg", ".tif", ".tiff")
LABELS = ("label", "OUT")
SPLITS = ("train", "val", "test")


class PairTask(SceneTask):
    """A task of such pairs."""

    kind = "change"
    classes = ("unchanged", "changed")

    def look(self, tree: Tree) -> Look:
        """See `SceneTask.look`."""
        return Look(RGB, Classes({0: 0, 1: 1, 255: 1}))

    def pairs(self, tree: Tree) -> Divided:
        """The pairs of all splits. `val` may be missing.

        Raises:
            FileNotFoundError, DataError: see `SceneTask.divided`.
        """
        if "list" in tree.folders():
            lists = {split: _listed(tree, split) for split in SPLITS}
            found = {split: _pairs(tree, "", lists[split]) for split in SPLITS}
            return Divided(found["train"], found["test"], "list/{split}.txt", found["val"])
        if "A" in tree.folders():
            names = {split: _begun(tree, split) for split in SPLITS}
            found = {split: _pairs(tree, "", names[split]) for split in SPLITS}
            return Divided(found["train"], found["test"], "by the files' names", found["val"])
        there = [split for split in SPLITS if split in tree.folders()]
        lacking = {"train", "test"} - set(there)
        if lacking:
            raise FileNotFoundError(
                f"{tree.path('')}: expected train/A, test/A and so on, or A, B and label, found "
                f"{tree.held()}"
            )
        found = {s: _pairs(tree, s, tree.files(f"{s}/A", SUFFIXES)) for s in there}
        return Divided(found["train"], found["test"], "as distributed", found.get("val", {}))


def _listed(tree: Tree, split: str) -> list[str]:
    file = tree.file(f"list/{split}.txt")
    names = [row[0].split()[0] for row in names_in(tree.store, file, split)]
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise DataError(tree.path(file), "", -1, f"names {twice} more than once")
    return names


def _begun(tree: Tree, split: str) -> list[str]:
    """Files whose names begin with a split's."""
    there = tree.files("A", SUFFIXES)
    found = [name for name in there if name.startswith(split)]
    if not found and split != "val":
        raise FileNotFoundError(
            f"{tree.path('A')}: expected {split}_*.png, or list/{split}.txt beside it, found "
            f"{tree.held('A')}"
        )
    return found


def _pairs(tree: Tree, folder: str, names: list[str]) -> Found:
    label = tree.folder(LABELS, "masks", folder)
    a, b = (f"{folder}/{date}" if folder else date for date in "AB")
    found = {}
    for name in names:
        stem = name.rpartition(".")[0]
        mask = name if tree.has(f"{label}/{name}") else f"{stem}.png"  # of JPEGs
        images = [[tree.file(f"{a}/{name}")], [tree.file(f"{b}/{name}")]]
        found[f"{folder}_{stem}" if folder else stem] = Scene(
            {"RGB": images}, tree.file(f"{label}/{mask}")
        )
    return found
