"""SSL4EO-S12 v1.0, the GeoTIFF tree of 2022, unconverted.

Layout: ``{root}/{s1|s2c|s2a}/{id}/{scene}/{band}.tif``, float32 dB and uint16 DN, one band a file
at its own resolution (264, 132 or 44 pixels of 10, 20 or 60 m), four scenes an id. Source: the
downloader and the reader of the dataset's repository.
"""

from collections.abc import Mapping, Sequence
from concurrent.futures import Executor
from typing import Literal

from fastload.bands import PUBLISHED, Asked, by_modality
from fastload.datasets.join_sources import check_options, join_sources
from fastload.datasets.known import MOST
from fastload.datasets.rasters.id_tree import (
    S1,
    S2,
    band_files,
    holds,
    open_tree,
    scene_names,
    without_void,
)
from fastload.datasets.rasters.raster_dataset import RasterDataset
from fastload.datasets.rasters.raster_source import RasterSource
from fastload.datasets.rasters.resample import Resampling
from fastload.recipe import Recipe
from fastload.statistics import What
from fastload.statistics import statistics as found_statistics
from fastload.storage.at import Place, at
from fastload.storage.store import Store

FOLDERS = {
    "S1GRD": ("s1", "s1_grd"),
    "S2L1C": ("s2c", "s2_l1c"),
    "S2L2A": ("s2a", "s2_l2a"),
}
"""Names of a modality's folder; the second is that of the published archives."""
GROUND_M = (2640.0, 2640.0)
SCENE = {"S1GRD": S1, "S2L1C": S2, "S2L2A": S2}
NODATA = 0.0
"""What the downloader has Earth Engine put where nothing was seen."""


class SSL4EOS12V10(RasterDataset):
    """SSL4EO-S12 v1.0 (GeoTIFF tree), map-style.

    The samples' keys are the ids, which have gaps. A sample's timestamps are its scenes by date;
    ids with fewer than others say so (`present` in a batch). What lies where is listed once and
    kept beside the tree, see `fastload.datasets.rasters.open_scenes`.

    Args:
        root: folder of s1, s2c or s2a, ``~`` being the user's home; or its URL or store.
        modalities: of S1GRD, S2L1C and S2L2A, or the folders' names; joined by id. The first is the
            reference for dates and for the views' timestamps.
        recipe: views and radiometry; None yields raw pixels ``[T, C, H, W]``.
        statistics: "v1.0", or "v1.0-8bit" for the release in 8 bits; or a `Statistics` of your own,
            or the path of a JSON file of one.
        bands: names of the bands to show, in this order, 'B4' or 'B04'; for several modalities a
            mapping by modality. Only their files are read.
        missing: "error" refuses ids without a scene, and ids that some modality lacks; "drop"
            leaves them out and says so.
        resampling: how bands of 20 and 60 m are brought to 10 m: "bilinear" as in the published
            reader, or "nearest" as in torchgeo's; see `fastload.datasets.rasters.resample`.
        coordinates: read one header an id, when the tree is listed, to know where it lies.
        columns: further columns to keep in `extras`: "scene", the scenes' names.
        seed: what `dataset[i]` draws its views with. A DataLoader has its own.
        executor: lists the tree the first time; threads by default.
        progress: show a bar meanwhile.

    Raises:
        FileNotFoundError: names a folder that is not there, and what is.
        DataError: names a file that is not as expected.
        ValueError: where an argument is out of range, recipe and data do not fit, ids are missing,
            or a band is unknown.
    """

    def __init__(
        self,
        root: Place,
        modalities: Sequence[str] | str = ("S2L1C",),
        recipe: Recipe | None = None,
        statistics: What = "v1.0",
        *,
        bands: Asked = None,
        missing: Literal["error", "drop"] = "error",
        resampling: Resampling = "bilinear",
        coordinates: bool = True,
        columns: Sequence[str] = (),
        seed: int = 0,
        executor: Executor | None = None,
        progress: bool = True,
    ) -> None:
        store, names = at(root), _names(modalities)
        check_options(missing, None)
        own, asked = found_statistics(statistics), by_modality(_renamed(bands), names)
        sources = {}
        for name in names:
            folder = _folder(store, name)
            scenes = open_tree(folder, SCENE[name], executor, progress, coordinates)
            scenes = without_void(scenes, missing, folder.place)
            files, there = band_files(folder, scenes, PUBLISHED[name], asked[name])
            sources[name] = RasterSource(
                name, folder, scenes, files, there, asked[name], resampling, NODATA, GROUND_M,
                {"scene": scene_names(scenes)} if "scene" in columns else {},
            )  # fmt: skip
        joined = join_sources(sources, missing, None, columns)
        super().__init__(joined.sources, recipe, own, seed, joined.rows, extras=joined.extras)

    @classmethod
    def modalities_at(cls, root: Store, split: str) -> list[str]:
        """See `Dataset.modalities_at`."""
        there = root.folders()
        return [name for name, folders in FOLDERS.items() if any(f in there for f in folders)]

    @classmethod
    def looks_right(cls, root: Store) -> bool:
        """Whether this layout lies at a place, see `fastload.datasets.known`."""
        there = root.folders()
        return any(
            holds(root.below(folder), SCENE[name])
            for name, folders in FOLDERS.items()
            for folder in folders
            if folder in there
        )


def _name(name: str) -> str:
    """A modality's name, of a name or that of its folder."""
    return next((n for n, folders in FOLDERS.items() if name in folders), name)


def _names(modalities: Sequence[str] | str) -> list[str]:
    given = [modalities] if isinstance(modalities, str) else list(modalities)
    names = [_name(name) for name in given]
    if not names or any(name not in FOLDERS for name in names) or len(set(names)) < len(names):
        known = ", ".join(f"{name} ({folders[0]})" for name, folders in FOLDERS.items())
        raise ValueError(f"modalities must be some of {known}, each once, got {given}")
    return names


def _renamed(bands: Asked) -> Asked:
    return {_name(n): b for n, b in bands.items()} if isinstance(bands, Mapping) else bands


def _folder(root: Store, name: str) -> Store:
    """Where a modality lies."""
    there = root.folders()
    for folder in FOLDERS[name]:
        if folder in there:
            return root.below(folder)
    parent, _, own = root.place.rstrip("/").rpartition("/")
    if any(own in folders for folders in FOLDERS.values()):
        raise FileNotFoundError(f"{root.place} is the folder of one modality: give root={parent!r}")
    held = ", ".join(there[:MOST]) or "no folder"
    raise FileNotFoundError(
        f"{root.place}: expected {name} in a folder {FOLDERS[name][0]!r}, found {held}"
    )
