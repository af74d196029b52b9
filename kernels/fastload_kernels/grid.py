"""Boxes on another grid: a crop that was drawn on one image, on an image of other pixels.

Both images have the same centre. An edge of a box lies where it lies on the ground, rounded to the
nearest edge between pixels of the other image (halves up), so it is off by at most half a pixel of
that image. A box that would be empty is the one pixel that holds its centre; what reaches out of
the image is cut. Whole numbers alone, so that NumPy and CUDA agree.
"""

from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from fastload_kernels.view import Records

Whole = NDArray[np.int64]
_FINEST = 10_000
"""Largest denominator of a ratio of two grounds."""


@dataclass(frozen=True)
class GridAxis:
    """One axis: `drawn` pixels of the image that boxes are drawn on are ``drawn * up / down``
    pixels of the other, which has `own`."""

    drawn: int
    own: int
    up: int
    down: int

    def mapped(self, start: Whole, size: Whole) -> tuple[Whole, Whole]:
        """Start and size of boxes of any shape."""
        low = self._edge(2 * start, self.down)
        high = self._edge(2 * (start + size), self.down)
        middle = self._edge(2 * start + size, 0)
        empty = high <= low
        low = np.clip(np.where(empty, middle, low), 0, self.own - 1)
        high = np.clip(np.where(empty, middle + 1, high), low + 1, self.own)
        return low, high - low

    def _edge(self, twice: Whole, half: int) -> Whole:
        """An edge, given twice, in pixels of the other image; rounded down after `half` is added,
        which is `down` for half a pixel."""
        return ((twice - self.drawn) * self.up + self.own * self.down + half) // (2 * self.down)

    def largest(self, size: int) -> int:
        """The largest that a box of a size, or a smaller one, becomes."""
        return min(self.own, max(1, -(-size * self.up // self.down)))


@dataclass(frozen=True)
class Grid:
    """How boxes of the image that they are drawn on lie on another."""

    rows: GridAxis
    columns: GridAxis

    @classmethod
    def of(
        cls, drawn: tuple[int, int], own: tuple[int, int], ground: tuple[float, float] = (1.0, 1.0)
    ) -> "Grid | None":
        """The grid of an image; None where it is the one that boxes are drawn on.

        Args:
            drawn, own: height and width in pixels of the image that boxes are drawn on, and of the
                other one.
            ground: how much of the ground, height and width, the first covers of the other.
        """
        axes = []
        for n, m, share in zip(drawn, own, ground, strict=True):
            ratio = Fraction(share).limit_denominator(_FINEST) * Fraction(m, n)
            axes.append(GridAxis(n, m, ratio.numerator, ratio.denominator))
        same = drawn == own and all(axis.up == axis.down for axis in axes)
        return None if same else cls(axes[0], axes[1])

    def mapped(self, params: Records) -> Records:
        """A copy of records of `VIEW_PARAMS` whose boxes are those of the other image."""
        out = params.copy()
        for axis, start, size in (
            (self.rows, "top", "height"),
            (self.columns, "left", "width"),
        ):
            at, many = (np.asarray(params[name], np.int64) for name in (start, size))
            out[start], out[size] = axis.mapped(at, many)
        return out

    def largest(self, crop: tuple[int, int]) -> tuple[int, int]:
        """The largest, each by itself, that boxes of up to a height and width become."""
        return self.rows.largest(crop[0]), self.columns.largest(crop[1])
