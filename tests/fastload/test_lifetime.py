"""How iterations, loaders and processes end: at once, whole, and without waiting for anybody."""

import contextlib
import gc
import os
import random
import signal
import sys
import threading
import time
import weakref
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fastload import DataError
from fastload.engines.workers import THREAD_NAME, Workers
from fastload.storage.handles import HANDLES
from tests.fastload import shardmaker
from tests.fastload.faulty import (
    Ended,
    Faults,
    Process,
    child,
    descriptors,
    mark,
    shim,
    slow,
    tell,
    until,
)
from tests.fastload.made import chunks, workers_alive
from tests.fastload.test_damage import keeping_times
from tests.fastload.test_machine import loader, opened

pytestmark = pytest.mark.timeout(120)


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve samples in four shards, with an index. Do not write there."""
    root = shardmaker.write(
        tmp_path_factory.mktemp("sound"), keys=[f"{i:07d}" for i in range(12)], per_shard=3
    )
    opened(str(root))
    return root


# --- iterations that are left ---


def leaving(root: str, engine: Any, workers: int, times: int) -> None:
    """Iterators in reference cycles, which the collector ends in whatever thread it runs in."""
    some = loader(opened(root), engine, num_workers=workers)
    list(some)
    next(iter(some))
    until(lambda: not workers_alive())
    collected: Counter[str] = Counter()

    def note(phase: str, _: Any) -> None:
        if phase == "stop":
            collected[threading.current_thread().name.startswith(THREAD_NAME)] += 1

    gc.collect()
    tasks, files = len(os.listdir("/proc/self/task")), descriptors()
    gc.callbacks.append(note)
    gc.set_threshold(50)
    rng, most = random.Random(1), 0
    for _ in range(times):
        cycle: list[Any] = [iter(some)]
        cycle.append(cycle)
        way = rng.randrange(4)
        if way:  # else it never begins
            next(cycle[0])
        if way == 1:
            cycle[0].close()
        if way == 2:
            for _ in some:
                break
        most = max(most, threading.active_count())
    gc.set_threshold(700)
    gc.callbacks.clear()
    del cycle
    gc.collect()
    until(lambda: not workers_alive())
    until(lambda: len(os.listdir("/proc/self/task")) <= tasks)
    assert len(list(some)) == 6
    tell([most, collected[True], descriptors() - files])


@pytest.mark.long
@pytest.mark.parametrize("workers", [0, 2])
def test_a_thousand_iterations_that_are_left(sound: Path, engine: Any, workers: int) -> None:
    _, in_workers, files = child(leaving, sound, engine, workers, 1000, limit=100).result()
    assert files <= 0
    if workers:
        assert in_workers > 10


def test_iterations_that_are_left(sound: Path, engine: Any) -> None:
    _, in_workers, files = child(leaving, sound, engine, 2, 100).result()
    assert in_workers
    assert files <= 0


def test_a_task_that_comes_after_the_end_is_not_waited_for() -> None:
    """The producer may share out work when its workers have already gone."""
    workers = Workers(2)
    workers.close()
    task = workers.share(3, lambda _: None)
    ended = threading.Event()

    def wait() -> None:
        with contextlib.suppress(RuntimeError):
            task.wait()
        ended.set()

    threading.Thread(target=wait, daemon=True).start()
    assert ended.wait(5)


# --- nothing is kept alive ---


def dropping(root: str, bad: str, engine: Any, workers: int) -> None:
    """Without the collector, names are all that keeps a loader, its files and its threads."""
    gc.collect()
    gc.disable()
    tell([dropped(bad if "error" in how else root, engine, workers, how) for how in WAYS])


def dropped(root: str, engine: Any, workers: int, how: str) -> list[Any]:
    """What is left of a loader some seconds after its last name is gone."""
    data = opened(root)
    some = loader(data, engine, num_workers=workers)
    iterator = iter(some)
    if how == "never begun":
        pass
    elif how == "all":
        list(iterator)
    elif how == "error":
        try:
            list(iterator)
        except DataError:
            pass
        else:
            raise AssertionError
    elif how == "unseen error":  # made ahead, and never asked for
        next(iterator)
        if workers:
            profile = some.profile
            until(lambda: profile.errors > 0)
    else:
        next(iterator)
    if how == "closed":
        iterator.close()  # type: ignore[attr-defined]
    names = {
        "iterator": weakref.ref(iterator), "loader": weakref.ref(some), "data": weakref.ref(data),
        "source": weakref.ref(next(iter(data.sources.values()))),
    }  # fmt: skip
    if some._engine is not None:
        names["engine"] = weakref.ref(some._engine)
        names["mover"] = weakref.ref(some._engine.mover)
        names["target"] = weakref.ref(some._engine.target)
    del iterator, some, data
    end = time.monotonic() + 5
    while time.monotonic() < end:
        left = [name for name, ref in names.items() if ref() is not None]
        if not left and not workers_alive() and not HANDLES.held() and not descriptors(".tar"):
            break
        time.sleep(0.005)
    return [how, left, workers_alive(), HANDLES.held(), descriptors(".tar")]


WAYS = ("never begun", "one batch", "closed", "all", "error", "unseen error")


@pytest.mark.parametrize(("engine", "workers"), [("threads", 0), ("threads", 2), ("dali", 2)])
def test_nothing_outlives_the_last_name(
    sound: Path, tmp_path: Path, engine: Any, workers: int
) -> None:
    bad = shardmaker.write(tmp_path)
    spoil(bad)
    found = child(dropping, sound, bad, engine, workers).result()
    assert found == [[how, [], [], 0, 0] for how in WAYS]


def spoil(root: Path) -> None:
    """A byte in each chunk of the second shard."""
    data = opened(str(root))
    found = [c for i in np.flatnonzero(data.group == 1).tolist() for c in chunks(data, i)]

    def change(content: bytearray) -> None:
        for chunk in found:
            content[chunk["offset"] + chunk["stored"] // 2] ^= 0x10

    keeping_times(shardmaker.shard(root, number=2), change)


# --- the process ends ---


def leave(root: str, engine: Any, workers: int, how: str, storage: str) -> None:
    """End with much work queued, on storage of which each read takes 20 s."""
    data = opened(root)
    batches = iter(loader(data, engine, 1, num_workers=workers, prefetch_factor=50))
    sys.modules["__main__"].kept = batches  # type: ignore[attr-defined]
    next(batches)
    if storage != "fast":
        stuck = hinder(data, storage)
        batches = iter(loader(data, engine, 1, num_workers=workers, prefetch_factor=50))
        sys.modules["__main__"].more = batches  # type: ignore[attr-defined]

        def ask() -> None:
            with contextlib.suppress(BaseException):  # it is cancelled as the process ends
                next(batches)

        threading.Thread(target=ask, daemon=True).start()
        until(stuck)
    mark()
    if how == "exit":
        sys.exit(3)
    if how == "error":
        raise ZeroDivisionError("on purpose")


def hinder(data: Any, storage: str) -> Callable[[], bool]:
    """Let each read take 20 s, in Python or beneath it; gives what tells whether one does."""
    if storage == "slow":
        return slow(data, 20).asleep.is_set
    faults = Faults()
    faults.fail(".tar", 0, delay_ms=20_000)
    return lambda: faults.met > 0


SLOWEST_EXIT_S = 12
"""An idle process that has loaded torch and DALI takes up to two seconds to go, and some times that
on a busy machine; a single read would take far more than this."""
CODES = {"exit": 3, "end": 0, "error": 1}


def check_exit(ended: Ended, how: str) -> None:
    assert ended.code == CODES[how], ended.err
    assert ended.seconds < SLOWEST_EXIT_S, ended.err
    if how == "error":
        assert ended.err.splitlines()[-1] == "ZeroDivisionError: on purpose"
        assert ended.err.count("Traceback") == 1
        assert "Exception ignored" not in ended.err
        assert "FATAL" not in ended.err
    else:
        assert ended.err == ""


@pytest.mark.parametrize(
    ("engine", "storage", "how"),
    [("threads", "slow", "exit"), ("threads", "stuck", "end"), ("threads", "fast", "error"),
     ("dali", "slow", "error"), ("dali", "stuck", "exit")],
)  # fmt: skip
def test_a_process_ends_at_once(sound: Path, engine: Any, how: str, storage: str) -> None:
    environment = {"LD_PRELOAD": shim()} if storage == "stuck" else {}
    check_exit(child(leave, sound, engine, 4, how, storage, **environment), how)


@pytest.mark.long
@pytest.mark.timeout(300)
def test_a_process_ends_at_once_whatever_its_threads_do(sound: Path, engine: Any) -> None:
    """Threads that work in compiled code while the interpreter goes away."""
    for _ in range(15):
        check_exit(child(leave, sound, engine, 4, "exit", "fast"), "exit")


# --- forks ---


def forking(root: str, engine: Any, workers: int) -> None:
    some = loader(opened(root), engine, num_workers=workers)
    expected = [batch["key"] for batch in some]
    some.set_epoch(0)
    batches = iter(some)
    next(batches)
    sys.stdout.flush()
    pid = os.fork()
    if not pid:
        code = 1
        try:
            try:
                next(batches)
            except RuntimeError as error:
                code = 2 if "forked" in str(error) and "iter()" in str(error) else 1
            some.set_epoch(0)
            if [batch["key"] for batch in some] == expected and code == 2:
                code = 0
            batches.close()  # type: ignore[attr-defined]
            del batches
        finally:
            os._exit(code)
    _, status = os.waitpid(pid, 0)
    rest = [batch["key"] for batch in batches]
    tell([os.waitstatus_to_exitcode(status), rest == expected[1:]])


@pytest.mark.parametrize("workers", [0, 2])
def test_an_iterator_does_not_go_on_in_a_forked_child(
    sound: Path, engine: Any, workers: int
) -> None:
    assert child(forking, sound, engine, workers).result() == [0, True]


def inheriting(root: str, engine: Any) -> None:
    some = loader(opened(root), engine, num_workers=2)
    list(some)
    gc.disable()
    cycle: list[Any] = [some]
    cycle.append(cycle)
    del some, cycle
    pid = os.fork()
    if not pid:
        os._exit(0 if gc.collect() else 1)
    _, status = os.waitpid(pid, 0)
    tell(os.waitstatus_to_exitcode(status))


def test_a_forked_child_may_collect_what_it_inherits(sound: Path, engine: Any) -> None:
    """DALI's pipelines have threads, which are not there."""
    assert child(inheriting, sound, engine).result() == 0


# --- interrupts ---


def interrupted(root: str, engine: Any, workers: int, storage: str) -> None:
    signal.signal(signal.SIGINT, signal.default_int_handler)
    data = opened(root)
    stuck = hinder(data, storage)
    batches = iter(loader(data, engine, 4, num_workers=workers, prefetch_factor=4))

    def tell_when() -> None:
        until(stuck)
        mark()

    threading.Thread(target=tell_when).start()
    next(batches)


def interrupt(process: Process) -> None:
    process.send_signal(signal.SIGINT)


@pytest.mark.parametrize(
    ("engine", "storage", "workers"),
    [("threads", "slow", 2), ("threads", "stuck", 0), ("dali", "stuck", 2)],
)
def test_an_interrupt_is_heard_at_once(
    sound: Path, engine: Any, workers: int, storage: str
) -> None:
    if storage == "stuck" and not workers:
        pytest.skip("a read in the calling thread is the system's to interrupt")
    environment = {"LD_PRELOAD": shim()} if storage == "stuck" else {}
    ended = child(interrupted, sound, engine, workers, storage, after_mark=interrupt, **environment)
    # Python ends itself by the signal, so that a shell knows.
    assert ended.code == -signal.SIGINT, ended.err
    assert ended.seconds < SLOWEST_EXIT_S, ended.err
    assert ended.err.splitlines()[-1] == "KeyboardInterrupt"
    assert ended.err.count("Traceback") == 1
