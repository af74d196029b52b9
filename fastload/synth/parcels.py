"""Partitions of a square into fields, stands and blocks."""

import numpy as np
from numpy.typing import NDArray

from fastload.synth.streams import F32

_FINE = 8  # steps of the row table per pixel


class Parcels:
    """A rotated, warped brickwork: rows of drawn heights, cut into cells of drawn lengths."""

    def __init__(
        self,
        rng: np.random.Generator,
        size: int,
        cell: float,
        warp: F32,
        strength: float,
        elongation: float = 1.0,
    ) -> None:
        """Cut a square.

        Args:
            rng: where the bits come from.
            size: height and width of the square in pixels.
            cell: mean height of a row in pixels.
            warp: smooth fields ``[2, size, size]`` of standard deviation 1 that bend the cuts.
            strength: how far they bend, in pixels.
            elongation: mean length of a cell over the mean height of a row.
        """
        angle = rng.uniform(0, np.pi)
        reach = 0.75 * size + 4 * strength + cell  # no pixel lies farther from the middle
        axis = np.arange(size, dtype=np.float32) - np.float32(size / 2)
        cos, sin = np.float32(np.cos(angle)), np.float32(np.sin(angle))
        along = axis[None, :] * cos + axis[:, None] * sin + warp[0] * np.float32(strength)
        across = axis[:, None] * cos - axis[None, :] * sin + warp[1] * np.float32(strength)

        count = int(2 * reach / (0.5 * cell)) + 2
        edges = np.cumsum(rng.uniform(0.5, 1.5, count) * cell) - reach - cell
        fine = np.arange(int(2 * reach * _FINE) + 1) / _FINE - reach
        row_of = np.searchsorted(edges, fine).astype(np.int32)
        near = np.abs(fine[:, None] - edges[None, ::3]).min(1).astype(np.float32)
        step = np.clip((across + np.float32(reach)) * _FINE, 0, len(fine) - 1).astype(np.int32)
        row = row_of.take(step)
        self.lane: F32 = near.take(step)
        """Distance in pixels ``[size, size]`` to the nearest of the cuts that carry a lane."""

        rows = int(row_of.max()) + 1
        length = rng.uniform(0.6, 1.6, rows).astype(np.float32) * np.float32(cell * elongation)
        shift = rng.uniform(0, cell * elongation, rows).astype(np.float32) + np.float32(reach)
        slot = ((along + shift.take(row)) / length.take(row)).astype(np.int32)
        np.clip(slot, 0, None, out=slot)
        columns = int(slot.max()) + 1
        self.count = rows * columns
        """Upper bound of the ids."""
        self.id: NDArray[np.int32] = row * np.int32(columns) + slot
        """Which parcel a pixel lies in ``[size, size]``."""
