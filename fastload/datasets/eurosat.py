"""EuroSAT as published: JPEGs of three bands, or GeoTIFFs of 13, in a zip or in folders.

Layout: ``{Class}/{Class}_{number}.jpg`` or ``.tif``, below ``2750``, ``EuroSAT_RGB``,
``EuroSAT_MS`` or the long path that EuroSATallBands.zip has, in a folder or in a zip, which is not
unpacked. Sources: the repository and the Zenodo record of the data set's authors; torchgeo for
EuroSATallBands.zip.
"""

from collections.abc import Iterator, Sequence
from concurrent.futures import Executor
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastload.bands import PUBLISHED, Asked, by_modality
from fastload.datasets.base import Dataset
from fastload.datasets.join_sources import check_options, join_sources
from fastload.datasets.known import MOST
from fastload.datasets.labels.listed import names_in, rows_of
from fastload.datasets.rasters.image_source import ImageSource
from fastload.datasets.rasters.open_scenes import Found, open_scenes
from fastload.datasets.rasters.raster_source import RasterSource
from fastload.datasets.rasters.scenes import Scene
from fastload.datasets.source import Columns, Source
from fastload.recipe import Recipe
from fastload.statistics import What
from fastload.statistics import statistics as found_statistics
from fastload.storage.at import Place, at
from fastload.storage.dates import NO_TIME
from fastload.storage.errors import DataError
from fastload.storage.store import Stat, Store
from fastload.storage.zip_store import ZipStore

CLASSES = (
    "AnnualCrop", "Forest", "HerbaceousVegetation", "Highway", "Industrial", "Pasture",
    "PermanentCrop", "Residential", "River", "SeaLake",
)  # fmt: skip
"""In the order of their numbers, which is that of their names."""
SUFFIX = {"S2L1C": ".tif", "S2RGB": ".jpg"}
BANDS = (
    "B01", "B02", "B03", "B04", "B05", "B06", "B07", "B08", "B09", "B10", "B11", "B12", "B8A",
)  # fmt: skip
"""Of the GeoTIFFs, in the order on disk: B8A is last."""
_DEEP = "ds/images/remote_sensing/otherDatasets/sentinel_2/tif"
SPLITS = ("eurosat-{split}.txt", "train_test_split.json")
"""Lists of splits that are looked for: those that torchgeo has, and those of presto."""


class Home(NamedTuple):
    """Where folders of classes lie.

    Attributes:
        store: theirs.
        classes: those that are there.
        suffix: of the files.
    """

    store: Store
    classes: list[str]
    suffix: str


class EuroSAT(Dataset):
    """EuroSAT, map-style.

    The samples' keys are the files' names without ending, such as AnnualCrop_1. Batches have
    ``label``, int64 ``[B]``, the class's number in `CLASSES`, and ``class``, its name.

    Args:
        root: folder of the classes, or of a folder or zip that has them, ``~`` being the user's
            home; the path of the zip; a URL or a store.
        split: all by default; else a name that a list of samples is looked up by in `root`:
            ``eurosat-{split}.txt``, or the names under it in ``train_test_split.json``. The endings
            in a list do not matter.
        modalities: "S2L1C", the GeoTIFFs of 13 bands, uint16 DN, or "S2RGB", the JPEGs, or both,
            joined by key. By default the first that there is.
        recipe: views and radiometry; None yields raw pixels ``[1, C, 64, 64]``.
        statistics: "eurosat", which has S2L1C; else as of `fastload.statistics`.
        bands: names of the bands to show; for both modalities a mapping. S2L1C shows by default its
            13 in the published order of Sentinel-2, B8A behind B08 (on disk it is last).
        split_file: another list in `root`, such as "eurosat-spatial-{split}.txt": text with a name
            a line, or JSON with lists by split.
        missing: "error" refuses names in a list, and keys, that are not there; "drop" leaves them
            out and says so.
        coordinates: read each GeoTIFF's header, once, to know where it lies; kept in the cache, or
            beside the tree. JPEGs have no place.
        check_crc: compare what is read of a zip with its CRC-32.
        seed: what `dataset[i]` draws its views with. A DataLoader has its own.
        executor: reads headers; threads by default.
        progress: show a bar meanwhile.

    Raises:
        FileNotFoundError: says what lies there instead.
        DataError: names a file that is not as expected.
        ValueError: where an argument is out of range, or a list names what is not there.
    """

    def __init__(
        self,
        root: Place,
        split: str | None = None,
        modalities: Sequence[str] | str | None = None,
        recipe: Recipe | None = None,
        statistics: What = "eurosat",
        *,
        bands: Asked = None,
        split_file: str | None = None,
        missing: Literal["error", "drop"] = "error",
        coordinates: bool = True,
        check_crc: bool = True,
        seed: int = 0,
        executor: Executor | None = None,
        progress: bool = True,
    ) -> None:
        check_options(missing, None)
        own, (store, only) = found_statistics(statistics), _opened(root)
        homes = list(_homes(store, only))
        names = _modalities(modalities, homes)
        asked = by_modality(bands, names)

        def source(name: str) -> Source:
            home = _home(store, homes, SUFFIX[name])
            files = _files(home)
            if name == "S2RGB":
                return _images(name, home.store, files, check_crc, asked[name])
            return _rasters(home.store, list(files), asked[name], executor, progress, coordinates)

        sources = {name: source(name) for name in names}
        joined = join_sources(sources, missing)
        rows = dict(joined.rows)
        first = sources[names[0]].columns.key
        keys = first if rows[names[0]] is None else first[rows[names[0]]]
        if split is not None:
            file = _split_file(store, split, split_file)
            wanted = [_stem(cells[0]) for cells in names_in(store, file, split)]
            some = rows_of(keys, wanted, store.path(file), missing)
            rows = {n: some if taken is None else taken[some] for n, taken in rows.items()}
            keys = keys[some]
        kinds = [_class_of(key.decode()) for key in keys]
        extras = {"label": np.array([CLASSES.index(c) for c in kinds]), "class": np.array(kinds)}
        super().__init__(joined.sources, recipe, own, seed, rows, extras)

    @classmethod
    def looks_right(cls, root: Store) -> bool:
        """Whether this layout lies at a place, see `fastload.datasets.known`."""
        places = (root, *(root.below(name) for name in root.folders()[:MOST]), root.below(_DEEP))
        return bool(_zips(root)) or any(len(_classes(place)) >= 2 for place in places)


def _opened(root: Place) -> tuple[Store, str | None]:
    """The store, and the zip in it that was given as root."""
    if isinstance(root, Store) or not str(root).endswith(".zip"):
        return at(root), None
    parent, _, name = str(root).replace("\\", "/").rpartition("/")
    return at(parent or "."), name


def _zips(root: Store) -> list[str]:
    return [name for name in root.filenames(".zip", 100) if "eurosat" in name.lower()]


def _classes(store: Store) -> list[str]:
    there = store.folders()
    return [name for name in CLASSES if name in there]


def _homes(root: Store, only: str | None) -> Iterator[Home]:
    """All places with folders of classes."""
    tops: list[Store] = [] if only else [root]
    tops += [ZipStore(root, name) for name in ([only] if only else _zips(root))]
    for top in tops:
        inside = [top.below(name) for name in top.folders()[:MOST]]
        for place in (top, *inside, top.below(_DEEP)):
            classes = _classes(place)
            for suffix in SUFFIX.values():
                if classes and place.below(classes[0]).filenames(suffix, 1):
                    yield Home(place, classes, suffix)


def _home(root: Store, found: Sequence[Home], suffix: str) -> Home:
    mine = [home for home in found if home.suffix == suffix]
    if not mine:
        others = ", ".join(f"{h.store.place} (*{h.suffix})" for h in found) or "none at all"
        raise FileNotFoundError(
            f"{root.place}: expected folders of EuroSAT's classes such as {CLASSES[0]} with files "
            f"*{suffix}, in it, in a folder or in a zip named after EuroSAT; found {others}"
        )
    return mine[0]


def _modalities(asked: Sequence[str] | str | None, homes: Sequence[Home]) -> list[str]:
    if asked is None:
        there = {home.suffix for home in homes}
        return [name for name in SUFFIX if SUFFIX[name] in there][:1] or ["S2L1C"]
    names = [asked] if isinstance(asked, str) else list(asked)
    if not names or len(set(names)) < len(names) or not set(names) <= set(SUFFIX):
        raise ValueError(f"modalities of EuroSAT are some of {list(SUFFIX)}, got {asked!r}")
    return names


def _files(home: Home) -> dict[str, Stat]:
    """All files of all classes, in the order of their keys."""
    found: dict[str, tuple[str, Stat]] = {}
    for name in home.classes:
        for file, stat in home.store.below(name).list(home.suffix).items():
            key = _stem(file)
            if file.startswith("._"):
                continue
            if _class_of(key) != name:
                reason = f"lies in the folder of class {name}, expected {name}_NUMBER{home.suffix}"
                raise DataError(home.store.path(f"{name}/{file}"), "", -1, reason)
            found[key] = f"{name}/{file}", stat
    return dict(found[key] for key in sorted(found))


def _stem(name: str) -> str:
    return name.replace("\\", "/").rpartition("/")[2].rpartition(".")[0] or name


def _class_of(key: str) -> str:
    return key.rpartition("_")[0]


def _images(
    name: str, store: Store, files: dict[str, Stat], check_crc: bool, bands: Sequence[str] | None
) -> ImageSource:
    N = len(files)
    keys = np.array([_stem(file).encode() for file in files], np.bytes_)
    nowhere, cloud = np.full(N, np.nan), np.full((N, 1), np.nan, np.float32)
    time: NDArray[np.int64] = np.full((N, 1), NO_TIME, np.int64)
    columns = Columns(keys, nowhere, nowhere, time, cloud, np.arange(N, dtype=np.uint32))
    sizes = np.array([stat.size for stat in files.values()], np.int64)
    return ImageSource(name, store, list(files), sizes, columns, check_crc, bands)


def _rasters(
    store: Store,
    files: list[str],
    bands: Sequence[str] | None,
    executor: Executor | None,
    progress: bool,
    coordinates: bool,
) -> RasterSource:
    by = "" if coordinates else None
    settings = {"layout": "eurosat"}
    scenes = open_scenes(store, files, _scenes, settings, executor, progress, by)
    shown = PUBLISHED["S2L1C"] if bands is None else bands
    return RasterSource("S2L1C", store, scenes, names=BANDS, bands=shown)


def _scenes(_: Store, names: Sequence[str]) -> Found:
    """See `open_scenes.Look`: each file is a sample."""
    return Found([Scene(_stem(name), NO_TIME, name) for name in names], [])


def _split_file(root: Store, split: str, file: str | None) -> str:
    """The list of a split."""
    known = [name.format(split=split) for name in ((file,) if file else SPLITS)]
    there = root.filenames("", 1000)
    found = next((name for name in known if name in there), None)
    if found is None:
        lists = [name for name in there if name.endswith((".txt", ".json"))]
        raise FileNotFoundError(
            f"{root.place}: there is no list of split {split!r}, expected {' or '.join(known)}; "
            f"there are {', '.join(lists[:12]) or 'no lists'}"
        )
    return found
