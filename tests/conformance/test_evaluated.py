"""Sources of TerraMesh, EuroSAT and BigEarthNet."""

import zipfile
from functools import cache
from pathlib import Path
from shutil import copytree
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest

from fastload.datasets.bigearthnet import BigEarthNet
from fastload.datasets.eurosat import EuroSAT
from fastload.datasets.rasters.image_source import ImageSource
from fastload.datasets.source import FRAME, OTHER, ChunkedSource
from fastload.datasets.terramesh import TerraMesh
from tests.conformance.source import ChunkedSourceTests, Damaged, Pixels, SourceTests
from tests.fastload.trees import bigearthnet as patches
from tests.fastload.trees import eurosat as jpegs
from tests.fastload.trees import terramesh as made

pytestmark = pytest.mark.timeout(300)
BAD = 4


@cache
def folder() -> TemporaryDirectory[str]:
    """A folder that lives as long as the process."""
    return TemporaryDirectory(prefix="fastload-evaluated-")


@cache
def mesh() -> Path:
    """A tree of TerraMesh. Do not write there."""
    return made.write(Path(folder().name))


class TestEither(ChunkedSourceTests):
    """TerraMesh's S1: samples of one folder or of another."""

    frames = FRAME

    def make(self, tmp_path: Path) -> tuple[Any, Pixels]:
        return self.open(mesh())

    def open(self, root: Path) -> tuple[Any, Pixels]:
        source = TerraMesh(root, modalities="S1", progress=False).sources["S1"]
        keys = [key.decode() for key in source.columns.key]
        kinds = ["S1RTC" if key in made.MAJORTOM else "S1GRD" for key in keys]
        return source, np.stack([made.pixels(k, kind) for k, kind in zip(keys, kinds, strict=True)])

    def damaged(self, tmp_path: Path) -> Damaged:
        source, _ = self.open(Path(copytree(mesh(), tmp_path)))
        row = source.chunks(np.array([BAD]), np.ones((1, 1), bool)).rows[0]
        path = Path(source.store.path(source.files[row["file"]]))
        data = bytearray(path.read_bytes())
        data[row["offset"] + row["stored"] // 2] ^= 0x10
        path.write_bytes(data)
        return Damaged(source, BAD, 0)


class TestImages(ChunkedSourceTests):
    """EuroSAT's JPEGs in a zip, stored or deflated."""

    frames = OTHER
    method = zipfile.ZIP_STORED

    def open(self, root: Path) -> ImageSource:
        source = EuroSAT(root, progress=False).sources["S2RGB"]
        assert isinstance(source, ImageSource)
        return source

    def make(self, tmp_path: Path) -> tuple[ImageSource, Pixels]:
        jpegs.zipped(jpegs.rgb(tmp_path / "t"), tmp_path / "z/EuroSAT.zip", self.method)
        pixels = [jpegs.by_pillow(jpegs.jpeg(key)) for key in jpegs.KEYS]
        return self.open(tmp_path / "z"), np.stack(pixels)[:, None]

    def damaged(self, tmp_path: Path) -> Damaged:
        self.make(tmp_path)
        path = tmp_path / "z/EuroSAT.zip"
        with zipfile.ZipFile(path) as archive:
            info = archive.getinfo(f"2750/Forest/{jpegs.KEYS[BAD]}.jpg")
        data = bytearray(path.read_bytes())
        data[info.header_offset + 30 + len(info.filename) + info.compress_size // 2] ^= 0x10
        path.write_bytes(data)
        return Damaged(self.open(path.parent), BAD, 0)

    def test_chunks_lie_in_the_stores_files(self, source: ChunkedSource) -> None:
        """As the suite has it, of a store whose files lie in folders."""
        stats = {
            f"{folder}/{name}": stat.size
            for folder in source.store.folders()
            for name, stat in source.store.below(folder).list(".jpg").items()
        }
        rows = self.all_rows(source)
        assert [stats[source.files[row["file"]]] for row in rows] == rows["stored"].tolist()
        assert (rows["offset"] == 0).all()
        assert set(rows["codec"].tolist()) == {OTHER}


class TestDeflatedImages(TestImages):
    """The same, deflated."""

    method = zipfile.ZIP_DEFLATED


class TestImageFiles(SourceTests):
    """EuroSAT's JPEGs in folders."""

    def make(self, tmp_path: Path) -> tuple[Any, Pixels]:
        source = EuroSAT(jpegs.rgb(tmp_path), progress=False).sources["S2RGB"]
        pixels = [jpegs.by_pillow(jpegs.jpeg(key)) for key in jpegs.KEYS]
        return source, np.stack(pixels)[:, None]

    def damaged(self, tmp_path: Path) -> Damaged:
        source, _ = self.make(tmp_path)
        path = tmp_path / f"2750/Forest/{jpegs.KEYS[BAD]}.jpg"
        path.write_bytes(path.read_bytes()[:-300])
        return Damaged(source, BAD, 0)


class TestEuroSATTifs(SourceTests):
    """EuroSAT's GeoTIFFs in a zip."""

    def make(self, tmp_path: Path) -> tuple[Any, Pixels]:
        jpegs.zipped(jpegs.ms(tmp_path / "t"), tmp_path / "z/EuroSAT_MS.zip", zipfile.ZIP_DEFLATED)
        pixels = np.stack([jpegs.multi(key) for key in jpegs.KEYS])[:, None]
        order = [*range(8), 12, 8, 9, 10, 11]
        return EuroSAT(tmp_path / "z", progress=False).sources["S2L1C"], pixels[:, :, order]


class TestBigEarthNet(SourceTests):
    """Sentinel-2 of BigEarthNet's first version, of three resolutions."""

    make_tree = staticmethod(patches.v1)

    def open(self, root: Path) -> Any:
        options: dict[str, Any] = {"resampling": "nearest", "progress": False}
        return BigEarthNet(root, **options).sources["S2L2A"]

    def make(self, tmp_path: Path) -> tuple[Any, Pixels]:
        tmp_path.mkdir(exist_ok=True)
        source = self.open(self.make_tree(tmp_path))
        keys = [key.decode() for key in source.columns.key]
        return source, np.stack([patches.repeated(key, "S2L2A") for key in keys])[:, None]

    def damaged(self, tmp_path: Path) -> Damaged:
        source, _ = self.make(tmp_path)
        key = source.columns.key[BAD].decode()
        path = next(tmp_path.rglob(f"{key}_B05.tif"))
        path.write_bytes(path.read_bytes()[:200])
        return Damaged(source, BAD, 0)


class TestBigEarthNetV2(TestBigEarthNet):
    """The same of the second version."""

    make_tree = staticmethod(patches.v2)
