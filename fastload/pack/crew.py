"""Who writes shards: threads, processes, or the workers of a Dask scheduler."""

import os
import pickle
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import contextmanager
from functools import lru_cache, partial
from multiprocessing import get_context, parent_process
from multiprocessing.connection import wait
from typing import Any, TypeVar

from fastload.extras import missing
from fastload.pack.job import Job
from fastload.pack.shard import Written, write_shard

Pool = TypeVar("Pool", bound=Executor)
Submit = Callable[[int], "Future[Written]"]
"""Hands in the number of a shard."""
EXECUTORS = "'processes', 'threads' or the address of a Dask scheduler, such as tcp://host:8786"
_DASK_TIMEOUT_S = 30


@contextmanager
def crew(job: Job, executor: str, workers: int) -> Iterator[Submit]:
    """Those who write the shards of a job; what they have not begun when the block ends is dropped.

    Args:
        job: theirs.
        executor: "processes", "threads", or the address of a Dask scheduler, whose workers see
            source and target under the same paths.
        workers: how many threads or processes; a scheduler has its own.

    Raises:
        ValueError: where the executor is none of these.
        ImportError: where Dask is not there.
        ConnectionError: where nobody answers at the address.
    """
    if workers < 1:
        raise ValueError(f"workers must be 1 or more, got {workers}")
    if executor == "threads":
        with _shut(ThreadPoolExecutor(workers, "pack")) as pool:
            yield lambda shard: pool.submit(write_shard, job, shard)
    elif executor == "processes":
        payload = pickle.dumps(job)
        spawn = get_context("spawn")
        made = ProcessPoolExecutor(workers, spawn, initializer=_receive, initargs=(payload,))
        with _shut(made) as processes:
            yield lambda shard: processes.submit(_in_process, shard)
    elif ":" in executor:
        with _dask(job, executor) as submit:
            yield submit
    else:
        raise ValueError(f"executor must be {EXECUTORS}, got {executor!r}")


@contextmanager
def _shut(pool: Pool) -> Iterator[Pool]:
    try:
        yield pool
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


_mine: list[Job] = []
"""The job of this process, where it is a worker."""


def _receive(payload: bytes) -> None:
    """Begin as a worker: an interrupt is the parent's affair, and its end is this one's, too."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    _mine[:] = [pickle.loads(payload)]


def _end_with_parent() -> None:
    parent = parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)


def _in_process(shard: int) -> Written:
    return _beside_main(_mine[0], shard)


def _beside_main(job: Job, shard: int) -> Written:
    """Write a shard in a thread other than the main one, see `GroupWriter`."""
    with ThreadPoolExecutor(1) as one:
        return one.submit(write_shard, job, shard).result()


@contextmanager
def _dask(job: Job, address: str) -> Iterator[Submit]:
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
        if not client.scheduler_info().get("workers"):
            raise ConnectionError(f"the Dask scheduler at {address} has no workers")
        payload = client.scatter(pickle.dumps(job), broadcast=True, hash=False)
        yield partial(client.get_executor(pure=False).submit, _for_dask, payload)


def _for_dask(payload: bytes, shard: int) -> Written:
    return _beside_main(_unpickled(payload), shard)


@lru_cache(1)
def _unpickled(payload: bytes) -> Job:
    found: Job = pickle.loads(payload)
    return found
