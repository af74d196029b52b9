"""What workers do: a location, or a shard whose locations are all decided."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from fastload.gather.fetch.again import Again
from fastload.gather.fetch.location import Maker, Planned, Tally, repeat, search
from fastload.gather.fetch.records import Record, record
from fastload.gather.fetch.state import State
from fastload.gather.pixels import shards
from fastload.gather.search.offsets import ItemError
from fastload.storage.errors import DataError, StorageError, is_full, is_scarce
from fastload.storage.remote.trouble import Gone, Refused, Trouble


class Unit(NamedTuple):
    """A location or a shard, by its number from 0 on."""

    kind: str
    number: int


class Done(NamedTuple):
    """What came of a unit.

    Attributes:
        unit: which.
        trouble: why a location could not be decided this time; empty where it was.
        down: whether that is the fault of servers, or of the way to them.
        requests, bytes: what a location took.
        record: of a shard.
    """

    unit: Unit
    trouble: str = ""
    down: bool = False
    requests: int = 0
    bytes: int = 0
    record: Record | None = None


@dataclass(frozen=True)
class Job:
    """A gathering.

    Attributes:
        planned: where and when.
        maker: of samples.
        state: what is done.
        split: folder below `OUT`.
        modalities: of each sample.
    """

    planned: Planned
    maker: Maker
    state: State
    split: str
    modalities: tuple[str, ...]

    @property
    def folder(self) -> Path:
        """Of the split."""
        return self.state.folder / self.split


def do(job: Job, unit: Unit) -> Done:
    """Do a unit; call it in any thread but the main one, see `GroupWriter`.

    Raises:
        OSError: of this machine, such as a full disk. What was written is removed.
        DataError: where a part was damaged since it was kept.
    """
    return build(job, unit) if unit.kind == "shard" else decide(job, unit)


def decide(job: Job, unit: Unit) -> Done:
    """Decide a location; one that cannot be decided stays as it is: where files or catalogue cannot
    be had, are damaged, or do not say what they must."""
    tally = Tally()
    try:
        if isinstance(job.planned, Again):
            outcome, samples = repeat(job.planned, unit.number, job.maker, tally)
        else:
            outcome, samples = search(job.planned, unit.number, job.maker, tally)
    except (OSError, DataError, ItemError) as error:
        if isinstance(error, OSError) and (is_scarce(error) or is_full(error)):
            raise
        down = isinstance(error, OSError | StorageError)
        return Done(unit, _told(error), down, tally.requests, tally.bytes)
    job.state.keep(outcome, samples)
    return Done(unit, requests=tally.requests, bytes=tally.bytes)


def _told(error: Exception) -> str:
    """What went wrong, without an error's number."""
    return error.reason if isinstance(error, Trouble | Refused | Gone) else str(error)


def build(job: Job, unit: Unit) -> Done:
    """Write the tars of a shard, all modalities or none, and its record."""
    state, number = job.state, unit.number
    samples = _samples(job, number)
    sizes = shards.write(job.folder, shards.NAME, number + 1, samples, job.modalities)
    return Done(unit, record=record(job.planned, state, number, job.modalities, sizes))


def _samples(job: Job, shard: int) -> Iterator[tuple[str, dict[str, bytes]]]:
    for location in job.state.locations(shard):
        samples = job.state.samples(location)
        if samples:
            yield job.planned.key(location), samples
