"""The units of work of a verification, and what does them: threads, or processes by spawn."""

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, as_completed
from itertools import islice
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastload.crew import crew
from fastload.datasets.source import Source
from fastload.datasets.zarrs.zarr_source import ZarrSource
from fastload.verify.pixels import check_block
from fastload.verify.shards import check_shard

BLOCK = 16
"""Samples of a unit."""
Result = dict[str, Any]


class Unit(NamedTuple):
    """Some samples of a source, or one of its shards."""

    kind: str
    source: str
    number: int
    samples: tuple[int, ...] = ()

    @property
    def name(self) -> str:
        """For the state."""
        return f"{self.kind}/{self.source}/{self.number}"


def units(sources: Mapping[str, Source], samples: Mapping[str, NDArray[np.int64]]) -> list[Unit]:
    """All that there is to do: the shards that hold the samples, then the samples."""
    out = []
    for name, source in sources.items():
        if isinstance(source, ZarrSource) and "/" not in name:
            numbers = np.unique(source.index.shard[samples[name]]).tolist()
            out += [Unit("shard", name, n) for n in numbers]
    for name in sources:
        rows = samples[name].tolist()
        starts = range(0, len(rows), BLOCK)
        out += [Unit("pixels", name, s, tuple(rows[s : s + BLOCK])) for s in starts]
    return out


def do(sources: Mapping[str, Source], unit: Unit) -> Result:
    """One unit's findings, and the tally of its pixels; plain values."""
    source, name = sources[unit.source], unit.source.partition("/")[0]
    if unit.kind == "shard":
        assert isinstance(source, ZarrSource)
        return {"findings": [f.plain() for f in check_shard(name, source, unit.number)]}
    # Of further arrays no name says what their numbers mean.
    block = check_block(unit.source, source, unit.samples)
    return {"findings": [f.plain() for f in block.findings], "tally": block.tally.plain()}


def results(
    sources: Mapping[str, Source], todo: Sequence[Unit], workers: int, processes: bool
) -> Iterator[tuple[Unit, Result]]:
    """Do the units, in any order, with few of them waiting."""
    left, waiting = iter(todo), dict[Future[Result], Unit]()
    executor = "processes" if processes else "threads"
    with crew(do, dict(sources), executor, workers, "verify") as at_work:
        while True:
            for unit in islice(left, 4 * workers - len(waiting)):
                waiting[at_work.submit(unit)] = unit
            if not waiting:
                return
            done = next(as_completed(waiting))
            yield waiting.pop(done), done.result()
