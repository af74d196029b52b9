"""SSL4EO-S12 v1.1 as published in zarr files of 64 locations each, unconverted.

Layout: ``{root}/{split}/{modality}/ssl4eos12_{split}_seasonal_data_{number}.zarr.zip``, each a zip
that holds a zarr group: ``bands [sample, time, band, y, x]``, ``cloud_mask [sample, time, y, x]``,
``time [sample, time]``, places and names of the samples. Source: the dataset's card of March 2025.
"""

from collections.abc import Sequence
from concurrent.futures import Executor
from typing import Literal

import numpy as np

from fastload.bands import Asked, by_modality
from fastload.datasets.base import Dataset
from fastload.datasets.join_sources import check_options, join_sources
from fastload.datasets.known import MOST
from fastload.datasets.ssl4eo_s12 import check_names, tell_of
from fastload.datasets.zarrs.folders import Folders
from fastload.datasets.zarrs.locate import shards
from fastload.datasets.zarrs.unlike_dates import Dates, check_dates, left_out
from fastload.datasets.zarrs.zarr_source import ZarrSource
from fastload.recipe import Recipe
from fastload.statistics import What
from fastload.statistics import statistics as found_statistics
from fastload.storage.at import Place, at
from fastload.storage.errors import DataError
from fastload.storage.formats.zarr import ArraySpec
from fastload.storage.index import ZIPS
from fastload.storage.scan import SUFFIX
from fastload.storage.store import Store

OWN = "ssl4eo_zarr"
_TREE = f"expected {{root}}/{{split}}/{{modality}}/*{SUFFIX}, as the zarr files of SSL4EO-S12 v1.1"


class SSL4EOS12Zarr(Dataset):
    """Zarr release of SSL4EO-S12 v1.1, in files of 64 locations; map-style.

    A key is the sample's id in its file, or, where there is none, the file's name and the sample's
    number there. Where a chunk is one timestamp of one sample, no other bytes are read for it;
    chunks of several samples or timestamps are read whole and decoded on the host.

    Args:
        root: folder of splits, ``~`` being the user's home; or its URL or store.
        split: folder of modalities, "train" or "val".
        modalities: folders of files: S2L1C, S2L2A, S1GRD, S2RGB; as `fastload.SSL4EOS12` has them.
        recipe: views and radiometry; None yields raw pixels ``[T, C, H, W]``.
        statistics: which release's statistics the data obeys. These files carry the offset of
            1000 DN of ESA's processing since 2022, others do not; see `fastload.statistics`.
        bands, missing, bad_shards, align, dates, columns, check_crc, seed, executor, progress: as
            of `fastload.SSL4EOS12`.

    Attributes:
        bad_shards: errors of the files that were left out.

    Raises:
        FileNotFoundError: names a folder that is not there, and what is.
        DataError: names a damaged file.
        ValueError: where an argument is out of range, recipe and data do not fit, keys are
            missing, or a band is unknown.
    """

    def __init__(
        self,
        root: Place,
        split: str = "train",
        modalities: Sequence[str] | str = ("S2L1C",),
        recipe: Recipe | None = None,
        statistics: What = "v1.1-zarr",
        *,
        bands: Asked = None,
        missing: Literal["error", "drop"] = "error",
        bad_shards: Literal["raise", "skip"] = "raise",
        align: Literal["nearest"] | None = None,
        dates: Dates = "mask",
        columns: Sequence[str] = (),
        check_crc: bool = True,
        seed: int = 0,
        executor: Executor | None = None,
        progress: bool = True,
    ) -> None:
        names = [modalities] if isinstance(modalities, str) else list(modalities)
        check_names(names, bad_shards)
        check_options(missing, align)
        check_dates(dates)
        own = found_statistics(statistics)
        self.bad_shards: list[DataError] = []
        skipped = self.bad_shards if bad_shards == "skip" else None
        folders = _Folders(at(root), split, executor, progress, skipped, None, dates, OWN)
        asked = by_modality(bands, names)
        sources = {name: folders.source(name, names, check_crc, asked[name]) for name in names}
        tell_of(self.bad_shards, folders.split.place)
        joined = left_out(join_sources(sources, missing, align, columns), dates)
        # All images of a location are of the same square.
        super().__init__(
            joined.sources, recipe, own, seed, joined.rows, joined.extras, same_ground=True
        )

    @classmethod
    def looks_right(cls, root: Store) -> bool:
        """Whether this layout lies at a place, see `fastload.datasets.known`."""
        splits = (root.below(name) for name in root.folders()[:MOST])
        folders = (split.below(name) for split in splits for name in split.folders()[:MOST])
        return any(folder.filenames(SUFFIX, 1) for folder in folders)

    @classmethod
    def modalities_at(cls, root: Store, split: str) -> list[str]:
        """See `Dataset.modalities_at`: all folders of zips."""
        return root.below(split).folders_with(SUFFIX)


class ManySource(ZarrSource):
    """Samples that lie together in zips, each a group of many."""

    def _member(self, sample: int, spec: ArraySpec, grid: Sequence[int]) -> str:
        first = int(np.searchsorted(self.index.shard, self.index.shard[sample]))
        chunk = ((sample - first) // spec.depth, *grid)
        return f"{self.array}/" + spec.separator.join(map(str, chunk))


class _Folders(Folders):
    """Folders of such zips."""

    kind = ZIPS
    made = ManySource

    def shards(self, modality: str) -> Store:
        """See `Folders.shards`."""
        return shards(self.root, self.split_name, modality, self._own, SUFFIX, _TREE)
