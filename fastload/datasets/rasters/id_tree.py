"""Trees ``{id}/{scene}/{band}.tif``, as Earth Engine's downloaders of SeCo and SSL4EO-S12 write
them: an id is a number, and a scene's name tells its date."""

import re
from collections.abc import Sequence
from concurrent.futures import Executor
from datetime import UTC, datetime
from functools import partial

import numpy as np
from numpy.typing import NDArray

from fastload.bands import plain
from fastload.datasets.known import MOST
from fastload.datasets.rasters.open_scenes import Found, open_scenes
from fastload.datasets.rasters.pattern import is_text
from fastload.datasets.rasters.scenes import BAND, Scene, Scenes
from fastload.storage.dates import NO_TIME
from fastload.storage.errors import DataError
from fastload.storage.store import Store

S1 = r"^.{16}_(\d{8}T\d{6})"
S2 = r"^(\d{8}T\d{6})"
"""How scenes are named in Earth Engine's collections of Sentinel-1 and 2: where the date stands,
when the acquisition began, UTC."""
_TIF = ".tif"


def holds(store: Store, scene: str, id_: str = r"\d+") -> bool:
    """Whether such a tree lies at a place: by the names in the first ids."""
    ids = [name for name in store.folders() if re.fullmatch(id_, name)][:MOST]
    inside = (store.below(name) for name in ids)
    scenes = (id_.below(n) for id_ in inside for n in id_.folders()[:MOST] if re.match(scene, n))
    return any(folder.filenames(_TIF, 1) for folder in scenes)


def open_tree(
    store: Store, scene: str, executor: Executor | None, progress: bool, coordinates: bool
) -> Scenes:
    """The scenes of a tree, found once, see `open_scenes`: noticed are ids that come or go. Folders
    that are no number, and in those any that have no date, are passed over with a warning.

    Args:
        store: of the ids.
        scene: where the date stands in a scene's name, a regular expression.
        executor, progress: see `open_scenes`.
        coordinates: whether to read a header an id.

    Raises:
        FileNotFoundError: where there is no id.
        DataError: where there is no scene.
    """
    names = [name for name in store.folders() if not name.startswith(".")]
    if not any(map(str.isdecimal, names)):
        some = f"found {', '.join(names[:MOST])}" if names else "there is none"
        raise FileNotFoundError(f"{store.place}: expected folders of ids such as 0000001, {some}")
    place_by = _smallest(store, names, scene) if coordinates else None
    look = partial(_look, scene)
    settings = {"layout": "id/scene/band.tif", "scene": scene, "coordinates": coordinates}
    return open_scenes(store, names, look, settings, executor, progress, place_by)


def _look(scene: str, store: Store, names: Sequence[str]) -> Found:
    scenes, odd = list[Scene](), list[str]()
    for key in names:
        if not key.isdecimal():
            odd.append(key)
            continue
        scenes.append(Scene(key, NO_TIME, ""))
        for name in store.below(key).folders():
            if name.startswith("."):
                continue
            time = time_of(scene, name) if is_text(name) else None
            if time is None:
                odd.append(f"{key}/{name}")
            else:
                scenes.append(Scene(key, time, f"{key}/{name}/{BAND}{_TIF}"))
    return Found(scenes, odd)


def time_of(scene: str, name: str) -> int | None:
    """When a scene was seen, ns since 1970; None where its name has no date.

    Args:
        scene: a regular expression whose group is the date as 20200330T052649.
        name: of the scene.
    """
    found = re.match(scene, name)
    try:
        date = datetime.strptime(found[1], "%Y%m%dT%H%M%S") if found else None
    except ValueError:
        return None
    return None if date is None else int(date.replace(tzinfo=UTC).timestamp()) * 10**9


def _smallest(store: Store, names: Sequence[str], scene: str) -> str | None:
    """The name, without its ending, of a band's file that is small: one of 60 m if there is one."""
    for key in [n for n in names if n.isdecimal()][:MOST]:
        for name in store.below(key).folders():
            if time_of(scene, name) is not None:
                stats = store.below(f"{key}/{name}").list(_TIF)
                if stats:
                    return min(stats, key=lambda n: stats[n].size).removesuffix(_TIF)
    return None


def without_void(scenes: Scenes, missing: str, place: str) -> Scenes:
    """The samples that have a scene.

    Raises:
        ValueError: names those that have none, where `missing` is "error".
    """
    there: NDArray[np.bool_] = scenes.dates > 0
    void = [key.decode() for key in scenes.key[~there].tolist()]
    if not void:
        return scenes
    report = f"{place}: {len(void)} of {len(scenes)} ids have no scene, such as {_some(void)}"
    if missing == "error":
        raise ValueError(f"{report} (missing='drop' leaves them out)")
    print(f"{report}; dropped")
    return scenes.some(there)


def scene_names(scenes: Scenes) -> NDArray[np.bytes_]:
    """How the scenes are called ``[N, T]``; nothing where a sample has none."""
    names = [path.split(b"/")[1] if path else b"" for path in scenes.path.ravel().tolist()]
    return np.array(names, np.bytes_).reshape(scenes.path.shape)


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:3])


def band_files(
    store: Store, scenes: Scenes, published: Sequence[str], asked: Sequence[str] | None
) -> tuple[list[str], list[str]]:
    """The bands that lie in the first scenes: how their files are called, without the ending, and
    their published names; in the published order.

    Raises:
        DataError: names the bands that have no file, where not some are `asked` for.
    """
    files: dict[str, str] = {}
    for path in scenes.path[:MOST, 0].tolist():
        folder = path.decode().rpartition("/")[0]
        for name in store.below(folder).filenames(_TIF):
            stem = name.removesuffix(_TIF)
            files.setdefault(plain(stem), stem)
    there = [name for name in published if plain(name) in files]
    lacking = [name for name in published if name not in there]
    if not there or (lacking and asked is None):
        held = ", ".join(sorted(files.values())) or "no tif"
        reason = f"its scenes have no {', '.join(lacking)}, only {held}; choose some by bands=[...]"
        raise DataError(store.place, "", -1, reason)
    return [files[plain(name)] for name in there], there
