"""BigEarthNet as published, both versions: folders of patches, one GeoTIFF a band.

Layout of version 1: ``BigEarthNet-v1.0/{patch}/{patch}_{band}.tif`` and
``BigEarthNet-S1-v1.0/{patch}/{patch}_{VV|VH}.tif`` with labels in a JSON file a patch; of version
2: ``BigEarthNet-S2/{tile}/{patch}/..``, ``BigEarthNet-S1/..``, ``Reference_Maps/..`` and
``metadata.parquet``. Patches are 1200 m wide: 120 pixels of 10 m, 60 of 20 m, 20 of 60 m. Sources:
the data set's papers and manual, bigearthnet_common.
"""

from collections.abc import Sequence
from concurrent.futures import Executor
from typing import Literal

from fastload.bands import PUBLISHED, Asked, by_modality
from fastload.datasets import bigearthnet_v1, bigearthnet_v2
from fastload.datasets.base import Dataset
from fastload.datasets.bigearthnet_parts import FILES, Options, folder_of, names_of_v2
from fastload.datasets.join_sources import check_options, join_sources
from fastload.datasets.rasters.raster_source import RasterSource
from fastload.datasets.rasters.resample import Resampling
from fastload.recipe import Recipe
from fastload.statistics import What
from fastload.statistics import statistics as found_statistics
from fastload.storage.at import Place, at
from fastload.storage.store import Store


class BigEarthNet(Dataset):
    """BigEarthNet v1 and v2, map-style; which one lies there is seen by the folders.

    The samples' keys are the names of Sentinel-2's patches; Sentinel-1 is joined by the metadata.
    Batches have ``label``, int64 ``[B, 19]``, 1 for each class of `corine.CLASSES_19` that a patch
    has; version 1 has ``label_43`` for `corine.CLASSES_43`, too; version 2 ``country``. Where the
    lists of version 1, or the columns of version 2, say so, there are also ``snow`` and ``cloud``.
    Dates are those in the patches' names.

    Args:
        root: folder of the published folders, ``~`` being the user's home; or its URL or store.
        split: all by default; else "train", "val" or "test". Of version 2 by its metadata; of
            version 1 by the first there is of ``bigearthnet-{split}.csv``, ``{split}.csv`` and
            ``{split}.txt`` in `root` or in its folder ``splits``: the patch of Sentinel-2 and, if
            there are two columns, that of Sentinel-1.
        modalities: of "S2L2A", "S1GRD" and, in version 2, "LULC", the reference maps (codes of
            CORINE). The first is the reference for dates.
        recipe: views and radiometry; None yields raw pixels ``[1, C, 120, 120]``.
        statistics: "bigearthnet"; else as of `fastload.statistics`.
        bands: names of the bands to show; for several modalities a mapping by modality.
        resampling: how bands of 20 and 60 m are brought to 10 m: "bilinear" as torchgeo does it, or
            "nearest"; see `fastload.datasets.rasters.resample`.
        clear: leave out patches with seasonal snow, clouds or shadows, by the lists of version 1
            (``patches_with_seasonal_snow.csv``, ``patches_with_cloud_and_shadow.csv`` in `root`) or
            the columns of version 2.
        split_file: another list of version 1 in `root`; ``{split}`` stands for the split.
        metadata: tables of version 2, such as "metadata.parquet" and
            "metadata_for_patches_with_snow_cloud_or_shadow.parquet".
        missing: "error" refuses patches that are listed or have a partner, and are not there;
            "drop" leaves them out and says so.
        coordinates: read a header a patch of version 2, once, to know where it lies. The files of
            version 1 say it.
        seed: what `dataset[i]` draws its views with. A DataLoader has its own.
        executor: lists, and reads headers and labels, the first time; threads by default.
        progress: show a bar meanwhile.

    Raises:
        FileNotFoundError: names a folder or file that is not there, and what is.
        DataError: names a file that is not as expected.
        ValueError: where an argument is out of range, or patches are missing.
        ImportError: where reading parquet or GeoTIFF needs a library that is not there.
    """

    def __init__(
        self,
        root: Place,
        split: str | None = None,
        modalities: Sequence[str] | str = ("S2L2A",),
        recipe: Recipe | None = None,
        statistics: What = "bigearthnet",
        *,
        bands: Asked = None,
        resampling: Resampling = "bilinear",
        clear: bool = False,
        split_file: str | None = None,
        metadata: Sequence[str] | str = "metadata.parquet",
        missing: Literal["error", "drop"] = "error",
        coordinates: bool = True,
        seed: int = 0,
        executor: Executor | None = None,
        progress: bool = True,
    ) -> None:
        store, names = at(root), [modalities] if isinstance(modalities, str) else list(modalities)
        if not names or len(set(names)) < len(names) or not set(names) <= set(FILES):
            raise ValueError(f"modalities of BigEarthNet are of {list(FILES)}, got {modalities!r}")
        check_options(missing, None)
        own, asked = found_statistics(statistics), by_modality(bands, names)
        tables = [metadata] if isinstance(metadata, str) else list(metadata)
        options = Options(split, split_file, clear, missing, coordinates, executor, progress)
        second = names_of_v2(folder_of(store, names[0]))
        opened = (
            bigearthnet_v2.opened(store, names, tables, options)
            if second
            else bigearthnet_v1.opened(store, names, options)
        )
        sources = {
            name: RasterSource(
                name,
                folder_of(store, name),
                opened.scenes[name],
                FILES[name],
                PUBLISHED.get(name),
                asked[name],
                resampling,
            )
            for name in names
        }
        joined = join_sources(sources, missing)
        take = joined.rows[names[0]]
        extras = {n: c if take is None else c[take] for n, c in opened.extras.items()}
        super().__init__(joined.sources, recipe, own, seed, joined.rows, extras)

    @classmethod
    def looks_right(cls, root: Store) -> bool:
        """Whether this layout lies at a place, see `fastload.datasets.known`."""
        return any(name.startswith("BigEarthNet-") for name in root.folders())
