"""The labels of BigEarthNet's first version, which lie in a JSON file a patch: read once, and kept.

Layout: ``{patch}/{patch}_labels_metadata.json`` with ``labels``, ``coordinates``, ``projection``
and, of Sentinel-1, ``corresponding_s2_patch``.
"""

import hashlib
import json
import warnings
from collections.abc import Collection, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass, fields
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm.auto import tqdm

from fastload.datasets.labels.corine import CLASSES_43, bits
from fastload.datasets.rasters import arrays_file
from fastload.storage.errors import DataError
from fastload.storage.formats.geotiff import Head, centres
from fastload.storage.index_place import Places
from fastload.storage.lock import locked
from fastload.storage.store import Store

SUFFIX = "_labels_metadata.json"
_VERSION = 1
_FILE = "fastload.labels-1"
_AT_ONCE, _THREADS = 128, 16
_KINDS = {"key": "S", "labels": "u", "partner": "S", "lon": "f", "lat": "f"}


@dataclass(frozen=True)
class PatchLabels:
    """What the files of N patches say.

    Attributes:
        key: bytes ``[N]``, the patches' names.
        labels: uint64 ``[N]``, of the 43 classes, see `corine.Bits`.
        partner: bytes ``[N]``, the patch of Sentinel-2 that one of Sentinel-1 belongs to; nothing
            where a file does not say it.
        lon, lat: float64 ``[N]``, degrees, of the centre.
        origin: what it was made of; another one makes it stale.
    """

    key: NDArray[np.bytes_]
    labels: NDArray[np.uint64]
    partner: NDArray[np.bytes_]
    lon: NDArray[np.float64]
    lat: NDArray[np.float64]
    origin: str


def open_labels(
    store: Store, names: Sequence[str], executor: Executor | None, progress: bool
) -> PatchLabels:
    """The labels of patches, found once and kept as an index is; see `open_scenes`. Noticed are
    patches that come or go.

    Args:
        store: of the patches' folders.
        names: of these.
        executor: reads; threads by default.
        progress: show a bar.

    Raises:
        DataError: names a file that is not as expected.
    """
    origin = f"{_VERSION} {hashlib.sha256(chr(10).join(names).encode()).hexdigest()}"
    places = Places(store, _FILE, save, load)
    for path in places.all:
        if (found := _sound(path, places, origin)) is not None:
            return found
    with locked(places.lock):
        if places.first is not None and (found := _sound(places.first, places, origin)) is not None:
            return found
        return places.keep(_make(store, names, origin, executor, progress))


def _sound(path: Path, places: Places, origin: str) -> PatchLabels | None:
    try:
        found = load(path, places.trusted)
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        warnings.warn(f"{path}: holds no sound labels ({error}); made anew", stacklevel=4)
        return None
    return found if found.origin == origin else None


def _make(
    store: Store, names: Sequence[str], origin: str, executor: Executor | None, progress: bool
) -> PatchLabels:
    pool = ThreadPoolExecutor(_THREADS) if executor is None else executor
    parts = [names[i : i + _AT_ONCE] for i in range(0, len(names), _AT_ONCE)]
    try:
        jobs = pool.map(partial(_read, store), parts)
        bar = tqdm(jobs, f"labels of {store.place}", len(parts), disable=not progress, leave=False)
        rows = [row for part in bar for row in part]
    finally:
        if executor is None:
            pool.shutdown(cancel_futures=True)
    place = [Head(1, 1, 1, "", (), None, crs, x, y, None) for _, _, crs, x, y in rows]
    try:
        at = centres(place)
    except Exception as error:  # of rasterio: an unknown projection
        reason = f"a projection in *{SUFFIX} is unknown ({error})"
        raise DataError(store.place, "", -1, reason) from error
    return PatchLabels(
        np.array([name.encode() for name in names], np.bytes_),
        np.array([row[0] for row in rows], np.uint64),
        np.array([row[1].encode() for row in rows], np.bytes_),
        at[:, 0].copy(),
        at[:, 1].copy(),
        origin,
    )


Row = tuple[int, str, str, float, float]
"""Labels, partner, projection and centre."""


def _read(store: Store, names: Sequence[str]) -> list[Row]:
    return [_of_file(store, name) for name in names]


def _of_file(store: Store, name: str) -> Row:
    file = f"{name}/{name}{SUFFIX}"
    content = store.content(file)
    try:
        found = json.loads(content)
        if not isinstance(found, dict):
            raise ValueError(f"expected an object, got {type(found).__name__}")
        labels = _field(found, "labels", list)
        partner = str(found.get("corresponding_s2_patch", ""))
        crs, (x, y) = str(_field(found, "projection", str)), _centre(found)
        return bits(labels, CLASSES_43), partner, crs, x, y
    except (ValueError, TypeError) as error:
        raise DataError(store.path(file), "", -1, f"is no file of labels ({error})") from error


def _field(found: dict[str, Any], name: str, kind: type) -> Any:
    value = found.get(name)
    if not isinstance(value, kind):
        raise ValueError(f"expected {name!r} to be a {kind.__name__}, got {value!r}")
    return value


def _centre(found: dict[str, Any]) -> tuple[float, float]:
    """Of the corners; the files of Sentinel-1 call the last one lly."""
    corners = _field(found, "coordinates", dict)
    corners = {"lry": corners.get("lly")} | corners
    wrong = [n for n in ("ulx", "uly", "lrx", "lry") if not isinstance(corners.get(n), int | float)]
    if wrong:
        raise ValueError(
            f"expected a number {wrong[0]!r} in the coordinates, got {corners.get(wrong[0])!r}"
        )
    return (corners["ulx"] + corners["lrx"]) / 2, (corners["uly"] + corners["lry"]) / 2


def save(found: PatchLabels, path: Path) -> None:
    """Write atomically.

    Raises:
        OSError: where it cannot be written; nothing is left behind then.
    """
    arrays = {field.name: getattr(found, field.name) for field in fields(found)}
    arrays["origin"] = np.frombuffer(found.origin.encode(), np.uint8)
    arrays_file.write(path, arrays)


def load(path: Path, trusted: Collection[int] | None = None) -> PatchLabels:
    """Read such a file.

    Args:
        path: of it.
        trusted: users whose file is believed, by number; None: anybody's.

    Raises:
        ValueError: where it is not a sound table.
    """
    return arrays_file.read(path, trusted, _labels)


def _labels(found: arrays_file.Arrays) -> PatchLabels:
    arrays = {name: found[name] for name in _KINDS}
    origin = found["origin"].tobytes().decode()
    N = len(arrays["key"])
    for name, array in arrays.items():
        if array.dtype.kind != _KINDS[name] or array.shape != (N,):
            raise ValueError(f"its column '{name}' {array.dtype} {array.shape} does not fit")
    return PatchLabels(**arrays, origin=origin)
