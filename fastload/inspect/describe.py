"""What a data set holds, as plain values, and as a table."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastload.datasets.base import Dataset
from fastload.datasets.source import ChunkedSource, Source
from fastload.inspect.codecs import codec_of
from fastload.storage.dates import NO_TIME
from fastload.verify.columns import clouds, seasons

PROBES = 64
"""Samples whose stored bytes are counted."""


def described(dataset: Dataset) -> dict[str, dict[str, Any]]:
    """Facts on each modality, of its joined samples."""
    return {name: _modality(dataset, name) for name in dataset.sources}


def _modality(dataset: Dataset, name: str) -> dict[str, Any]:
    source, m = dataset.sources[name], dataset.modalities[name]
    rows = dataset.rows_of(name, np.arange(len(dataset)))
    time = source.columns.time[rows]
    known = time[time != NO_TIME].astype("datetime64[ns]").astype("datetime64[D]")
    return {
        "samples": len(rows),
        "shape": list(m.shape),
        "dtype": str(m.dtype),
        "bands": list(m.shown.names),
        "ground": None if m.ground is None else list(m.ground),
        "codec": codec_of(source),
        "bytes_decoded": m.timestamps * m.plane_bytes,
        "bytes_stored": _stored(source, rows),
        "files": len(getattr(source, "files", ())) or None,
        "dates": [str(known.min()), str(known.max())] if known.size else None,
        "fewer_dates": int(np.count_nonzero(_counts(source, rows) < m.timestamps)),
        "seasons": seasons(source, rows),
        "clouds": clouds(source, rows),
    }


def _counts(source: Source, rows: NDArray[np.int64]) -> NDArray[np.int32]:
    counts = source.columns.dates
    return (
        np.full(len(rows), source.modality.timestamps, np.int32) if counts is None else counts[rows]
    )


def _stored(source: Source, rows: NDArray[np.int64]) -> float | None:
    """Bytes that a sample has on disk, of some of them; None where nobody knows."""
    if not isinstance(source, ChunkedSource) or not len(rows):
        return None
    some = rows[np.linspace(0, len(rows) - 1, min(PROBES, len(rows))).astype(int)]
    wanted = np.ones((len(some), source.modality.timestamps), bool)
    return float(source.chunks(some, wanted).rows["stored"].sum() / len(some))


def of_sample(m: Any, pixels: NDArray[Any]) -> list[dict[str, Any]]:
    """Least, mean and greatest of each band of pixels ``[T, C, H, W]``, of what is a number."""
    names = m.shown.names or [str(i) for i in range(m.bands)]
    out = []
    for c, name in enumerate(names):
        values = pixels[:, c].astype(np.float64)
        finite = values[np.isfinite(values)]
        none = not finite.size
        out.append({
            "band": name,
            "min": None if none else float(finite.min()),
            "mean": None if none else float(finite.mean()),
            "max": None if none else float(finite.max()),
            "not_finite": int(values.size - finite.size),
        })  # fmt: skip
    return out


def rows_of(facts: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Facts of a modality as names and words."""
    T, C, H, W = facts["shape"]
    yield "samples", str(facts["samples"])
    yield "shape", f"{T} dates x {C} bands x {H} x {W} pixels"
    if facts["fewer_dates"]:
        yield "fewer dates", f"{facts['fewer_dates']} samples"
    yield "dtype", facts["dtype"]
    yield "bands", ", ".join(facts["bands"]) or "without names"
    if facts["ground"]:
        yield "ground", " x ".join(f"{x:g} m" for x in facts["ground"])
    yield "codec", facts["codec"]
    stored = facts["bytes_stored"]
    ratio = "" if not stored else f", {facts['bytes_decoded'] / stored:.2f} times smaller"
    on_disk = "" if stored is None else f"; {stored / 1e6:.3f} MB stored{ratio}"
    yield "a sample", f"{facts['bytes_decoded'] / 1e6:.3f} MB decoded{on_disk}"
    if facts["files"]:
        yield "files", str(facts["files"])
    yield "dates", " to ".join(facts["dates"]) if facts["dates"] else "unknown"
    found = facts["seasons"]
    if found["one_date_in_each"] is not None:
        each = ", ".join(f"{name} {count}" for name, count in found["dates"].items())
        yield (
            "local seasons",
            f"{each}; one date in each: {found['one_date_in_each']:.1%} of samples",
        )
    if facts["clouds"]:
        yield (
            "clouds",
            (
                f"{facts['clouds']['mean']:.1%} of pixels; more than a half on "
                f"{facts['clouds']['above_half']:.1%} of dates"
            ),
        )


def table(facts: Mapping[str, Mapping[str, Any]]) -> str:
    """All facts, for a terminal."""
    lines = []
    for name, about in facts.items():
        lines.append(name)
        lines += [f"  {what:14} {words}" for what, words in rows_of(about)]
    return "\n".join(lines)


def sample_table(name: str, found: list[dict[str, Any]]) -> str:
    """A sample's bands, for a terminal."""
    lines = [f"{name:14}{'min':>12}{'mean':>12}{'max':>12}{'no number':>12}"]
    for row in found:
        numbers = "".join(f"{number(row[k]):>12}" for k in ("min", "mean", "max"))
        lines.append(f"  {row['band']:12}{numbers}{row['not_finite']:12}")
    return "\n".join(lines)


def number(value: float | None) -> str:
    """A value in few digits."""
    return "-" if value is None else f"{value:.5g}"
