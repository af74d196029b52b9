"""SSL4EO-S12 v1.1 as published in WebDataset tars of ``{key}.zarr.zip``, unconverted.

Layout: ``{root}/{split}/{modality}/*.tar``. Source: the dataset's card of February 2026.
"""

from collections.abc import Sequence
from concurrent.futures import Executor
from pathlib import Path
from typing import Literal

from fastload.bands import Asked, by_modality
from fastload.datasets.base import Dataset
from fastload.datasets.join import join
from fastload.datasets.zarr_source import ZarrSource
from fastload.recipe import Recipe
from fastload.statistics import What
from fastload.statistics import statistics as found_statistics
from fastload.storage.errors import DataError
from fastload.storage.index import open_index
from fastload.storage.store import Local


class SSL4EOS12(Dataset):
    """SSL4EO-S12 v1.1 (WebDataset release), map-style.

    Args:
        root: folder of splits.
        split: folder of modalities, "train" or "val".
        modalities: folders of tars, such as S2L1C, S2L2A, S1GRD, S2RGB, NDVI, LULC, DEM; joined by
            key. The first is the reference for dates and for the views' timestamps.
        recipe: views and radiometry; None yields raw pixels ``[T, C, H, W]``.
        statistics: which release's statistics the data obeys, by name; or a `Statistics` of your
            own, or the path of a JSON file of one; see `fastload.statistics`.
        bands: names of the bands to show, in this order; for several modalities a mapping by
            modality, of which those that are not named show all. 'B4' is 'B04', 'VV' is 'vv'.
        missing: "error" refuses keys that some modality lacks, "drop" leaves them out and says so.
        check_crc: compare each chunk read with the CRC-32 of its zip directory.
        seed: what `dataset[i]` draws its views with. A DataLoader has its own.
        executor: builds missing indexes; threads by default.
        progress: show a bar while indexing.

    Raises:
        FileNotFoundError: names a folder that is not there.
        DataError: names a damaged shard.
        ValueError: where recipe and data do not fit, keys are missing, or a band is unknown.
    """

    def __init__(
        self,
        root: str | Path,
        split: str = "train",
        modalities: Sequence[str] = ("S2L1C",),
        recipe: Recipe | None = None,
        statistics: What = "v1.1-webdataset",
        *,
        bands: Asked = None,
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
        own = found_statistics(statistics)
        asked = by_modality(bands, modalities)
        folder = Path(root) / split
        sources = {}
        for name in modalities:
            store = Local(folder / name)
            index = open_index(store, executor, progress, print)
            if not len(index):
                raise DataError(store.place, "", -1, "the shards hold no *.zarr.zip sample")
            sources[name] = ZarrSource(name, store, index, check_crc, asked[name])
        keys = {name: source.columns.key for name, source in sources.items()}
        super().__init__(sources, recipe, own, seed, join(keys, missing))
