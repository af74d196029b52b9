"""What is wrong with keys, dates and places, found without reading pixels."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastload.datasets.agree import DAY, MOST_APART_D
from fastload.datasets.source import ChunkedSource, Source
from fastload.seasons import SEASONS, season
from fastload.storage.dates import NO_TIME
from fastload.verify.finding import Finding

Sources = Mapping[str, Source]
UNDATED = ("DEM",)
"""Modalities without dates of their own."""


def where(source: Source, sample: int) -> str:
    """The file that holds a sample, as far as it has one."""
    if not isinstance(source, ChunkedSource):
        return str(getattr(getattr(source, "store", None), "place", ""))
    wanted = np.ones((1, source.modality.timestamps), bool)
    rows = source.chunks(np.array([sample]), wanted).rows
    rows = rows[rows["stored"] > 0]
    return source.store.path(source.files[int(rows["file"][0])]) if len(rows) else ""


def key(source: Source, sample: int) -> str:
    """A sample's key as text."""
    return source.columns.key[sample].decode("utf-8", "replace")


def keys(sources: Sources) -> Iterator[Finding]:
    """Keys that some modality lacks, and keys that stand twice."""
    for name, source in sources.items():
        found, counts = np.unique(source.columns.key, return_counts=True)
        for twice in found[counts > 1]:
            row = int(np.flatnonzero(source.columns.key == twice)[1])
            yield Finding("keys", name, where(source, row), twice.decode(), "key",
                          "each key once", "it stands more than once")  # fmt: skip
    for name, source in sources.items():
        for other, theirs in sources.items():
            if other == name:
                continue
            lacking = ~np.isin(theirs.columns.key, source.columns.key)
            for row in np.flatnonzero(lacking & _first_with(sources, other, name)).tolist():
                yield Finding("keys", name, where(theirs, row), key(theirs, row), "key",
                              f"a sample in {name}", f"only one in {other}")  # fmt: skip


def _first_with(sources: Sources, other: str, name: str) -> NDArray[np.bool_]:
    """Which keys of a modality no earlier one has, so that each is told once."""
    mine = sources[other].columns.key
    fresh = np.ones(len(mine), bool)
    for earlier, source in sources.items():
        if earlier == other:
            break
        if earlier != name:
            fresh &= ~np.isin(mine, source.columns.key)
    return fresh


def _known(source: Source) -> NDArray[np.bool_]:
    """Which timestamps ``[N, T]`` a sample has."""
    time, counts = source.columns.time, source.columns.dates
    if counts is None:
        return np.ones(time.shape, bool)
    return np.arange(time.shape[1]) < counts[:, None]


def dates(sources: Sources) -> Iterator[Finding]:
    """Dates that are unknown or do not ascend."""
    for name, source in sources.items():
        time, has = source.columns.time, _known(source)
        if name in UNDATED or (time == NO_TIME).all():
            continue
        unknown = (has & (time == NO_TIME)).any(axis=1)
        falls = (np.diff(time, axis=1) < 0) & has[:, 1:]
        falls &= (time[:, 1:] != NO_TIME) & (time[:, :-1] != NO_TIME)
        for row in np.flatnonzero(unknown).tolist():
            yield _dated(name, source, row, "a date for each timestamp")
        for row in np.flatnonzero(falls.any(axis=1)).tolist():
            yield _dated(name, source, row, "dates that ascend")


def _dated(name: str, source: Source, row: int, expected: str, found: str = "") -> Finding:
    text = found or ", ".join(_days(source.columns.time[row]))
    shard = where(source, row)
    kind = "agreement" if found else "dates"
    return Finding(kind, name, shard, key(source, row), "time", expected, text)


def _days(time: NDArray[np.int64]) -> list[str]:
    return [str(day) for day in time.astype("datetime64[ns]").astype("datetime64[D]")]


def agreement(sources: Sources) -> Iterator[Finding]:
    """Dates of modalities that are far from the first one's under the same index, and places."""
    dated = [n for n, s in sources.items() if not (s.columns.time == NO_TIME).all()]
    first, *others = [*sources]
    for name in others:
        mine, theirs = _common(sources[first], sources[name])
        a, b = sources[first].columns, sources[name].columns
        yield from _places(sources, first, name, mine, theirs)
        if not {first, name} <= {*dated} or a.time.shape[1] != b.time.shape[1]:
            continue
        x, y = a.time[mine], b.time[theirs]
        both = (x != NO_TIME) & (y != NO_TIME)
        gap = np.where(both, np.abs(x // DAY - y // DAY), 0).max(axis=1, initial=0)
        for i in np.flatnonzero(gap > MOST_APART_D).tolist():
            row = int(theirs[i])
            yield _dated(name, sources[name], row, f"dates within {MOST_APART_D} days of {first}'s",
                         f"{gap[i]} days ({', '.join(_days(y[i]))} beside "
                         f"{', '.join(_days(x[i]))})")  # fmt: skip


def _common(a: Source, b: Source) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    _, mine, theirs = np.intersect1d(a.columns.key, b.columns.key, return_indices=True)
    return mine, theirs


def _places(
    sources: Sources, first: str, name: str, mine: NDArray[np.int64], theirs: NDArray[np.int64]
) -> Iterator[Finding]:
    """Places of one key that differ by more than a hundredth of a degree."""
    a, b = sources[first].columns, sources[name].columns
    lon = np.abs((a.lon[mine] - b.lon[theirs] + 180) % 360 - 180)
    lat = np.abs(a.lat[mine] - b.lat[theirs])
    far = (lat > 0.01) | (lon * np.cos(np.radians(a.lat[mine])) > 0.01)
    for i in np.flatnonzero(far).tolist():
        row, own = int(theirs[i]), int(mine[i])
        yield Finding(
            "agreement", name, where(sources[name], row), key(sources[name], row), "lon, lat",
            f"{a.lon[own]:.4f}, {a.lat[own]:.4f} as {first} has",
            f"{b.lon[row]:.4f}, {b.lat[row]:.4f}",
        )  # fmt: skip


def seasons(source: Source, samples: NDArray[np.int64]) -> dict[str, Any]:
    """How many dates are in which local season, and the share of samples that have exactly one
    date in each; that is NaN where no dates are known."""
    columns = source.columns
    found = season(columns.time[samples], columns.lat[samples, None])
    known = (found >= 0).any(axis=1)
    each = np.stack([(found == s).sum(axis=1) for s in range(4)], axis=1)
    exact = (each == 1).all(axis=1)
    return {
        "dates": {name: int((found == s).sum()) for s, name in enumerate(SEASONS)},
        "unknown": int((found < 0).sum()),
        "one_date_in_each": float(exact[known].mean()) if known.any() else None,
    }


def clouds(source: Source, samples: NDArray[np.int64]) -> dict[str, Any] | None:
    """Mean and quantiles of the share of cloudy pixels; None where it is unknown."""
    cloud = source.columns.cloud[samples]
    cloud = cloud[np.isfinite(cloud)]
    if not cloud.size:
        return None
    levels = (0.5, 0.9, 1.0)
    return {
        "dates": int(cloud.size),
        "mean": float(cloud.mean(dtype=np.float64)),
        "quantiles": {str(q): float(np.quantile(cloud, q)) for q in levels},
        "above_half": float((cloud > 0.5).mean()),
    }


Check = Callable[[Sources], Iterator[Finding]]
COLUMN_CHECKS: dict[str, Check] = {"keys": keys, "dates": dates, "agreement": agreement}
"""By name; each looks at all modalities."""
