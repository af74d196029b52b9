"""So2Sat LCZ42 (Zhu et al., arXiv:1912.12171): local climate zones, 17 classes, chips of 32 pixels.

Version 2 is ``training.h5``, ``validation.h5`` and ``testing.h5``; version 3 has folders of
``training.h5`` and ``testing.h5`` by the way of dividing: ``random``, ``block``, ``culture_10``. A
file has the arrays ``sen1`` ``[N, 32, 32, 8]``, ``sen2`` ``[N, 32, 32, 10]``, both float64, and
``label`` ``[N, 17]``, one-hot. Sentinel-2 is reflectance: 1 is 1, not 10000. Its level is nowhere
said; that its means of blue and green are those of EuroSAT's L1C, twice those of BigEarthNet's L2A,
tells that it is the top of the atmosphere. Sentinel-1 is linear, not dB, so that it is no stand-in
for what a backbone knows as S1GRD. Sources: the data set's repository, torchgeo.

SSL4EO-S12 trains on version 2's training and reports on its validation.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

import fastload
from fastload.datasets.hdf5_source import HDF5Source, array_of
from fastload.statistics import STATISTICS
from fastload.statistics_numbers import SO2SAT_BANDS
from fastload.storage.at import Place, at
from fastload.storage.errors import DataError
from fastload.storage.store import Store
from ssl4eo_train.evaluate.held_out import Validation, validating
from ssl4eo_train.evaluate.task import Bands, Splits, Task
from ssl4eo_train.evaluate.trees.columns import TOGETHER, labelled, nowhere
from ssl4eo_train.methods.common import expect

CLASSES = (
    "Compact high rise", "Compact mid rise", "Compact low rise", "Open high rise", "Open mid rise",
    "Open low rise", "Lightweight low rise", "Large low rise", "Sparsely built", "Heavy industry",
    "Dense trees", "Scattered trees", "Bush, scrub", "Low plants", "Bare rock or paved",
    "Bare soil or sand", "Water",
)  # fmt: skip
ARRAYS = {"S2L1C": "sen2", "S1linear": "sen1"}
BANDS = SO2SAT_BANDS
"""Of S1linear: VH and VV as complex numbers, their intensities by the refined Lee filter, and the
element off the diagonal of the filtered covariance matrix."""
FOLDERS = ("", "random", "block", "culture_10")


@dataclass(frozen=True, kw_only=True)
class Options(Validation):
    """What may be set. `val_share` counts where there is no ``validation.h5``."""

    folder: str = ""
    """Of version 3: "random", "block" or "culture_10"."""

    def __post_init__(self) -> None:
        super().__post_init__()
        expect(self.folder in FOLDERS, "folder", self.folder, f"one of {', '.join(FOLDERS[1:])}")


class So2Sat(Task):
    """See the module."""

    kind = "class"
    classes = CLASSES
    metric = "accuracy"
    size = 32
    settable = Options
    options: Options

    def offers(self, root: Place) -> dict[str, tuple[str, ...]]:
        """See `Task.offers`."""
        return BANDS

    def splits(self, root: Place, bands: Bands, seed: int) -> Splits:
        """See `Task.splits`."""
        place = at(root)
        store = place.below(self.options.folder) if self.options.folder else place
        train, test = (opened(store, f"{name}.h5", bands) for name in ("training", "testing"))
        if "validation.h5" in store.filenames(".h5", 1000):
            val = opened(store, "validation.h5", bands)
            return Splits(train, val, test, "training.h5, validation.h5 and testing.h5")
        train, val, chosen = validating(train, self.options)
        return Splits(train, val, test, f"training.h5 and testing.h5; {chosen}")


def opened(store: Store, file: str, bands: Bands) -> fastload.Dataset:
    """The chips of a file.

    Raises:
        FileNotFoundError, DataError, ImportError: see `HDF5Source`; where a label is not one-hot.
    """
    labels = _labels(store, file)
    stem = file.removesuffix(".h5")
    columns = nowhere([f"{stem}_{i:06d}" for i in range(len(labels))], TOGETHER)
    sources = {
        name: HDF5Source(name, store, file, ARRAYS[name], BANDS[name], columns, some)
        for name, some in bands.items()
    }
    return labelled(fastload.Dataset(sources, None, STATISTICS["so2sat"], 0), labels)


def _labels(store: Store, file: str) -> NDArray[np.int64]:
    """Class numbers ``[N]``."""
    array = array_of(store, file, "label")
    if tuple(array.shape[1:]) != (len(CLASSES),) or not len(array):
        reason = f"is {list(array.shape)}, expected [N, {len(CLASSES)}]"
        raise DataError(store.path(file), "label", -1, reason)
    hot = array[:]
    wrong = np.flatnonzero(((hot != 0).sum(axis=1) != 1) | (hot.max(axis=1) != 1))
    if len(wrong):
        reason = f"is {hot[wrong[0]].tolist()}, expected 1 for one class and 0 for the others"
        raise DataError(store.path(file), f"label[{wrong[0]}]", -1, reason)
    return np.asarray(hot.argmax(axis=1), np.int64)
