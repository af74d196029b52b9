"""Which places are land."""

import hashlib
import importlib.metadata
import importlib.util
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastload.extras import missing
from fastload.gather.plan.areas import Areas, Bools, Floats

Test = Callable[[Floats, Floats], Bools]
MASK, PACKAGE = "mask", "global_land_mask"
PER_DEGREE, ROWS, COLUMNS = 120, 21600, 43200
"""Cells of the mask, from 90 degrees north and 180 degrees west on."""
BLOCK = 240


def land(name: str) -> tuple[Test, dict[str, Any]]:
    """A test of longitudes and latitudes ``[M]`` in degrees, and what it was made from.

    Args:
        name: a file of polygons, or "mask": that of the package global-land-mask, which is good to
            a kilometre, and takes lakes for land.

    Raises:
        ValueError: a sentence on the file.
        ImportError: where the package is not installed.
    """
    if name == MASK:
        return _mask()
    areas = Areas.read(name)
    return areas.contain, areas.source


def _mask() -> tuple[Test, dict[str, Any]]:
    spec = importlib.util.find_spec(PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise missing("land='mask' needs global-land-mask", "gather", "name a file of polygons")
    path = Path(spec.submodule_search_locations[0]) / "globe_combined_mask_compressed.npz"
    sea = _packed(path)

    def test(lon: Floats, lat: Floats) -> Bools:
        row = np.clip(np.floor((90 - lat) * PER_DEGREE).astype(np.int64), 0, ROWS - 1)
        column = np.floor((lon + 180) * PER_DEGREE).astype(np.int64) % COLUMNS
        bit = sea[row, column // 8] >> (7 - column % 8).astype(np.uint8)
        return np.asarray(bit & 1 == 0)

    return test, {
        "mask": f"global-land-mask {importlib.metadata.version('global-land-mask')}",
        "licence": "MIT; made of GLOBE, NOAA",
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
    }


def _packed(path: Path) -> NDArray[np.uint8]:
    """The mask as bits ``[ROWS, COLUMNS / 8]``, true at sea.

    The package itself loads a byte a cell, 0.9 GB, when it is imported; here its file is read some
    rows at a time.
    """
    out = np.empty((ROWS, COLUMNS // 8), np.uint8)
    with zipfile.ZipFile(path) as archive, archive.open("mask.npy") as file:
        np.lib.format.read_magic(file)
        shape, _, dtype = np.lib.format.read_array_header_1_0(file)
        if shape != (ROWS, COLUMNS) or dtype.kind != "b":
            raise ValueError(
                f"{path}: expected a mask of {ROWS} x {COLUMNS} bool, got {shape} {dtype}"
            )
        for row in range(0, ROWS, BLOCK):
            cells = np.frombuffer(file.read(BLOCK * COLUMNS), np.uint8).reshape(BLOCK, COLUMNS)
            out[row : row + BLOCK] = np.packbits(cells, axis=1)
    return out
