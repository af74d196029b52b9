"""Folders of co-registered GeoTIFFs, of any number of bands, named in any way that can be told.

Layout: by a pattern of the files' names, such as ``{key}.tif``, ``{key}_{date:%Y%m%d}.tif`` or
``{key}/{date}/{band}.tif``; a file holds all bands of a sample's date, or one. Modalities lie in
folders of their own, or there is one.
"""

from collections.abc import Mapping, Sequence
from concurrent.futures import Executor
from functools import partial
from typing import Literal

from fastload.bands import Asked, by_modality
from fastload.datasets.join_sources import check_options, join_sources
from fastload.datasets.known import MOST
from fastload.datasets.rasters.open_scenes import Found, open_scenes
from fastload.datasets.rasters.pattern import Names, Pattern, in_order, names
from fastload.datasets.rasters.raster_dataset import UNKNOWN, RasterDataset
from fastload.datasets.rasters.raster_source import RasterSource
from fastload.datasets.rasters.resample import Resampling
from fastload.datasets.rasters.scenes import Scene, Scenes
from fastload.recipe import Recipe
from fastload.statistics import What
from fastload.statistics import statistics as found_statistics
from fastload.storage.at import Place, at
from fastload.storage.errors import DataError
from fastload.storage.store import Store

SUFFIXES = (".tif", ".tiff", ".TIF", ".TIFF")
FOLDERS = "{modality}/"
"""How a pattern begins where modalities have folders of their own."""
ONE = "image"
"""The name of the one modality of a folder, unless another is given."""


class GeoTIFFs(RasterDataset):
    """Folders of co-registered GeoTIFFs, map-style.

    A sample's timestamps are its files by date; samples with fewer than others say so (`present` in
    a batch). All files of a modality must agree in size, dtype and number of bands. Modalities of
    other sizes share a view's crop: they cover the same ground, or what their files say in metres.
    What lies where is listed once and kept beside the files, see
    `fastload.datasets.rasters.open_scenes`; noticed are files and folders that come or go at the
    top of each modality.

    Args:
        root: folder of files or of modalities, ``~`` being the user's home; or its URL or store.
        modalities: folders of the modalities, joined by key; the first is the reference for dates
            and for the views' timestamps. All by default, by name. Where the root holds a single
            modality this is its name, "image" by default; with a name such as S2L2A, bands have
            the published names if the files tell none.
        pattern: how files are named: text with fields, or a compiled regular expression with
            groups, see `fastload.datasets.rasters.pattern.names`. Text that begins with
            ``{modality}/`` tells of folders of modalities; a mapping has a pattern by modality, for
            their folders.
            By default each file is a sample, and its stem is the key: ``{key}.tif`` where the root
            has such files, else ``{modality}/{key}.tif``.
        recipe: views and radiometry; None yields raw pixels ``[T, C, H, W]``.
        statistics: a `Statistics` of your own, a name, or the path of a JSON file; see
            `fastload.statistics`. None are assumed.
        band_names: of the stored bands, in the order of the files and within them; for several
            modalities a mapping. By default what ``{band}`` stands for, else the files' own
            descriptions, else the published ones, else B1, B2, ...
        bands: names of the bands to show, in this order; for several modalities a mapping.
        missing: "error" refuses keys that some modality lacks, "drop" leaves them out and says so.
        resampling: how bands of other sizes are brought to the largest one's grid, "bilinear" or
            "nearest"; see `fastload.datasets.rasters.resample`. For classes take "nearest".
        coordinates: read one header a sample, when the files are listed, to know where it lies.
        columns: none so far.
        seed: what `dataset[i]` draws its views with. A DataLoader has its own.
        executor: lists the files the first time; threads by default.
        progress: show a bar meanwhile.

    Raises:
        FileNotFoundError: says what is there instead.
        DataError: names a file that is not as expected.
        ValueError: where an argument is out of range, recipe and data do not fit, keys are missing,
            or a band is unknown.
    """

    def __init__(
        self,
        root: Place,
        modalities: Sequence[str] | str | None = None,
        pattern: Pattern | Mapping[str, Pattern] | None = None,
        recipe: Recipe | None = None,
        statistics: What = UNKNOWN,
        *,
        band_names: Asked = None,
        bands: Asked = None,
        missing: Literal["error", "drop"] = "error",
        resampling: Resampling = "bilinear",
        coordinates: bool = True,
        columns: Sequence[str] = (),
        seed: int = 0,
        executor: Executor | None = None,
        progress: bool = True,
    ) -> None:
        check_options(missing, None)
        own = found_statistics(statistics)
        folders = _folders(at(root), modalities, pattern)
        named, asked = by_modality(band_names, [*folders]), by_modality(bands, [*folders])
        sources = {}
        for name, (folder, how) in folders.items():
            scenes = _scenes(folder, how, executor, progress, coordinates)
            known = named[name] or (scenes.files if how.has_band else None)
            sources[name] = RasterSource(
                name, folder, scenes, scenes.files or ("",), known, asked[name], resampling
            )
        joined = join_sources(sources, missing, None, columns)
        super().__init__(
            joined.sources, recipe, own, seed, joined.rows, joined.extras, same_ground=True
        )

    @classmethod
    def looks_right(cls, root: Store) -> bool:
        """Whether this layout lies at a place, see `fastload.datasets.known`."""
        return any(_suffix(place) for place in (root, *map(root.below, root.folders()[:MOST])))


def _suffix(store: Store) -> str | None:
    """How the files of a folder end, if they are tifs."""
    return next((suffix for suffix in SUFFIXES if store.filenames(suffix, 1)), None)


def _folders(
    root: Store,
    modalities: Sequence[str] | str | None,
    pattern: Pattern | Mapping[str, Pattern] | None,
) -> dict[str, tuple[Store, Names]]:
    """Where each modality lies, and how its files are named."""
    given = [modalities] if isinstance(modalities, str) else modalities
    if given is not None and (len(set(given)) < len(given) or not given):
        raise ValueError(f"modalities must be a list of different names, got {list(given)}")
    if isinstance(pattern, Mapping):
        wanted = list(pattern) if given is None else given
        lacking = [name for name in wanted if name not in pattern]
        if lacking:
            raise ValueError(f"pattern is a mapping without {lacking}, only of {list(pattern)}")
        return {n: (_existing(root, n), names(pattern[n])) for n in wanted}
    if pattern is None and (suffix := _suffix(root)) is not None:
        pattern = "{key}" + suffix
    if pattern is None or (isinstance(pattern, str) and pattern.startswith(FOLDERS)):
        return _several(root, given, pattern)
    if given is not None and len(given) > 1:
        raise ValueError(
            f"{root.place} is one modality by the pattern {pattern!r}, but {list(given)} are asked "
            f"for; a pattern that begins with {FOLDERS} tells of folders of them"
        )
    return {given[0] if given else ONE: (root, names(pattern))}


def _several(
    root: Store, given: Sequence[str] | None, pattern: str | None
) -> dict[str, tuple[Store, Names]]:
    """Folders of modalities."""
    if given is None:
        there = [name for name in root.folders() if not name.startswith(".")]
        given = [n for n in there if pattern is not None or _suffix(root.below(n))]
    if not given:
        held = ", ".join(root.folders()[:MOST]) or "nothing"
        raise FileNotFoundError(
            f"{root.place}: expected *.tif, or folders of them, found {held}; where they lie "
            "deeper or are named otherwise, say how by pattern='{key}/{date}/{band}.tif'"
        )
    found = {}
    for name in given:
        folder = _existing(root, name)
        one = "{key}" + (_suffix(folder) or SUFFIXES[0])
        found[name] = folder, names(one if pattern is None else pattern.removeprefix(FOLDERS))
    return found


def _existing(root: Store, name: str) -> Store:
    if name not in root.folders():
        held = ", ".join(root.folders()[:MOST]) or "no folder"
        raise FileNotFoundError(f"{root.place}: there is no folder {name!r}, only {held}")
    return root.below(name)


def _scenes(
    store: Store, how: Names, executor: Executor | None, progress: bool, coordinates: bool
) -> Scenes:
    """The scenes of a modality.

    Raises:
        DataError: where a key has several files, but the pattern no date to tell them apart.
    """
    tops = [name for name in store.filenames() if name.endswith(SUFFIXES)]
    if how.depth:
        tops += [f"{name}/" for name in store.folders() if not name.startswith(".")]
    settings = {"layout": "pattern", "text": how.text, "date": how.date, "coordinates": coordinates}
    look, place_by = partial(_look, how), "" if coordinates else None
    if not tops:
        held = ", ".join(store.folders()[:MOST]) or "nothing"
        raise FileNotFoundError(f"{store.place}: expected files as {how.text}, found {held}")
    scenes = open_scenes(store, tops, look, settings, executor, progress, place_by)
    if not how.has_date and scenes.path.shape[1] > 1:
        many = int(scenes.dates.argmax())
        paths = ", ".join(path.decode() for path in scenes.path[many].tolist()[:3] if path)
        reason = f"has several files, but the pattern {how.text} no date: {paths}"
        raise DataError(store.place, scenes.key[many].decode(), -1, reason)
    return scenes


def _look(how: Names, store: Store, tops: Sequence[str]) -> Found:
    scenes, odd, bands = set[Scene](), list[str](), set[str]()
    for path in (path for top in tops for path in _paths(store, top, how.depth)):
        found = how.named(path)
        if found is None:
            odd += [path] if path.endswith(SUFFIXES) else []
            continue
        scenes.add(Scene(found.key, found.time, found.path))
        bands |= {found.band} - {""}
    return Found(list(scenes), odd, sorted(bands, key=in_order))


def _paths(store: Store, top: str, depth: int) -> list[str]:
    """The files so many folders deep at most: below a folder, whose name ends with a slash, or the
    file itself."""
    if not top.endswith("/"):
        return [top]
    if not depth:
        return []
    folder = store.below(top[:-1])
    inside = [*folder.filenames(), *(f"{name}/" for name in folder.folders())]
    return [path for name in inside for path in _paths(store, top + name, depth - 1)]
