"""Whole batches on the device: many samples, views, sizes and timestamps in one launch.

`tests/kernels/test_view.py` holds single views to the reference; here is what only a launch has.
"""

import dataclasses
import itertools

import numpy as np
import pytest
import torch

import fastload_kernels.reference
from fastload_kernels import VIEW_PARAMS, Scaling, View, draw, draw_bands
from fastload_kernels.cuda.draw import draw_bands_on, draw_on, rules
from fastload_kernels.cuda.planning import JOB, plan_views
from fastload_kernels.cuda.shared_memory import SMALLEST
from fastload_kernels.cuda.tiles import Bounds
from fastload_kernels.cuda.view import BAND, pack, render
from tests.kernels.cuda.one_view import able, on_device
from tests.kernels.test_view import (
    AUGMENTATIONS,
    BOXES,
    SIZE,
    VIEW,
    H,
    W,
    record,
    scaling_of,
    source_of,
)
from tests.tolerances import assert_close

N, T = 3, 4
COLOURS = {"jitter": 0.8, "brightness": 0.4, "contrast": 0.4, "gray": 0.3, "solarize": 0.4}
VIEWS = (
    View(size=SIZE, scale=(0.2, 1), blur=0.6, d4=1.0, drop=0.6, **COLOURS),
    View(size=(17, 45), scale=(0.05, 0.4), hflip=0.5, blur=0.5, ratio_law="uniform", **COLOURS),
    View(size=9, scale=(0.3, 1), interpolation="bicubic", timestamp="distinct", drop=0.5),
    View(size=(20, 30), timestamp="all", jitter=1.0, contrast=0.5, vflip=0.5),
    View(size=SIZE, timestamp=2, center=True, blur=1.0, sigma=(1.0, 2.0)),
    View(size=140, scale=(0.5, 1), timestamp="all", interpolation="bicubic"),
    View(size=(50, 24), scale=(0.1, 1), interpolation="nearest", blur=0.5, **COLOURS),
)
"""Each size, policy and way of cropping; the last is cut into many tiles."""


class Batch:
    """A batch of random pixels and where its views go; `planes` only for timestamps in use."""

    def __init__(self, place, C, source, output, channels_last, views=VIEWS, memory=SMALLEST):
        self.place, self.views, self.output = place, views, output
        self.pixels = [source_of(source, T * C, seed=n).reshape(T, C, H, W) for n in range(N)]
        self.scaling = scaling_of(source, C)
        self.plan = plan_views(views, (T, C, H, W), source, output, channels_last, memory)
        self.resident = [[place.upload(image) for image in pixels] for pixels in self.pixels]
        self.outs = [self.poisoned(view, C, channels_last) for view in views]

    def poisoned(self, view, C, channels_last):
        shape = (*view.shape, C) if channels_last else (C, *view.shape)
        lead = (N, T) if view.timestamp == "all" else (N,)
        dtype = getattr(torch, self.output)
        return torch.full((*lead, *shape), torch.nan, dtype=dtype, device=self.place.memory)

    def planes(self, params):
        """Addresses; none for what no view asks for, so that a wrong read crashes."""
        used = [set(range(T)) if -1 in row else set(row.tolist()) for row in params["timestamp"]]
        planes = np.zeros((N, T), np.uint64)
        for n, t in itertools.product(range(N), range(T)):
            if t in used[n]:
                planes[n, t] = self.resident[n][t].data_ptr()
        return planes

    def expected(self, params, keep):
        for v, (view, out) in enumerate(zip(self.views, self.outs, strict=True)):
            for n in range(N):
                p = params[n, v]
                for t in range(T) if p["timestamp"] < 0 else [p["timestamp"]]:
                    made = out[n, t] if p["timestamp"] < 0 else out[n]
                    kept = None if keep is None else keep[n, v]
                    pixels = self.pixels[n][t]
                    yield (
                        made.cpu().movedim(-1, 0) if self.plan.channels_last else made.cpu(),
                        fastload_kernels.reference.apply(pixels, p, view, self.scaling, kept),
                    )

    def means(self):
        return torch.full([self.plan.mean_bytes(N) // 4], torch.nan, device=self.place.memory)


def both_ways(output):
    return [(output, False), (output, True)]


def drawn_and_rendered(batch, C, counts=0):
    """Parameters of all views, bands to keep, once the batch's views are there."""
    params = draw(batch.views, 1, 0, np.arange(N), H, W, T)
    keep = draw_bands(batch.views, 1, 0, np.arange(N), C)
    planes = batch.planes(params)
    packed = pack(batch.plan, batch.outs, planes, batch.scaling, params=params, keep=keep)
    data, device = batch.place.upload(packed.data), batch.place.device
    render(device, batch.plan, packed, data, means=batch.means(), counts=counts)
    return params, keep


@pytest.mark.parametrize(("output", "channels_last"), both_ways("float32") + both_ways("bfloat16"))
@pytest.mark.parametrize("C", [1, 2, 12, 13])
def test_one_launch_makes_every_view(place, C, output, channels_last):
    batch = Batch(place, C, "int16", output, channels_last)
    for made, expected in batch.expected(*drawn_and_rendered(batch, C)):
        assert_close(made, expected, output)


@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("source", ["int16", "float32"])
def test_counting_changes_no_bit(place, source, channels_last):
    counts = torch.zeros(N * len(VIEWS) * 3, dtype=torch.int32, device=place.memory)
    plain, counted = (Batch(place, 3, source, "float32", channels_last) for _ in range(2))
    drawn_and_rendered(plain, 3)
    drawn_and_rendered(counted, 3, counts)
    for a, b in zip(plain.outs, counted.outs, strict=True):
        assert torch.equal(a.view(torch.int32), b.view(torch.int32))


def test_drawn_and_rendered_without_the_host(place):
    C, ids, shape = 3, np.array([7, 8, 2**32 - 1]), (N, len(VIEWS))
    batch = Batch(place, C, "int16", "float32", False)
    table, samples = place.upload(rules(VIEWS, H, W, T)), place.upload(ids)
    params = place.upload(np.zeros(shape, VIEW_PARAMS))
    keep = place.upload(np.zeros((*shape, C), np.uint8))
    draw_on(place.device, table, shape, 3, 5, samples, (T, H, W), params)
    draw_bands_on(place.device, table, shape, 3, 5, samples, C, keep)
    drawn, kept = draw(VIEWS, 3, 5, ids, H, W, T), draw_bands(VIEWS, 3, 5, ids, C)
    packed = pack(batch.plan, batch.outs, batch.planes(drawn), batch.scaling)
    data = place.upload(packed.data)
    render(place.device, batch.plan, packed, data, means=batch.means(), params=params, keep=keep)
    for made, expected in batch.expected(drawn, kept):
        assert_close(made, expected, "float32")


def test_no_samples_are_no_work(place):
    layout = plan_views(VIEWS, (T, 2, H, W), "int16")
    nothing = np.zeros((0, T), np.uint64)
    packed = pack(layout, [0] * len(VIEWS), nothing, scaling_of("int16", 2))
    render(place.device, layout, packed, place.upload(packed.data), means=1, params=1)


def spoilt(dtype, C, seed=4):
    """A source with a tenth of each kind of bad pixel that its dtype has; -9 is no-data."""
    rng = np.random.default_rng(seed)
    source = source_of(dtype, C, seed)
    kinds = (np.nan, np.inf, -np.inf, -9) if dtype.startswith("f") else (200,)
    for kind in kinds:
        source[rng.random(source.shape) < 0.1] = kind
    return source, -9.0 if dtype.startswith("f") else 200.0


@pytest.mark.parametrize("dtype", ["int16", "uint8", "float16", "float32"])
def test_counts(place, dtype):
    C = 5
    source, nodata = spoilt(dtype, C)
    keep = np.array([1, 0, 1, 1, 0], np.uint8)
    for box, augmentation, interpolation, size, kept, value in itertools.product(
        BOXES.values(),
        ("none", "all", "all gray"),
        ("nearest", "bilinear", "bicubic"),
        (SIZE, 9),
        (None, keep),
        (None, nodata),
    ):
        view = dataclasses.replace(VIEW, interpolation=interpolation, size=size)
        p = record(box, **AUGMENTATIONS[augmentation])
        counts = torch.tensor([5, 6, 7], dtype=torch.int32).to(place.memory)
        on_device(
            place, source, p, view, scaling_of(dtype, C), kept, "float32", False, counts, value
        )
        expected = fastload_kernels.reference.count(source, p, view, kept, value)
        np.testing.assert_array_equal(counts.cpu() - torch.tensor([5, 6, 7]), expected)


@pytest.mark.parametrize("labels", [False, True])
@pytest.mark.parametrize("dtype", ["int16", "float16"])
def test_masks_of_a_batch(place, dtype, labels):
    """With parameters that a device drew, which hold the colours that labels do not obey."""
    C, scaling = 3, dataclasses.replace(scaling_of(dtype, 3), labels=labels)
    spoilt_ones = [spoilt(dtype, T * C, seed=n) for n in range(N)]
    nodata, pixels = spoilt_ones[0][1], [p.reshape(T, C, H, W) for p, _ in spoilt_ones]
    layout = plan_views(VIEWS, (T, C, H, W), dtype, labels=labels)
    lead = [(N, T) if view.timestamp == "all" else (N,) for view in VIEWS]
    outs = [torch.empty((*n, C, *v.shape)) for n, v in zip(lead, VIEWS, strict=True)]
    outs = [out.to(place.memory) for out in outs]
    masks = [
        torch.empty((*n, *v.shape), dtype=torch.bool) for n, v in zip(lead, VIEWS, strict=True)
    ]
    masks = [mask.to(place.memory) for mask in masks]
    resident = [[place.upload(image) for image in each] for each in pixels]
    planes = np.array([[image.data_ptr() for image in each] for each in resident], np.uint64)
    packed = pack(layout, outs, planes, scaling, nodata=nodata, masks=masks)
    params, data = draw(VIEWS, 1, 0, np.arange(N), H, W, T), place.upload(packed.data)
    means = torch.zeros(max(1, layout.mean_bytes(N) // 4), device=place.memory)
    render(place.device, layout, packed, data, means=means, params=place.upload(params))
    for (v, view), n in itertools.product(enumerate(VIEWS), range(N)):
        p, seen, _ = scaling.seen(params[n, v], view, None)
        for t in range(T) if p["timestamp"] < 0 else [p["timestamp"]]:
            at = (n, t) if p["timestamp"] < 0 else n
            image = pixels[n][t]
            expected = fastload_kernels.reference.valid(image, p, seen, nodata)
            assert not expected.all()
            np.testing.assert_array_equal(masks[v][at].cpu().numpy(), expected)
            shown = fastload_kernels.reference.apply(image, params[n, v], view, scaling)
            assert_close(outs[v][at].cpu(), shown, "float32")


@pytest.mark.parametrize("augmentation", AUGMENTATIONS)
@pytest.mark.parametrize("size", [SIZE, 7, 3])
def test_nan_and_infinity_spread_exactly(place, augmentation, size):
    rng = np.random.default_rng(0)
    source, scaling = source_of("float32", 2), scaling_of("float32", 2)
    source[rng.random(source.shape) < 0.002] = np.nan
    p = record(BOXES["shrink"], **AUGMENTATIONS[augmentation])
    for interpolation in ("nearest", "bilinear", "bicubic"):
        view = dataclasses.replace(VIEW, interpolation=interpolation, size=size)
        expected = fastload_kernels.reference.apply(source, p, view, scaling)
        assert_close(on_device(place, source, p, view, scaling), expected, "float32")


@pytest.mark.parametrize("start", [64, 65])
def test_nothing_is_written_beside_a_view_wherever_it_lies(place, start):
    C, source, p = 4, source_of("int16", 4), record(BOXES["enlarge"], transpose=1, sigma=1.0)
    for size, last, output in itertools.product((SIZE, 31), (False, True), ("float32", "bfloat16")):
        view = View(size=size, scale=(0.1, 1))
        layout = plan_views([able(view)], (1, C, H, W), "int16", output, last)
        end, dtype = start + C * size * size, getattr(torch, output)
        memory = torch.full([end + 64], 7.0, dtype=dtype, device=place.memory)
        pixels = place.upload(source)
        packed = pack(
            layout,
            [memory[start:]],
            np.array([[pixels.data_ptr()]], np.uint64),
            scaling_of("int16", C),
            params=np.array([[p]]),
        )
        means = torch.zeros(layout.mean_bytes(1) // 4, device=place.memory)
        render(place.device, layout, packed, place.upload(packed.data), means=means)
        untouched = (memory == 7.0).cpu()
        assert untouched[:start].all()
        assert not untouched[start:end].any()
        assert untouched[end:].all()


BOUNDED = [
    *VIEWS,
    View(size=8, scale=(0.05, 0.4)),
    View(size=8, scale=(0.05, 0.4), ratio_law="uniform", ratio=(0.4, 0.9)),
    View(size=8, scale=(0.0001, 0.001)),
    View(size=8, scale=(1, 1), ratio=(0.3, 0.4)),
    View(size=8, scale=(1, 1), ratio=(3, 4)),
]


@pytest.mark.parametrize("view", BOUNDED)
@pytest.mark.parametrize("shape", [(H, W), (64, 50), (30, 90)])
def test_bounds_hold_for_what_is_drawn(view, shape):
    if view.scale is None and min(shape) < max(view.shape):
        view = dataclasses.replace(view, size=min(shape))
    bounds = Bounds.of(view, *shape)
    p = draw([view], 0, 0, np.arange(3000), *shape, 4)[:, 0]
    for axis, name in enumerate(("height", "width")):
        assert p[name].max() <= bounds.crop[axis] <= shape[axis]
    assert fastload_kernels.resample.blur_radius(float(p["sigma"].max())) <= bounds.radius
    assert bounds.contrast == bool((p["contrast"] != 1).any())


def test_bounds_are_close_where_crops_are_small():
    assert max(Bounds.of(View(size=96, scale=(0.05, 0.4)), 264, 264).crop) < 196


def test_records_are_what_the_kernels_read():
    assert (JOB.itemsize, BAND.itemsize) == (128, 32)


def test_what_a_plan_cannot_do_is_refused():
    with pytest.raises(ValueError, match=r"source dtype must be one of .* got 'float64'"):
        plan_views(VIEWS, (T, 2, H, W), "float64")
    with pytest.raises(ValueError, match=r"output dtype must be one of .* got 'int8'"):
        plan_views(VIEWS, (T, 2, H, W), "int16", "int8")
    with pytest.raises(ValueError, match=r"View.size 32: no tile of it fits into the 101376 bytes"):
        plan_views([VIEW], (T, 5000, H, W), "int16", "float32", True)
    with pytest.raises(ValueError, match="source of 40000 x 40000 int16: a plane has 3200000000 b"):
        plan_views([VIEW], (T, 2, 40000, 40000), "int16")
    huge = View(size=(30000, 20000), scale=(0.5, 1))
    with pytest.raises(
        ValueError, match=r"View.size \(30000, 20000\): a plane has 2400000000 bytes"
    ):
        plan_views([huge], (T, 2, H, W), "int16", "bfloat16", True)
    wide = View(size=8, scale=(0.1, 1), jitter=1.0, contrast=0.4)
    with pytest.raises(ValueError, match=r"source of 100 x 40000: its band means, .* a block may"):
        plan_views([wide], (T, 2, 100, 40000), "int16")


def packed_with(**changes):
    C, V = 2, len(VIEWS)
    given = {
        "outs": [16] * V,
        "planes": np.full((N, T), 16, np.uint64),
        "scaling": scaling_of("int16", C),
        "params": draw(VIEWS, 0, 0, np.arange(N), H, W, T),
        "keep": np.ones((N, V, C), np.uint8),
    }
    return pack(plan_views(VIEWS, (T, C, H, W), "int16"), **given | changes)


def beyond(field, value):
    params = draw(VIEWS, 0, 0, np.arange(N), H, W, T)
    params[field][1, 2] = value
    return {"params": params}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"outs": [16]}, "outs: expected one for each of 7 views, got 1"),
        ({"masks": [16]}, "masks: expected one for each of 7 views, got 1"),
        ({"planes": np.zeros((N, T))}, "planes: expected uint64"),
        ({"planes": np.zeros((N, T + 1), np.uint64)}, r"planes: expected uint64 \(3, 4\)"),
        ({"scaling": scaling_of("int16", 3)}, r"scaling.offset: expected float32 \(2,\)"),
        ({"params": np.zeros((N, 2), VIEW_PARAMS)}, r"params: expected .* \(3, 7\)"),
        ({"keep": np.ones((N, 7, 3), np.uint8)}, r"keep: expected uint8 \(3, 7, 2\)"),
        (
            {"scaling": Scaling.make(0, 1, bands=2, labels=True)},
            "scaling.labels is True, which is not what was planned for",
        ),
        (beyond("height", H + 1), r"params: crops of \(41, .*allows \(40, 44\)"),
        (beyond("sigma", 1.0), "params: a blur of radius 3, but .*allows 0"),
        (beyond("contrast", 1.5), "params: a contrast, but .*draws none"),
    ],
)
def test_tables_that_do_not_fit_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        packed_with(**changes)


def test_render_says_what_is_missing(place):
    packed = packed_with(params=None)
    layout = plan_views(VIEWS, (T, 2, H, W), "int16")
    with pytest.raises(ValueError, match="params: neither packed nor given"):
        render(place.device, layout, packed, 16, means=16)
    with pytest.raises(ValueError, match="means: expected 312 bytes of scratch"):
        render(place.device, layout, packed, 16, params=16)
