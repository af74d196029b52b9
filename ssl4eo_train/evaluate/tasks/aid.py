"""AID (Xia et al., arXiv:1608.05167): aerial scenes, 30 classes, 10,000 JPEGs of 600 pixels.

Layout: ``AID/{Class}/{class}_{number}.jpg``. Nobody ships a split; the literature trains on 20 % or
50 % of each class and tests the others, several times. RSP (arXiv:2204.02825) has fixed lists, of
lines such as ``airport_1.jpg Airport 0``, in ``train_labels_28_1.txt`` and
``valid_labels_28_1.txt``.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

import fastload
from fastload.datasets.labels.listed import names_in, rows_of
from fastload.datasets.rasters.image_source import ImageSource
from fastload.datasets.rasters.raster_dataset import UNKNOWN
from fastload.storage.at import Place, at
from fastload.storage.errors import DataError
from fastload.storage.store import Store
from ssl4eo_train.evaluate.held_out import Validation, lowest, validating
from ssl4eo_train.evaluate.task import Bands, Splits, Task
from ssl4eo_train.evaluate.trees.columns import labelled, nowhere
from ssl4eo_train.methods.common import expect

SUFFIX = ".jpg"
TOP = "AID"
LISTED = {"train": "train", "test": "valid"}
"""How RSP calls its lists."""


@dataclass(frozen=True, kw_only=True)
class Options(Validation):
    """What may be set."""

    train_share: float = 0.2
    """Of each class; 0.5 for the division 5:5."""
    split_seed: int = 0
    """Another one gives another division."""
    split_file: str = ""
    """Lists in the root that divide instead, ``{split}`` standing for train and valid."""

    def __post_init__(self) -> None:
        super().__post_init__()
        expect(0 < self.train_share < 1, "train_share", self.train_share, "a share in (0, 1)")


class AID(Task):
    """See the module."""

    kind = "class"
    metric = "accuracy"
    size = 224  # the side that RSP shows
    settable = Options
    options: Options

    def offers(self, root: Place) -> dict[str, tuple[str, ...]]:
        """See `Task.offers`."""
        self.classes = tuple(home(at(root)).folders_with(SUFFIX))
        return {"RGB": ("R", "G", "B")}

    def splits(self, root: Place, bands: Bands, seed: int) -> Splits:
        """See `Task.splits`."""
        images = opened(home(at(root)), bands["RGB"])
        chosen, told = self._divided(at(root), images)
        train, val, validates = validating(images.subset(chosen["train"]), self.options)
        return Splits(train, val, images.subset(chosen["test"]), f"{told}; {validates}")

    def _divided(
        self, root: Store, images: fastload.Dataset
    ) -> tuple[dict[str, NDArray[np.int64]], str]:
        """Rows of what trains and of what is tested, and how that was found."""
        o = self.options
        if not o.split_file:
            train = _share(images.keys, images.extras["label"], o.train_share, o.split_seed)
            told = f"{o.train_share:.0%} of each class train, by names and seed {o.split_seed}"
            rows = {"train": np.flatnonzero(train), "test": np.flatnonzero(~train)}
            return rows, told
        files = {split: o.split_file.format(split=name) for split, name in LISTED.items()}
        rows = {
            split: rows_of(images._keys, _names(root, file, split), root.path(file), "error")
            for split, file in files.items()
        }
        both = np.intersect1d(rows["train"], rows["test"])
        if len(both):
            twice = images.keys[both[0]]
            raise DataError(root.place, "", -1, f"{twice} is in {' and in '.join(files.values())}")
        return rows, f"the lists {' and '.join(files.values())}"


def home(root: Store) -> Store:
    """Where the classes lie.

    Raises:
        FileNotFoundError: says what lies there instead.
    """
    for place in (root, root.below(TOP)):
        there = [name for name in place.folders() if not name.startswith(".")]
        some = place.folders_with(SUFFIX)
        empty = sorted(set(there) - set(some) - {TOP})
        if some and empty:
            raise FileNotFoundError(f"{place.path(empty[0])}: there is no *{SUFFIX} of this class")
        if len(some) > 1:
            return place
    found = ", ".join(root.folders()[:12]) or "no folder"
    raise FileNotFoundError(
        f"{root.place}: expected folders of classes such as Airport with *{SUFFIX}, in it or in "
        f"{TOP}; found {found}"
    )


def opened(place: Store, bands: Sequence[str]) -> fastload.Dataset:
    """All images, by their names."""
    classes = place.folders_with(SUFFIX)
    found: dict[str, tuple[str, int, int]] = {}
    for number, name in enumerate(classes):
        for file, stat in place.below(name).list(SUFFIX).items():
            if file.startswith("._"):
                continue
            key = file.removesuffix(SUFFIX)
            if key in found:
                reason = f"has the name of {found[key][0]}, so that a list cannot tell them apart"
                raise DataError(place.path(f"{name}/{file}"), "", -1, reason)
            found[key] = f"{name}/{file}", stat.size, number
    keys = sorted(found)
    files, sizes, labels = zip(*(found[key] for key in keys), strict=True)
    source = ImageSource("RGB", place, files, np.array(sizes), nowhere(keys), bands=bands)
    dataset = fastload.Dataset({"RGB": source}, None, UNKNOWN, 0)
    return labelled(dataset, np.array(labels, np.int64))


def _share(
    keys: NDArray[np.object_], labels: NDArray[np.int64], share: float, seed: int
) -> NDArray[np.bool_]:
    """Which images ``[N]`` belong to a share of each class."""
    chosen: set[str] = set()
    for label in np.unique(labels):
        chosen |= set(lowest([str(k) for k in keys[labels == label]], share, f"train/{seed}"))
    return np.array([key in chosen for key in keys])


def _names(root: Store, file: str, split: str) -> list[str]:
    """Keys in a list, whose lines begin with a file's name."""
    if file not in root.filenames("", 1000):
        there = ", ".join(root.filenames("", 12)) or "no file"
        raise FileNotFoundError(f"{root.path(file)}: there is no such list, but {there}")
    lines = [row[0].split()[0] for row in names_in(root, file, split)]
    return [line.rpartition("/")[2].removesuffix(SUFFIX) for line in lines]
