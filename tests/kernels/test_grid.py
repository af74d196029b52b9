"""Boxes on another grid: where they lie on the ground, and what holds for every box."""

import math
from fractions import Fraction

import numpy as np
import pytest

from fastload_kernels import VIEW_PARAMS, View, draw
from fastload_kernels.grid import Grid, GridAxis

GRIDS = {
    "S2 to its 60 m bands": ((264, 264), (44, 44), (1.0, 1.0)),
    "66 to 22": ((66, 66), (22, 22), (1.0, 1.0)),
    "22 to 66": ((22, 22), (66, 66), (1.0, 1.0)),
    "10 m to 30 m": ((264, 264), (88, 88), (1.0, 1.0)),
    "uneven": ((100, 80), (37, 121), (1.0, 1.0)),
    "odd and even": ((33, 20), (20, 33), (1.0, 1.0)),
    "to one pixel": ((40, 40), (1, 1), (1.0, 1.0)),
    "patch in a cell of 300 m pixels": ((264, 264), (96, 96), (2640 / 28800, 2640 / 28800)),
    "patch in a cell of a DEM": ((264, 264), (960, 960), (2640 / 28800, 2640 / 28800)),
    "a few metres less": ((264, 264), (88, 88), (2640 / 2620, 2640 / 2620)),
}


def boxes(n: int) -> tuple[np.ndarray, np.ndarray]:
    """Starts and sizes of every box of an axis of n pixels."""
    pairs = [(start, size) for start in range(n) for size in range(1, n - start + 1)]
    start, size = np.array(pairs[:: max(1, len(pairs) // 4000)]).T
    return start, size


def exact(axis: GridAxis, edge: int) -> Fraction:
    """An edge in the other image's pixels: its distance to the common centre, scaled."""
    ratio = Fraction(axis.up, axis.down)
    return (edge - Fraction(axis.drawn, 2)) * ratio + Fraction(axis.own, 2)


@pytest.mark.parametrize("name", GRIDS)
def test_edges_are_off_by_half_a_pixel_at_most(name):
    grid = Grid.of(*GRIDS[name])
    for axis in (grid.rows, grid.columns):
        start, size = boxes(axis.drawn)
        low, many = axis.mapped(start, size)
        assert (low >= 0).all()
        assert (many >= 1).all()
        assert (low + many <= axis.own).all()
        for s, n, a, m in zip(
            start.tolist(), size.tolist(), low.tolist(), many.tolist(), strict=True
        ):
            first, last = exact(axis, s), exact(axis, s + n)
            assert m <= axis.largest(n)
            if m == 1 and last - first < 1:
                # Smaller than a pixel: the one that holds the centre, if no edge is nearer.
                middle = min(max((first + last) / 2, Fraction(0)), Fraction(axis.own))
                assert a - Fraction(1, 2) <= middle <= a + Fraction(3, 2)
                continue
            half = max(Fraction(1, 2), Fraction(axis.up, 2 * axis.down))  # of the coarser grid
            assert abs(a - first) <= half
            assert abs(a + m - last) <= half


def test_halves_round_up_and_whole_images_stay_whole():
    axis = Grid.of((8, 8), (4, 4)).rows
    low, many = axis.mapped(np.array([1, 0, 3, 7]), np.array([2, 8, 1, 1]))
    assert low.tolist() == [1, 0, 1, 3]  # 0.5 to 1.5, all, 1.5 to 2, 3.5 to 4
    assert many.tolist() == [1, 4, 1, 1]
    for drawn, own, _ in list(GRIDS.values())[:7]:
        grid = Grid.of(drawn, own)
        for axis in (grid.rows, grid.columns):
            assert [int(x) for x in axis.mapped(np.array(0), np.array(axis.drawn))] == [0, axis.own]


def test_a_patch_lies_in_the_middle_of_its_cell():
    grid = Grid.of((264, 264), (96, 96), (2640 / 28800, 2640 / 28800))
    low, many = grid.rows.mapped(np.array([0]), np.array([264]))
    assert (low[0], many[0]) == (44, 8)  # 8.8 pixels about the centre at 48: 43.6 to 52.4
    ground = Grid.of((264, 264), (960, 960), (2640 / 28800, 2640 / 28800))
    assert [int(x) for x in ground.rows.mapped(np.array(0), np.array(264))] == [436, 88]


def test_sizes_that_divide_stay_as_they_are():
    """A crop of a size that the grids share has that size wherever it lies."""
    axis = Grid.of((66, 66), (22, 22)).rows
    low, many = axis.mapped(np.arange(19), np.full(19, 48))
    assert set(many.tolist()) == {16}
    assert low.tolist() == [math.floor(i / 3 + 0.5) for i in range(19)]


def test_the_same_grid_is_none():
    assert Grid.of((8, 9), (8, 9)) is None
    assert Grid.of((8, 9), (8, 9), (1.0, 0.5)) is not None
    assert Grid.of((8, 8), (8, 9)) is not None


def test_records_keep_all_but_their_boxes():
    view = View(size=16, scale=(0.1, 0.9), d4=1.0, jitter=1.0, brightness=0.4, blur=1.0)
    params = draw([view, view], 0, 0, np.arange(50), 66, 60, 4)
    before = params.copy()
    grid = Grid.of((66, 60), (22, 33))
    mapped = grid.mapped(params)
    for name in VIEW_PARAMS.names:
        np.testing.assert_array_equal(params[name], before[name])
        if name not in ("top", "left", "height", "width"):
            np.testing.assert_array_equal(mapped[name], params[name])
    one = grid.mapped(params[3, 1])
    assert one == mapped[3, 1] or np.isnan(one["solarize"])
    for name in ("top", "left", "height", "width"):
        assert one[name] == mapped[3, 1][name]
    low, many = grid.rows.mapped(np.int64(params[3, 1]["top"]), np.int64(params[3, 1]["height"]))
    assert (one["top"], one["height"]) == (low, many)
