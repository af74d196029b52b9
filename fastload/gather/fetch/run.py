"""A gathering from the first location to the last shard."""

from dataclasses import dataclass, field
from typing import Any

from tqdm.auto import tqdm

from fastload.crew import crew, told_to_user, work_off
from fastload.gather.fetch.todo import Todo
from fastload.gather.fetch.work import Done, Job, Unit, do

MOST_IN_A_ROW = 40
"""Locations that fail one after the other, beside those in flight, before all is given up, where
servers do not answer."""


@dataclass
class Log:
    """What this run did.

    Attributes:
        decided: locations.
        unfinished: those that could not be decided, by number, and why.
        written: shards.
        requests, bytes: of all locations.
        in_a_row: how many failed since one was decided, for what servers or the way to them did.
    """

    decided: int = 0
    unfinished: dict[int, str] = field(default_factory=dict)
    written: int = 0
    requests: int = 0
    bytes: int = 0
    in_a_row: int = 0


def run(job: Job, todo: Todo, log: Log, executor: str, workers: int, progress: bool) -> None:
    """Do all that is left, and log it.

    Raises:
        OSError: such as a full disk; what is done stays.
        ConnectionError: where location after location fails.
        KeyboardInterrupt: after what was in flight has been finished; a second one at once.
    """
    if not todo.left:
        return
    bar: Any = tqdm(total=job.state.count, initial=job.state.count - todo.locations,
                    desc="gathering", unit="location", disable=not progress)  # fmt: skip
    with bar, crew(do, job, executor, workers, "gather") as at_work:

        def take(done: Done) -> list[Unit]:
            found = _take(done, todo, log)
            bar.update(done.unit.kind == "location" and not done.trouble)
            if log.in_a_row >= MOST_IN_A_ROW + at_work.size:
                raise ConnectionError(
                    f"{log.in_a_row} locations in a row could not be fetched, the last one because "
                    f"{done.trouble}"
                )
            return found

        told = "finishing the locations that are being fetched; again to stop at once"
        failure = work_off(at_work, todo.units(), take, lambda: bar.write(told))
    if failure is not None:
        count = job.state.count
        kept = f"{count - todo.locations} of {count} locations are done and stay"
        raise told_to_user(failure, job.state.folder, "fetch", kept) from failure


def _take(done: Done, todo: Todo, log: Log) -> list[Unit]:
    """Note what came of a unit; gives what is to be done next."""
    log.requests += done.requests
    log.bytes += done.bytes
    if done.record is not None:
        todo.written(done.record)
        log.written += 1
        return []
    if done.trouble:
        log.unfinished[done.unit.number] = done.trouble
        log.in_a_row += done.down
        return []
    log.decided += 1
    log.in_a_row = 0
    return todo.decided(done.unit.number)
