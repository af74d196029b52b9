"""SSL4EO-S12 v1.1 as published in WebDataset tars of ``{key}.zarr.zip``, unconverted.

Layout: ``{root}/{split}/{modality}/*.tar``; or tars of ``{key}.{modality}.zarr.zip``, in which
several modalities lie side by side, in ``{root}/{split}`` or in a folder there. Source: the
dataset's card of February 2026.
"""

import warnings
from collections.abc import Sequence
from concurrent.futures import Executor
from fractions import Fraction
from typing import Any, Literal

from fastload.bands import Asked, by_modality
from fastload.datasets.base import Dataset
from fastload.datasets.join_sources import check_options, join_sources
from fastload.datasets.known import MOST
from fastload.datasets.source import Modality
from fastload.datasets.zarrs.folders import Folders
from fastload.datasets.zarrs.packed import DEFAULT, packed
from fastload.datasets.zarrs.unlike_dates import Dates, check_dates, left_out
from fastload.recipe import Recipe
from fastload.statistics import What
from fastload.statistics import statistics as found_statistics
from fastload.storage.at import Place, at
from fastload.storage.errors import DataError
from fastload.storage.store import Store

_SPLITS = ("/train", "/val", "/test")
PIXELS_M = (10, 20, 30, 60)
"""Sizes of pixels in metres: Sentinel-1 and -2, and elevation."""


class SSL4EOS12(Dataset):
    """SSL4EO-S12 v1.1 (WebDataset release), map-style.

    Args:
        root: folder of splits, ``~`` being the user's home; or its URL or store.
        split: folder of modalities, "train" or "val".
        modalities: folders of tars, such as S2L1C, S2L2A, S1GRD, S2RGB, NDVI, LULC, DEM; joined by
            key. The first is the reference for dates and for the views' timestamps. "LULC/NAME" is
            another array of that folder's samples, ``[T, C, H, W]``, or ``[T, H, W]`` as a single
            band; "cloud_mask" that of an optical modality: of those given, else the first of
            S2L2A, S2L1C and S2RGB that has one. One name may be given as it is.
        recipe: views and radiometry; None yields raw pixels ``[T, C, H, W]``.
        statistics: which release's statistics the data obeys, by name; or a `Statistics` of your
            own, or the path of a JSON file of one; see `fastload.statistics`. By default
            "v1.1-webdataset", or what packed shards say.
        bands: names of the bands to show, in this order; for several modalities a mapping by
            modality, of which those that are not named show all. 'B4' is 'B04', 'VV' is 'vv'.
        missing: "error" refuses keys that some modality lacks, "drop" leaves them out and says so.
        bad_shards: "raise", or "skip" to leave out shards that cannot be indexed. Their keys are
            then missing, too.
        align: "nearest" puts the timestamps of each further modality side by side with the first
            one's by their dates, so that the gaps of a sample add up to the least; those with one
            timestamp, with another number of them or with unknown dates keep their order. None: as
            they are stored.
        dates: what is done about samples of a modality with other numbers of dates: "mask" keeps
            all, with as many timestamps as the sample with the most has; what a sample lacks is
            fill value, no view of a single date shows it, and batches say which dates there are.
            "drop" leaves out samples that have another number of dates than most (of several as
            common, the largest), and says so. "error" refuses them.
        together: the folder of a split whose tars hold all modalities side by side, as members
            ``{key}.{modality}.zarr.zip``; "." for the split's folder itself. By default they are
            found by the names of members where a modality has no folder of its own; each tar is
            indexed once.
        columns: further columns to keep in `extras`: "cloud", or what the samples have besides
            pixels, such as "crs" or "file_id"; of the first modality that has it.
        check_crc: compare each chunk read with the CRC-32 of its zip directory.
        seed: what `dataset[i]` draws its views with. A DataLoader has its own.
        executor: builds missing indexes; threads by default.
        progress: show a bar while indexing.

    Attributes:
        bad_shards: errors of the shards that were left out.

    Raises:
        FileNotFoundError: names a folder that is not there, and what is.
        DataError: names a damaged shard.
        ValueError: where an argument is out of range, recipe and data do not fit, keys are
            missing, or a band is unknown.
    """

    def __init__(
        self,
        root: Place,
        split: str = "train",
        modalities: Sequence[str] | str = ("S2L1C",),
        recipe: Recipe | None = None,
        statistics: What | None = None,
        *,
        bands: Asked = None,
        missing: Literal["error", "drop"] = "error",
        bad_shards: Literal["raise", "skip"] = "raise",
        align: Literal["nearest"] | None = None,
        dates: Dates = "mask",
        together: str | None = None,
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
        store = at(root)
        says = packed(store.below(split))
        own = says.chosen(statistics, recipe) if says else found_statistics(statistics or DEFAULT)
        self.bad_shards: list[DataError] = []
        skipped = self.bad_shards if bad_shards == "skip" else None
        folders = Folders(store, split, executor, progress, skipped, together, dates)
        asked = by_modality(bands, names)
        sources = {name: folders.source(name, names, check_crc, asked[name]) for name in names}
        for name, source in sources.items():
            if says:
                says.tell(name, source)
        tell_of(self.bad_shards, folders.split.place)
        own_columns = says.columns(names) if says else ()
        joined = left_out(join_sources(sources, missing, align, columns, own_columns), dates)
        shown = [source.modality for source in joined.sources.values()]
        same = says.same_ground if says else _one_square(shown)
        super().__init__(joined.sources, recipe, own, seed, joined.rows, joined.extras, same)

    @classmethod
    def looks_right(cls, root: Store) -> bool:
        """Whether this layout lies at a place, see `fastload.datasets.known`."""
        splits = [root.below(name) for name in root.folders()[:MOST]]
        if any(split.filenames(".tar", 1) for split in splits if split.place.endswith(_SPLITS)):
            return True  # with several modalities in them
        folders = (split.below(name) for split in splits for name in split.folders()[:MOST])
        return any(folder.filenames(".tar", 1) for folder in folders)

    @classmethod
    def modalities_at(cls, root: Store, split: str) -> list[str]:
        """See `Dataset.modalities_at`: all folders of tars, those of Sentinel-2 first."""
        found = root.below(split).folders_with(".tar")
        return sorted(found, key=lambda name: not name.startswith("S2"))


def _one_square(modalities: Sequence[Modality]) -> bool:
    """Whether images may be of the same square, as all of a location are: with pixels of these
    sizes. What was cut to another size may show other ground."""
    ratios = {Fraction(a, b) for a in PIXELS_M for b in PIXELS_M}
    first = modalities[0]
    return all(
        Fraction(m.height, first.height) == Fraction(m.width, first.width)
        and Fraction(m.height, first.height) in ratios
        for m in modalities
    )


def check_names(names: list[str], bad_shards: Any) -> None:
    """Compare two arguments with what is expected.

    Raises:
        ValueError: names the argument.
    """
    if not names or not all(isinstance(name, str) for name in names):
        raise ValueError(f"modalities must be a list of names, got {names!r}")
    if len(set(names)) < len(names):
        raise ValueError(f"modalities must differ, got {names}")
    if bad_shards not in ("raise", "skip"):
        raise ValueError(f"bad_shards must be 'raise' or 'skip', got {bad_shards!r}")


def tell_of(bad: list[DataError], split: str) -> None:
    """Warn of shards that are left out."""
    if bad:
        warnings.warn(
            f"{len(bad)} shards in {split} cannot be indexed and are left out, such as {bad[0]} "
            "(`bad_shards` lists them)",
            stacklevel=3,
        )
