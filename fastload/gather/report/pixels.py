"""What pixels of some samples hold, beside the published statistics, and how they look."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastload.cli.stats import measure
from fastload.datasets.source import Modality
from fastload.datasets.ssl4eo_s12 import SSL4EOS12
from fastload.gather.report.shards import chosen, opened, shards
from fastload.inspect.pictures import pictures
from fastload.seasons import SEASONS
from fastload.statistics import STATISTICS, Statistics
from fastload.storage.dates import NO_TIME

LEVELS = (0.01, 0.5, 0.99)
NO_DATA = {"S2L1C": 0.0, "S2L2A": 0.0}
BESIDE = {
    "S1RTC": ("v1.1-webdataset", "S1GRD", "v1.1 has S1 GRD (sigma nought); RTC is gamma nought"),
}
"""Which published numbers stand beside those of modalities that v1.1 does not have."""
LARGE = 200
"""Pixels a side from which on a picture is shown at half its size."""


class Date(NamedTuple):
    """A picture of one date.

    Attributes:
        words: date, season and cloud.
        image: uint8 ``[H, W, 3]``.
    """

    words: str
    image: NDArray[np.uint8]


class Example(NamedTuple):
    """A sample's dates in pictures.

    Attributes:
        key: the sample's.
        lon, lat: degrees.
        kind: what is shown, such as "S2L2A, true colour".
        dates: ascending.
    """

    key: str
    lon: float
    lat: float
    kind: str
    dates: list[Date]


def pixels(
    folder: Path, samples: int, seed: int, examples: int
) -> tuple[dict[str, Any], list[Example]]:
    """Statistics of some samples' bands, and some of them in pictures.

    Args:
        folder: of the splits.
        samples: how many at most are measured.
        seed: of the choice, of shards first and of samples in them.
        examples: how many are shown.

    Raises:
        DataError: names a shard or a sample that cannot be read.
    """
    some = chosen(folder, seed)
    told: dict[str, Any] = {"shards": len(some), "of_shards": len(shards(folder)), "seed": seed,
                            "samples": 0, "modalities": {}}  # fmt: skip
    if not some:
        return told, []
    with opened(folder, some) as datasets:
        count = min(len(dataset) for dataset in datasets.values())
        order = np.random.default_rng(seed).permutation(count)
        told["samples"] = min(samples, count)
        for name, dataset in datasets.items():
            told["modalities"][name] = _bands(name, dataset, np.sort(order[:samples]))
        shown = next((n for n in ("S2L2A", "S2L1C") if n in datasets), next(iter(datasets)))
        found = [_example(shown, datasets[shown], i) for i in order[:examples].tolist()]
    return told, found


def _bands(name: str, dataset: SSL4EOS12, samples: NDArray[np.int64]) -> dict[str, Any]:
    m = dataset.modalities[name]
    summary = measure(dataset, name, samples, no_data=NO_DATA.get(name))
    of, modality, remark = BESIDE.get(name, ("v1.1-webdataset", name, ""))
    published = _published(STATISTICS[of], modality, m)
    names = m.shown.names or tuple(f"band {c}" for c in range(m.bands))
    rows = []
    for c, band in enumerate(names):
        row: dict[str, Any] = {"band": band, "pixels": int(summary.pixels[c])}
        for what in ("mean", "std", "min", "max"):
            row[what] = _plain(getattr(summary, what)[c])
        row |= {f"p{100 * level:g}": _plain(summary.quantiles[level][c]) for level in LEVELS}
        row["left_out"] = int(sum(counts[c] for counts in summary.left_out.values()))
        if published is not None:
            row["published_mean"], row["published_std"] = (float(x[c]) for x in published)
        rows.append(row)
    told = "" if published is None else f"{of}, {modality}"
    return {"bands": rows, "published": told, "remark": remark}


def _published(known: Statistics, modality: str, m: Modality) -> tuple[Any, Any] | None:
    """Mean and standard deviation of the bands that are there; None where there are none."""
    try:
        return known.of(modality, m.shown)
    except ValueError:
        return None


def _plain(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def _example(name: str, dataset: SSL4EOS12, i: int) -> Example:
    count = int(dataset.all_dates[i])
    kind = next(pictures(dataset.modalities[name], dataset.read(name, i, range(count))))
    dates = [
        Date(", ".join(_words(dataset, i, t)), _halved(picture.pixels))
        for t, picture in enumerate(kind)
    ]
    lon, lat = float(dataset.lon[i]), float(dataset.lat[i])
    return Example(str(dataset.keys[i]), lon, lat, f"{name}, {kind[0].kind}", dates)


def _words(dataset: SSL4EOS12, i: int, t: int) -> Iterator[str]:
    time, season = dataset.all_times[i, t], int(dataset.all_seasons[i, t])
    if time != NO_TIME:
        yield str(np.datetime64(int(time), "ns").astype("datetime64[D]"))
        yield SEASONS[season]
    if np.isfinite(dataset.all_clouds[i, t]):
        yield f"{dataset.all_clouds[i, t]:.0%} cloud"


def _halved(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """A large picture ``[H, W, 3]`` by the means of four pixels."""
    H, W, _ = image.shape
    if min(H, W) < LARGE:
        return image
    four = image[: H // 2 * 2, : W // 2 * 2].reshape(H // 2, 2, W // 2, 2, 3)
    return np.asarray(four.mean(axis=(1, 3)).round(), np.uint8)
