"""BigEarthNet (Sumbul et al., arXiv:1902.06148, v2 arXiv:2407.03653): land cover, several labels.

Both versions are read, see `fastload.datasets.bigearthnet`. The official split of version 1 is that
of the lists ``bigearthnet-{split}.csv``, which leave out snow, clouds and patches without a label
of 19; that of version 2 its metadata. SeCo's, which SSL4EO-S12 uses too, is that of "In-domain
representation learning for remote sensing" (arXiv:1911.06721), ``bigearthnet-{split}.txt``, which
SeCo calls ``{split}.txt``, less the patches in the lists of snow and of clouds and shadows
(bigearthnet_dataset.py). Both papers train on its `train` and report on its `val`.
"""

from dataclasses import dataclass

from fastload.bands import PUBLISHED
from fastload.datasets.bigearthnet import BigEarthNet
from fastload.datasets.bigearthnet_parts import folder_of, names_of_v2
from fastload.datasets.labels.corine import CLASSES_19, CLASSES_43
from fastload.storage.at import Place, at
from ssl4eo_train.evaluate.task import Bands, Splits, Task
from ssl4eo_train.methods.common import expect

LABELS = {19: ("label", CLASSES_19), 43: ("label_43", CLASSES_43)}
"""By number of classes, the column and its names."""
OFFICIAL, SECO = "official", "seco"
SECO_LISTS = ("bigearthnet-{split}.txt", "{split}.txt")
MODALITIES = ("S2L2A", "S1GRD")


@dataclass(frozen=True, kw_only=True)
class Options:
    """What may be set."""

    split: str = OFFICIAL
    """Or "seco"."""
    split_file: str = ""
    """Other lists of version 1 in the root, ``{split}`` standing for the split."""
    classes: int = 19
    """Or 43, which version 1 has."""

    def __post_init__(self) -> None:
        expect(self.split in (OFFICIAL, SECO), "split", self.split, f"{OFFICIAL} or {SECO}")
        expect(self.classes in LABELS, "classes", self.classes, "19 or 43")


class BigEarthNetTask(Task):
    """See the module."""

    kind = "labels"
    metric = "map_micro"
    size = 120
    settable = Options
    options: Options

    def __init__(self, options: Options | None = None) -> None:
        super().__init__(options)
        self.label, self.classes = LABELS[self.options.classes]

    def offers(self, root: Place) -> dict[str, tuple[str, ...]]:
        """See `Task.offers`."""
        there = [name for name in MODALITIES if _has(root, name)]
        if not there:
            folder_of(at(root), MODALITIES[0])
        return {name: PUBLISHED[name] for name in there}

    def splits(self, root: Place, bands: Bands, seed: int) -> Splits:
        """See `Task.splits`."""
        second = names_of_v2(folder_of(at(root), next(iter(bands))))
        if second and (self.options.split == SECO or self.options.classes == 43):
            raise ValueError(
                f"{at(root).place}: is version 2 of BigEarthNet; SeCo's split and 43 classes are "
                "of version 1"
            )
        file = self._lists(root)
        train, val, test = (
            BigEarthNet(
                root,
                split,
                list(bands),
                bands=dict(bands),
                split_file=file,
                clear=self.options.split == SECO,
                coordinates=False,
            )
            for split in ("train", "val", "test")
        )
        return Splits(train, val, test, self._told(second, file))

    def _lists(self, root: Place) -> str | None:
        """How the lists are called, where that is known."""
        if self.options.split_file or self.options.split == OFFICIAL:
            return self.options.split_file or None
        there = at(root).filenames(".txt", 1000)
        found = (name for name in SECO_LISTS if name.format(split="train") in there)
        return next(found, SECO_LISTS[0])

    def _told(self, second: bool, file: str | None) -> str:
        if second:
            return "the metadata's, of version 2"
        if self.options.split == SECO:
            return f"{file} less the lists of snow and of clouds; the papers report on val"
        return f"the lists {file or 'bigearthnet-{split}.csv'} of version 1"


def _has(root: Place, modality: str) -> bool:
    try:
        folder_of(at(root), modality)
    except FileNotFoundError:
        return False
    return True
