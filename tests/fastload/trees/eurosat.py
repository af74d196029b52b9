"""Tiny trees in the layouts of EuroSAT, written by Pillow, rasterio and zipfile."""

import io
import zipfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from benchmarks.archives.trees import noise, tif

COUNTS = {"AnnualCrop": 3, "Forest": 2, "SeaLake": 11}
KEYS = sorted(f"{name}_{i + 1}" for name, count in COUNTS.items() for i in range(count))
SIZE = 16
DEEP = "ds/images/remote_sensing/otherDatasets/sentinel_2/tif"


def jpeg(key: str, size: int = SIZE, mode: str = "RGB", kind: str = "JPEG") -> bytes:
    """A file of smooth pixels that are a function of the key."""
    rng = np.random.default_rng([*key.encode()])
    ramp = (
        rng.integers(0, 200, (1, 1, 3)) + np.add.outer(np.arange(size), np.arange(size))[..., None]
    )
    file = io.BytesIO()
    Image.fromarray(ramp.astype(np.uint8)).convert(mode).save(file, kind, quality=90)
    return file.getvalue()


def by_pillow(content: bytes) -> NDArray[np.uint8]:
    """``[3, H, W]``."""
    return np.asarray(Image.open(io.BytesIO(content))).transpose(2, 0, 1)


def rgb(root: Path, top: str = "2750", keys: Iterable[str] = KEYS) -> Path:
    """Folders of JPEGs."""
    for key in keys:
        path = root / top / key.rpartition("_")[0] / f"{key}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(jpeg(key))
    return root


def multi(key: str) -> NDArray[Any]:
    """``[13, H, W]`` in the order on disk."""
    return noise(key, (13, SIZE, SIZE))


def ms(root: Path, top: str = "EuroSAT_MS", keys: Iterable[str] = KEYS) -> Path:
    """Folders of GeoTIFFs of 13 bands."""
    for i, key in enumerate(keys):
        path = root / top / key.rpartition("_")[0] / f"{key}.tif"
        tif(path, multi(key), origin=(404_400.0 + 640 * i, 5_342_400.0))
    return root


def zipped(tree: Path, path: Path, method: int = zipfile.ZIP_STORED) -> Path:
    """A tree in a zip, with the entries of folders and macOS's twins that people's zips have."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w", method) as archive:
        for file in sorted(tree.rglob("*")):
            archive.write(file, file.relative_to(tree))
        archive.writestr("__MACOSX/2750/Forest/._Forest_1.jpg", b"twin")
    return path
