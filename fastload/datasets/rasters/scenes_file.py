"""The file of a table of scenes: NumPy's npz, whose members have a CRC-32 each."""

import json
from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastload.datasets.rasters import arrays_file
from fastload.datasets.rasters.scenes import Scenes

_KINDS = {"key": "S", "lon": "f", "lat": "f", "time": "i", "path": "S", "text": "u"}
_TWO_AXES = ("time", "path")


def save(scenes: Scenes, path: Path) -> None:
    """Write atomically.

    Raises:
        OSError: where it cannot be written; nothing is left behind then.
    """
    text = json.dumps({"origin": scenes.origin, "odd": scenes.odd, "files": scenes.files}).encode()
    arrays = {name: getattr(scenes, name) for name in _KINDS if name != "text"}
    arrays_file.write(path, {"text": np.frombuffer(text, np.uint8), **arrays})


def load(path: Path, trusted: Collection[int] | None = None) -> Scenes:
    """Read such a file.

    Args:
        path: of it.
        trusted: users whose file is believed, by number; None: anybody's.

    Raises:
        ValueError: where it is not a sound table.
    """
    return arrays_file.read(path, trusted, _scenes)


def _scenes(found: arrays_file.Arrays) -> Scenes:
    arrays = {name: found[name] for name in _KINDS}
    text = json.loads(arrays.pop("text").tobytes())
    odd, files = (tuple(map(str, text[name])) for name in ("odd", "files"))
    scenes = Scenes(**arrays, origin=dict(text["origin"]), odd=odd, files=files)
    _check(arrays)
    return scenes


def _check(arrays: dict[str, NDArray[Any]]) -> None:
    N = len(arrays["key"])
    for name, array in arrays.items():
        axes = 2 if name in _TWO_AXES else 1
        if array.dtype.kind != _KINDS[name] or array.ndim != axes or len(array) != N:
            raise ValueError(f"its column '{name}' {array.dtype} {array.shape} does not fit")
    path = arrays["path"]
    if path.shape != arrays["time"].shape:
        raise ValueError("its columns 'time' and 'path' differ in shape")
    there = path != b""
    if (there[:, 1:] & ~there[:, :-1]).any():
        raise ValueError("its paths have gaps")
    some = path[np.char.startswith(path, b"/") | (np.char.find(path, b"..") >= 0)]
    if any(p.startswith(b"/") or b".." in p.split(b"/") for p in some.ravel().tolist()):
        raise ValueError("it points out of its folder")
