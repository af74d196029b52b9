"""Statistics of pixels in one pass: what each block of samples adds, and how blocks are merged.

Pixels of 8 or 16 bits are counted by value, in 256 or 65,536 bins a band, so that everything that
follows is exact. Of wider ones, mean and standard deviation are those of each image, merged in
float64 by Chan's formula in the order of the samples; quantiles come from 2**20 bins a band, one
for each float32 number that has 11 bits of mantissa, to which pixels are cut: they are right to one
part in 2048, and exact for whole numbers up to 4096. Nothing depends on who counts what, or when.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastload_kernels.compiled import jit

_jit = jit()
_DROPPED = np.uint32(12)
"""Low bits of a float32 that wide pixels are not told apart by."""
_MOST = float(np.finfo(np.float32).max)


@dataclass(frozen=True)
class Moments:
    """Of each band ``[C]``: how many pixels, their mean, the sum of squared differences from it,
    the least and the greatest."""

    count: NDArray[np.int64]
    mean: NDArray[np.float64]
    m2: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]

    @classmethod
    def none(cls, bands: int) -> "Moments":
        """Of no pixels."""
        count, mean, m2 = np.zeros(bands, np.int64), np.zeros(bands), np.zeros(bands)
        return cls(count, mean, m2, np.full(bands, np.inf), np.full(bands, -np.inf))

    def merged(self, other: "Moments") -> "Moments":
        """Of the pixels of both. Chan, Golub and LeVeque 1979, in float64."""
        count = self.count + other.count
        whole = np.maximum(count, 1)
        delta = other.mean - self.mean
        share = other.count / whole
        return Moments(
            count,
            self.mean + delta * share,
            self.m2 + other.m2 + delta * delta * self.count * share,
            np.minimum(self.low, other.low),
            np.maximum(self.high, other.high),
        )


@dataclass(frozen=True)
class Summary:
    """Of each band ``[C]``, in the units on disk; NaN where a band has no pixel that counts."""

    mean: NDArray[np.float64]
    std: NDArray[np.float64]
    min: NDArray[np.float64]
    max: NDArray[np.float64]
    quantiles: dict[float, NDArray[np.float64]]
    pixels: NDArray[np.int64]
    left_out: dict[str, NDArray[np.int64]]


class Tally:
    """Counts of the pixels of some samples of a modality.

    Args:
        dtype: of the pixels, any real one.
        bands: C.
        no_data: the value of pixels that hold nothing; None where there is no such value.
    """

    def __init__(self, dtype: np.dtype[Any], bands: int, no_data: float | None) -> None:
        # What is true or false counts as 1 or 0.
        self.dtype = np.dtype(np.uint8) if dtype.kind == "b" else dtype
        self.bands, self.no_data = bands, no_data
        self.by_value = dtype.itemsize <= 2
        bins = 2 ** (8 * dtype.itemsize) if self.by_value else 2 ** (32 - int(_DROPPED))
        self.counts = np.zeros((bands, bins), np.int64)
        self.nan = np.zeros(bands, np.int64)
        self.infinite = np.zeros(bands, np.int64)
        self.empty = np.zeros(bands, np.int64)

    def add(self, image: NDArray[Any]) -> Moments:
        """Count the pixels ``[T, C, H, W]`` of a sample.

        Returns:
            Their moments, for the caller to merge in the order of the samples; none where pixels
            are counted by value.
        """
        if self.by_value:
            codes = image.view(f"u{self.dtype.itemsize}")
            _count(codes.reshape(*codes.shape[:2], -1), self.counts)
            return Moments.none(self.bands)
        moments = Moments.none(self.bands)
        for planes in image:
            values = planes.astype(np.float64).reshape(self.bands, -1)
            moments = moments.merged(self._add_wide(values))
        return moments

    def _add_wide(self, values: NDArray[np.float64]) -> Moments:
        """Count pixels ``[C, n]`` of one date."""
        has = self.no_data is not None
        out = Moments.none(self.bands)
        others = np.zeros((3, self.bands), np.int64)
        fill = float(self.no_data or 0)
        near = np.clip(values, -_MOST, _MOST).astype(np.float32)
        codes = _ordered(near) >> _DROPPED
        _measure(values, codes, has, fill, self.counts, others, *vars(out).values())
        self.nan += others[0]
        self.infinite += others[1]
        self.empty += others[2]
        return out

    def merge(self, other: "Tally") -> None:
        """Add the counts of another tally of the same modality."""
        for name in ("counts", "nan", "infinite", "empty"):
            getattr(self, name).__iadd__(getattr(other, name))

    def summary(self, moments: Moments, levels: Sequence[float]) -> Summary:
        """What was counted.

        Args:
            moments: of all samples, merged.
            levels: of the quantiles, from 0 to 1; as NumPy's "linear" ones.
        """
        return self._by_value(levels) if self.by_value else self._by_moments(moments, levels)

    def _by_value(self, levels: Sequence[float]) -> Summary:
        """From exact counts of values: two passes over the bins."""
        bins = self.counts.shape[1]
        values = np.arange(bins, dtype=f"u{self.dtype.itemsize}").view(self.dtype)
        values = values.astype(np.float64)
        order = np.argsort(values, kind="stable")  # NaN last
        nothing = values == self.no_data if self.no_data is not None else np.zeros(bins, bool)
        left_out = {
            "nan": np.isnan(values), "infinite": np.isinf(values), "no_data": nothing,
        }  # fmt: skip
        kept = order[~np.any(list(left_out.values()), axis=0)[order]]
        values, counts = values[kept], self.counts[:, kept]
        parts = [_of_counts(values, row, levels) for row in counts]
        mean, std, low, high, quantiles = (np.array(p) for p in zip(*parts, strict=True))
        return Summary(
            mean, std, low, high, dict(zip(levels, quantiles.T, strict=True)), counts.sum(axis=1),
            {name: self.counts[:, flags].sum(axis=1) for name, flags in left_out.items()},
        )  # fmt: skip

    def _by_moments(self, moments: Moments, levels: Sequence[float]) -> Summary:
        some = moments.count > 0
        mean = np.where(some, moments.mean, np.nan)
        std = np.where(some, np.sqrt(moments.m2 / np.maximum(moments.count, 1)), np.nan)
        low, high = (np.where(some, x, np.nan) for x in (moments.low, moments.high))
        rows = []
        for c, counts in enumerate(self.counts):
            held = np.flatnonzero(counts)
            quantiles = _quantiles(_cut(held), counts[held], levels)
            rows.append(np.clip(quantiles, low[c], high[c]))
        left_out = {"nan": self.nan, "infinite": self.infinite, "no_data": self.empty}
        found = dict(zip(levels, np.array(rows).T, strict=True))
        return Summary(mean, std, low, high, found, moments.count, left_out)


def _of_counts(
    values: NDArray[np.float64], counts: NDArray[np.int64], levels: Sequence[float]
) -> Any:
    """Mean, standard deviation, least, greatest and quantiles of values ``[n]`` with counts."""
    held = np.flatnonzero(counts)
    if not len(held):
        return np.nan, np.nan, np.nan, np.nan, np.full(len(levels), np.nan)
    values, counts = values[held], counts[held]
    mean = (values * counts).sum() / counts.sum()
    std = np.sqrt(((values - mean) ** 2 * counts).sum() / counts.sum())
    return mean, std, values[0], values[-1], _quantiles(values, counts, levels)


def _quantiles(
    values: NDArray[np.float64], counts: NDArray[np.int64], levels: Sequence[float]
) -> NDArray[np.float64]:
    """NumPy's linear quantiles of ascending values ``[n]`` with counts."""
    if not len(values):
        return np.full(len(levels), np.nan)
    ends = np.cumsum(counts)
    at = np.asarray(levels, np.float64) * (ends[-1] - 1)
    below = np.floor(at).astype(np.int64)
    above = np.minimum(below + 1, ends[-1] - 1)
    first, second = (values[np.searchsorted(ends, i, side="right")] for i in (below, above))
    return np.asarray(first + (second - first) * (at - below))


def _ordered(values: NDArray[np.float32]) -> NDArray[np.uint32]:
    """Whole numbers that are in the order of the values."""
    bits = values.view(np.uint32)
    return np.where(bits >> np.uint32(31), ~bits, bits | np.uint32(1 << 31))


def _cut(bins: NDArray[np.int64]) -> NDArray[np.float64]:
    """The number in each of some bins that is nearest to 0: the inverse of `_ordered`."""
    ordered = bins.astype(np.uint32) << _DROPPED
    above = ordered >> np.uint32(31)
    low = (np.uint32(1) << _DROPPED) - np.uint32(1)
    bits = np.where(above, ordered & np.uint32(2**31 - 1), ~(ordered | low))
    return bits.astype(np.uint32).view(np.float32).astype(np.float64)


@_jit
def _count(codes, counts):  # type: ignore[no-untyped-def]
    """Count codes ``[T, C, n]`` by band."""
    for t in range(codes.shape[0]):
        for c in range(codes.shape[1]):
            for i in range(codes.shape[2]):
                counts[c, codes[t, c, i]] += 1


@_jit
def _measure(  # type: ignore[no-untyped-def]
    values, codes, has_fill, fill, counts, others, count, mean, m2, low, high
):
    """Count and measure float64 pixels ``[C, n]``: the mean first, then differences from it.

    `others` ``[3, C]`` gets how many are NaN, infinite and no data.
    """
    for c in range(values.shape[0]):
        total = 0.0
        for i in range(values.shape[1]):
            x = values[c, i]
            if np.isnan(x):
                others[0, c] += 1
            elif np.isinf(x):
                others[1, c] += 1
            elif has_fill and x == fill:
                others[2, c] += 1
            else:
                counts[c, codes[c, i]] += 1
                count[c] += 1
                total += x
                low[c], high[c] = min(low[c], x), max(high[c], x)
        if not count[c]:
            continue
        mean[c] = total / count[c]
        for i in range(values.shape[1]):
            x = values[c, i]
            if np.isfinite(x) and not (has_fill and x == fill):
                m2[c] += (x - mean[c]) ** 2
