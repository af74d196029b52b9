"""Bands of other sizes on one grid, against OpenCV and GDAL."""

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import rasterio
from numpy.typing import NDArray

from benchmarks.archives.trees import noise, tif
from fastload.datasets.rasters.resample import resample

REAL = Path(__file__).parents[3] / "shared" / "data" / "bigearthnet" / "BigEarthNet-S2-Example"
DTYPES = [np.uint8, np.uint16, np.int16, np.float32]


def resampled(image: NDArray[Any], H: int, W: int, rule: Any = "bilinear") -> NDArray[Any]:
    out = np.empty((H, W), image.dtype)
    resample(image, out, rule)
    return out


def slow(image: NDArray[Any], H: int, W: int) -> NDArray[np.float64]:
    """Bilinear with half-pixel centres and clamped edges, pixel by pixel."""
    h, w = image.shape
    out = np.empty((H, W))
    for y in range(H):
        for x in range(W):
            v = min(max((y + 0.5) * h / H - 0.5, 0), h - 1)
            u = min(max((x + 0.5) * w / W - 0.5, 0), w - 1)
            a, b = min(int(v), h - 2) if h > 1 else 0, min(int(u), w - 2) if w > 1 else 0
            some = image[a : a + 2, b : b + 2].astype(np.float64)
            rows = np.array([1 - (v - a), v - a])[: len(some)]
            out[y, x] = rows @ some @ np.array([1 - (u - b), u - b])[: some.shape[1]]
    return out


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("size", [(1, 1), (4, 4), (8, 6), (24, 24), (31, 17)])
def test_bilinear_is_its_formula(dtype: Any, size: tuple[int, int]) -> None:
    image = noise("formula", size, dtype)
    found, exact = resampled(image, 24, 20), slow(image, 24, 20)
    most = 1e-5 if dtype == np.float32 else 0.5 + 1e-9
    assert found.dtype == dtype
    assert np.abs(found - exact).max() <= most


@pytest.mark.parametrize(("dtype", "most"), [(np.uint8, 1), (np.uint16, 1), (np.int16, 1)])
@pytest.mark.parametrize("size", [132, 44, 100, 300])
def test_bilinear_is_that_of_opencv(dtype: Any, most: int, size: int) -> None:
    """By a grey level at most; 20 m bands to the bit."""
    image = noise("opencv", (size, size), dtype)
    theirs = cv2.resize(image, (264, 264), interpolation=cv2.INTER_LINEAR_EXACT)
    apart = np.abs(resampled(image, 264, 264).astype(int) - theirs)
    assert apart.max() <= (0 if size == 132 else most)
    assert (apart > 0).mean() < 0.15


def test_floats_are_as_opencv_has_them() -> None:
    image = noise("float", (44, 44), np.float32)
    theirs = cv2.resize(image, (264, 264), interpolation=cv2.INTER_LINEAR_EXACT)
    np.testing.assert_allclose(resampled(image, 264, 264), theirs, atol=1e-4)


@pytest.mark.skipif(not REAL.is_dir(), reason=f"no real pixels in {REAL}")
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int16])
@pytest.mark.parametrize(("band", "most"), [("B01", 1), ("B05", 0)])
def test_on_real_pixels_opencv_differs_by_a_grey_level(dtype: Any, band: str, most: int) -> None:
    """60 m and 20 m bands to 10 m."""
    for path in REAL.glob(f"*/*_{band}.tif"):
        with rasterio.open(path) as file:
            image = file.read(1)
        image = (
            (image >> 4).clip(0, 255).astype(dtype) if dtype == np.uint8 else image.astype(dtype)
        )
        theirs = cv2.resize(image, (120, 120), interpolation=cv2.INTER_LINEAR_EXACT)
        assert np.abs(resampled(image, 120, 120).astype(int) - theirs).max() <= most


@pytest.mark.parametrize("size", [4, 12, 7, 50])
def test_nearest_is_that_of_gdal(tmp_path: Path, size: int) -> None:
    image = noise("gdal", (size, size))
    with rasterio.open(tif(tmp_path / "x.tif", image)) as file:
        theirs = file.read(1, out_shape=(24, 24))
    assert (resampled(image, 24, 24, "nearest") == theirs).all()


def test_not_a_number_stays_with_its_neighbours() -> None:
    image = np.ones((4, 4), np.float32)
    image[1, 1], image[3, 3] = np.nan, np.inf
    found = resampled(image, 8, 8)
    lost = np.isnan(found)
    assert lost[1:5, 1:5].all()
    assert lost.sum() == 16
    assert np.isposinf(found[7, 7])
    assert (found[:5, 5:] == 1).all()
