"""What the json beside a grid cell's tensors says: when each image was taken, and of which patch.

For a modality with local patches ``[[path, ...], ...]``, by patch and date, else ``[path, ...]``.
A path is a text, or a list of the one text: ``CELL/PATCH/YYYYMMDD``, ``CELL/YYYYMMDD`` or
``CELL``, where cell and patch are ``NUMBER_LON_LAT``. Source: Copernicus-Pretrain's published
writer.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastload.storage.dates import NO_TIME

MOST_BYTES = 2**22
"""Bytes of a json that are believed."""
_MOST_REST = 4096
_PLACE = re.compile(r"(\d+)_(-?\d+(?:\.\d+)?)_(-?\d+(?:\.\d+)?)")


@dataclass(frozen=True)
class Told:
    """What is said of the images of one modality ``[P, D]``.

    Attributes:
        cells: numbers of the cells that the paths name; of one that was not written over, one.
        time: int64 ``[P, D]``, ns since 1970.
        patches: what each patch is called ``[P]``; empty where there are none.
    """

    cells: frozenset[str]
    time: NDArray[np.int64]
    patches: tuple[str, ...]


def read_text(data: bytes) -> dict[str, Any]:
    """The json as a dict.

    Raises:
        ValueError: where it is none.
    """
    found = json.loads(data)
    if not isinstance(found, dict):
        raise ValueError(f"expected an object by modality, got a {type(found).__name__}")
    return found


def rest_of(text: Mapping[str, Any], modalities: Sequence[str]) -> bytes:
    """All other fields as JSON; nothing where there are none, or too much."""
    rest = {name: value for name, value in text.items() if name not in modalities}
    out = json.dumps(rest, sort_keys=True, ensure_ascii=True).encode() if rest else b""
    return out if len(out) <= _MOST_REST else b""


def told(value: Any, P: int, D: int, has_patches: bool) -> Told:
    """What is said of P patches of D dates each.

    Raises:
        ValueError: says what was expected.
    """
    rows = value if has_patches else [value]
    if not isinstance(rows, list) or len(rows) != P:
        raise ValueError(f"expected paths of {P} patches, got {_size(rows)}")
    for row in rows:
        if not isinstance(row, list) or len(row) != D:
            raise ValueError(f"expected paths of {D} dates, got {_size(row)}")
    parts = [[_parts(path, has_patches) for path in row] for row in rows]
    cells = frozenset(cell for row in parts for cell, _, _ in row)
    time = np.array([[t for _, _, t in row] for row in parts], np.int64).reshape(P, D)
    return Told(cells, time, _patches(parts) if has_patches else ())


def place_of(path: str) -> tuple[str, float, float]:
    """Number, longitude and latitude of a cell or patch, in degrees.

    Raises:
        ValueError: where it is not named so.
    """
    found = _PLACE.fullmatch(path)
    if found is None:
        raise ValueError(f"expected NUMBER_LON_LAT, got {path[:100]!r}")
    return found[1], float(found[2]), float(found[3])


def text_of(path: Any) -> str:
    """A path, alone or in a list.

    Raises:
        ValueError: where it is none.
    """
    one = path[0] if isinstance(path, list) and len(path) == 1 else path
    if not isinstance(one, str):
        raise ValueError(f"expected a path, got a {type(one).__name__}")
    return one


def _parts(path: Any, has_patches: bool) -> tuple[str, str, int]:
    """Cell, patch and date of a path."""
    cell, *inside = text_of(path).split("/")
    patch = inside.pop(0) if has_patches and inside else ""
    if len(inside) > 1:
        raise ValueError(f"expected CELL/PATCH/DATE or CELL/DATE, got {text_of(path)[:100]!r}")
    return place_of(cell)[0], patch, _date(inside[0]) if inside else NO_TIME


@lru_cache(4096)
def _date(text: str) -> int:
    """Midnight of a day YYYYMMDD, UTC, in ns since 1970."""
    try:
        day = datetime.strptime(text, "%Y%m%d").replace(tzinfo=UTC)
    except ValueError as error:
        raise ValueError(f"expected a date YYYYMMDD, got {text[:20]!r}") from error
    seconds = int(day.timestamp())
    if not 0 < seconds < 2**63 // 10**9:
        raise ValueError(f"the date {text} is not between 1970 and 2262")
    return seconds * 10**9


def _patches(parts: Sequence[Sequence[tuple[str, str, int]]]) -> tuple[str, ...]:
    names = [{patch for _, patch, _ in row} for row in parts]
    if any(len(found) != 1 for found in names):
        raise ValueError("the dates of one patch name several patches")
    out = tuple(found.pop() for found in names)
    if len(set(out)) < len(out):
        raise ValueError("a patch is named more than once")
    return out


def _size(value: Any) -> str:
    return f"{len(value)}" if isinstance(value, list) else f"a {type(value).__name__}"
