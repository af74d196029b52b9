"""A12: NaN and infinity on disk are the same in every backend as in `reference`, in every view."""

import dataclasses
import itertools

import numpy as np
import pytest

from fastload_kernels import Scaling, View, cpu, reference
from fastload_kernels.resample import TAPS
from tests.kernels.test_view import (
    AUGMENTATIONS,
    BOXES,
    SIZE,
    VIEW,
    H,
    W,
    backend,  # noqa: F401
    record,
    source_of,
)
from tests.tolerances import assert_close

SCALINGS = {
    "standardise": {"offset": [0, 1], "scale": [0.01, 0.02]},
    "clipped": {"offset": [-50, -40], "scale": 0.01, "low": 0, "high": 1},
    "half clipped": {"offset": 0, "scale": [0.01, -0.01], "low": -1},
    "filled": {"offset": [-50, -40], "scale": 0.01, "low": 0, "high": 1, "fill": 0.25},
    "filled, unclipped": {"offset": 0, "scale": 0.01, "fill": -3.0},
    "labels": {"offset": 0, "scale": 1, "labels": True},
    "filled labels": {"offset": 0, "scale": 1, "labels": True, "fill": 255.0},
}
PLACES = {
    "corners": [(0, 0), (0, W - 1), (H - 1, 0), (H - 1, W - 1)],
    "borders": [(0, 20), (20, 0), (H - 1, 21), (19, W - 1)],
    "inside": [(10, 10), (21, 27)],
}
VALUES = (np.nan, np.inf, -np.inf)


def scaling_of(name, C=2):
    return Scaling.make(**{"bands": C, **SCALINGS[name]})


def spoilt(kind, value, place, C=2):
    """Pixels of which some, in the second band, are not finite."""
    rng = np.random.default_rng(1)
    source = rng.normal(0, 30, (C, H, W)).astype(kind)
    for y, x in PLACES[place]:
        source[1, y, x] = value
    return source


@pytest.mark.parametrize("augmentation", AUGMENTATIONS)
@pytest.mark.parametrize("name", SCALINGS)
def test_a12_spreads_as_in_the_reference(backend, name, augmentation):  # noqa: F811
    scaling, boxes = scaling_of(name), (BOXES["shrink"], BOXES["plain"], (0, 0, 30, W))
    for box, interpolation, place in itertools.product(boxes, TAPS, PLACES):
        view = dataclasses.replace(VIEW, interpolation=interpolation)
        p = record(box, **AUGMENTATIONS[augmentation])
        source = spoilt("float32", VALUES[0], place)
        for (y, x), value in zip(PLACES[place], itertools.cycle(VALUES), strict=False):
            source[1, y, x] = value
        expected = reference.apply(source, p, view, scaling)
        assert_close(backend(source, p, view, scaling), expected, "float32")


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
@pytest.mark.parametrize("kind", ["float16", "float32"])
@pytest.mark.parametrize("channels_last", [False, True])
def test_a12_every_dtype_and_layout(backend, kind, dtype, channels_last):  # noqa: F811
    keep = np.array([1, 1, 0], np.uint8)
    for name, value, augmentation in itertools.product(
        SCALINGS, VALUES, ("none", "transpose", "all", "all gray")
    ):
        source = spoilt(kind, value, "inside", 3)
        scaling = Scaling.make(**{**SCALINGS[name], "offset": 1, "scale": 0.01, "bands": 3})
        p = record(BOXES["shrink"], **AUGMENTATIONS[augmentation])
        expected = reference.apply(source, p, VIEW, scaling, keep)
        got = backend(source, p, VIEW, scaling, keep, dtype, channels_last)
        assert_close(got, expected, dtype)


@pytest.mark.parametrize("kind", ["int16", "uint8"])
def test_a12_whole_numbers_are_never_taken_for_nan(backend, kind):  # noqa: F811
    source = source_of(kind, 2)
    source[:, 5:9] = np.iinfo(kind).min
    source[:, 9:12] = np.iinfo(kind).max
    for name in SCALINGS:
        p, scaling = record(BOXES["shrink"], **AUGMENTATIONS["contrast"]), scaling_of(name)
        expected = reference.apply(source, p, VIEW, scaling)
        assert np.isfinite(expected).all()
        assert_close(backend(source, p, VIEW, scaling), expected, "float32")


def test_a12_one_nan_leaves_the_band_under_contrast(backend):  # noqa: F811
    source, scaling = spoilt("float32", np.nan, "inside"), scaling_of("standardise")
    p = record(BOXES["plain"], contrast=0.6)
    found = np.asarray(backend(source, p, VIEW, scaling))
    assert np.isnan(found).sum() == 2
    top, left, height, width = BOXES["plain"]
    pixels = source[1, top : top + height, left : left + width].astype(np.float64)
    mean = np.nanmean((pixels - 1) * 0.02)
    np.testing.assert_allclose(found[1], ((pixels - 1) * 0.02 - mean) * 0.6 + mean, atol=1e-5)


def test_a12_a_band_of_nothing_else(backend):  # noqa: F811
    source = np.full((2, H, W), np.nan, np.float32)
    source[0] = 1
    for augmentation in AUGMENTATIONS:
        p = record(BOXES["enlarge"], **AUGMENTATIONS[augmentation])
        for name in ("standardise", "filled"):
            expected = reference.apply(source, p, VIEW, scaling_of(name))
            assert_close(backend(source, p, VIEW, scaling_of(name)), expected, "float32")


def test_a12_filled_pixels_are_pixels_like_others(backend):  # noqa: F811
    """`fill` is what a source would give that has such a value there."""
    scaling = scaling_of("filled, unclipped")
    for value in VALUES:
        source = spoilt("float32", value, "inside")
        other = np.where(np.isfinite(source), source, np.float32(-300))
        for name in ("contrast", "blur", "gray", "all"):
            p = record(BOXES["shrink"], **AUGMENTATIONS[name])
            expected = reference.apply(other, p, VIEW, dataclasses.replace(scaling, fill=None))
            assert np.isfinite(expected).all()
            assert_close(backend(source, p, VIEW, scaling), expected, "float32")


def test_labels_keep_their_numbers(backend):  # noqa: F811
    """A16: of a view only the geometry is theirs."""
    source = np.random.default_rng(0).integers(0, 256, (1, H, W), np.uint8)
    scaling = scaling_of("labels", 1)
    view = View(size=SIZE, scale=(0.2, 1), interpolation="bicubic")
    dropped = np.zeros(1, np.uint8)
    for augmentation, box in itertools.product(AUGMENTATIONS, BOXES.values()):
        p = record(box, **AUGMENTATIONS[augmentation])
        top, left, height, width = box
        rows = top + np.floor((np.arange(SIZE) + 0.5) * height / SIZE).astype(int)
        columns = left + np.floor((np.arange(SIZE) + 0.5) * width / SIZE).astype(int)
        expected = reference.flips(source[:, rows[:, None], columns].astype(np.float64), p)
        np.testing.assert_array_equal(backend(source, p, view, scaling, dropped), expected)
        np.testing.assert_array_equal(reference.apply(source, p, view, scaling, dropped), expected)


def marked(dtype, nodata):
    rng = np.random.default_rng(4)
    source = source_of(dtype, 5, 4)
    for value in (*VALUES, nodata) if dtype.startswith("f") else (nodata,):
        source[rng.random(source.shape) < 0.05] = value
    return source


NO_DATA = {"int16": 200, "uint8": 0, "uint16": 7, "float16": -9.0, "float32": 0.0}


@pytest.mark.parametrize("dtype", NO_DATA)
def test_a12_counts_and_masks_on_the_cpu(dtype):
    keep = np.array([1, 0, 1, 1, 0], np.uint8)
    source = marked(dtype, NO_DATA[dtype])
    if dtype == "float32":
        source[2, 4:7] = -0.0
    for box, name, interpolation, kept, nodata in itertools.product(
        BOXES.values(),
        ("none", "rot", "all", "all gray"),
        TAPS,
        (None, keep),
        (None, NO_DATA[dtype], 1e9, 0.5),
    ):
        view = dataclasses.replace(VIEW, interpolation=interpolation)
        p, scaling = record(box, **AUGMENTATIONS[name]), Scaling.make(0, 1, bands=5)
        counts, out = np.array([5, 6, 7]), np.empty((5, SIZE, SIZE), np.float32)
        cpu.apply(source, p, view, scaling, kept, out, nodata=nodata, counts=counts)
        expected = reference.count(source, p, view, kept, nodata)
        np.testing.assert_array_equal(counts - [5, 6, 7], expected)
        mask = np.empty((SIZE, SIZE), bool)
        cpu.mask(source, p, view, scaling, nodata, mask)
        np.testing.assert_array_equal(mask, reference.valid(source, p, view, nodata))


def test_a_mask_says_where_every_band_was_seen():
    source = np.ones((2, 4, 6), np.float32)
    source[0, 1, 2], source[1, 3, 5], source[1, 0, 0] = np.nan, -9, np.inf
    view, p = View(size=(4, 6)), record((0, 0, 4, 6), flip_x=1)
    expected = np.ones((4, 6), bool)
    expected[1, 3] = expected[3, 0] = expected[0, 5] = False
    np.testing.assert_array_equal(reference.valid(source, p, view, -9), expected)
    expected[3, 0] = True
    np.testing.assert_array_equal(reference.valid(source, p, view), expected)
