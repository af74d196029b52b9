"""Views against those of the published code, run once: `published_views.npz` has what came out.

Made with SSL4EO-S12 at 2156913 (models/rs_transforms_uint8.py) and cvtorchvision 0.0.1 under OpenCV
5.0, and, for SeCo at 8285173, its transforms of torchvision 0.29 and Pillow 13, one operation after
another in their order. Their random numbers were replaced by those of the records `NAME_params`,
which `draw` made for the recipes of this package in their published setting. Inputs are `optical`
and `photo` below: 10000 DN are a reflectance of 1 and some are more, cast to uint8 as their
ssl4eo_dataset.py does. What came out of ToTensor, times 255, is `NAME_views`, uint8 ``[N, C, h,
w]``. SeCo flips before a crop that comes last, so there the box was mirrored with the flip.
"""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import fastload
from fastload.recipe import OTHERS, Recipe
from fastload.synth import synth
from fastload_kernels import Scaling, cpu
from ssl4eo_train import data, export
from ssl4eo_train.errors import SetupError
from ssl4eo_train.methods import METHODS
from ssl4eo_train.methods.pixels import PIXELS
from tests.shared_data import shared_data

RECORD = Path(__file__).with_name("published_views.npz")
CASES = {
    "mae": ("mae", 0, {"pixels": "uint8_wrap"}),
    "moco_v2": ("moco_v2", 0, {"pixels": "uint8_wrap"}),
    "moco_v3": ("moco_v3", 0, {"pixels": "uint8_wrap"}),
    "dino_first": ("dino", 0, {"pixels": "uint8_wrap"}),
    "dino_second": ("dino", 1, {"pixels": "uint8_wrap"}),
    "dino_local": ("dino", 2, {"pixels": "uint8_wrap"}),
    "seco": ("seco", 1, {"published_colours": True}),
    "seco_moco": ("seco", 0, {"published_colours": True, "data_mode": "moco"}),
}
"""Method, view and options by name."""


def optical():
    """A scene of 5 bands, int16 DN ``[5, 48, 48]``: dark, with bright patches beyond 10000."""
    rng = np.random.default_rng(11)
    coarse = rng.gamma(1.5, 900, (5, 8, 8)).repeat(6, axis=1).repeat(6, axis=2)
    bright = np.where(rng.random((8, 8)) < 0.08, 9000, 0).repeat(6, axis=0).repeat(6, axis=1)
    return (coarse + bright + rng.normal(300, 60, coarse.shape)).clip(1, 16000).astype(np.int16)


def photo():
    """Red, green and blue, uint8 ``[3, 44, 44]``."""
    rng = np.random.default_rng(12)
    coarse = rng.integers(0, 230, (3, 11, 11)).repeat(4, axis=1).repeat(4, axis=2)
    return (coarse + rng.integers(0, 25, coarse.shape)).astype(np.uint8)


def recipe_of(name):
    """The recipe, which view of it, and the pixels that go in."""
    method, number, options = CASES[name]
    size, source = (40, photo()) if method == "seco" else (24, optical())
    made = METHODS[method].recipe(size, METHODS[method].PUBLISHED.arch,
                                  METHODS[method].Options(**options))  # fmt: skip
    return made, made.views[number], source


@pytest.mark.parametrize("name", CASES)
def test_views_are_the_published_ones(name):
    recipe, view, source = recipe_of(name)
    with np.load(RECORD) as file:
        params, expected = file[f"{name}_params"], file[f"{name}_views"].astype(np.int64)
    if source.dtype == np.uint8:
        scaling = Scaling.make(0, 1 / 255, 0, 1, 3, rgb=(0, 1, 2))
    else:
        clip = recipe.radiometry["S2L1C"].clip
        assert recipe.radiometry[OTHERS].clip
        scaling = Scaling.make(0, 1e-4, 0, 1 if clip else np.inf, len(source))
    views = np.empty(expected.shape, np.float32)
    for p, out in zip(params, views, strict=True):
        cpu.apply(source, p, view, scaling, None, out)
    off = np.abs(np.rint(255 * views).astype(np.int64) - expected)
    off = np.minimum(off, 256 - off)  # Where theirs wraps, a level's difference is 255.
    # OpenCV's fixed point; Pillow's boxes for a blur, and its antialiasing.
    mean, far = (1.5, 0.03) if source.dtype == np.uint8 else (0.3, 0.02)
    assert off.mean() < mean
    assert (off > 8).mean() < far


WITH_PIXELS = ("moco_v2", "moco_v3", "dino", "mae", "data2vec")


@pytest.mark.parametrize("name", WITH_PIXELS)
def test_pixels_change_how_values_are_kept_and_nothing_else(name):
    method = METHODS[name]
    plain = method.recipe(32, method.PUBLISHED.arch, method.Options())
    assert {view.steps for view in plain.views} == {"fused"}
    for pixels, steps in PIXELS.items():
        recipe = method.recipe(32, method.PUBLISHED.arch, method.Options(pixels=pixels))
        assert [replace(view, steps="fused") for view in recipe.views] == [*plain.views]
        assert {view.steps for view in recipe.views} == {steps}
        clips = {n: recipe.radiometry_of(n).clip for n in ("S2L1C", "S2L2A", "S2RGB", "S1GRD")}
        wraps = pixels == "uint8_wrap"
        assert clips == {"S2L1C": not wraps, "S2L2A": not wraps, "S2RGB": True, "S1GRD": True}
    with pytest.raises(SetupError, match="pixels is 'int8', expected one of float, uint8, uint8_"):
        method.Options(pixels="int8")


@pytest.mark.parametrize("mode", ["seco", "moco", "moco_tp"])
def test_seco_changes_colours_as_published_where_asked(mode):
    method = METHODS["seco"]
    options = method.Options(data_mode=mode, published_colours=True)
    views = method.recipe(32, "resnet18", options).views
    assert {(view.steps, view.colours) for view in views} == {("uint8", "rgb")}
    augmented = [view for view in views if view.jitter]
    assert {(v.saturation, v.hue, v.crop_last) for v in augmented} == {(0.4, 0.1, mode == "seco")}
    bare = [view for view in views if not view.jitter]
    assert not any(view.saturation or view.hue or view.gray or view.crop_last for view in bare)
    plain = method.recipe(32, "resnet18", method.Options(data_mode=mode)).views
    assert {(v.steps, v.colours, v.hue, v.crop_last) for v in plain} == {
        ("fused", "bands", 0, False)
    }


def test_published_colours_are_refused_for_other_bands(tmp_path):
    root = synth(tmp_path, 2, modalities=["S2L1C", "S2RGB"], size=48)
    recipe = METHODS["seco"].recipe(32, options=METHODS["seco"].Options(published_colours=True))
    with pytest.raises(ValueError, match=r"S2L1C shows 13 bands: B01, .*; choose three by bands="):
        opened(root, "S2L1C", recipe)
    turned = opened(root, "S2L1C", recipe, bands=["B02", "B04", "B03"])
    assert turned.scalings["S2L1C"].rgb == (1, 2, 0)
    found = opened(root, "S2RGB", recipe)
    assert found.scalings["S2RGB"].rgb == (0, 1, 2)
    batch = next(iter(fastload.DataLoader(found, batch_size=2)))
    assert all(view.min() >= 0 and view.max() <= 1 for view in batch["S2RGB"])


def opened(root, modality, recipe, **more):
    return fastload.SSL4EOS12(root, modalities=[modality], recipe=recipe, progress=False, **more)


def test_an_export_says_how_grey_levels_are_made(tmp_path):
    root = synth(tmp_path, 1, modalities=["S2L1C"], size=48)
    method = METHODS["mae"]
    for pixels, high, shown in (("float", 1, 1), ("uint8", 1, 1), ("uint8_wrap", None, 50 / 255)):
        recipe = method.recipe(32, method.PUBLISHED.arch, method.Options(pixels=pixels))
        numbers = data.numbers(opened(root, "S2L1C", recipe).scalings["S2L1C"])
        assert {*numbers["low"], *numbers["high"]} == {0, high}
        formula = export.FORMULAS[recipe.views[0].steps].replace("mod", "%")
        words = {"clip": np.clip, "floor": np.floor, "x": 12000, "offset": 0, "scale": 1e-4}
        said = eval(formula, words | {"low": 0, "high": high})
        assert said == pytest.approx(shown)


def test_steps_need_a_radiometry_of_black_and_white():
    view = METHODS["mae"].recipe(32, options=METHODS["mae"].Options(pixels="uint8")).views[0]
    with pytest.raises(ValueError, match=r"steps 'uint8' keeps values in .*choose a radiometry"):
        Recipe((view,), fastload.Radiometry.standardise())
    solarized = replace(view, solarize=0.2)
    Recipe((solarized,), fastload.Radiometry.reflectance(clip=False))
    with pytest.raises(ValueError, match=r"solarize is defined on \[0, 1\]"):
        Recipe((replace(solarized, steps="fused"),), fastload.Radiometry.reflectance(clip=False))


REAL = {"ssl4eo_v11_real": "S2L2A", "terramesh": "S2L1C"}


def reflectances(name):
    """Clear and cloudy real images, reflectance ``[C, H, W]`` each."""
    root = shared_data(name)
    if not root.is_dir():
        pytest.skip(f"real pixels are not at {root}")
    dataset = fastload.open(root, modalities=[REAL[name]], progress=False)
    for i in range(len(dataset)):
        image = dataset[i][REAL[name]].numpy().astype(np.float64)
        for dn in image.reshape(-1, *image.shape[-3:]):
            y = ((dn - dataset.statistics.dn_offset) / dataset.statistics.dn_scale).clip(0, 1)
            yield y, y[1].mean() > 0.3  # Blue: clouds are bright there.


def test_solarize_inverts_real_pixels_as_published():
    """By default DINO inverts what is dark, nearly all of clear Sentinel-2; Pillow's way inverts
    next to nothing of it."""
    view = METHODS["dino"].recipe(32).views[1]
    assert (view.solarize, view.solarize_threshold, view.solarize_dark) == (0.2, 0.5, True)
    dark = {}
    for name in REAL:
        for y, cloudy in reflectances(name):
            dark.setdefault((name, cloudy), []).append((y < 0.5).mean())
    shares = {key: np.mean(found) for key, found in dark.items()}
    assert shares["ssl4eo_v11_real", False] > 0.999
    assert 0.3 < shares["ssl4eo_v11_real", True] < 0.5
    assert shares["terramesh", False] > 0.99
    assert 0.85 < np.mean([*dark["terramesh", False], *dark["terramesh", True]]) < 0.95
