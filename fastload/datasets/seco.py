"""SeCo (Seasonal Contrast), 100k and 1M, unconverted.

Layout: ``{root}/{id}/{scene}/{band}.tif``, uint8 with JPEG inside, 12 bands of Sentinel-2 L2A at
their own resolution (264, 132 or 44 pixels), five scenes an id. A byte is reflectance times 255,
clipped. Source: the downloader and the reader of the dataset's repository.
"""

from collections.abc import Sequence
from concurrent.futures import Executor
from typing import Literal

from fastload.bands import PUBLISHED, plain
from fastload.datasets.join_sources import check_options, join_sources
from fastload.datasets.rasters.id_tree import (
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
from fastload.datasets.ssl4eo_v10 import FOLDERS as OTHERS
from fastload.recipe import Radiometry, Recipe
from fastload.statistics import What
from fastload.statistics import statistics as found_statistics
from fastload.storage.at import Place, at
from fastload.storage.store import Store

MODALITY = "S2L2A"
RGB = ("B4", "B3", "B2")
QUANTILES = {"B4": (0.0, 129.0), "B3": (2.0, 103.0), "B2": (3.0, 88.0)}
"""2 and 98 % of 3,000 images, in the numbers on disk, which the published training stretches by."""
GROUND_M = (2640.0, 2640.0)
_VERSIONS = {
    "100k": ("seasonal_contrast_100k", "seco_100k"),
    "1m": ("seasonal_contrast_1m", "seco_1m"),
}
_ID = r"\d{6}"


class SeCo(RasterDataset):
    """SeCo (Seasonal Contrast), map-style; its one modality is S2L2A.

    The samples' keys are the ids, their timestamps the scenes by date; ids with fewer than others
    say so (`present` in a batch). What lies where is listed once and kept beside the tree, see
    `fastload.datasets.rasters.open_scenes`.

    Args:
        root: folder of ids, or the one above it; ``~`` is the user's home; or its URL or store.
        version: "100k" or "1m", where the folder above holds both.
        recipe: views and radiometry; None yields raw pixels ``[T, C, H, W]``, uint8.
            `SeCo.stretch()` is the published radiometry of red, green and blue.
        statistics: "seco", which knows that reflectance is a 255th of the numbers, and no mean or
            spread, since none are published; or a `Statistics` of your own, or the path of a JSON
            file of one.
        modalities: there is only S2L2A.
        bands: names of the bands to show, in this order, such as `SeCo.rgb`. Only their files are
            read.
        missing: "error" refuses ids without a scene, "drop" leaves them out and says so.
        resampling: how bands of 20 and 60 m are brought to 10 m, "bilinear" or "nearest"; see
            `fastload.datasets.rasters.resample`.
        coordinates: read one header an id, when the tree is listed, to know where it lies.
        columns: further columns to keep in `extras`: "scene", the scenes' names.
        seed: what `dataset[i]` draws its views with. A DataLoader has its own.
        executor: lists the tree the first time; threads by default.
        progress: show a bar meanwhile.

    Raises:
        FileNotFoundError: says what is there instead.
        DataError: names a file that is not as expected.
        ValueError: where an argument is out of range, recipe and data do not fit, ids have no
            scene, or a band is unknown.
    """

    rgb = RGB

    def __init__(
        self,
        root: Place,
        version: Literal["100k", "1m"] | None = None,
        recipe: Recipe | None = None,
        statistics: What = "seco",
        *,
        modalities: Sequence[str] | str = (MODALITY,),
        bands: Sequence[str] | None = None,
        missing: Literal["error", "drop"] = "error",
        resampling: Resampling = "bilinear",
        coordinates: bool = True,
        columns: Sequence[str] = (),
        seed: int = 0,
        executor: Executor | None = None,
        progress: bool = True,
    ) -> None:
        if modalities not in (MODALITY, [MODALITY], (MODALITY,)):
            raise ValueError(f"SeCo has the modality {MODALITY} alone, got {modalities!r}")
        if version is not None and version not in _VERSIONS:
            raise ValueError(f"version must be one of {list(_VERSIONS)} or None, got {version!r}")
        check_options(missing, None)
        own, folder = found_statistics(statistics), _folder(at(root), version)
        scenes = open_tree(folder, S2, executor, progress, coordinates)
        scenes = without_void(scenes, missing, folder.place)
        files, there = band_files(folder, scenes, PUBLISHED[MODALITY], bands)
        source = RasterSource(
            MODALITY, folder, scenes, files, there, bands, resampling, None, GROUND_M,
            {"scene": scene_names(scenes)} if "scene" in columns else {},
        )  # fmt: skip
        joined = join_sources({MODALITY: source}, missing, None, columns)
        super().__init__(joined.sources, recipe, own, seed, joined.rows, extras=joined.extras)

    @staticmethod
    def stretch(bands: Sequence[str] = RGB) -> Radiometry:
        """The published radiometry: 2 to 98 % of a band's numbers, to 0 to 1, clipped.

        Args:
            bands: those that are shown, in their order.

        Raises:
            ValueError: where nothing is published of a band.
        """
        known = {plain(name): limits for name, limits in QUANTILES.items()}
        unknown = [name for name in bands if plain(name) not in known]
        if unknown:
            raise ValueError(f"SeCo's quantiles are published of {list(QUANTILES)}, not {unknown}")
        low, high = zip(*(known[plain(name)] for name in bands), strict=True)
        return Radiometry.quantile(low, high)

    @classmethod
    def looks_right(cls, root: Store) -> bool:
        """Whether this layout lies at a place, see `fastload.datasets.known`."""
        return _is_tree(root) or any(_is_tree(folder) for folder in _inside(root, None))


def _is_tree(store: Store) -> bool:
    """Whether ids lie there, and not those of another data set's modality."""
    own = store.place.rstrip("/").rpartition("/")[2]
    return not any(own in names for names in OTHERS.values()) and holds(store, S2, _ID)


def _inside(root: Store, version: str | None) -> list[Store]:
    """Folders of a version, or of any."""
    versions = _VERSIONS.values() if version is None else [_VERSIONS[version]]
    there = root.folders()
    return [root.below(name) for names in versions for name in names if name in there]


def _folder(root: Store, version: str | None) -> Store:
    """Where the ids lie."""
    found = _inside(root, version)
    if len(found) > 1:
        places = ", ".join(folder.place for folder in found)
        raise ValueError(f"{root.place} holds several: {places}; give one of them as root")
    if found:
        return found[0]
    if version is not None and not any(root.place.endswith(n) for n in _VERSIONS[version]):
        expected = " or ".join(map(repr, _VERSIONS[version]))
        raise FileNotFoundError(f"{root.place}: expected a folder {expected}")
    return root
