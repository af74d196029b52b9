"""EuroSAT (Helber et al., arXiv:1709.00029): land use, ten classes, 27,000 chips of 64 pixels.

The lists of splits that lie beside the chips are taken, see `fastload.datasets.eurosat`; without a
list of a validation split, a tenth of the training chips is it. Without any list the chips are
divided as SSL4EO-S12 divided them, whose code has no validation split.
"""

from fastload.bands import PUBLISHED
from fastload.datasets.eurosat import CLASSES, EuroSAT
from fastload.storage.at import Place
from fastload.storage.errors import DataError
from ssl4eo_train.evaluate.held_out import hold_out
from ssl4eo_train.evaluate.task import Bands, Splits, Task


class EuroSATTask(Task):
    """See the module. The kind of chips is that of the modality."""

    kind = "class"
    classes = CLASSES
    metric = "accuracy"
    size = 64

    def __init__(self, modality: str) -> None:
        self.modality = modality

    def offers(self, root: Place) -> dict[str, tuple[str, ...]]:
        """See `Task.offers`."""
        return {self.modality: PUBLISHED[self.modality]}

    def splits(self, root: Place, bands: Bands, seed: int) -> Splits:
        """See `Task.splits`."""
        opened = {}
        for split in ("train", "val", "test"):
            try:
                opened[split] = EuroSAT(
                    root, split, bands=dict(bands), modalities=list(bands), coordinates=False
                )
            except (FileNotFoundError, DataError):
                if split != "val":
                    raise
        if "val" in opened:
            return Splits(opened["train"], opened["val"], opened["test"], "the lists beside them")
        train, val = hold_out(opened["train"], 0.1)
        told = "the lists beside them; a tenth of the training chips, by their names, validates"
        return Splits(train, val, opened["test"], told)


def multispectral() -> EuroSATTask:
    """Of 13 bands, uint16 DN of L1C."""
    return EuroSATTask("S2L1C")


def rgb() -> EuroSATTask:
    """JPEGs."""
    return EuroSATTask("S2RGB")
