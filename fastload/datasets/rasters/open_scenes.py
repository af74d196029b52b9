"""Finding the scenes of a tree of files once, and keeping what was found."""

import hashlib
import json
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from tqdm.auto import tqdm

from fastload.datasets.rasters import scenes_file
from fastload.datasets.rasters.pattern import in_order
from fastload.datasets.rasters.scenes import BAND, KEPT, Scene, Scenes, table
from fastload.storage.errors import DataError, MachineError
from fastload.storage.formats.geotiff import Head, centres, head, rasterio
from fastload.storage.index_place import Places
from fastload.storage.lock import locked
from fastload.storage.store import Store

_VERSION = 1
_AT_ONCE = 128
"""Names that one job looks at."""
_THREADS = 16
"""They wait for storage more than they work."""


class Found(NamedTuple):
    """Scenes, the names of what was passed over, and what stands for `BAND` in the scenes' paths,
    as far as that was seen."""

    scenes: list[Scene]
    odd: list[str]
    files: Sequence[str] = ()


Look = Callable[[Store, Sequence[str]], Found]
"""What a layout gives: the scenes of some names in a store; it pickles."""
R = TypeVar("R")


def open_scenes(
    store: Store,
    names: Sequence[str],
    look: Look,
    settings: Mapping[str, Any],
    executor: Executor | None = None,
    progress: bool = False,
    place_by: str | None = None,
) -> Scenes:
    """Load the table of a store's scenes, or make and keep it.

    It is kept beside the data, else in the cache, else in memory alone; where it is not kept beside
    them a warning says so, once. Another user's file is not believed, unless root's or that of the
    owner of the data. It is made anew where `names` or `settings` are others than they were. What
    changes deeper in the tree is not noticed: remove the file then (`fastload.scenes-*`).

    Args:
        store: holds the tree.
        names: what lies at its top and belongs to it: folders, or files.
        look: finds the scenes of some of them.
        settings: what else the table depends on, as JSON has it.
        executor: looks, anything in the manner of `concurrent.futures`; threads if None.
        progress: show a bar.
        place_by: the file's own part (see `scenes.BAND`) of the one whose header says where a
            sample lies, of its first scene; "": the first one that is found; None: no header is
            read.

    Raises:
        DataError: where there is no scene at all.
    """
    digest = hashlib.sha256("\n".join(names).encode(errors="surrogateescape")).hexdigest()
    origin = json.loads(json.dumps({"version": _VERSION, "names": digest, "place_by": place_by,
                                    **settings}))  # fmt: skip
    places = Places(store, _file(settings), scenes_file.save, scenes_file.load)
    for path in places.all:
        if (found := _sound(path, places, origin)) is not None:
            return found
    with locked(places.lock):
        if places.first is not None and (found := _sound(places.first, places, origin)) is not None:
            return found
        return places.keep(_make(store, names, look, origin, executor, progress, place_by))


def _file(settings: Mapping[str, Any]) -> str:
    """Tables by other settings lie beside each other."""
    text = json.dumps(settings, sort_keys=True)
    return KEPT.replace("*", hashlib.sha256(text.encode()).hexdigest()[:8])


def _sound(path: Path, places: Places, origin: Mapping[str, Any]) -> Scenes | None:
    try:
        found = scenes_file.load(path, places.trusted)
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        warnings.warn(f"{path}: is no sound table of scenes ({error}); made anew", stacklevel=4)
        return None
    return found if found.origin == origin else None


def _make(
    store: Store,
    names: Sequence[str],
    look: Look,
    origin: Mapping[str, Any],
    executor: Executor | None,
    progress: bool,
    place_by: str | None,
) -> Scenes:
    if place_by is not None:
        rasterio()  # before much is listed in vain
    pool = ThreadPoolExecutor(_THREADS) if executor is None else executor
    try:
        parts = _each(pool, partial(look, store), names, f"listing {store.place}", progress)
        files = sorted({f for p in parts for f in p.files}, key=in_order)
        odd = [name for p in parts for name in p.odd]
        scenes = table((s for p in parts for s in p.scenes), origin, odd, files)
        if not scenes.path.size:
            raise DataError(store.place, "", -1, f"no scene in {len(names)} names, {_some(names)}")
        if odd:
            said = f"{len(odd)} names are no scenes and passed over, {_some(odd)}"
            warnings.warn(f"{store.place}: {said}", stacklevel=5)
        if place_by is None:
            return scenes
        own = place_by or (files[0] if files else "")
        heads = _each(
            pool,
            partial(_heads, store),
            [path.decode().replace(BAND, own) for path in scenes.path[:, 0].tolist()],
            f"locating {store.place}",
            progress,
        )
    finally:
        if executor is None:
            pool.shutdown(cancel_futures=True)
    at = centres([h for part in heads for h in part])
    return replace(scenes, lon=at[:, 0].copy(), lat=at[:, 1].copy())


def _each(
    pool: Executor,
    job: Callable[[Sequence[str]], R],
    names: Sequence[str],
    what: str,
    progress: bool,
) -> list[R]:
    """What a job makes of the names, some at once."""
    parts = [names[i : i + _AT_ONCE] for i in range(0, len(names), _AT_ONCE)]
    shown = progress and len(parts) > 1
    bar: Iterable[R] = tqdm(pool.map(job, parts), what, len(parts), disable=not shown, leave=False)
    return list(bar)


def _heads(store: Store, files: Sequence[str]) -> list[Head | None]:
    """Headers of files; None where there is none that can be read, which reading says later."""
    out: list[Head | None] = []
    for name in files:
        try:
            out.append(head(store.content(name), store.path(name)) if name else None)
        except MachineError:
            raise
        except DataError:
            out.append(None)
    return out


def _some(names: Sequence[str]) -> str:
    return f"such as {', '.join(names[:3])}" if names else "none"
