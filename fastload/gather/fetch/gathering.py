"""A gathering by any maker of samples: whose folder it is, what is left, and what came of it."""

import contextlib
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fastload.gather.fetch import manifest
from fastload.gather.fetch.claim import claim
from fastload.gather.fetch.location import Maker, Planned
from fastload.gather.fetch.manifest import Counts
from fastload.gather.fetch.run import Log, run
from fastload.gather.fetch.state import State
from fastload.gather.fetch.todo import Todo
from fastload.gather.fetch.work import Job
from fastload.gather.patch import LEFT_OUT, Outcome
from fastload.storage.errors import DataError
from fastload.storage.lock import alone

Say = Callable[[str], object]
WORKERS = 8
"""Locations at a time, by default; most of the time is waiting."""


@dataclass(frozen=True)
class Options:
    """How a gathering is done; but for the first two, none of it changes a byte.

    Attributes:
        split: folder below `OUT`.
        per_shard: locations of a shard.
        executor: "threads", "processes" or the address of a Dask scheduler; see `crew`.
        workers: how many locations at a time.
        leave_out: locations that are given up: absent, if they are not decided yet.
        progress: show a bar.
    """

    split: str = "train"
    per_shard: int = 512
    executor: str = "threads"
    workers: int = WORKERS
    leave_out: Sequence[int] = ()
    progress: bool = False

    def __post_init__(self) -> None:
        if not self.split or Path(self.split).name != self.split or self.split.startswith("."):
            raise ValueError(f"split must be a plain folder name, got {self.split!r}")
        for name in ("per_shard", "workers"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be 1 or more, got {getattr(self, name)}")


@dataclass(frozen=True)
class Fetched:
    """What came of fetching.

    Attributes:
        folder: `OUT`.
        counts: of all locations, as the manifest has them.
        sizes: bytes of all tars, by modality.
        shards: how many are written, of all runs, and of how many.
        log: what this run did.
        seconds: that it took.
    """

    folder: Path
    counts: Counts
    sizes: Mapping[str, int]
    shards: tuple[int, int]
    log: Log
    seconds: float


def gather(
    planned: Planned,
    maker: Maker,
    folder: Path,
    modalities: tuple[str, ...],
    told: Mapping[str, Any],
    options: Options,
    say: Say,
) -> Fetched:
    """Fetch samples into shards; see `fetch`, whose errors it has.

    Args:
        planned: where and when.
        maker: of samples.
        folder: `OUT`.
        modalities: of the samples.
        told: what they depend on, for `gather.json`.
        options: see there.
        say: receives sentences.
    """
    state = State(folder, len(planned), options.per_shard)
    state.own.mkdir(parents=True, exist_ok=True)
    with alone(state.own / "lock", "gathers"):
        layout = {"split": options.split, "locations_per_shard": options.per_shard}
        said = claim(folder, options.split, {**told, **layout}, say)
        job = Job(planned, maker, state, options.split, modalities)
        return _gather(job, said, options, say)


def _gather(job: Job, told: Mapping[str, Any], options: Options, say: Say) -> Fetched:
    start, log = time.monotonic(), Log()
    job.state.sweep(job.folder)
    todo = Todo(job.state, job.folder, say)
    _leave_out(job, todo, options.leave_out)
    try:
        run(job, todo, log, options.executor, options.workers, options.progress)
    except BaseException:
        with contextlib.suppress(OSError, DataError):
            _manifest(job, todo, told, log)
        raise
    counts = _manifest(job, todo, told, log)
    sizes = {m: sum(r.sizes.get(m, 0) for r in todo.records.values()) for m in job.modalities}
    shards, took = (len(todo.records), job.state.shards), time.monotonic() - start
    return Fetched(job.state.folder, counts, sizes, shards, log, took)


def _leave_out(job: Job, todo: Todo, numbers: Sequence[int]) -> None:
    """Decide that locations are absent."""
    for i in sorted(set(numbers)):
        if not 0 <= i < job.state.count:
            raise ValueError(f"leave_out: locations are 0 to {job.state.count - 1}, got {i}")
        if todo.is_left(i):
            failed = [{"attempt": None, "reason": LEFT_OUT, "detail": "by who ran the command"}]
            job.state.keep(Outcome(i, job.planned.key(i), None, failed=failed), {})
            todo.decided(i)


def _manifest(job: Job, todo: Todo, told: Mapping[str, Any], log: Log) -> Counts:
    """Write the manifest, if it does not say all that is known."""
    path = job.state.folder / manifest.FILE
    if not log.decided and not log.unfinished and not todo.locations:
        with contextlib.suppress(FileNotFoundError, ValueError):
            known = manifest.Manifest(path).counts
            if not known.open:
                return known
    return manifest.write(path, job.planned, job.state, job.modalities, told, log.unfinished)
