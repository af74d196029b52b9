"""SSL4EO-S12 v1.1 as published in WebDataset tars of ``{key}.zarr.zip``, unconverted.

Layout: ``{root}/{split}/{modality}/*.tar``. Source: the dataset's card of February 2026.
"""

from collections.abc import Sequence
from concurrent.futures import Executor
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from fastload.datasets.base import Dataset
from fastload.datasets.layer import Layer
from fastload.recipe import Recipe
from fastload.statistics import statistics as named_statistics
from fastload.storage.errors import DataError
from fastload.storage.index import Index, open_index


class SSL4EOS12(Dataset):
    """SSL4EO-S12 v1.1 (WebDataset release), map-style.

    Args:
        root: folder of splits.
        split: folder of modalities, "train" or "val".
        modalities: folders of tars, such as S2L1C, S2L2A, S1GRD, S2RGB, NDVI, LULC, DEM; joined by
            key. The first is the reference for dates and for the views' timestamps.
        recipe: views and radiometry; None yields raw pixels ``[T, C, H, W]``.
        statistics: which release's statistics the data obeys; see `fastload.statistics`.
        missing: "error" refuses keys that some modality lacks, "drop" leaves them out and says so.
        check_crc: compare each chunk read with the CRC-32 of its zip directory.
        seed: what `dataset[i]` draws its views with. A DataLoader has its own.
        executor: builds missing indexes; threads by default.
        progress: show a bar while indexing.

    Raises:
        FileNotFoundError: names a folder that is not there.
        DataError: names a damaged shard.
        ValueError: where recipe and data do not fit, or keys are missing.
    """

    def __init__(
        self,
        root: str | Path,
        split: str = "train",
        modalities: Sequence[str] = ("S2L1C",),
        recipe: Recipe | None = None,
        statistics: str = "v1.1-webdataset",
        *,
        missing: Literal["error", "drop"] = "error",
        check_crc: bool = True,
        seed: int = 0,
        executor: Executor | None = None,
        progress: bool = True,
    ) -> None:
        if isinstance(modalities, str) or not modalities:
            raise ValueError(f"modalities must be a list of names, got {modalities!r}")
        if len(set(modalities)) < len(modalities):
            raise ValueError(f"modalities must differ, got {list(modalities)}")
        if missing not in ("error", "drop"):
            raise ValueError(f"missing must be 'error' or 'drop', got {missing!r}")
        folder = Path(root) / split
        layers = {}
        for name in modalities:
            index = open_index(folder / name, executor, progress, print)
            if not len(index):
                raise DataError(str(folder / name), "", -1, "the shards hold no *.zarr.zip sample")
            layers[name] = Layer(name, folder / name, index, check_crc)
        join(layers, missing)
        super().__init__(layers, recipe, named_statistics(statistics), seed)


def join(layers: dict[str, Layer], missing: str) -> None:
    """Give each layer the rows of the keys that all have, in the order of the first.

    Raises:
        ValueError: lists how many keys are missing, and where, unless `missing` is "drop".
    """
    keys = {name: layer.index.key for name, layer in layers.items()}
    first = next(iter(keys.values()))
    if all(len(k) == len(first) and np.array_equal(k, first) for k in keys.values()):
        return
    common = first
    for other in keys.values():
        common = common[np.isin(common, other)]
    everything = np.unique(np.concatenate(list(keys.values())))
    lacking = {name: np.setdiff1d(everything, k) for name, k in keys.items()}
    report = "; ".join(
        f"{name} lacks {len(k)} of {len(everything)} keys, such as {_some(k)}"
        for name, k in lacking.items()
        if len(k)
    )
    if report and missing == "error":
        raise ValueError(f"modalities do not hold the same keys: {report} (missing='drop' skips)")
    if not len(common):
        raise ValueError(f"no key is in all modalities: {report}")
    if report:
        print(f"{len(everything) - len(common)} keys dropped: {report}")
    for layer in layers.values():
        layer.rows = _rows(layer.index, common)


def _rows(index: Index, keys: NDArray[np.bytes_]) -> NDArray[np.int64]:
    order = np.argsort(index.key, kind="stable")
    return order[np.searchsorted(index.key[order], keys)]


def _some(keys: NDArray[np.bytes_]) -> str:
    return ", ".join(k.decode() for k in keys[:3])
