"""TerraMesh as published: WebDataset tars of ``{key}.zarr.zip``, one date, nine million locations.

Layout: ``{root}/{split}/{modality}/{majortom|ssl4eos12}_shard_{number}.tar``. Shards of both names
lie in one folder; a sample has S1GRD (those of SSL4EO-S12) or S1RTC (those of Major TOM), never
both. Source: the data set's card and its reading code, `terramesh.py`.

On the offset of 1000 DN that Sentinel-2 has since processing baseline 04.00 the sources disagree: a
first version of the paper is said to add it to pixels from before 2022, a later one to take it from
those after. The pixels are mixed: among the five validation samples that are published with
TerraMind three have the offset in S2L1C (B10 around 1010 DN) and two have not (B10 below 60), one
has it in S2L2A, and it is not the same ones. The published statistics are of that mixture (S2L1C
B10: mean 506, standard deviation 512; without the offset it would be 22 and 51). So
`Radiometry.standardise` is what the published code does, `Radiometry.reflectance` takes every pixel
as one without the offset, and nothing here shifts pixels.
"""

from collections.abc import Sequence
from concurrent.futures import Executor
from typing import Literal

from fastload.bands import Asked, by_modality
from fastload.datasets.base import Dataset
from fastload.datasets.join_sources import check_options, join_sources
from fastload.datasets.known import MOST
from fastload.datasets.source import Source
from fastload.datasets.ssl4eo_s12 import check_names, tell_of
from fastload.datasets.zarrs.either_source import either, kind_column
from fastload.datasets.zarrs.folders import Folders
from fastload.datasets.zarrs.packed import FILE
from fastload.recipe import Recipe
from fastload.statistics import What
from fastload.statistics import statistics as found_statistics
from fastload.storage.at import Place, at
from fastload.storage.errors import DataError
from fastload.storage.store import Store

S1 = "S1"
KINDS = ("S1GRD", "S1RTC")
"""What a sample's S1 may be."""
GATHERED = "gather.json"
"""The note of `python -m fastload gather` at the root."""


class TerraMesh(Dataset):
    """TerraMesh, map-style.

    Args:
        root: folder of splits, ``~`` being the user's home; or its URL or store.
        split: folder of modalities, "train" or "val".
        modalities: folders of tars: S2L1C, S2L2A, S2RGB, S1GRD, S1RTC, NDVI, LULC, DEM; joined by
            key, the first is the reference for dates. "S1" is S1GRD or S1RTC, whichever a sample
            has: batches then say which in ``S1_kind`` (text), and a radiometry takes the statistics
            of that kind for each sample, unless a set has "S1" itself. "FOLDER/array" and
            "cloud_mask" as `fastload.SSL4EOS12` has them. One name may be given as it is.
        recipe: views and radiometry; None yields raw pixels ``[1, C, H, W]``.
        statistics: "terramesh" are those that are published with it; else as of
            `fastload.statistics`.
        bands: names of the bands to show; for several modalities a mapping by modality.
        missing: "error" refuses keys that some modality lacks, "drop" leaves them out and says so.
        bad_shards: "raise", or "skip" to leave out shards that cannot be indexed.
        columns: further columns to keep in `extras`: "cloud", or what the samples have besides.
        check_crc: compare each chunk read with the CRC-32 of its zip directory.
        seed: what `dataset[i]` draws its views with. A DataLoader has its own.
        executor: builds missing indexes; threads by default.
        progress: show a bar while indexing.

    Attributes:
        bad_shards: errors of the shards that were left out.

    Raises:
        FileNotFoundError: names a folder that is not there, and what is.
        DataError: names a damaged shard.
        ValueError: where an argument is out of range, recipe and data do not fit, keys are missing,
            or a band is unknown.
    """

    def __init__(
        self,
        root: Place,
        split: str = "train",
        modalities: Sequence[str] | str = ("S2L2A",),
        recipe: Recipe | None = None,
        statistics: What = "terramesh",
        *,
        bands: Asked = None,
        missing: Literal["error", "drop"] = "error",
        bad_shards: Literal["raise", "skip"] = "raise",
        columns: Sequence[str] = (),
        check_crc: bool = True,
        seed: int = 0,
        executor: Executor | None = None,
        progress: bool = True,
    ) -> None:
        names = [modalities] if isinstance(modalities, str) else list(modalities)
        check_names(names, bad_shards)
        check_options(missing, None)
        own = found_statistics(statistics)
        self.bad_shards: list[DataError] = []
        skipped = self.bad_shards if bad_shards == "skip" else None
        folders = Folders(at(root), split, executor, progress, skipped, own="terramesh")
        asked = by_modality(bands, names)

        def source(name: str) -> Source:
            if name != S1:
                return folders.source(name, names, check_crc, asked[name])
            kinds = _kinds(folders.split)
            return either(S1, {k: folders.source(k, names, check_crc, asked[S1]) for k in kinds})

        sources = {name: source(name) for name in names}
        tell_of(self.bad_shards, folders.split.place)
        try:
            own_columns = [kind_column(S1)] if S1 in names else []
            joined = join_sources(sources, missing, None, columns, own_columns)
        except ValueError as error:
            hint = "; 'S1' is S1GRD or S1RTC, whichever a sample has"
            raise ValueError(f"{error}{hint if set(KINDS) & set(names) else ''}") from error
        super().__init__(joined.sources, recipe, own, seed, joined.rows, extras=joined.extras)

    @classmethod
    def modalities_at(cls, root: Store, split: str) -> list[str]:
        """See `Dataset.modalities_at`: all folders of tars; S1 where there are both kinds of it."""
        there = root.below(split).folders_with(".tar")
        if not set(KINDS) <= set(there):
            return there
        return [S1 if name == KINDS[0] else name for name in there if name != KINDS[1]]

    @classmethod
    def looks_right(cls, root: Store) -> bool:
        """Whether this layout lies at a place, see `fastload.datasets.known`: a shard is named
        after Major TOM, or there is S1RTC, which SSL4EO-S12 has not. Packed shards say themselves
        what they obey; what `fastload gather` made is in SSL4EO-S12's layout, with S1RTC."""
        if root.filenames(GATHERED, 1):
            return False
        splits = [root.below(name) for name in root.folders()[:MOST]]
        for split in splits:
            if split.filenames(FILE, 1):
                continue
            for name in split.folders()[:MOST]:
                first = split.below(name).filenames(".tar", 1)
                if first and (name == "S1RTC" or first[0].startswith("majortom_")):
                    return True
        return False


def _kinds(split: Store) -> list[str]:
    """The folders of S1 that have shards."""
    there = [name for name in KINDS if split.below(name).filenames(".tar", 1)]
    if not there:
        held = ", ".join(split.folders()) or "no folders"
        raise FileNotFoundError(
            f"{split.place}: modality 'S1' is S1GRD or S1RTC, but neither folder has shards; there "
            f"are {held}"
        )
    return there
