"""The sources of the package."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numcodecs import Zstd

from fastload import SSL4EOS12
from fastload.datasets import LAYOUTS
from fastload.datasets.source import FRAME, OTHER
from fastload.datasets.ssl4eo_zarr import SSL4EOS12Zarr
from fastload.datasets.zarrs.zarr_source import ZarrSource
from fastload.engines import imported
from tests.conformance.source import ChunkedSourceTests, Damaged, Pixels
from tests.fastload import shardmaker, zarrfiles

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
    bad = BAD

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
        rows = source.chunks(np.array([self.bad]), wanted).rows
        row = rows[rows["stored"] > 0][0]
        path = Path(source.store.path(source.files[row["file"]]))
        data = bytearray(path.read_bytes())
        data[row["offset"] + row["stored"] // 2] ^= 0x10
        path.write_bytes(data)
        return Damaged(source, self.bad, int(row["timestamp"]))


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


class TestZarrFewerDates(TestZarr):
    """Samples that differ in their number of dates, in chunks of one or of several."""

    frames = None
    DATES = (3, 4, 1, 4, 2, 4)

    def options(self, number: int) -> dict[str, Any]:
        return ({}, {"chunks": (3, 3, 24, 10)})[number // 3]

    def values(self, number: int) -> Pixels:
        return super().values(number)[: self.DATES[number]]

    def expected(self) -> Pixels:
        return np.stack([
            np.pad(self.values(int(key)), ((0, 4 - self.DATES[int(key)]), *((0, 0),) * 3))
            for key in shardmaker.KEYS
        ])  # fmt: skip

    def damaged(self, tmp_path: Path) -> Damaged:
        root = self.write(tmp_path)
        source = self.open(root)
        (row,) = source.chunks(np.array([1]), np.array([[False, True, False, False]])).rows
        path = Path(source.store.path(source.files[row["file"]]))
        data = bytearray(path.read_bytes())
        data[row["offset"] + row["stored"] // 2] ^= 0x10
        path.write_bytes(data)
        return Damaged(source, 1, 1)


class TestMany(TestZarr):
    """Samples that lie together in zips; each chunk is one timestamp of one of them."""

    chunks: tuple[int, ...] = (1, 1, 2, 16, 18)

    def write(self, root: Path) -> Path:
        return zarrfiles.write(root, chunks=self.chunks)

    def open(self, root: Path) -> ZarrSource:
        opened = SSL4EOS12Zarr(root, modalities="S2L2A", bands=self.bands, progress=False)
        source = opened.sources["S2L2A"]
        assert isinstance(source, ZarrSource)
        return source

    def expected(self) -> Pixels:
        return zarrfiles.pixels("S2L2A", range(len(zarrfiles.IDS)))


class TestManySharedChunks(TestMany):
    """A chunk holds several samples and dates, and a part of a plane."""

    frames = OTHER
    chunks = (2, 3, 1, 7, 18)
    bad = 2  # which is alone in the last chunk of its file


SUITES = {
    "ssl4eo_s12",
    "ssl4eo_zarr",
    "ssl4eo_v10",
    "seco",
    "geotiffs",
    "copernicus",
    "terramesh",
    "eurosat",
    "bigearthnet",
}
"""Layouts whose sources pass `SourceTests`, here or in the files beside."""


def test_every_layout_has_a_suite() -> None:
    """`TestZarr` and its variants, those of `test_trees`, `test_tensors`, `test_evaluated`."""
    for name, place in LAYOUTS.items():
        assert name in SUITES, f"{name} ({imported(place)}) has no suite"
