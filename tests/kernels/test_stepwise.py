"""Operations one after another: `stepwise` over backends, and the definition against plain lines of
OpenCV, Pillow and torchvision."""

import dataclasses
import itertools

import cv2
import numpy as np
import pytest
import torch
import torchvision.transforms.functional as tv
from PIL import Image

from fastload_kernels import Scaling, View, cpu, reference, stepwise
from tests.kernels.test_view import (
    BOXES,
    SIZE,
    VIEW,
    H,
    W,
    backend,  # noqa: F401
    record,
    scaling_of,
    source_of,
)
from tests.tolerances import assert_close, assert_levels

KINDS = {
    "clip, bands": {"steps": "clip"},
    "uint8, bands, crop last": {"steps": "uint8", "crop_last": True},
    "uint8_wrap, bands": {"steps": "uint8_wrap"},
    "clip, rgb, crop last": {"steps": "clip", "colours": "rgb", "crop_last": True},
    "uint8, rgb": {"steps": "uint8", "colours": "rgb"},
}
CHANGES = {
    "none": {},
    "jitter": {"brightness": 1.3, "contrast": 1.38, "saturation": 0.7, "hue": 0.09, "order": 13},
    "dark": {"brightness": 0.7, "contrast": 0.65, "saturation": 1.3, "hue": -0.08, "order": 22},
    "gray": {"contrast": 1.4, "gray": 1, "sigma": 0.3, "flip_x": 1, "transpose": 1},
    "all": {"brightness": 1.2, "contrast": 0.8, "hue": 0.4, "order": 7, "sigma": 1.7, "flip_y": 1,
            "transpose": 1, "solarize": 0.4, "solarize_dark": 1},
}  # fmt: skip
RGB = (2, 0, 1)


def view_of(kind, **more):
    return dataclasses.replace(VIEW, **KINDS[kind], **more)


def open_end(kind, C):
    """A scaling whose limits are open above where whole levels wrap."""
    scaling = scaling_of("int16", C)
    if KINDS[kind]["steps"] == "uint8_wrap":
        scaling = dataclasses.replace(scaling, high=np.full(C, np.inf, np.float32))
    return dataclasses.replace(scaling, rgb=RGB if C == 3 else None)


def assert_alike(actual, expected, kind, dtype="float32"):
    whole = KINDS[kind]["steps"] != "clip"
    (assert_levels if whole else assert_close)(actual, expected, dtype)


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_is_the_references(backend, kind, change):  # noqa: F811
    C = 3 if "rgb" in kind else 4
    source, scaling, p = source_of("int16", C), open_end(kind, C), CHANGES[change]
    for box, interpolation in (
        ("plain", "bilinear"),
        ("enlarge", "bicubic"),
        ("shrink", "nearest"),
    ):
        view, drawn = view_of(kind, interpolation=interpolation), record(BOXES[box], **p)
        expected = reference.apply(source, drawn, view, scaling)
        assert_alike(backend(source, drawn, view, scaling), expected, kind)
        assert expected.min() >= 0
        assert expected.max() <= 1


@pytest.mark.parametrize("kind", ["uint8_wrap, bands", "uint8, rgb", "uint8, bands, crop last"])
def test_whole_levels_are_the_same_to_the_bit_where_nothing_is_resampled(backend, kind):  # noqa: F811
    C = 3 if "rgb" in kind else 13
    source, scaling = source_of("int16", C), open_end(kind, C)
    for change in CHANGES.values():
        p = record(BOXES["plain"], **change)
        expected = reference.apply(source, p, view_of(kind), scaling).astype(np.float32)
        np.testing.assert_array_equal(backend(source, p, view_of(kind), scaling), expected)


@pytest.mark.parametrize(("dtype", "channels_last"), [("float16", True), ("bfloat16", False)])
@pytest.mark.parametrize("kind", ["clip, bands", "clip, rgb, crop last", "uint8_wrap, bands"])
def test_dtypes_layouts_and_dropped_bands(backend, kind, dtype, channels_last):  # noqa: F811
    source, scaling = source_of("int16", 3), open_end(kind, 3)
    keep = np.array([1, 0, 1], np.uint8)
    for change in ("gray", "all"):
        p = record(BOXES["enlarge"], **CHANGES[change])
        expected = reference.apply(source, p, view_of(kind), scaling, keep)
        assert not expected[1].any()
        got = backend(source, p, view_of(kind), scaling, keep, dtype, channels_last)
        assert_alike(got, expected, kind, dtype)


@pytest.mark.parametrize("fill", [None, 0.25])
@pytest.mark.parametrize("kind", KINDS)
def test_a12_nan_and_infinity(backend, kind, fill):  # noqa: F811
    source = source_of("float32", 3)
    source[1, 10, 10], source[0, 20, 3], source[2, 30, 30] = np.nan, np.inf, -np.inf
    scaling = Scaling.make(0, 1e-4, 0, np.inf, 3, fill=fill, rgb=RGB)
    for change in ("jitter", "gray", "all"):
        p = record(BOXES["shrink"], **CHANGES[change])
        expected = reference.apply(source, p, view_of(kind), scaling)
        assert np.isnan(expected).any() == (fill is None)
        assert not np.isnan(expected).all()
        assert_alike(backend(source, p, view_of(kind), scaling), expected, kind)


def test_bands_that_are_not_red_green_and_blue_are_refused(backend):  # noqa: F811
    source, p = source_of("int16", 3), record(BOXES["plain"])
    view, message = view_of("uint8, rgb"), "which these 3 bands are not known to be"
    for make in (backend, reference.apply):
        with pytest.raises(ValueError, match=message):
            make(source, p, view, scaling_of("int16", 3))


def test_labels_keep_their_numbers(backend):  # noqa: F811
    source, scaling = source_of("uint8", 1), Scaling.make(0, 1, bands=1, labels=True)
    for kind in KINDS:
        p = record(BOXES["enlarge"], **CHANGES["all"])
        plain = reference.apply(source, p, VIEW, scaling)
        np.testing.assert_array_equal(backend(source, p, view_of(kind), scaling), plain)


def test_counts_are_those_of_the_fused_view():
    source, keep = source_of("int16", 3), np.array([1, 0, 1], np.uint8)
    for kind, gray in itertools.product(KINDS, (0, 1)):
        p, counts = record(BOXES["enlarge"], gray=gray), np.zeros(3, np.int64)
        source[:, 8:10] = 7
        out = np.empty((3, SIZE, SIZE), np.float32)
        cpu.apply(source, p, view_of(kind), open_end(kind, 3), keep, out, nodata=7, counts=counts)
        expected = reference.count(source, p, VIEW, keep, 7)
        np.testing.assert_array_equal(counts, expected)
        assert expected[2] > 0


@pytest.fixture(scope="module")
def image():
    """uint8 ``[H, W, 13]``, dark but for a tenth."""
    rng = np.random.default_rng(7)
    image = rng.integers(0, 60, (H, W, 13), np.uint8)
    return np.where(rng.random(image.shape) < 0.1, 250, cv2.blur(image, (3, 3)))


class TestAsPublished:
    """The definition, in 8 bits, against what code on 8-bit images does."""

    def made(self, image, steps="uint8_wrap", size=None, box=(0, 0, H, W), **fields):
        """Of an image of levels, as levels."""
        view = View(size=size or box[2:], scale=(0.1, 1), steps=steps)
        scaling = Scaling.make(0, 1 / 255, 0, 1, image.shape[2])
        return self.levels(image, record(box, **fields), view, scaling)

    def levels(self, image, p, view, scaling):
        made = 255 * reference.apply(image.transpose(2, 0, 1), p, view, scaling)
        np.testing.assert_allclose(made, made.round(), atol=1e-9)
        return made.round().astype(np.int64).transpose(1, 2, 0)

    @pytest.mark.parametrize("factor", [0.6, 0.83, 1.17, 1.4])
    def test_brightness_and_contrast_wrap_and_truncate(self, image, factor):
        factor = float(np.float32(factor))  # As a record holds it.
        bright = (image * factor).astype(np.int64) % 256
        np.testing.assert_array_equal(self.made(image, brightness=factor), bright)
        mean = image.mean(axis=(0, 1))
        contrast = ((image - mean) * factor + mean).astype(np.int64)
        np.testing.assert_array_equal(self.made(image, contrast=factor), contrast % 256)
        clipped = contrast.clip(0, 255)
        np.testing.assert_array_equal(self.made(image, "uint8", contrast=factor), clipped)
        assert (clipped != contrast).any() == (factor > 1)

    def test_gray_and_solarize(self, image):
        gray = self.made(image, gray=1)
        np.testing.assert_array_equal(gray, np.floor(image.mean(axis=2))[..., None] + np.zeros(13))
        dark = self.made(image, solarize=0.5, solarize_dark=1)
        np.testing.assert_array_equal(dark, np.where(image < 128, 255 - image.astype(int), image))

    @pytest.mark.parametrize("sigma", [0.1, 0.7, 1.3, 2.0])
    def test_blur_is_opencvs_but_for_its_fixed_point(self, image, sigma):
        expected = cv2.GaussianBlur(image, (0, 0), sigma).astype(np.int64)
        off = np.abs(self.made(image, sigma=sigma) - expected)
        assert off.max() <= 2
        assert off.mean() < 0.3

    @pytest.mark.parametrize(("kind", "cv"), [("bilinear", cv2.INTER_LINEAR),
                                              ("bicubic", cv2.INTER_CUBIC)])  # fmt: skip
    def test_resampling_is_opencvs_but_for_its_fixed_point(self, image, kind, cv):
        top, left, h, w = box = (3, 5, 20, 25)
        crop = np.ascontiguousarray(image[top : top + h, left : left + w])
        expected = cv2.resize(crop, (SIZE, SIZE), interpolation=cv).astype(np.int64)
        scaling = Scaling.make(0, 1 / 255, 0, 1, 13)
        view = View(size=SIZE, scale=(0.1, 1), steps="uint8", interpolation=kind)
        off = np.abs(self.levels(image, record(box), view, scaling) - expected)
        assert off.max() <= 1
        assert (off > 0).mean() < 0.15

    def test_dn_wrap_to_grey_levels_as_in_the_published_table(self):
        """39 DN are 0, 40 DN are 1, 10000 DN are 255, 12000 DN are 50."""
        dn = np.arange(0, 28000, dtype=np.int16)[None, None]
        expected = (dn / 10000 * 255).astype(np.int64) % 256
        view = View(size=dn.shape[1:], steps="uint8_wrap")
        p, scaling = record((0, 0, *dn.shape[1:])), Scaling.make(0, 1e-4, 0, np.inf, 1)
        made = np.empty(dn.shape, np.float32)
        cpu.apply(dn, p, view, scaling, None, made)
        np.testing.assert_array_equal(np.rint(255 * made), expected)
        assert [*expected[0, 0, [39, 40, 10000, 12000]]] == [0, 1, 255, 50]

    @pytest.mark.parametrize(("name", "factor"), [
        ("brightness", 0.7), ("brightness", 1.33), ("contrast", 0.65), ("contrast", 1.35),
        ("saturation", 0.6), ("saturation", 1.4), ("hue", 0.08), ("hue", -0.1),
    ])  # fmt: skip
    def test_colours_are_torchvisions(self, image, name, factor):
        rgb = np.ascontiguousarray(image[..., :3])
        change = getattr(tv, f"adjust_{name}")
        expected = np.asarray(change(Image.fromarray(rgb), factor)).astype(np.float64)
        y = rgb.transpose(2, 0, 1).astype(np.float64)
        made = stepwise.jittered(y, name, factor, stepwise.LEVELS["uint8"], (0, 1, 2))
        off = np.abs(made - expected.transpose(2, 0, 1))  # Pillow's float32 truncates otherwise.
        assert (off > 0).mean() < 0.04
        assert off.max() <= (6 if name == "hue" else 1)
        soft = change(torch.from_numpy(y / 255), factor).numpy()
        made = stepwise.jittered(y / 255, name, factor, stepwise.LEVELS["clip"], (0, 1, 2))
        np.testing.assert_allclose(made, soft, atol=1e-4)  # It weighs red .2989.

    def test_luma_is_pillows(self, image):
        rgb = np.ascontiguousarray(image[..., :3])
        expected = np.asarray(Image.fromarray(rgb).convert("L")).astype(int)
        scaling = Scaling.make(0, 1 / 255, 0, 1, 3, rgb=(0, 1, 2))
        view = View(size=(H, W), steps="uint8", colours="rgb")
        made = self.levels(rgb, record((0, 0, H, W), gray=1), view, scaling)
        assert (made != expected[..., None]).mean() < 0.01
        swapped = dataclasses.replace(scaling, rgb=(2, 1, 0))
        other = self.levels(rgb[..., ::-1], record((0, 0, H, W), gray=1), view, swapped)
        np.testing.assert_array_equal(other, made)

    def test_the_jitters_order_matters_and_all_orders_differ(self, image):
        rgb, made = image[..., :3], set()
        scaling = Scaling.make(0, 1 / 255, 0, 1, 3, rgb=(0, 1, 2))
        view = View(size=(H, W), steps="uint8", colours="rgb")
        for order in range(24):
            p = record((0, 0, H, W), **{**CHANGES["jitter"], "order": order})
            made.add(self.levels(rgb, p, view, scaling).tobytes())
        assert len(made) == 24

    def test_a_crop_that_comes_last_blurs_in_pixels_of_the_source(self, image):
        view = View(size=SIZE, scale=(0.1, 1), steps="uint8", crop_last=True)
        scaling, box = Scaling.make(0, 1 / 255, 0, 1, 13), (3, 5, 20, 25)
        made = self.levels(image, record(box, sigma=1.5, contrast=1.3), view, scaling)
        whole = self.made(image, "uint8", contrast=1.3, sigma=1.5).astype(np.uint8)
        first = self.levels(whole, record(box), dataclasses.replace(view, crop_last=False), scaling)
        np.testing.assert_array_equal(made, first)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"steps": "uint16"}, "View.steps must be one of fused, clip, uint8, uint8_wrap, got"),
        ({"colours": "rgb"}, "View.colours 'rgb' is for operations one after another"),
        ({"colours": "hsv", "steps": "clip"}, "View.colours must be 'bands' or 'rgb', got 'hsv'"),
        ({"crop_last": True}, "View.crop_last True is for operations one after another"),
        ({"steps": "clip", "hue": 0.1}, "View.hue is of red, green and blue: it needs colours="),
        ({"steps": "clip", "colours": "rgb", "hue": 0.6}, r"View.hue must be in \[0, 0.5\]"),
        ({"steps": "clip", "colours": "rgb", "saturation": -1}, "View.saturation must be in"),
    ],
)
def test_views_that_make_no_sense_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        View(size=8, **arguments)
