"""EuroSAT (Helber et al., arXiv:1709.00029): land use, ten classes, 27,000 chips of 64 pixels.

Lists of splits are taken that lie beside the chips, see `fastload.datasets.eurosat`. `LISTS` has
those that are used: of "In-domain representation learning for remote sensing" (arXiv:1911.06721,
the split of torchgeo), its spatial one of torchgeo, that of presto, and the names under which SeCo
keeps the first. SSL4EO-S12 divides the chips itself: scikit-learn, 80 to 20, stratified by class,
seed 42 (`linear_EU_moco.py:152`), and has no validation split.
"""

from dataclasses import dataclass

import numpy as np

import fastload
from fastload.bands import PUBLISHED
from fastload.datasets.eurosat import CLASSES, SPLITS, EuroSAT
from fastload.datasets.labels.listed import has_list
from fastload.storage.at import Place, at
from ssl4eo_train.evaluate.held_out import Validation, validating
from ssl4eo_train.evaluate.task import Bands, Splits, Task
from ssl4eo_train.methods.common import expect

LISTS = {
    "google": ("eurosat-{split}.txt", "test"),
    "spatial": ("eurosat-spatial-{split}.txt", "test"),
    "presto": ("train_test_split.json", "test"),
    # SeCo's figures are those on its list of validation (main_eurosat.py); nothing is tested.
    "seco": ("{split}.txt", "val"),
}
"""By name, the list's file, and the split of it that is tested."""
LISTED, STRATIFIED = "listed", "stratified"


@dataclass(frozen=True, kw_only=True)
class Options(Validation):
    """What may be set."""

    split: str = LISTED
    """One of `LISTS`; "listed", the first of google and presto that there is; or "stratified"."""
    split_file: str = ""
    """Another list in the root, ``{split}`` standing for the split."""
    split_seed: int = 42
    """Of "stratified"."""

    def __post_init__(self) -> None:
        super().__post_init__()
        known = (LISTED, STRATIFIED, *LISTS)
        expect(self.split in known, "split", self.split, f"one of {', '.join(known)}")


class EuroSATTask(Task):
    """See the module. The kind of chips is that of the modality."""

    kind = "class"
    classes = CLASSES
    metric = "accuracy"
    size = 64
    settable = Options
    modality: str
    options: Options

    def offers(self, root: Place) -> dict[str, tuple[str, ...]]:
        """See `Task.offers`."""
        return {self.modality: PUBLISHED[self.modality]}

    def splits(self, root: Place, bands: Bands, seed: int) -> Splits:
        """See `Task.splits`."""
        if self.options.split == STRATIFIED and not self.options.split_file:
            return self._stratified(self._opened(root, bands))
        file, tested = LISTS.get(self.options.split, ("", "test"))
        file = self.options.split_file or file
        known = (file,) if file else SPLITS
        listed = self._opened(root, bands, "train", file)
        test = self._opened(root, bands, tested, file)
        told = f"{' or '.join(known)} beside the chips; {tested} is tested"
        if tested != "val" and has_list(at(root), known, "val"):
            return Splits(listed, self._opened(root, bands, "val", file), test, told)
        train, val, chosen = validating(listed, self.options)
        return Splits(train, val, test, f"{told}; {chosen}")

    def _opened(
        self, root: Place, bands: Bands, split: str | None = None, file: str = ""
    ) -> EuroSAT:
        return EuroSAT(
            root,
            split,
            list(bands),
            bands=dict(bands),
            split_file=file or None,
            coordinates=False,
        )

    def _stratified(self, chips: fastload.Dataset) -> Splits:
        """Chips stand in the order of their names, as they do in the published code."""
        from sklearn.model_selection import train_test_split

        seed, labels = self.options.split_seed, chips.extras["label"]
        rows = train_test_split(
            np.arange(len(chips)), train_size=0.8, stratify=labels, random_state=seed
        )
        train, test = (chips.subset(np.sort(some)) for some in rows)
        train, val, chosen = validating(train, self.options)
        told = f"80 % train, 20 % are tested, by scikit-learn, stratified by class, seed {seed}"
        return Splits(train, val, test, f"{told}; {chosen}")


class Multispectral(EuroSATTask):
    """Of 13 bands, uint16 DN of L1C."""

    modality = "S2L1C"


class RGB(EuroSATTask):
    """JPEGs."""

    modality = "S2RGB"
