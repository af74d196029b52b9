"""Drawn parameters: a pure function of (seed, epoch, sample, view), with the promised laws."""

import dataclasses

import numpy as np
import pytest

from fastload_kernels import VIEW_PARAMS, View, draw, draw_bands
from fastload_kernels.view import _exp, fewest_timestamps

N, H, W, T = 4000, 264, 264, 4
ALL = View(
    size=224, scale=(0.2, 1), hflip=0.5, vflip=0.25, d4=0.5, jitter=0.8, brightness=0.4,
    contrast=0.3, gray=0.2, blur=0.5, solarize=0.1, drop=0.3,
)  # fmt: skip


def drawn(*views, samples=None, seed=0, epoch=0):
    return draw(views, seed, epoch, np.arange(N) if samples is None else samples, H, W, T)


def test_a_sample_draws_the_same_in_any_company():
    together = drawn(ALL, ALL)
    order = np.random.default_rng(0).permutation(N)[:50]
    again, alone = drawn(ALL, ALL, samples=order), drawn(ALL, samples=[7])
    for name in VIEW_PARAMS.names:
        np.testing.assert_array_equal(again[name], together[order][name])
        np.testing.assert_array_equal(alone[name][0, 0], together[name][7, 0])


def test_seed_epoch_sample_and_view_all_matter():
    base = drawn(ALL, ALL)
    assert (drawn(ALL, ALL, seed=1)["top"] != base["top"]).mean() > 0.9
    assert (drawn(ALL, ALL, epoch=1)["top"] != base["top"]).mean() > 0.9
    assert (base["top"][:, 0] != base["top"][:, 1]).mean() > 0.9
    assert (base["top"][:-1, 0] != base["top"][1:, 0]).mean() > 0.9


def test_switching_an_option_leaves_other_draws_alone():
    p, q = drawn(ALL), drawn(View(size=224, scale=(0.2, 1), hflip=0.5, blur=0.5))
    for name in ("timestamp", "top", "left", "height", "width", "sigma"):
        assert np.array_equal(p[name], q[name]), name


@pytest.mark.parametrize("law", ["log", "uniform"])
def test_resized_crops_fit_and_follow_their_law(law):
    view = View(size=224, scale=(0.2, 0.6), ratio_law=law)
    p = drawn(view)[:, 0]
    assert (p["top"] >= 0).all()
    assert (p["left"] >= 0).all()
    assert (p["top"] + p["height"] <= H).all()
    assert (p["left"] + p["width"] <= W).all()
    area = p["height"] * p["width"] / (H * W)
    assert area.min() > 0.19
    assert area.max() < 0.61
    assert abs(area.mean() - 0.4) < 0.01
    ratio = p["width"] / p["height"]
    assert abs((ratio > 1).mean() - 0.5) < 0.03
    assert ratio.min() > 0.72
    assert ratio.max() < 1.38


def test_a_crop_that_never_fits_falls_back_to_a_central_box():
    view = View(size=8, scale=(1.0, 1.0), ratio=(2.0, 2.0))
    p = drawn(view)[0, 0]
    assert (p["top"], p["left"], p["height"], p["width"]) == (66, 0, 132, 264)


def test_plain_and_centre_crops():
    p = drawn(View(size=(200, 224)))[:, 0]
    assert set(p["height"]) == {200}
    assert set(p["width"]) == {224}
    assert set(p["top"]) == set(range(65))
    centre = drawn(View(size=224, center=True))[0, 0]
    assert (centre["top"], centre["left"]) == (20, 20)
    whole = drawn(View(size=224, scale=(0.5, 1), center=True))[0, 0]
    assert (whole["top"], whole["height"], whole["width"]) == (0, H, W)


def test_probabilities():
    p = drawn(ALL)[:, 0]
    assert abs((p["brightness"] != 1).mean() - 0.8) < 0.03
    assert ((p["brightness"] != 1) == (p["contrast"] != 1)).all()
    assert p["brightness"].min() >= 0.6
    assert p["brightness"].max() <= 1.4
    assert p["contrast"].min() >= 0.7
    assert abs(p["gray"].mean() - 0.2) < 0.03
    assert abs((p["sigma"] > 0).mean() - 0.5) < 0.03
    assert p["sigma"].max() <= 2
    assert abs(np.isfinite(p["solarize"]).mean() - 0.1) < 0.02
    never = drawn(View(size=224))[:, 0]
    for name, value in (
        ("brightness", 1),
        ("contrast", 1),
        ("sigma", 0),
        ("gray", 0),
        ("flip_x", 0),
    ):
        assert (never[name] == value).all()
    assert np.isnan(never["solarize"]).all()


def test_colours_of_red_green_and_blue():
    rgb = dataclasses.replace(ALL, steps="uint8", colours="rgb", saturation=0.4, hue=0.1)
    p, plain = drawn(rgb)[:, 0], drawn(ALL)[:, 0]
    for name in set(VIEW_PARAMS.names) - {"saturation", "hue", "order"}:
        np.testing.assert_array_equal(p[name], plain[name])
    assert (plain["saturation"] == 1).all()
    assert not plain["hue"].any()
    assert not plain["order"].any()
    jitter = p["brightness"] != 1
    assert (jitter == (p["saturation"] != 1)).all()
    assert (jitter == (p["hue"] != 0)).all()
    assert 0.6 <= p["saturation"].min() < 0.61 < 1.39 < p["saturation"].max() <= 1.4
    assert -0.1 <= p["hue"].min() < -0.099 < 0.099 < p["hue"].max() <= 0.1
    assert abs(np.bincount(p["order"], minlength=24) / N - 1 / 24).max() < 0.015
    changed = [p[name][jitter] for name in ("brightness", "contrast", "saturation", "hue", "order")]
    assert abs(np.corrcoef(changed) - np.eye(5)).max() < 0.06


def test_d4_draws_all_eight_symmetries_evenly():
    p = drawn(View(size=64, d4=1.0))[:, 0]
    element = p["transpose"] + 2 * p["flip_y"] + 4 * p["flip_x"]
    assert abs(np.bincount(element, minlength=8) / N - 1 / 8).max() < 0.02


def test_timestamp_policies():
    view = {t: View(size=8, timestamp=t) for t in ("independent", "same", "distinct", "all", 2)}
    free = drawn(view["independent"], view["independent"])["timestamp"]
    assert abs((free[:, 0] == free[:, 1]).mean() - 1 / T) < 0.02
    same = drawn(view["same"], view["independent"], view["same"])["timestamp"]
    assert (same[:, 0] == same[:, 2]).all()
    distinct = drawn(*[view["distinct"]] * T)["timestamp"]
    assert (np.sort(distinct, axis=1) == np.arange(T)).all()
    assert abs(np.bincount(distinct[:, 0]) / N - 1 / T).max() < 0.03
    assert (drawn(view["all"])["timestamp"] == -1).all()
    assert (drawn(view[2])["timestamp"] == 2).all()


def test_as_first_follows_the_first_view():
    for first in ("independent", "distinct", 3):
        views = [View(size=8, timestamp=t) for t in (first, "distinct", "as_first")]
        t = draw(views, 5, 2, np.arange(200), 16, 16, 4)["timestamp"]
        assert (t[:, 2] == t[:, 0]).all()
    for views in (["as_first"], ["all", "as_first"]):
        with pytest.raises(ValueError, match="needs a first view that shows one timestamp"):
            draw([View(size=8, timestamp=t) for t in views], 0, 0, [1], 16, 16, 4)


def test_what_cannot_be_drawn_is_refused():
    with pytest.raises(ValueError, match="5 views want distinct"):
        drawn(*[View(size=8, timestamp="distinct")] * 5)
    with pytest.raises(ValueError, match="wants timestamp 4"):
        drawn(View(size=8, timestamp=4))
    with pytest.raises(ValueError, match="does not fit a source of 264 x 264"):
        drawn(View(size=265))


@pytest.mark.parametrize("C", [1, 2, 12, 13, 70])
def test_band_drop(C):
    keep = draw_bands(
        [View(size=8, drop=0.5, drop_bands=(1, 3)), View(size=8)], 0, 0, np.arange(N), C
    )
    assert keep.shape == (N, 2, C)
    assert keep[:, 1].all()
    dropped = (keep[:, 0] == 0).sum(axis=1)
    if C == 1:
        assert (dropped == 0).all()
        return
    assert abs((dropped > 0).mean() - 0.5) < 0.03
    assert set(dropped) == set(range(min(3, C - 1) + 1))
    per_band = (keep[:, 0] == 0).mean(axis=0)
    assert abs(per_band - per_band.mean()).max() < 0.03


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"hflip": 1.5}, "View.hflip must be in"),
        ({"scale": (0.0, 1.0)}, "View.scale"),
        ({"size": 0}, "View.size"),
        ({"size": (8, 16), "d4": 1.0}, "square"),
        ({"timestamp": "spring"}, "must be a policy or an index"),
        ({"timestamp": -1}, "must not be negative"),
        ({"interpolation": "lanczos"}, "must be .* or .*, got .lanczos."),
        ({"sigma": (2.0, 1.0)}, "View.sigma"),
        ({"ratio": (0.0, 1.0)}, "View.ratio"),
        ({"drop_bands": (0, 2)}, "View.drop_bands"),
    ],
)
def test_views_that_make_no_sense_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        View(**{"size": 8} | arguments)


def test_own_exponential():
    x = np.linspace(-1.5, 1.5, 1001)
    np.testing.assert_allclose(_exp(x), np.exp(x), rtol=1e-14)
    np.testing.assert_array_equal(_exp(x), _exp.py_func(x))


POLICIES = ("independent", "same", "distinct", "as_first", "all", 0)


def test_a_sample_with_fewer_timestamps_draws_as_if_none_had_more():
    """Among its own, and what a source of so many timestamps would draw; all else stays."""
    views = [View(size=8, hflip=0.5, timestamp=t) for t in POLICIES]
    counts = np.random.default_rng(0).integers(1, 6, 600).astype(np.int32)
    samples = np.arange(600) * 7
    mixed = draw(views, 3, 2, samples, H, W, counts)
    for T_ in range(1, 6):
        expected = draw(views, 3, 2, samples, H, W, T_)
        for name in VIEW_PARAMS.names:
            np.testing.assert_array_equal(mixed[counts == T_][name], expected[counts == T_][name])
    views = [View(size=8, timestamp="distinct")] * 3
    drawn = draw(views, 0, 0, samples, H, W, np.maximum(counts, 3))["timestamp"]
    assert (np.sort(drawn, axis=1)[:, 1:] > np.sort(drawn, axis=1)[:, :-1]).all()
    assert (drawn < np.maximum(counts, 3)[:, None]).all()


def test_too_few_timestamps_of_some_samples_are_refused():
    counts = np.array([4, 2, 3])
    with pytest.raises(ValueError, match="view 0 wants timestamp 2, but there are 2"):
        draw([View(size=8, timestamp=2)], 0, 0, [0, 1, 2], H, W, counts)
    with pytest.raises(ValueError, match="3 views want distinct timestamps, but there are 2"):
        draw([View(size=8, timestamp="distinct")] * 3, 0, 0, [0, 1, 2], H, W, counts)
    assert draw([View(size=8, timestamp=2)], 0, 0, [0, 2], H, W, counts[[0, 2]]).shape == (2, 1)
    assert draw([View(size=8, timestamp=2)], 0, 0, [], H, W, counts[:0]).shape == (0, 1)


def test_how_many_timestamps_views_ask_for():
    def ask(*policies):
        return fewest_timestamps([View(size=8, timestamp=t) for t in policies])

    assert [ask("same"), ask("all", "independent"), ask(3), ask("distinct", "distinct", 0)] == [
        1, 1, 4, 2
    ]  # fmt: skip
