"""Views of a source on another grid than the one that boxes are drawn on; and absent dates."""

import itertools

import numpy as np
import pytest
import torch

import fastload_kernels.reference
from fastload_kernels import View, draw
from fastload_kernels.cuda.draw import draw_on, rules
from fastload_kernels.cuda.planning import plan_views
from fastload_kernels.cuda.tiles import Bounds
from fastload_kernels.cuda.view import pack, render
from fastload_kernels.grid import Grid
from fastload_kernels.view import VIEW_PARAMS
from tests.kernels.test_grid import GRIDS
from tests.kernels.test_view import scaling_of, source_of
from tests.tolerances import assert_close

N, T, C = 5, 3, 2
COLOURS = {"jitter": 1.0, "contrast": 0.4, "gray": 0.3}
VIEWS = (
    View(size=20, scale=(0.1, 1), blur=0.6, d4=1.0, **COLOURS),
    View(size=(16, 12), vflip=0.5),
    View(size=(18, 20), timestamp="all", hflip=0.5, **COLOURS),
    View(size=9, scale=(0.0005, 0.01), interpolation="nearest"),
    View(size=20, scale=(1, 1), center=True, interpolation="bicubic"),
)


class Made:
    """Views of N samples, rendered on a grid; `lacking` ``[N, T]`` are dates that are not there."""

    def __init__(self, place, drawn, own, ground=(1.0, 1.0), lacking=None, on_device=False):
        self.grid = Grid.of(drawn, own, ground)
        shape = (T, C, *own)
        self.pixels = [source_of("int16", T * C, seed=n) for n in range(N)]
        self.pixels = [np.resize(p, shape) for p in self.pixels]
        self.scaling = scaling_of("int16", C)
        self.plan = plan_views(VIEWS, shape, "int16", grid=self.grid)
        dates = np.full(N, T, np.int32) if lacking is None else T - lacking.sum(1).astype(np.int32)
        self.params = draw(VIEWS, 4, 1, np.arange(N), *drawn, dates)
        resident = [[place.upload(image) for image in each] for each in self.pixels]
        planes = np.array([[p.data_ptr() for p in each] for each in resident], np.uint64)
        absent = place.upload(np.full((C, *own), 7, np.int16))
        if lacking is not None:
            planes[lacking] = absent.data_ptr()
            for n, t in np.argwhere(lacking):
                self.pixels[n][t] = 7
        lead = [(N, T) if v.timestamp == "all" else (N,) for v in VIEWS]
        self.outs, self.masks = (
            [torch.full((*n, *some, *v.shape), 3, dtype=dtype, device=place.memory)
             for n, v in zip(lead, VIEWS, strict=True)]
            for some, dtype in (((C,), torch.float32), ((), torch.uint8))
        )  # fmt: skip
        self.counts = torch.zeros(N * len(VIEWS) * 3, dtype=torch.int32, device=place.memory)
        given = None if on_device else self.params
        packed = pack(
            self.plan, self.outs, planes, self.scaling, nodata=7, params=given, masks=self.masks
        )
        means = torch.full([self.plan.mean_bytes(N) // 4], torch.nan, device=place.memory)
        params = 0
        if on_device:
            table = place.upload(rules(VIEWS, *drawn, int(dates.min())))
            params = place.upload(np.zeros((N, len(VIEWS)), VIEW_PARAMS))
            ids, size = place.upload(np.arange(N)), (N, len(VIEWS))
            draw_on(place.device, table, size, 4, 1, ids, (T, *drawn), params, place.upload(dates))
        data = place.upload(packed.data)
        render(place.device, self.plan, packed, data, means=means, params=params,
               counts=self.counts, absent=absent)  # fmt: skip

    def check(self, lacking=None):
        """All pixels, masks and counts by the reference, with the mapped parameters."""
        mapped = self.params if self.grid is None else self.grid.mapped(self.params)
        counts = self.counts.cpu().numpy().reshape(N, len(VIEWS), 3)
        for (v, view), n in itertools.product(enumerate(VIEWS), range(N)):
            p, total = mapped[n, v], np.zeros(3, np.int64)
            for t in range(T) if p["timestamp"] < 0 else [p["timestamp"]]:
                at = (n, t) if p["timestamp"] < 0 else n
                image, gone = self.pixels[n][t], lacking is not None and lacking[n, t]
                shown = fastload_kernels.reference.apply(image, p, view, self.scaling)
                assert_close(self.outs[v][at].cpu(), shown, "float32")
                valid = fastload_kernels.reference.valid(image, p, view, 7) & ~gone
                np.testing.assert_array_equal(self.masks[v][at].cpu().numpy(), valid)
                if not gone:
                    total += fastload_kernels.reference.count(image, p, view, None, 7)
            np.testing.assert_array_equal(counts[n, v], total)


@pytest.mark.parametrize("on_device", [False, True])
@pytest.mark.parametrize(
    ("drawn", "own", "ground"),
    [
        ((66, 66), (22, 22), (1.0, 1.0)),
        ((22, 24), (66, 36), (1.0, 1.0)),
        ((40, 40), (32, 32), (0.25, 0.25)),
        ((33, 20), (20, 33), (1.0, 1.0)),
        ((24, 24), (1, 2), (1.0, 1.0)),
        ((24, 24), (24, 24), (0.5, 1.0)),
        ((24, 24), (24, 24), (1.0, 1.0)),
    ],
)
def test_views_lie_where_their_boxes_are_mapped(place, drawn, own, ground, on_device):
    Made(place, drawn, own, ground, on_device=on_device).check()


@pytest.mark.parametrize("on_device", [False, True])
def test_dates_that_lack_are_shown_and_not_counted(place, on_device):
    """Also where they hold no-data, of which all other pixels have some."""
    lacking = np.arange(T) >= np.array([1, 3, 2, 1, 3])[:, None]
    made = Made(place, (24, 24), (12, 16), lacking=lacking, on_device=on_device)
    made.check(lacking)


@pytest.mark.parametrize("name", GRIDS)
def test_bounds_hold_on_another_grid(name):
    drawn, own, ground = GRIDS[name]
    grid = Grid.of(drawn, own, ground)
    for view in VIEWS:
        bounds = Bounds.of(view, *own, grid)
        if view.scale is None and (view.shape[0] > drawn[0] or view.shape[1] > drawn[1]):
            continue
        p = grid.mapped(draw([view], 0, 0, np.arange(2000), *drawn, 4)[:, 0])
        for axis, size in enumerate(("height", "width")):
            assert p[size].max() <= bounds.crop[axis] <= own[axis]
