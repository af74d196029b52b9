"""``python -m fastload stats ROOT``."""

import argparse
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import SimpleQueue

import numpy as np
from numpy.typing import NDArray
from tqdm.auto import tqdm

from fastload.cli import opened
from fastload.datasets.base import Dataset
from fastload.datasets.source import Modality
from fastload.statistics import Statistics
from fastload.tally import Moments, Summary, Tally

HELP = "measure mean, spread, limits and quantiles of every band, for statistics='FILE.json'"
LEVELS = (0.01, 0.02, 0.25, 0.5, 0.75, 0.98, 0.99)
BLOCK = 8
"""Samples that are measured one after the other; what is merged does not depend on the workers."""
OPTICAL = ("S2L1C", "S2L2A")
"""Where 0 DN is no data."""
SHIFTED = 900
"""DN. Hardly a pixel of any band is darker where 1000 DN were added."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    opened.add_arguments(parser)
    parser.add_argument(
        "--samples", type=int, metavar="N", help="how many, chosen by --seed, with all dates (all)"
    )
    parser.add_argument("--seed", type=int, default=0, help="of the choice of samples (0)")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="threads")
    parser.add_argument(
        "--no-data", type=_no_data, default="auto", metavar="VALUE",
        help="pixels of this value are left out, or 'none'; 'auto' is 0 in S2L1C and S2L2A, and "
        "none elsewhere (auto)",
    )  # fmt: skip
    parser.add_argument(
        "--dn-offset", type=float, metavar="DN", help="DN of zero reflectance in Sentinel-2 (0)"
    )
    parser.add_argument("--out", type=Path, metavar="FILE.json", help="what statistics= takes")
    parser.add_argument("--quiet", action="store_true", help="show no progress bar")


def _no_data(text: str) -> str | float | None:
    """What ``--no-data`` says."""
    if text in ("auto", "none"):
        return None if text == "none" else text
    return float(text)


def run(args: argparse.Namespace) -> int:
    """Measure each modality, say what was found, and write it."""
    for name, value in (("--workers", args.workers), ("--samples", args.samples)):
        if value is not None and value < 1:
            raise ValueError(f"{name} must be at least 1, got {value}")
    found: dict[str, tuple[Modality, Summary]] = {}
    known: Statistics | None = None
    for named, dataset in opened.apart(args, progress=not args.quiet).items():
        known = dataset.statistics
        for name in [named] if named else dataset.modalities:
            no_data = (0.0 if name in OPTICAL else None) if args.no_data == "auto" else args.no_data
            samples = chosen(len(dataset), args.samples, args.seed)
            summary = measure(dataset, name, samples, args.workers, no_data, not args.quiet)
            found[name] = dataset.modalities[name], summary
            print(table(*found[name], len(samples), no_data), flush=True)
    assert known is not None
    if args.dn_offset is None and not known.dn_offset:
        _warn_of_offset(found)
    if args.out:
        offset = known.dn_offset if args.dn_offset is None else args.dn_offset
        collected(args.out.stem, offset, found, known.dn_scale).save(args.out)
        print(f"written to {args.out}")
    return 0


def chosen(count: int, samples: int | None, seed: int) -> NDArray[np.int64]:
    """All samples, or so many of them by a seed, ascending."""
    if samples is None or samples >= count:
        return np.arange(count)
    return np.sort(np.random.default_rng(seed).choice(count, samples, replace=False))


def measure(
    dataset: Dataset,
    modality: str,
    samples: NDArray[np.int64],
    workers: int = 1,
    no_data: float | None = None,
    progress: bool = False,
) -> Summary:
    """Measure a modality of some samples ``[n]``, with all dates that they have.

    The result does not depend on the number of workers, down to the last bit.

    Args:
        dataset: holds them.
        modality: its name.
        samples: which; each pixel counts once for each time that its sample is named.
        workers: threads that read and count.
        no_data: the value of pixels that hold nothing; they are counted and left out, as are NaN
            and infinity.
        progress: show a bar.

    Raises:
        DataError: names the sample that cannot be read.
    """
    m = dataset.modalities[modality]
    tallies = [Tally(m.dtype, m.bands, no_data) for _ in range(workers)]
    free: SimpleQueue[Tally] = SimpleQueue()
    for tally in tallies:
        free.put(tally)

    def block(some: NDArray[np.int64]) -> Moments:
        tally, moments = free.get(), Moments.none(m.bands)
        dates = dataset.dates_of(modality, some).tolist()
        try:
            for sample, count in zip(some.tolist(), dates, strict=True):
                pixels = dataset.read(modality, sample, range(count))
                moments = moments.merged(tally.add(pixels))
        finally:
            free.put(tally)
        return moments

    moments = Moments.none(m.bands)
    blocks = np.split(samples, np.arange(BLOCK, len(samples), BLOCK))
    bar = tqdm(total=len(samples), desc=modality, unit="sample", disable=not progress)
    with ThreadPoolExecutor(workers) as pool, bar:
        try:
            for some, part in zip(blocks, pool.map(block, blocks), strict=True):
                moments = moments.merged(part)
                bar.update(len(some))
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    for other in tallies[1:]:
        tallies[0].merge(other)
    return tallies[0].summary(moments, LEVELS)


def collected(
    name: str,
    dn_offset: float,
    found: dict[str, tuple[Modality, Summary]],
    dn_scale: float = 10000.0,
) -> Statistics:
    """What was measured, as statistics.

    Raises:
        ValueError: names a band without a pixel that counts.
    """
    for modality, (m, summary) in found.items():
        for band, mean in zip(_names(m), summary.mean, strict=True):
            if np.isnan(mean):
                raise ValueError(f"{modality}: band {band} has no pixel that counts")
    details = {
        modality: {
            "min": s.min.tolist(),
            "max": s.max.tolist(),
            "quantiles": {str(level): s.quantiles[level].tolist() for level in LEVELS},
            "pixels": s.pixels.tolist(),
            "left_out": {why: n.tolist() for why, n in s.left_out.items()},
        }
        for modality, (_, s) in found.items()
    }
    return Statistics(
        name,
        dn_offset,
        {modality: tuple(s.mean.tolist()) for modality, (_, s) in found.items()},
        {modality: tuple(s.std.tolist()) for modality, (_, s) in found.items()},
        {modality: m.shown.names for modality, (m, _) in found.items() if m.shown.names},
        details,
        dn_scale,
    )


def _names(m: Modality) -> Sequence[str]:
    return m.shown.names or [str(i) for i in range(m.bands)]


def table(m: Modality, summary: Summary, samples: int, no_data: float | None) -> str:
    """What was measured, a line a band."""
    return "\n".join(_lines(m, summary, samples, no_data))


def _lines(m: Modality, s: Summary, samples: int, no_data: float | None) -> Iterator[str]:
    yield f"{m.name}: {samples} samples of {m.timestamps} dates, {m.dtype}"
    heads = ("band", "mean", "std", "min", *(f"{level:.0%}" for level in LEVELS), "max")
    yield "".join(f"{head:>10}" for head in heads)
    for c, name in enumerate(_names(m)):
        row = (s.mean, s.std, s.min, *(s.quantiles[level] for level in LEVELS), s.max)
        yield f"{name:>10}" + "".join(f"{values[c]:>10.5g}" for values in row)
    for why, counts in s.left_out.items():
        if counts.any():
            what = f"no data ({no_data:g})" if why == "no_data" else why
            each = ", ".join(f"{n} {c}" for n, c in zip(_names(m), counts.tolist(), strict=True))
            yield f"left out, {what}: {each}"


def _warn_of_offset(found: dict[str, tuple[Modality, Summary]]) -> None:
    """Say so where 1000 DN seem to be added, of which the file would know nothing."""
    for name in OPTICAL:
        if name in found and np.nanmin(found[name][1].quantiles[LEVELS[0]]) >= SHIFTED:
            print(
                f"{name}: hardly a pixel is below {SHIFTED} DN, as if 1000 DN were added; if they "
                "are, give --dn-offset 1000, which Radiometry.reflectance() goes by"
            )
