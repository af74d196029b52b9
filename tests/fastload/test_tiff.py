"""TIFF files read without GDAL are as GDAL reads them, or are left to it."""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio

import fastload
from benchmarks.archives.trees import noise, tif
from fastload.storage.errors import DataError
from fastload.storage.formats.geotiff import decode, head
from fastload.storage.formats.tiff import plain_pixels

REAL = Path(__file__).parents[3] / "shared" / "data"
DTYPES = ["uint8", "uint16", "uint32", "int16", "int32", "float32", "float64"]


def gdal(path: Path) -> Any:
    with rasterio.open(path) as file:
        return file.read()


def same(a: Any, b: Any) -> bool:
    return (a.dtype, a.shape, a.tobytes()) == (b.dtype, b.shape, b.tobytes())


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("interleave", ["band", "pixel"])
@pytest.mark.parametrize("size", [(1, 1, 1), (1, 24, 24), (3, 23, 17), (13, 8, 30)])
def test_plain_files_are_as_gdal_reads_them(
    tmp_path: Path, dtype: str, interleave: str, size: tuple[int, int, int]
) -> None:
    for rows in (1, 5, 4096):
        pixels = noise(rows, size, dtype)
        path = tif(tmp_path / f"{rows}.tif", pixels, interleave=interleave, blockysize=rows)
        found = plain_pixels(path.read_bytes())
        assert found is not None
        assert same(found, gdal(path))
        assert same(found, pixels)


@pytest.mark.parametrize(
    "options",
    [
        {"compress": "deflate"}, {"compress": "lzw", "predictor": 2}, {"compress": "packbits"},
        {"tiled": True, "blockxsize": 16, "blockysize": 16}, {"BIGTIFF": "YES"},
        {"ENDIANNESS": "BIG"}, {"nbits": 4}, {"photometric": "miniswhite"}, {"compress": "zstd"},
    ],
)  # fmt: skip
def test_others_are_left_to_gdal(tmp_path: Path, options: dict[str, Any]) -> None:
    pixels = noise("other", (1, 32, 32), np.uint8) % 16
    path = tif(tmp_path / "x.tif", pixels, **options)
    content = path.read_bytes()
    assert plain_pixels(content) is None
    assert same(decode(content, str(path), None, head(content, str(path))), pixels)


def test_a_file_with_holes_is_left_to_gdal(tmp_path: Path) -> None:
    options = {"driver": "GTiff", "count": 1, "height": 9, "width": 9, "dtype": "uint8"}
    with rasterio.open(tmp_path / "x.tif", "w", **options, sparse_ok=True):
        pass
    content = (tmp_path / "x.tif").read_bytes()
    assert plain_pixels(content) is None
    assert (decode(content, "x", None, head(content, "x")) == 0).all()


@pytest.mark.parametrize("options", [{}, {"compress": "jpeg"}, {"compress": "deflate"}])
def test_damage_is_an_error_or_the_pixels_of_gdal(tmp_path: Path, options: Any) -> None:
    """Any byte of the file's head, and any end."""
    pixels = noise("damage", (1, 16, 16), np.uint8)
    content = tif(tmp_path / "x.tif", pixels, **options).read_bytes()
    like, refused = head(content, "x"), 0
    rng = np.random.default_rng(1)
    for _ in range(120):
        bad = bytearray(content)
        bad[int(rng.integers(min(len(bad), 700)))] ^= 1 << int(rng.integers(8))
        cut = bytes(bad[: int(rng.integers(1, len(bad) + 1))] if rng.random() < 0.3 else bad)
        try:
            found = decode(cut, "x", None, like)
        except DataError as error:
            refused += (error.shard, error.offset) == ("x", 0)
            continue
        assert found.shape == pixels.shape
        try:
            theirs = decode(cut, "x")
        except DataError:  # what GDAL alone looks at is broken, the pixels are not
            continue
        assert same(found, theirs)
    assert refused > 8


def test_without_rasterio_the_extra_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tif(tmp_path / "a.tif", noise("a", (1, 8, 8)))
    monkeypatch.setitem(sys.modules, "rasterio", None)
    with pytest.raises(ImportError, match=r"need rasterio: pip install 'fastload-eo\[rasters\]'"):
        fastload.open(tmp_path, progress=False)


def test_what_is_no_tiff_is_an_error() -> None:
    vrt = b'<VRTDataset rasterXSize="1" rasterYSize="1"><SRS>/etc/passwd</SRS></VRTDataset>'
    for content in (b"", b"II*\0", b"x" * 100, b"\x89PNG\r\n\x1a\n" + bytes(50), vrt):
        with pytest.raises(DataError, match=r"here\.tif at byte 0: is"):
            decode(content, "here.tif")
        assert plain_pixels(content) is None


@pytest.mark.skipif(not REAL.is_dir(), reason=f"no real pixels in {REAL}")
def test_real_files_are_as_gdal_reads_them() -> None:
    plain = 0
    for path in [*REAL.glob("terramesh/*/*.tif"), *REAL.glob("bigearthnet/*/*/*_B0*.tif"),
                 *REAL.glob("eurosat_ms/*/*.tif")]:  # fmt: skip
        content = path.read_bytes()
        found = plain_pixels(content)
        plain += found is not None
        assert same(decode(content, str(path), None, head(content, str(path))), gdal(path))
    assert plain > 30
