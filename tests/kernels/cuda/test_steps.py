"""Batches of views whose operations run one after another, beside fused ones."""

import itertools

import numpy as np
import pytest
import torch

import fastload_kernels.reference
from fastload_kernels import Scaling, View, draw, draw_bands
from fastload_kernels.cuda.planning import plan_views
from fastload_kernels.cuda.view import pack, render
from tests.kernels.cuda.devices import Place, shim
from tests.kernels.cuda.host import ORDERS
from tests.kernels.test_view import H, W, source_of
from tests.tolerances import assert_close, assert_levels

N, T, C = 2, 3, 3
COLOURS = {"jitter": 0.9, "brightness": 0.4, "contrast": 0.4, "gray": 0.3, "blur": 0.6, "drop": 0.4}
RGB = {"colours": "rgb", "saturation": 0.4, "hue": 0.1}
VIEWS = (
    View(size=16, scale=(0.2, 1), d4=1.0, **COLOURS),
    View(size=(9, 20), scale=(0.2, 1), hflip=0.5, steps="uint8", **COLOURS, **RGB),
    View(size=12, scale=(0.3, 1), vflip=0.5, steps="clip", crop_last=True, **COLOURS, **RGB),
    View(size=10, timestamp="all", steps="uint8_wrap", solarize=0.5, **COLOURS),
    View(size=11, timestamp="all", steps="uint8", crop_last=True, **COLOURS),
    View(size=8, timestamp="same"),
)


def rendered(place: Place, channels_last: bool, nodata: float | None = None):
    """The views, their counts, and the pixels and parameters that they are made of."""
    pixels = [source_of("int16", T * C, seed=n).reshape(T, C, H, W) for n in range(N)]
    scaling = Scaling.make(0, 1e-4, 0, np.inf, C, rgb=(2, 1, 0))
    plan = plan_views(VIEWS, (T, C, H, W), "int16", "float32", channels_last)
    resident = [[place.upload(image) for image in each] for each in pixels]
    planes = np.array([[image.data_ptr() for image in each] for each in resident], np.uint64)
    lead = [(N, T) if view.timestamp == "all" else (N,) for view in VIEWS]
    shapes = [(*v.shape, C) if channels_last else (C, *v.shape) for v in VIEWS]
    outs = [torch.full((*n, *s), torch.nan) for n, s in zip(lead, shapes, strict=True)]
    outs = [out.to(place.memory) for out in outs]
    params, keep = (
        draw(VIEWS, 4, 0, np.arange(N), H, W, T),
        draw_bands(VIEWS, 4, 0, np.arange(N), C),
    )
    work = torch.full([plan.work_bytes(N) // 4 + 16], torch.nan, device=place.memory)
    packed = pack(plan, outs, planes, scaling, nodata=nodata, params=params, keep=keep, work=work)
    means = torch.full([plan.mean_bytes(N) // 4], torch.nan, device=place.memory)
    counts = torch.zeros(N * len(VIEWS) * 3, dtype=torch.int32, device=place.memory)
    data = place.upload(packed.data)
    render(place.device, plan, packed, data, means=means, counts=counts)
    assert work[-15:].isnan().all()  # Nothing is written behind the scratch.
    return [out.cpu() for out in outs], counts.cpu(), pixels, params, keep, scaling


@pytest.mark.parametrize("channels_last", [False, True])
def test_views_of_all_kinds_together(place, channels_last):
    outs, counts, pixels, params, keep, scaling = rendered(place, channels_last, nodata=100.0)
    counted = np.zeros((N, len(VIEWS), 3), np.int64)
    for (v, view), n in itertools.product(enumerate(VIEWS), range(N)):
        p, kept = params[n, v], keep[n, v]
        for t in range(T) if p["timestamp"] < 0 else [p["timestamp"]]:
            made = outs[v][n, t] if p["timestamp"] < 0 else outs[v][n]
            made = made.movedim(-1, 0) if channels_last else made
            image = pixels[n][t]
            expected = fastload_kernels.reference.apply(image, p, view, scaling, kept)
            (assert_levels if "uint8" in view.steps else assert_close)(made, expected, "float32")
            counted[n, v] += fastload_kernels.reference.count(image, p, view, kept, 100.0)
    np.testing.assert_array_equal(counts.reshape(counted.shape), counted)


@pytest.mark.parametrize("order", ORDERS[1:])
def test_threads_and_blocks_run_in_any_order(order):
    for a, b in zip(rendered(shim(order), False)[0], rendered(shim(), False)[0], strict=True):
        assert torch.equal(a.view(torch.int32), b.view(torch.int32))


def test_scratch_that_is_missing_is_refused():
    plan = plan_views(VIEWS, (T, C, H, W), "int16")
    assert plan.work_bytes(N) > 0
    assert plan_views(VIEWS[:1], (T, C, H, W), "int16").work_bytes(N) == 0
    planes = np.zeros((N, T), np.uint64)
    with pytest.raises(ValueError, match=f"work: expected {plan.work_bytes(N)} bytes of scratch"):
        pack(plan, [0] * len(VIEWS), planes, Scaling.make(0, 1, bands=C, rgb=(0, 1, 2)))
    with pytest.raises(ValueError, match="which these 3 bands are not known to be"):
        pack(plan, [0] * len(VIEWS), planes, Scaling.make(0, 1, bands=C), work=16)
