"""How a view is cut into tiles, one a block: what fits into shared memory, at what cost.

Nothing here depends on drawn values, only on the largest that a `View` allows. So parameters that
were drawn on the device need not be known on the host.
"""

import math
from dataclasses import dataclass

from fastload_kernels.cuda.shared_memory import STATIC, SharedMemory
from fastload_kernels.grid import Grid
from fastload_kernels.resample import TAPS, blur_radius
from fastload_kernels.view import View, central_box

BLOCK = 256
"""Threads of a block."""
LINE_GROUPS = 4  # as in tile.cuh
MOST_BLOCKS = 4
"""That a multiprocessor runs at a time, by the launch bounds in view.cu."""
_DEARER = (math.inf, 1.8, 1.3, 1.1, 1.0)
"""By the number of blocks on a multiprocessor, how much dearer work is with so few. Estimates."""
_OVERHEAD = 2 * BLOCK  # of a tile and band, in items of work: barriers and the start of loops


@dataclass(frozen=True)
class Bounds:
    """The largest values that may be drawn for a view of a source of H x W pixels."""

    view: View
    crop: tuple[int, int]
    """Height and width in source pixels, each by itself."""
    radius: int
    """Of the blur."""
    contrast: bool

    @classmethod
    def of(cls, view: View, H: int, W: int, grid: Grid | None = None) -> "Bounds":
        """Bounds of what `fastload_kernels.draw` draws for `view`, on the grid of the source."""
        radius = blur_radius(view.sigma[1]) if view.blur else 0
        if grid is None:
            crop = _largest(view, H, W)
        else:
            crop = grid.largest(_largest(view, grid.rows.drawn, grid.columns.drawn))
        return cls(view, crop, radius, bool(view.jitter and view.contrast))

    @property
    def taps(self) -> int:
        """Source pixels that an output pixel needs along an axis."""
        return TAPS[self.view.interpolation]

    def touched(self, axis: int, outputs: int) -> int:
        """Source pixels along an axis that hold the taps of so many neighbouring outputs."""
        n_in, n_out = self.crop[axis], self.view.shape[axis]
        # One more than the exact count, because positions are rounded.
        range_ = math.ceil((outputs - 1) * n_in / n_out) + self.taps + 1
        return min(range_, n_in, outputs * self.taps)


def _largest(view: View, H: int, W: int) -> tuple[int, int]:
    if view.scale is None:
        return view.shape
    if view.center:
        return H, W
    low, high = view.ratio
    if view.ratio_law == "uniform":
        low, high = min(low, 1 / high), max(high, 1 / low)
    smallest, largest = (H * W * scale for scale in view.scale)
    tallest, widest = (math.floor(math.sqrt(largest * r) + 0.5) + 1 for r in (1 / low, high))
    thinnest = math.sqrt(smallest * min(low, 1 / high))
    if tallest <= H and widest <= W and thinnest > 1:
        return tallest, widest  # the first attempt always fits
    fallback = central_box(view.ratio, H, W)
    return min(H, max(tallest, fallback[0])), min(W, max(widest, fallback[1]))


@dataclass(frozen=True)
class Tile:
    """A tile of `rows` x `columns` output pixels, before a transpose."""

    rows: int
    columns: int
    span: int
    """Most source rows that four output rows need."""
    shared: int
    """Bytes of shared memory."""


def choose(bounds: Bounds, pixel_bytes: int, memory: SharedMemory) -> Tile:
    """The cheapest tile of a view.

    Args:
        bounds: of the view.
        pixel_bytes: what a finished pixel of all bands takes in shared memory; 0 where each band is
            stored by itself.
        memory: of the device.

    Raises:
        ValueError: where even the smallest tile does not fit into a block's shared memory.
    """
    h, w = bounds.view.shape
    tiles = [
        _tile(bounds, rows, columns, pixel_bytes)
        for rows in _parts(h, 4)
        for columns in _parts(w, 8)
    ]
    best = min(tiles, key=lambda tile: _cost(bounds, tile, memory))
    if best.shared > memory.dynamic:
        least = min(tile.shared for tile in tiles) + STATIC
        raise ValueError(
            f"View.size {bounds.view.size}: no tile of it fits into the {memory.per_block} bytes "
            f"of shared memory that a block may have, the smallest takes {least} "
            f"(crops of up to {bounds.crop}, {pixel_bytes} bytes a pixel)"
        )
    return best


def _cost(bounds: Bounds, tile: Tile, memory: SharedMemory) -> float:
    blocks = min(memory.blocks(tile.shared), MOST_BLOCKS)
    return _DEARER[blocks] * _items(bounds, tile.rows, tile.columns)


def _parts(n: int, unit: int) -> list[int]:
    """Sizes, multiples of `unit`, that cut `n` evenly."""
    return sorted({_up(math.ceil(n / k), unit) for k in range(1, math.ceil(n / unit) + 1)})


def _up(n: int, unit: int = 4) -> int:
    return -(-n // unit) * unit


def _items(bounds: Bounds, rows: int, columns: int) -> float:
    """Work of a whole view and band, in items of four pixels, as blocks of threads do it."""
    h, w = bounds.view.shape
    groups, reach = _up(rows) // 4, _up(columns) + 2 * bounds.radius
    passes = [groups * bounds.touched(1, reach), groups * (reach if bounds.radius else columns)]
    if bounds.radius:
        passes.append(_up(rows) * _up(columns) // 4)
    items = sum(_up(count, BLOCK) for count in passes) + _OVERHEAD
    return math.ceil(h / rows) * math.ceil(w / columns) * items


def _tile(bounds: Bounds, rows: int, columns: int, pixel_bytes: int) -> Tile:
    """The pieces of shared memory that `Tile` in tile.cuh takes, at their largest."""
    K, radius, four = bounds.taps, bounds.radius, 4 + 2 * bounds.radius
    groups, span = _up(rows) // 4, bounds.touched(0, four)
    reach = _up(columns) + 2 * radius
    places = bounds.touched(1, reach)
    words = (
        *(4 * groups * (places | 1), 4 * min(LINE_GROUPS, groups) * (reach | 1) if radius else 0),
        *[(4 * groups + 2 * radius) * K] * 2,
        *[reach * K] * 2,
        *[places] * 2,
        *[groups] * 2,
        *(groups * span, groups * span, 4 * groups * span),
        *(2 * radius + 1, 4 * four),
    )
    shared = sum(_up(4 * count, 16) for count in words) + _up(rows * columns * pixel_bytes, 16)
    return Tile(rows, columns, span, shared)
