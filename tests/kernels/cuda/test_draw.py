"""Parameters drawn on the device: every bit as `draw` and `draw_bands` draw it."""

import dataclasses
import itertools

import numpy as np
import pytest

from fastload_kernels import VIEW_PARAMS, View, draw, draw_bands
from fastload_kernels.cuda.draw import RULE, draw_bands_on, draw_on, rules
from tests.kernels.test_draw import ALL, H, T, W

N = 300
CROPS = {
    "plain": {"size": (190, 180)},
    "plain centre": {"size": 200, "center": True},
    "whole": {"size": 8, "scale": (0.5, 1), "center": True},
    "log": {"size": 8, "scale": (0.2, 1)},
    "uniform": {"size": 8, "scale": (0.2, 1), "ratio_law": "uniform"},
    "swapped": {"size": 8, "scale": (0.1, 0.9), "ratio": (0.5, 0.6), "ratio_law": "uniform"},
    "log, wide": {"size": 8, "scale": (0.01, 1), "ratio": (0.02, 50)},
    "too wide": {"size": 8, "scale": (1, 1), "ratio": (2, 2)},
    "too tall": {"size": 8, "scale": (1, 1), "ratio": (0.3, 0.3)},
    "too small": {"size": 8, "scale": (1e-6, 1e-6)},
}
TIMESTAMPS = {
    "independent": ["independent"] * 3,
    "same": ["same", "independent", "same"],
    "distinct": ["distinct", 1, "distinct", "same", "distinct"],
    "all": ["all", 3, "independent"],
    "as first, independent": ["independent", "independent", "as_first"],
    "as first, distinct": ["distinct", "distinct", "distinct", "as_first"],
    "as first, index": [2, "as_first", "same"],
}


def params_on(place, views, seed, epoch, ids, source, dates=None):
    shape = (len(ids), len(views))
    timestamps, height, width = source
    fewest = timestamps if dates is None else int(dates.min())
    table = place.upload(rules(views, height, width, fewest))
    # Filled with ones, so that a record that is not written shows.
    out = place.upload(np.full(shape[0] * shape[1] * VIEW_PARAMS.itemsize, 0xFF, np.uint8))
    some = 0 if dates is None else place.upload(dates)
    draw_on(place.device, table, shape, seed, epoch, place.upload(ids), source, out, some)
    return place.download(out, VIEW_PARAMS).reshape(shape)


def assert_drawn_alike(place, views, seed=0, epoch=0, ids=None, source=(T, H, W), dates=None):
    ids = np.arange(N) if ids is None else ids
    timestamps, height, width = source
    got = params_on(place, views, seed, epoch, ids, source, dates)
    among = timestamps if dates is None else dates
    expected = draw(views, seed, epoch, ids, height, width, among)
    for name in VIEW_PARAMS.names:
        # By their bits, so that NaN equals NaN.
        bits = f"u{VIEW_PARAMS[name].itemsize}"
        a, b = (np.ascontiguousarray(x[name]).view(bits) for x in (got, expected))
        np.testing.assert_array_equal(a, b, err_msg=name)


@pytest.mark.parametrize("crop", CROPS)
@pytest.mark.parametrize("size", [(H, W), (H, 200), (201, W)])
def test_every_crop(place, crop, size):
    assert_drawn_alike(place, [View(**CROPS[crop])], source=(T, *size))


@pytest.mark.parametrize("policy", TIMESTAMPS)
@pytest.mark.parametrize("timestamps", [4, 7])
def test_every_timestamp_policy(place, policy, timestamps):
    views = [View(size=8, timestamp=t) for t in TIMESTAMPS[policy]]
    assert_drawn_alike(place, views, source=(timestamps, H, W))


@pytest.mark.parametrize("policy", TIMESTAMPS)
def test_every_timestamp_policy_among_a_samples_own_dates(place, policy):
    views = [View(size=8, timestamp=t) for t in TIMESTAMPS[policy]]
    dates = np.random.default_rng(1).integers(4, 8, N).astype(np.int32)
    assert_drawn_alike(place, views, source=(7, H, W), dates=dates)


def test_every_option_for_any_seed_epoch_and_sample(place):
    dark = View(size=9, solarize=0.5, solarize_threshold=0.3, solarize_dark=True, sigma=(0.3, 0.7))
    rgb = dataclasses.replace(ALL, steps="clip", colours="rgb", saturation=0.4, hue=0.1)
    views = [ALL, dark, rgb, View(size=9, d4=1.0), View(size=9, blur=1.0, jitter=1.0, contrast=1.0)]
    ids = np.array([0, 5, 2**31, 2**32 - 1, 123_456_789])
    for seed, epoch in itertools.product((0, 1, 2**32 + 7, 2**64 - 1), (0, 9, 2**32 - 1)):
        assert_drawn_alike(place, views, seed, epoch, ids)


@pytest.mark.parametrize("C", [1, 2, 12, 13, 70])
def test_every_band_drop(place, C):
    views = [
        View(size=8, drop=0.5, drop_bands=(1, 3)),
        View(size=8),
        View(size=8, drop=1.0, drop_bands=(4, 100)),
    ]
    ids, shape = np.arange(N), (N, len(views))
    table, out = (
        place.upload(rules(views, H, W, T)),
        place.upload(np.full((*shape, C), 7, np.uint8)),
    )
    draw_bands_on(place.device, table, shape, 5, 2, place.upload(ids), C, out)
    got = place.download(out, np.uint8).reshape(*shape, C)
    np.testing.assert_array_equal(got, draw_bands(views, 5, 2, ids, C))


def test_what_cannot_be_drawn_is_refused_before_a_launch():
    with pytest.raises(ValueError, match="5 views want distinct"):
        rules([View(size=8, timestamp="distinct")] * 5, H, W, T)
    with pytest.raises(ValueError, match="does not fit a source of 264 x 264"):
        rules([View(size=265)], H, W, T)


def test_rules_are_what_the_kernel_reads():
    assert RULE.itemsize == 8 * len(RULE.names)
    assert VIEW_PARAMS.itemsize == 52
