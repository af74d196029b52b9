"""All checks of a data set, one after the other, and the report."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm.auto import tqdm

from fastload.datasets.source import Source
from fastload.datasets.zarrs.zarr_source import ZarrSource
from fastload.extras import missing
from fastload.ground import overlaps, size_of
from fastload.statistics import Statistics
from fastload.verify import columns, work
from fastload.verify.finding import Finding
from fastload.verify.pixels import OPTICAL, Tally, offset
from fastload.verify.shards import others
from fastload.verify.state import State, digest

SOME_IOU = 0.01
"""Patches that share less are neighbours."""
MOST_PAIRS = 10_000
"""Overlapping pairs that are told one by one."""
Samples = dict[str, NDArray[np.int64]]


@dataclass
class Report:
    """What was looked at, and what is wrong.

    Attributes:
        findings: sorted; none where all is sound.
        facts: by modality, plain values.
        checks: by name, "done" or why not.
        resumed: units of work that an earlier run had done.
    """

    findings: list[Finding] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)
    checks: dict[str, str] = field(default_factory=dict)
    resumed: int = 0

    @property
    def counts(self) -> dict[str, int]:
        """Findings by kind."""
        return dict(Counter(f.kind for f in self.findings))

    def plain(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "sound": not self.findings,
            "counts": self.counts,
            "findings": [f.plain() for f in self.findings],
            "facts": self.facts,
            "checks": self.checks,
            "resumed": self.resumed,
        }


def verify(
    sources: Mapping[str, Source],
    statistics: Statistics,
    *,
    before: Iterable[Finding] = (),
    quick: int | None = None,
    seed: int = 0,
    workers: int = 1,
    processes: bool = False,
    state: Path | None = None,
    fresh: bool = False,
    patch_metres: float | None = None,
    least_iou: float = SOME_IOU,
    progress: bool = False,
) -> Report:
    """Look at all of a data set, or at the pixels of some samples.

    Args:
        sources: by modality, which need not be joined.
        statistics: what the pixels should obey.
        before: what was found when they were opened.
        quick: samples of each modality whose pixels and shards are looked at; None: all.
        seed: of their choice.
        workers: threads, or with `processes` processes.
        state: file that keeps what is done; an interrupted verification goes on from it.
        fresh: begin anew.
        patch_metres: side of a patch; what the layout says by default.
        least_iou: overlap that is wrong, 0 to 1.
        progress: show a bar.

    Raises:
        ValueError: where an argument is out of range.
    """
    if workers < 1 or (quick is not None and quick < 1):
        raise ValueError(f"workers and quick must be at least 1, got {workers} and {quick}")
    report = Report([*before])
    for name, check in columns.COLUMN_CHECKS.items():
        report.findings += check(sources)
        report.checks[name] = "done"
    samples = _chosen(sources, quick, seed)
    for name, source in sources.items():
        report.facts[name] = _described(source, samples[name])
    _overlap(report, sources, patch_metres, least_iou)
    _pixels(report, sources, samples, statistics, workers, processes, state, fresh, progress)
    report.findings = sorted(set(report.findings))
    return report


def _chosen(sources: Mapping[str, Source], quick: int | None, seed: int) -> Samples:
    """Rows of each source; the same keys in all of them, as far as they have them."""
    if quick is None:
        return {name: np.arange(len(source)) for name, source in sources.items()}
    every = np.unique(np.concatenate([s.columns.key for s in sources.values()]))
    count = min(quick, len(every))
    some = np.random.default_rng(seed).choice(every, count, replace=False)
    return {n: np.flatnonzero(np.isin(s.columns.key, some)) for n, s in sources.items()}


def _described(source: Source, samples: NDArray[np.int64]) -> dict[str, Any]:
    every = np.arange(len(source))
    return {
        "samples": len(source),
        "looked_at": len(samples),
        "seasons": columns.seasons(source, every),
        "clouds": columns.clouds(source, every),
    }


def _overlap(
    report: Report, sources: Mapping[str, Source], patch_metres: float | None, least: float
) -> None:
    """Overlapping patches of the first modality that has places and a size."""
    placed = {n: s for n, s in sources.items() if np.isfinite(s.columns.lon).any()}
    found = ((n, s, size_of(s.modality, patch_metres)) for n, s in placed.items())
    name, source, size = next((x for x in found if x[2] is not None), ("", None, None))
    if source is None or size is None:
        why = "no place is known" if not placed else "the patches' size is unknown: --patch-metres"
        report.checks["overlap"] = f"skipped: {why}"
        return
    c = source.columns
    try:
        pairs = overlaps(c.lon, c.lat, *size, least)
    except ImportError:
        report.checks["overlap"] = f"skipped: {missing('overlaps need shapely', 'tools')}"
        return
    report.checks["overlap"] = "done"
    report.facts[name]["overlap"] = {
        "pairs": len(pairs.iou), "largest": float(pairs.iou.max(initial=0)), "metres": [*size],
    }  # fmt: skip
    for a, b, iou in zip(*(x[:MOST_PAIRS].tolist() for x in pairs), strict=True):
        report.findings.append(Finding(
            "overlap", name, columns.where(source, b), columns.key(source, b), "lon, lat",
            f"a patch apart from {columns.key(source, a)}", f"IoU {iou:.3f}",
        ))  # fmt: skip


def _pixels(
    report: Report,
    sources: Mapping[str, Source],
    samples: Samples,
    statistics: Statistics,
    workers: int,
    processes: bool,
    path: Path | None,
    fresh: bool,
    progress: bool,
) -> None:
    """Shards and pixels, unit by unit."""
    every, rows = dict(sources), dict(samples)
    for name, source in sources.items():
        if isinstance(source, ZarrSource):
            more, findings = others(name, source)
            every |= more
            rows |= dict.fromkeys(more, samples[name])
            report.findings += findings
    todo = work.units(every, rows)
    state = State(path, digest(every, rows, work.BLOCK), fresh)
    left = [unit for unit in todo if unit.name not in state.done]
    report.resumed = len(todo) - len(left)
    complete = False
    try:
        with tqdm(
            total=len(todo), initial=report.resumed, unit="unit", disable=not progress
        ) as bar:
            for unit, result in work.results(every, left, workers, processes):
                state.finished(unit.name, result)
                bar.update()
        complete = True
    finally:
        state.close(complete)
    _collect(report, sources, todo, state, statistics)


def _collect(
    report: Report,
    sources: Mapping[str, Source],
    todo: list[work.Unit],
    state: State,
    statistics: Statistics,
) -> None:
    """What the units found, in their own order, so that sums do not depend on who was first."""
    tallies = {name: Tally.none(source.modality.bands) for name, source in sources.items()}
    for unit in todo:
        result = state.done[unit.name]
        report.findings += [Finding(**f) for f in result["findings"]]
        if "tally" in result and unit.source in tallies:
            tallies[unit.source].merge(Tally.of(result["tally"]))
    for name, tally in tallies.items():
        m, source = sources[name].modality, sources[name]
        bands = m.shown.names or tuple(map(str, range(m.bands)))
        place = str(getattr(getattr(source, "store", None), "place", ""))
        report.findings += offset(name, place, bands, tally, statistics)
        report.facts[name]["pixels"] = _counted(bands, tally, name in OPTICAL)
    report.checks |= dict.fromkeys(("shards", "pixels", "offset"), "done")


def _counted(bands: tuple[str, ...], tally: Tally, is_optical: bool) -> dict[str, Any]:
    out: dict[str, Any] = {"bands": list(bands)}
    for name in ("pixels", "nan", "infinite", "no_data"):
        out[name] = [int(n) for n in getattr(tally, name)]
    out["mean"] = [None if np.isnan(x) else float(x) for x in tally.mean]
    if is_optical:
        out["dark"] = [None if x >= 1e300 else float(x) for x in tally.dark]
    return out
