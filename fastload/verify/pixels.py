"""What is wrong with pixels: chunks that do not decode, and numbers that are none."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from fastload.datasets.source import ChunkedSource, Source
from fastload.profile import Stages
from fastload.radiometry_check import DARK, SHIFTED
from fastload.statistics import Statistics
from fastload.storage.errors import DataError
from fastload.verify.columns import key, where
from fastload.verify.finding import Finding, of_error

OPTICAL = ("S2L1C", "S2L2A")
"""Where 0 DN is no data, and zero reflectance is at the statistics' offset."""
_EACH = 4
"""Every so many rows and columns are looked at for the dark pixels."""
Numbers = NDArray[np.float64]


@dataclass
class Tally:
    """What pixels of some samples hold, by band: float64 ``[C]`` each.

    Attributes:
        pixels: that are numbers and data; `total` is their sum.
        nan, infinite, no_data: how many of the others.
        dark: lowest first percentile of a date; infinity where there was none.
    """

    pixels: Numbers
    total: Numbers
    nan: Numbers
    infinite: Numbers
    no_data: Numbers
    dark: Numbers

    @classmethod
    def none(cls, bands: int) -> Self:
        """Of no samples."""
        return cls(*np.zeros((5, bands)), np.full(bands, np.inf))

    def merge(self, other: "Tally") -> None:
        """Add another's."""
        for name in ("pixels", "total", "nan", "infinite", "no_data"):
            getattr(self, name).__iadd__(getattr(other, name))
        np.minimum(self.dark, other.dark, out=self.dark)

    def plain(self) -> dict[str, list[float]]:
        """For JSON, in which infinity is 1e308."""
        return {n: np.nan_to_num(v, posinf=1e308).tolist() for n, v in vars(self).items()}

    @classmethod
    def of(cls, plain: dict[str, list[float]]) -> Self:
        """Undo `plain`."""
        return cls(**{name: np.array(values) for name, values in plain.items()})

    @property
    def mean(self) -> Numbers:
        """Of each band; NaN where it has no pixel."""
        with np.errstate(invalid="ignore"):
            return self.total / np.where(self.pixels > 0, self.pixels, np.nan)


@dataclass
class Block:
    """What was found in some samples of one source."""

    tally: Tally
    findings: list[Finding] = field(default_factory=list)


def check_block(name: str, source: Source, samples: Sequence[int]) -> Block:
    """Read all pixels of samples, chunk by chunk where something cannot be read.

    Args:
        name: of the modality.
        source: its.
        samples: rows in it.
    """
    m = source.modality
    block = Block(Tally.none(m.bands))
    counts = source.columns.dates
    for sample in samples:
        T = m.timestamps if counts is None else int(counts[sample])
        out = np.zeros((T, *m.shape[1:]), m.dtype)
        try:
            source.read(sample, range(T), out, Stages())
        except DataError as error:
            block.findings += _each(name, source, sample, T, error)
            continue
        block.tally.merge(_look(name, source, sample, out, block.findings))
    return block


def _each(name: str, source: Source, sample: int, T: int, error: DataError) -> list[Finding]:
    """All chunks of a sample that cannot be read, or as little as its source tells."""
    if not isinstance(source, ChunkedSource):
        return [of_error(name, error)]
    m, wanted = source.modality, np.zeros((1, source.modality.timestamps), bool)
    wanted[0, :T] = True
    out, found = np.zeros((T, *m.shape[1:]), m.dtype), list[Finding]()
    for row in source.chunks(np.array([sample]), wanted).rows:
        rows = np.array([row])
        try:
            data = source.fetch(sample, rows, np.empty(int(row["stored"]), np.uint8), Stages())
            source.decode(sample, rows, data, range(T), out, Stages())
        except DataError as worse:
            found.append(of_error(name, worse))
    return found or [of_error(name, error)]


def _look(
    name: str, source: Source, sample: int, pixels: NDArray[Any], findings: list[Finding]
) -> Tally:
    """Count what pixels ``[T, C, H, W]`` of a sample hold."""
    tally = Tally.none(pixels.shape[1])
    for t, image in enumerate(pixels):
        tally.merge(_image(image, name in OPTICAL))
        if name in OPTICAL and not image.any():
            findings.append(_told("no_data", name, source, sample, f"bands[{t}]",
                                  "pixels that are data", "0 DN everywhere"))  # fmt: skip
    if tally.nan.any() or tally.infinite.any():
        found = f"{tally.nan.sum():.0f} NaN, {tally.infinite.sum():.0f} infinite"
        findings.append(_told("not_finite", name, source, sample, "bands", "numbers", found))
    return tally


def _told(
    kind: str, name: str, source: Source, sample: int, field: str, expected: str, found: str
) -> Finding:
    member = key(source, sample)
    return Finding(kind, name, where(source, sample), member, field, expected, found)


def _image(image: NDArray[Any], is_optical: bool) -> Tally:
    """Count what an image ``[C, H, W]`` holds."""
    axes, C = (1, 2), len(image)
    size = np.full(C, float(image[0].size))
    nan, infinite, empty = np.zeros((3, C))
    if image.dtype.kind == "f":
        nan = np.isnan(image).sum(axes).astype(np.float64)
        infinite = np.isinf(image).sum(axes).astype(np.float64)
        image = np.nan_to_num(image.astype(np.float64), nan=0, posinf=0, neginf=0)
    if is_optical:
        empty = (image == 0).sum(axes).astype(np.float64)
    total = image.sum(axes, dtype=np.float64)
    dark = _dark(image) if is_optical else np.full(C, np.inf)
    return Tally(size - nan - infinite - empty, total, nan, infinite, empty, dark)


def _dark(image: NDArray[Any]) -> Numbers:
    """First percentile of each band's pixels that are data ``[C]``."""
    some = (band[band != 0] for band in image[:, ::_EACH, ::_EACH])
    return np.array([np.percentile(band, 1) if band.size else np.inf for band in some])


def offset(
    name: str, place: str, bands: Iterable[str], tally: Tally, statistics: Statistics
) -> Iterator[Finding]:
    """Whether data and statistics disagree by about 1000 DN.

    Dark pixels tell first (see `fastload.radiometry_check`); where they do not, the means do, if
    the median band is nearer to 1000 DN away than to none.
    """
    dark = float(tally.dark.min(initial=np.inf))
    if name not in OPTICAL or not np.isfinite(dark):
        return
    expected, gap = statistics.dn_offset, _gap(name, tally, statistics)
    doubtful = DARK <= dark < SHIFTED
    added = dark >= SHIFTED or (doubtful and gap is not None and gap > 500)
    lacking = dark < DARK or (doubtful and gap is not None and gap < -500)
    if (expected == 0 and added) or (expected > 0 and lacking):
        what = "1000 DN were added" if expected == 0 else "nothing were added"
        means = "" if gap is None else f", means {gap:+.0f} DN from the set's (median band)"
        yield Finding(
            "offset", name, place, "", ", ".join(bands),
            f"zero reflectance at {expected:.0f} DN as statistics {statistics.name!r} say",
            f"dark pixels of {dark:.0f} DN, as if {what}{means}",
        )  # fmt: skip


def _gap(name: str, tally: Tally, statistics: Statistics) -> float | None:
    """By how much the means are above the set's, of the median band; None without a set."""
    mean = statistics.mean.get(name)
    if mean is None or len(mean) != len(tally.mean):
        return None
    return float(np.nanmedian(tally.mean - np.array(mean)))
