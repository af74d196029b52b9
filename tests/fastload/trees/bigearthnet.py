"""Tiny trees in the layouts of both versions of BigEarthNet."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pyarrow.parquet
from numpy.typing import NDArray
from rasterio.crs import CRS

from benchmarks.archives.trees import UTM33, noise, tif
from fastload.datasets.bigearthnet_parts import FILES

SIZES = {**dict.fromkeys(("B02", "B03", "B04", "B08"), 1), "B01": 6, "B09": 6}
"""By how much bands are coarser than 10 m; 2 for all others of Sentinel-2."""
UTM29 = CRS.from_epsg(32629)
PATCHES = {
    "S2A_MSIL2A_20170613T101031_87_48": ["Non-irrigated arable land", "Bare rock"],
    "S2A_MSIL2A_20170617T113321_4_55": ["Pastures"],
    "S2B_MSIL2A_20170924T93020_69_24": ["Coniferous forest", "Peatbogs", "Water bodies"],
    "S2B_MSIL2A_20180204T94161_57_38": ["Airports"],
    "S2A_MSIL2A_20171221T112501_56_35": ["Sea and ocean", "Estuaries", "Pastures"],
}
"""Patches of version 1 and their labels."""
TILES = {
    "S2A_MSIL2A_20170613T101031_N9999_R022_T33UUP": ("26_57", "28_73"),
    "S2B_MSIL2A_20180511T100029_N9999_R122_T34WFU": ("03_04", "41_10", "90_00"),
}
LABELS_V2 = (["Arable land", "Pastures"], ["Marine waters"], ["Urban fabric"],
             ["Inland waters", "Mixed forest"], ["Coastal wetlands"])  # fmt: skip
V2 = tuple(f"{tile}_{patch}" for tile, patches in TILES.items() for patch in patches)
SPLITS_V2 = ("train", "train", "validation", "test", "test")


def s1_of_v1(patch: str) -> str:
    """The patch of Sentinel-1 that belongs to one of Sentinel-2."""
    day, *place = patch.split("_")[2:]
    return "_".join(["S1A_IW_GRDH_1SDV", f"{day[:8]}T165043", "33UUP", *place])


def s1_of_v2(patch: str) -> str:
    """The same, of version 2."""
    *_, day, _, _, tile, x, y = patch.split("_")
    return f"S1B_IW_GRDH_1SDV_{day[:8]}T050122_{tile[1:]}_{x}_{y}"


def band(patch: str, name: str, size: int) -> NDArray[Any]:
    """Pixels of a file, at its own resolution."""
    n = size // SIZES.get(name, 1 if name in FILES["S1GRD"] else 2)
    return noise(f"{patch}{name}", (n, n), np.float32 if name in FILES["S1GRD"] else np.uint16)


def repeated(patch: str, modality: str, size: int = 24) -> NDArray[Any]:
    """Pixels ``[C, size, size]`` of a patch, each band's repeated up to the finest grid."""
    planes = [band(patch, name, size) for name in FILES[modality]]
    return np.stack([p.repeat(size // len(p), 0).repeat(size // len(p), 1) for p in planes])


def _patch(folder: Path, patch: str, files: Iterable[str], size: int, crs: CRS, x: float) -> None:
    for name in files:
        pixels = band(patch, name, size)
        metres = 10.0 * size / len(pixels)
        tif(folder / patch / f"{patch}_{name}.tif", pixels, crs, (), metres, (x, 5_342_400.0))


def v1(root: Path, size: int = 24, s1: bool = True) -> Path:
    """Version 1, with its lists: of three splits, of snow and of clouds."""
    for i, (patch, labels) in enumerate(PATCHES.items()):
        x, partner = 404_400.0 + 1200 * i, s1_of_v1(patch)
        crs = UTM29 if i == 1 else UTM33
        corners = {"ulx": x, "uly": 5_342_400, "lrx": x + 1200}
        shared = {"labels": labels, "projection": crs.to_wkt()}
        folders = {"BigEarthNet-v1.0": (patch, FILES["S2L2A"], {"lry": 5_341_200}, {})}
        if s1:
            more = {"corresponding_s2_patch": patch}
            folders["BigEarthNet-S1-v1.0"] = (partner, FILES["S1GRD"], {"lly": 5_341_200}, more)
        for folder, (name, files, last, more) in folders.items():
            _patch(root / folder, name, files, size, crs, x)
            text = json.dumps(shared | more | {"coordinates": corners | last})
            (root / folder / name / f"{name}_labels_metadata.json").write_text(text)
    names = list(PATCHES)
    for split, some in (("train", names[:3]), ("val", names[3:4]), ("test", names[4:])):
        lines = [f"{patch},{s1_of_v1(patch)}\n" for patch in some]
        (root / f"bigearthnet-{split}.csv").write_text("".join(lines))
    (root / "patches_with_seasonal_snow.csv").write_text(f"{names[3]}\n")
    (root / "patches_with_cloud_and_shadow.csv").write_text(f"{names[1]}\r\nS2A_MSIL2A_nowhere\r\n")
    return root


def tile_of(patch: str) -> str:
    """The folder of a patch of version 2."""
    return patch.rsplit("_", 3 if patch.startswith("S1") else 2)[0]


def v2(root: Path, size: int = 24) -> Path:
    """Version 2, with reference maps and metadata."""
    for i, patch in enumerate(V2):
        x, partner = 404_400.0 + 1200 * i, s1_of_v2(patch)
        s2, s1 = (root / f"BigEarthNet-S{n}" for n in (2, 1))
        _patch(s2 / tile_of(patch), patch, FILES["S2L2A"], size, UTM33, x)
        _patch(s1 / tile_of(partner), partner, FILES["S1GRD"], size, UTM33, x)
        codes = np.array([111, 211, 231, 313, 523], np.uint16)
        maps = codes[noise(patch, (size, size), np.uint8) % 5]
        path = root / "Reference_Maps" / tile_of(patch) / patch / f"{patch}_reference_map.tif"
        tif(path, maps, UTM33, (), 10.0 * 120 / size, (x, 5_342_400.0))
    return table(root / "metadata.parquet")


def columns() -> dict[str, Any]:
    """Of the metadata of version 2."""
    return {
        "patch_id": list(V2),
        "labels": list(LABELS_V2),
        "split": list(SPLITS_V2),
        "country": ["Austria", "Finland", "Finland", "Portugal", "Serbia"],
        "s1_name": [s1_of_v2(patch) for patch in V2],
        "s2v1_name": ["unknown"] * len(V2),
        "contains_seasonal_snow": [False, True, False, False, False],
        "contains_cloud_or_shadow": [False, False, False, True, False],
    }


def table(path: Path, **changes: Any) -> Path:
    """Write the metadata; None leaves a column out. Returns the root."""
    found = {name: values for name, values in (columns() | changes).items() if values is not None}
    pyarrow.parquet.write_table(pyarrow.table(found), path)
    return path.parent
