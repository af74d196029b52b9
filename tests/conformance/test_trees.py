"""Sources of GeoTIFF trees."""

from functools import cache
from pathlib import Path
from shutil import copytree
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
import rasterio

from benchmarks.archives import trees
from fastload.datasets.base import Dataset
from fastload.datasets.geotiffs import GeoTIFFs
from fastload.datasets.seco import SeCo
from fastload.datasets.source import Source
from fastload.datasets.ssl4eo_v10 import SSL4EOS12V10
from tests.conformance.source import Damaged, Pixels, SourceTests

pytestmark = pytest.mark.timeout(60)
SIZE = 24


@cache
def folder() -> TemporaryDirectory[str]:
    """A folder that lives as long as the process."""
    return TemporaryDirectory(prefix="fastload-trees-")


@cache
def v10() -> Path:
    """A tree of SSL4EO-S12 v1.0. Do not write there."""
    return trees.v10(Path(folder().name) / "v10", [0, 7], ("s2a", "s1"), SIZE, dates=2)


@cache
def seco() -> Path:
    """A tree of SeCo. Do not write there."""
    return trees.seco(Path(folder().name) / "seco", [0, 11], SIZE, dates=2)


def whole(path: Path) -> Pixels:
    """A band of any resolution as rasterio reads it, each pixel repeated up to `SIZE`."""
    with rasterio.open(path) as file:
        times = SIZE // file.height
        return np.asarray(file.read(1)).repeat(times, 0).repeat(times, 1)


class TestV10(SourceTests):
    """Sentinel-2 of SSL4EO-S12 v1.0, of three resolutions."""

    folder, modality, bands = "s2a", "S2L2A", trees.S2L2A
    kind: type[Dataset] = SSL4EOS12V10

    def write(self, root: Path) -> Path:
        copytree(v10(), root)
        return root

    def open(self, root: Path) -> Source:
        options: dict[str, Any] = {"modalities": self.modality, "resampling": "nearest"}
        return self.kind(root, progress=False, **options).sources[self.modality]  # type: ignore[call-arg]

    def expected(self, root: Path) -> Pixels:
        ids = sorted(root.glob(f"{self.folder}/[0-9]*"))
        scenes = [sorted(p for p in i.iterdir() if p.is_dir()) for i in ids]
        return np.stack(
            [np.stack([np.stack([whole(s / f"{b}.tif") for b in self.bands]) for s in some])
             for some in scenes]
        )  # fmt: skip

    def make(self, tmp_path: Path) -> tuple[Source, Pixels]:
        root = self.write(tmp_path / "root")
        return self.open(root), self.expected(root)

    def damaged(self, tmp_path: Path) -> Damaged:
        """A file that was cut short."""
        root = self.write(tmp_path)
        source = self.open(root)
        path = sorted(root.glob(f"{self.folder}/[0-9]*"))[1]
        file = sorted(path.glob(f"*/{self.bands[1]}.tif"))[1]
        file.write_bytes(file.read_bytes()[:-100])
        return Damaged(source, 1, 1)


class TestV10Radar(TestV10):
    """Sentinel-1, in float32."""

    folder, modality, bands = "s1", "S1GRD", trees.BANDS["s1"]


class TestSeCo(TestV10):
    """SeCo: JPEG inside of each file."""

    folder, kind = ".", SeCo

    def write(self, root: Path) -> Path:
        copytree(seco(), root)
        return root

    def open(self, root: Path) -> Source:
        return SeCo(root, resampling="nearest", progress=False).sources["S2L2A"]


class TestGeoTIFFs(SourceTests):
    """One deflated file a date, of which some bands are shown, in another order."""

    shown = (4, 0, 2)

    def values(self, key: str, date: str) -> Pixels:
        return trees.noise(f"{key} {date}", (5, 20, 12), np.int16)

    def write(self, root: Path) -> Path:
        for key in ("a", "b", "c"):
            for date in trees.DAYS[:3]:
                path, pixels = root / f"{key}_{date}.tif", self.values(key, date)
                trees.tif(path, pixels, compress="deflate", predictor=2, interleave="pixel")
        return root

    def open(self, root: Path) -> Source:
        bands = [f"B{band + 1}" for band in self.shown]
        ds = GeoTIFFs(root, "x", "{key}_{date}.tif", bands=bands, progress=False)
        return ds.sources["x"]

    def make(self, tmp_path: Path) -> tuple[Source, Pixels]:
        pixels = [[self.values(k, d)[list(self.shown)] for d in trees.DAYS[:3]] for k in "abc"]
        return self.open(self.write(tmp_path)), np.stack([np.stack(some) for some in pixels])

    def damaged(self, tmp_path: Path) -> Damaged:
        """A file that was cut short."""
        source = self.open(self.write(tmp_path))
        path = tmp_path / f"b_{trees.DAYS[1]}.tif"
        path.write_bytes(path.read_bytes()[:-500])
        return Damaged(source, 1, 1)
