"""The sources of the package."""

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numcodecs import Zstd

from fastload import SSL4EOS12
from fastload.datasets import LAYOUTS
from fastload.datasets.eurosat import EuroSAT
from fastload.datasets.image_source import ImageSource
from fastload.datasets.source import FRAME, OTHER, ChunkedSource
from fastload.datasets.terramesh import TerraMesh
from fastload.datasets.zarr_source import ZarrSource
from fastload.engines import imported
from tests.conformance.source import ChunkedSourceTests, Damaged, Pixels, SourceTests
from tests.fastload import shardmaker
from tests.fastload.trees import eurosat as jpegs
from tests.fastload.trees import terramesh as made

pytestmark = pytest.mark.timeout(60)
BAD = 4


class TestZarr(ChunkedSourceTests):
    """The published layout: each chunk is one timestamp, one Blosc frame."""

    frames: int | None = FRAME

    def options(self, number: int) -> dict[str, Any]:
        """How a sample is written."""
        return {}

    def values(self, number: int) -> Pixels:
        """A sample's pixels ``[T, C, H, W]``."""
        return shardmaker.pixels(f"S2L1C {number}")

    def write(self, root: Path) -> Path:
        def sample(number: int, _: str) -> bytes:
            group = shardmaker.group(self.values(number), number=number, **self.options(number))
            return shardmaker.zipped(group)

        return shardmaker.write(root, make=sample)

    bands: tuple[str, ...] | None = None
    """Those that are shown."""

    def open(self, root: Path) -> ZarrSource:
        source = SSL4EOS12(root, bands=self.bands, progress=False).sources["S2L1C"]
        assert isinstance(source, ZarrSource)
        return source

    def expected(self) -> Pixels:
        """All pixels ``[N, T, C, H, W]``."""
        return np.stack([self.values(int(key)) for key in shardmaker.KEYS])

    def make(self, tmp_path: Path) -> tuple[ZarrSource, Pixels]:
        values = self.expected()
        values = values.astype(values.dtype.newbyteorder("="))
        return self.open(self.write(tmp_path / "root")), values

    def damaged(self, tmp_path: Path) -> Damaged:
        root = self.write(tmp_path)
        source = self.open(root)
        wanted = np.ones((1, source.modality.timestamps), bool)
        rows = source.chunks(np.array([BAD]), wanted).rows
        row = rows[rows["stored"] > 0][0]
        path = Path(source.store.path(source.files[row["file"]]))
        data = bytearray(path.read_bytes())
        data[row["offset"] + row["stored"] // 2] ^= 0x10
        path.write_bytes(data)
        return Damaged(source, BAD, int(row["timestamp"]))


class TestZarrGrid(TestZarr):
    """Chunks of several timestamps and of parts of a plane, at edges that do not fit."""

    frames = OTHER

    def options(self, number: int) -> dict[str, Any]:
        return {"chunks": (3, 2, 16, 24)}


class TestZarrOtherCodec(TestZarr):
    """Chunks that are no Blosc frames."""

    frames = OTHER

    def options(self, number: int) -> dict[str, Any]:
        return {"compressor": Zstd(3)}


class TestZarrMixed(TestZarr):
    """Samples that differ in how they are stored."""

    frames = None

    def options(self, number: int) -> dict[str, Any]:
        return ({}, {"chunks": (2, 3, 24, 10)}, {"compressor": None})[number % 3]


class TestZarrHoles(TestZarr):
    """Chunks that are not there are fill value; big-endian pixels."""

    frames = OTHER

    def options(self, number: int) -> dict[str, Any]:
        return {"absent": [f"bands/{number % 4}.0.0.0"], "fill_value": -7}

    def values(self, number: int) -> Pixels:
        return super().values(number).astype(">i2")

    def expected(self) -> Pixels:
        out = super().expected()
        for i, key in enumerate(shardmaker.KEYS):
            out[i, int(key) % 4] = -7
        return out


class TestZarrBands(TestZarr):
    """A choice of bands, in another order: the host decodes all of a chunk."""

    frames = OTHER
    bands = ("B02", "B00")

    def expected(self) -> Pixels:
        return super().expected()[:, :, [2, 0]]


class TestZarrGridBands(TestZarrBands):
    """Of chunks of some bands each, those without a chosen one are not read."""

    def options(self, number: int) -> dict[str, Any]:
        return {"chunks": (3, 2, 16, 24)}


class TestZarrMixedBands(TestZarrBands, TestZarrMixed):
    """A choice where samples differ in how they are stored, and chunks hold one band each."""

    bands = ("B01",)

    def options(self, number: int) -> dict[str, Any]:
        return ({}, {"chunks": (1, 1, 24, 24)}, {"compressor": None})[number % 3]

    def expected(self) -> Pixels:
        return TestZarrMixed.expected(self)[:, :, [1]]


class TestZarrHolesBands(TestZarrBands, TestZarrHoles):
    """A choice of big-endian pixels, some of them fill value."""

    def expected(self) -> Pixels:
        return TestZarrHoles.expected(self)[:, :, [2, 0]]


class Aligned(TestZarr):
    """Timestamps that the source numbers in another order than they are stored."""

    ORDER = (2, 0, 3, 1)

    def open(self, root: Path) -> ZarrSource:
        source = super().open(root)
        orders = [np.roll(self.ORDER, number) for number in range(len(source))]
        return source.ordered(np.array(orders, np.int8))

    def expected(self) -> Pixels:
        stored = super().expected()
        return np.stack([
            values[np.roll(self.ORDER, number)] for number, values in enumerate(stored)
        ])  # fmt: skip


class TestZarrAligned(Aligned):
    """Where each chunk is one timestamp."""


class TestZarrAlignedGrid(Aligned, TestZarrGrid):
    """Where a chunk holds several."""


class TestZarrPlanes(TestZarr):
    """Another array of the samples, without an axis of bands."""

    def values(self, number: int) -> Pixels:
        return shardmaker.pixels(f"mask {number}", (4, 1, 24, 24), np.uint8)

    def write(self, root: Path) -> Path:
        def sample(number: int, _: str) -> bytes:
            bands = shardmaker.pixels(number)
            mask = self.values(number)[:, 0]
            return shardmaker.zipped(shardmaker.group(bands, number=number, cloud=mask))

        return shardmaker.write(root, make=sample)

    def open(self, root: Path) -> ZarrSource:
        source = SSL4EOS12(root, modalities="cloud_mask", progress=False).sources["cloud_mask"]
        assert isinstance(source, ZarrSource)
        return source


class TestEither(TestZarr):
    """TerraMesh's S1: samples of one folder or of another."""

    def make(self, tmp_path: Path) -> tuple[Any, Pixels]:
        source = TerraMesh(made.write(tmp_path), modalities="S1", progress=False).sources["S1"]
        keys = [key.decode() for key in source.columns.key]
        kinds = ["S1RTC" if key in made.MAJORTOM else "S1GRD" for key in keys]
        return source, np.stack([made.pixels(k, kind) for k, kind in zip(keys, kinds, strict=True)])

    def damaged(self, tmp_path: Path) -> Damaged:
        source, _ = self.make(tmp_path)
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


def test_every_layout_has_a_suite() -> None:
    """`TestZarr` and its variants are of the sources that it makes."""
    suites = {"ssl4eo_s12": SSL4EOS12, "terramesh": TerraMesh, "eurosat": EuroSAT}
    assert {name: imported(place) for name, place in LAYOUTS.items()} == suites
