"""The view operation, over backends, against `reference`; and the reference itself."""

import dataclasses
import functools
import itertools

import cv2
import numpy as np
import pytest
import torch
import torch.nn.functional as F

from fastload_kernels import VIEW_PARAMS, Scaling, View, cpu, reference
from fastload_kernels.resample import TAPS, blur_radius, gaussian, taps
from tests.kernels.cuda.devices import PLACES
from tests.kernels.cuda.one_view import on_device
from tests.tolerances import assert_close

H, W, SIZE = 40, 44, 32
SOURCES = {
    "int16": lambda rng, shape: rng.integers(-50, 14000, shape, dtype=np.int16),
    "uint8": lambda rng, shape: rng.integers(0, 256, shape, dtype=np.uint8),
    "uint16": lambda rng, shape: rng.integers(0, 65536, shape, dtype=np.uint16),
    "float16": lambda rng, shape: rng.normal(-15, 6, shape).astype(np.float16),
    "float32": lambda rng, shape: rng.normal(2000, 1500, shape).astype(np.float32),
}
SCALINGS = {
    "int16": (0, 1e-4),
    "uint8": (0, 1 / 255),
    "uint16": (1000, 1e-5),
    "float16": (-30, 0.03),
    "float32": (-500, 2e-4),
}
VIEW = View(size=SIZE, scale=(0.2, 1))

AUGMENTATIONS = {
    "none": {},
    "flip_x": {"flip_x": 1},
    "flip_y": {"flip_y": 1},
    "transpose": {"transpose": 1},
    "rot": {"transpose": 1, "flip_x": 1},
    "brightness": {"brightness": 1.3},
    "contrast": {"contrast": 0.65},
    "gray": {"gray": 1},
    "blur small": {"sigma": 0.1},
    "blur": {"sigma": 1.3},
    "blur large": {"sigma": 2.0},
    "solarize": {"solarize": 0.4},
    "solarize dark": {"solarize": 0.4, "solarize_dark": 1},
    "all": {"flip_x": 1, "flip_y": 1, "transpose": 1, "brightness": 0.7, "contrast": 1.35,
            "sigma": 1.7, "solarize": 0.5, "solarize_dark": 1},
    "all gray": {"flip_x": 1, "brightness": 1.2, "contrast": 0.8, "gray": 1, "sigma": 0.8,
                 "solarize": 0.5},
}  # fmt: skip
BOXES = {
    "enlarge": (3, 5, 20, 25),
    "shrink": (0, 0, H, W),
    "plain": (4, 7, SIZE, SIZE),
    "one axis": (4, 3, SIZE, 19),
    "one pixel": (H - 1, W - 1, 1, 1),
}


def record(box, **fields):
    p = np.zeros((), VIEW_PARAMS)
    p["brightness"] = p["contrast"] = p["saturation"] = 1
    p["solarize"] = np.nan
    p["top"], p["left"], p["height"], p["width"] = box
    for name, value in fields.items():
        p[name] = value
    return p[()]


def source_of(dtype, C, seed=0, shape=(H, W)):
    return SOURCES[dtype](np.random.default_rng(seed), (C, *shape))


def scaling_of(dtype, C):
    offset, scale = SCALINGS[dtype]
    return Scaling.make(np.linspace(offset, offset + 1, C), scale, 0, 1, C)


def on_cpu(source, p, view, scaling, keep=None, dtype="float32", channels_last=False):
    C, (h, w) = len(source), view.shape
    shape = (h, w, C) if channels_last else (C, h, w)
    # Poisoned, so that a pixel that is not written shows.
    out = (
        np.full(shape, np.nan, np.float32)
        if dtype == "float32"
        else np.full(shape, 0x7FFF, np.uint16)
    )
    cpu.apply(source, p, view, scaling, keep, out, dtype=dtype, channels_last=channels_last)
    tensor = torch.from_numpy(out if dtype == "float32" else out.view(np.int16))
    tensor = tensor.view(getattr(torch, dtype))
    return tensor.movedim(-1, 0) if channels_last else tensor


@pytest.fixture(params=["cpu", *PLACES])
def backend(request):
    if request.param == "cpu":
        return on_cpu
    return functools.partial(on_device, PLACES[request.param]())


@pytest.mark.parametrize("augmentation", AUGMENTATIONS)
@pytest.mark.parametrize("C", [1, 2, 12, 13])
def test_each_augmentation(backend, C, augmentation):
    source, scaling = source_of("int16", C), scaling_of("int16", C)
    for box, interpolation in itertools.product(BOXES.values(), TAPS):
        view = dataclasses.replace(VIEW, interpolation=interpolation)
        p = record(box, **AUGMENTATIONS[augmentation])
        expected = reference.apply(source, p, view, scaling)
        assert_close(backend(source, p, view, scaling), expected, "float32")


@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
@pytest.mark.parametrize("kind", SOURCES)
def test_every_dtype_and_layout(backend, kind, dtype, channels_last):
    C = 3
    source, scaling = source_of(kind, C), scaling_of(kind, C)
    keep = np.array([1, 0, 1], np.uint8)
    for name in ("none", "transpose", "all", "all gray"):
        p = record(BOXES["enlarge"], **AUGMENTATIONS[name])
        expected = reference.apply(source, p, VIEW, scaling, keep)
        got = backend(source, p, VIEW, scaling, keep, dtype, channels_last)
        assert_close(got, expected, dtype)


@pytest.mark.parametrize("size", [(1, 1), (7, 33), (33, 7), (16, 96), (224, 224), (257, 15)])
def test_odd_sizes_and_all_steps_of_the_lanes(backend, size):
    view = View(size=size, scale=(0.2, 1))
    source, scaling = source_of("int16", 2, shape=(120, 264)), scaling_of("int16", 2)
    for width in (1, 2, 15, 16, 17, 100, 224, 264):
        p = record((1, 0, 90, width), sigma=0.9, contrast=1.2)
        expected = reference.apply(source, p, view, scaling)
        assert_close(backend(source, p, view, scaling), expected, "float32")


def test_random_draws(backend):
    rng = np.random.default_rng(3)
    for _ in range(60):
        C = int(rng.integers(1, 15))
        h, w = rng.integers(1, H + 1), rng.integers(1, W + 1)
        fields = {n: rng.integers(0, 2) for n in ("transpose", "flip_x", "flip_y", "gray")}
        fields |= {"brightness": rng.uniform(0.5, 1.5), "contrast": rng.uniform(0.5, 1.5)}
        fields |= {"sigma": rng.choice([0, rng.uniform(0.05, 2.5)])}
        p = record((rng.integers(0, H - h + 1), rng.integers(0, W - w + 1), h, w), **fields)
        source, scaling = source_of("int16", C), scaling_of("int16", C)
        keep = rng.integers(0, 2, C).astype(np.uint8)
        expected = reference.apply(source, p, VIEW, scaling, keep)
        assert_close(backend(source, p, VIEW, scaling, keep), expected, "float32")


def test_nan_spreads_to_what_it_touches_and_no_further(backend):
    source, scaling = source_of("float32", 2), scaling_of("float32", 2)
    source[1, 10, 10] = np.nan
    for box in (BOXES["plain"], BOXES["enlarge"]):
        p = record(box)
        expected = reference.apply(source, p, VIEW, scaling)
        assert np.isnan(expected[1]).any()
        assert not np.isnan(expected[0]).any()
        assert_close(backend(source, p, VIEW, scaling), expected, "float32")
        assert_close(backend(source, p, VIEW, scaling, dtype="bfloat16"), expected, "bfloat16")


def test_unclipped_scaling_passes_everything(backend):
    source = source_of("float32", 2)
    scaling = Scaling.make([1000, 2000], [0.01, 0.002], bands=2)
    p = record(BOXES["plain"])
    expected = reference.apply(source, p, VIEW, scaling)
    assert expected.min() < 0
    assert expected.max() > 1
    assert_close(backend(source, p, VIEW, scaling), expected, "float32")


def test_wrong_output_or_scaling_is_refused():
    source, p = source_of("int16", 2), record(BOXES["plain"])
    with pytest.raises(ValueError, match=r"out must be C-contiguous float32 \(2, 32, 32\)"):
        cpu.apply(source, p, VIEW, scaling_of("int16", 2), None, np.empty((2, 32, 31), "f4"))
    with pytest.raises(ValueError, match="scaling has 3 bands, source has 2"):
        cpu.apply(source, p, VIEW, scaling_of("int16", 3), None, np.empty((2, 32, 32), "f4"))


class TestReference:
    """The definition itself, against libraries and by identities."""

    @pytest.mark.parametrize("kind", TAPS)
    @pytest.mark.parametrize("box", BOXES.values())
    def test_resampling_is_torchs(self, kind, box):
        source = source_of("float32", 3)
        p, scaling = record(box), Scaling.make(0, 1, bands=3)
        view = dataclasses.replace(VIEW, interpolation=kind)
        top, left, h, w = box
        crop = torch.from_numpy(source[:, top : top + h, left : left + w]).double()
        mode = (
            {"mode": "nearest-exact"}
            if kind == "nearest"
            else {"mode": kind, "align_corners": False}
        )
        expected = F.interpolate(crop[None], (SIZE, SIZE), **mode)[0]
        np.testing.assert_allclose(
            reference.apply(source, p, view, scaling), expected.numpy(), atol=1e-9
        )

    @pytest.mark.parametrize("sigma", [0.1, 0.5, 1.0, 1.7, 2.0])
    def test_blur_is_opencvs(self, sigma):
        y = np.random.default_rng(0).random((2, 30, 31))
        k = 2 * blur_radius(sigma) + 1
        expected = [
            cv2.GaussianBlur(p, (k, k), sigma, borderType=cv2.BORDER_REFLECT_101) for p in y
        ]
        np.testing.assert_allclose(reference.blur(y, sigma), expected, atol=1e-12)

    def test_d4_elements(self):
        y = np.random.default_rng(0).random((2, 8, 8))
        p = record(BOXES["plain"], transpose=1, flip_y=1)
        np.testing.assert_array_equal(reference.flips(y, p), np.rot90(y, axes=(1, 2)))

    def test_identities(self):
        source, scaling = source_of("int16", 4), scaling_of("int16", 4)
        apply = reference.apply
        plain = apply(source, record(BOXES["enlarge"]), VIEW, scaling)
        contrast = apply(source, record(BOXES["enlarge"], contrast=0.6), VIEW, scaling)
        np.testing.assert_allclose(contrast.mean(axis=(1, 2)), plain.mean(axis=(1, 2)))
        gray = apply(source, record(BOXES["enlarge"], gray=1), VIEW, scaling)
        assert (gray == gray[0]).all()
        flipped = apply(source, record(BOXES["enlarge"], gray=1, flip_x=1), VIEW, scaling)
        np.testing.assert_allclose(flipped, gray[:, :, ::-1])
        bright = apply(source, record(BOXES["enlarge"], brightness=1.25), VIEW, scaling)
        np.testing.assert_allclose(bright, 1.25 * plain)

    def test_solarize_inverts_the_side_that_is_named(self):
        y = np.array([[[0.1, 0.5, 0.9]]])
        np.testing.assert_allclose(reference.solarize(y, 0.5, True), [[[0.9, 0.5, 0.9]]])
        np.testing.assert_allclose(reference.solarize(y, 0.5, False), [[[0.1, 0.5, 0.1]]])

    def test_counts_see_the_nearest_pixel(self):
        source = np.zeros((2, 4, 4), np.float32)
        source[0, 1, 2], source[1, 3, 3], source[1, 0, 0] = np.nan, -np.inf, -9
        keep, count = np.array([0, 1], np.uint8), reference.count
        for size, times in ((4, 1), (8, 4), (12, 9)):
            view, p = View(size=size, scale=(0.5, 1)), record((0, 0, 4, 4))
            assert count(source, p, view, None, -9).tolist() == [times] * 3
            assert count(source, p, view, keep, None).tolist() == [0, times, 0]
            gray = record((0, 0, 4, 4), gray=1)
            assert count(source, gray, view, keep, -9).tolist() == [times] * 3
        inner = record((1, 1, 3, 2))
        assert count(source, inner, View(size=(3, 2)), None, -9).tolist() == [1, 0, 0]
        # Half the size: each output lies between two pixels and takes the first.
        half = View(size=2, scale=(0.5, 1))
        assert count(source, record((0, 0, 4, 4)), half, None, -9).tolist() == [0, 0, 1]

    def test_taps_and_gaussian_sum_to_one(self):
        for n_in, n_out, kind in itertools.product((1, 5, 264), (1, 7, 224), TAPS):
            index, weight = taps(n_in, n_out, kind)
            np.testing.assert_allclose(weight.sum(axis=1), 1)
            assert index.min() >= 0
            assert index.max() < n_in
        assert gaussian(1.3).sum() == pytest.approx(1)
        assert blur_radius(2.0) == 6
