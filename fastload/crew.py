"""Who does offline work: threads, processes, or the workers of a Dask scheduler."""

import os
import pickle
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import (
    FIRST_COMPLETED,
    BrokenExecutor,
    Executor,
    Future,
    ProcessPoolExecutor,
    ThreadPoolExecutor,
    wait,
)
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache, partial
from multiprocessing import connection, get_context, parent_process
from pathlib import Path
from typing import Any, Generic, TypeVar

from fastload.extras import missing
from fastload.storage.errors import is_full

J = TypeVar("J")
U = TypeVar("U")
R = TypeVar("R")
Pool = TypeVar("Pool", bound=Executor)
EXECUTORS = "'processes', 'threads' or the address of a Dask scheduler, such as tcp://host:8786"
_DASK_TIMEOUT_S = 30


@dataclass(frozen=True)
class Crew(Generic[U, R]):
    """Those who do the units of a job.

    Attributes:
        submit: hands in a unit; the future holds what came of it.
        size: how many units are done at a time.
    """

    submit: Callable[[U], "Future[R]"]
    size: int


@contextmanager
def crew(
    do: Callable[[J, U], R], job: J, executor: str, workers: int, name: str = "crew"
) -> Iterator[Crew[U, R]]:
    """Those who do a job's units; what they have not begun when the block ends is dropped.

    Args:
        do: what is done to a unit of the job: a function of a module, called in any thread but the
            main one, see `GroupWriter`.
        job: what all units have in common; it pickles, and goes to each worker once.
        executor: "processes", "threads", or the address of a Dask scheduler, whose workers see
            all folders under the same paths.
        workers: how many threads or processes; a scheduler has its own.
        name: of the threads.

    Raises:
        ValueError: where the executor is none of these.
        ImportError: where Dask is not there.
        ConnectionError: where nobody answers at the address.
    """
    if workers < 1:
        raise ValueError(f"workers must be 1 or more, got {workers}")
    if executor == "threads":
        with _shut(ThreadPoolExecutor(workers, name)) as pool:
            yield Crew(lambda unit: pool.submit(do, job, unit), workers)
    elif executor == "processes":
        payload = pickle.dumps((do, job))
        spawn = get_context("spawn")
        made = ProcessPoolExecutor(workers, spawn, initializer=_receive, initargs=(payload,))
        with _shut(made) as processes:
            yield Crew(lambda unit: processes.submit(_in_process, unit), workers)
    elif ":" in executor:
        with _dask(do, job, executor) as found:
            yield found
    else:
        raise ValueError(f"executor must be {EXECUTORS}, got {executor!r}")


def work_off(
    at_work: Crew[U, R],
    units: Iterable[U],
    take: Callable[[R], Iterable[U]],
    say: Callable[[], object],
) -> BaseException | None:
    """Do units in their order, few of them waiting at a time.

    Args:
        at_work: does them.
        units: what is to be done.
        take: gets what came of each, in this thread; gives what is to be done next of all.
        say: called at an interrupt, after which what is in flight is finished.

    Returns:
        What ended it early: the first error of a unit or of `take`, or the interrupt. What was in
        flight then has been done, and taken. None where all is done.

    Raises:
        KeyboardInterrupt: the second one.
    """
    left, first = iter(units), deque[U]()
    waiting = set[Future[R]]()
    failure: BaseException | None = None
    while True:
        while failure is None and len(waiting) < 2 * at_work.size:
            try:
                unit = first.popleft() if first else next(left)
                waiting.add(at_work.submit(unit))
            except StopIteration:
                break
            except BrokenExecutor as error:
                failure = error
        if not waiting:
            return failure
        try:
            done, waiting = wait(waiting, return_when=FIRST_COMPLETED)
        except KeyboardInterrupt as interrupt:
            if failure is not None:
                raise  # told twice
            failure, done = interrupt, set()
            say()
        for future in done:
            fault = _taken(future, take, first)
            failure = failure or fault
        if failure is not None:
            waiting = {future for future in waiting if not future.cancel()}


def told_to_user(failure: BaseException, folder: Path, command: str, kept: str) -> BaseException:
    """What ended a job early as a sentence on what to do, where that is known; else as it is.

    Args:
        failure: of `work_off`.
        folder: that is written.
        command: a word, which is also the function's name.
        kept: a clause on what is done.
    """
    again = "run the same command again to go on"
    if isinstance(failure, BrokenExecutor):
        return OSError(
            f"{folder}: a worker process was killed, perhaps for want of memory; or `{command}` is "
            f"called by a script without `if __name__ == '__main__':`; {kept}; {again}, with fewer "
            "workers if need be"
        )
    if isinstance(failure, ConnectionError):
        return ConnectionError(f"{folder}: {failure}; {kept}; {again}")
    if isinstance(failure, OSError) and is_full(failure):
        return OSError(failure.errno, f"{folder}: the disk is full; {kept}; make room and {again}")
    return failure


def _taken(
    future: "Future[R]", take: Callable[[R], Iterable[U]], first: deque[U]
) -> BaseException | None:
    """Take what came of a unit; what kept it from that."""
    try:
        first.extend(take(future.result()))
    except BaseException as error:
        return error
    return None


@contextmanager
def _shut(pool: Pool) -> Iterator[Pool]:
    try:
        yield pool
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


_mine: list[Any] = []
"""What is done and the job, where this process is a worker."""


def _receive(payload: bytes) -> None:
    """Begin as a worker: an interrupt is the parent's affair, and its end is this one's, too."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    _mine[:] = pickle.loads(payload)


def _end_with_parent() -> None:
    parent = parent_process()
    if parent is not None:
        connection.wait([parent.sentinel])
        os._exit(1)


def _in_process(unit: Any) -> Any:
    do, job = _mine
    return _beside_main().submit(do, job, unit).result()


@lru_cache(1)
def _beside_main() -> ThreadPoolExecutor:
    """A worker's thread beside the main one; it lasts, and so does what is kept by thread."""
    return ThreadPoolExecutor(1)


@contextmanager
def _dask(do: Callable[[J, U], R], job: J, address: str) -> Iterator[Crew[U, R]]:
    try:
        from distributed import Client
    except ImportError as error:
        raise missing("a Dask scheduler needs dask.distributed", "dask") from error
    try:
        client: Any = Client(  # type: ignore[no-untyped-call]
            address, timeout=_DASK_TIMEOUT_S, set_as_default=False
        )
    except (OSError, ValueError) as error:
        raise ConnectionError(f"no Dask scheduler answers at {address} ({error})") from error
    with client:
        threads = client.nthreads()
        if not threads:
            raise ConnectionError(f"the Dask scheduler at {address} has no workers")
        payload = client.scatter(pickle.dumps((do, job)), broadcast=True, hash=False)
        submit = partial(client.get_executor(pure=False).submit, _for_dask, payload)
        yield Crew(submit, sum(threads.values()))


def _for_dask(payload: bytes, unit: Any) -> Any:
    """Do a unit; Dask calls this in threads of a pool, of which none is the main one."""
    do, job = _unpickled(payload)
    return do(job, unit)


@lru_cache(1)
def _unpickled(payload: bytes) -> Any:
    return pickle.loads(payload)
