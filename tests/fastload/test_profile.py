import json
import pickle
import threading
import time
from typing import Any

import numba
import pytest

from fastload import DataLoader
from fastload.profile import Profile, verdict
from tests.fastload.made import BOTH, ENGINES, LOCATIONS, chunks, dataset, moco

pytestmark = pytest.mark.timeout(60)

KEYS = {
    "seconds", "elapsed", "bytes_in", "bytes_out", "samples", "batches", "errors", "replaced",
    "error_report", "verdict", "engine", "workers", "storage_errors", "first_batch", "compiling",
}  # fmt: skip
SECONDS = {"read", "decode", "copy", "views", "wait_for_consumer", "consumer_waiting"}


def check(stats: dict[str, Any]) -> None:
    assert set(stats) - {"pixels"} == KEYS  # which are counted from the first batch on
    assert set(stats["seconds"]) == SECONDS
    assert all(value >= 0 for value in stats["seconds"].values())
    assert 0 <= stats["seconds"]["consumer_waiting"] <= stats["elapsed"]
    assert json.loads(json.dumps(stats)) == stats


@pytest.mark.parametrize("engine", ["auto", *ENGINES])
@pytest.mark.parametrize("workers", [0, 3])
def test_counts_are_right(engine: Any, workers: int) -> None:
    data = dataset(None, BOTH)
    loader = DataLoader(data, 4, num_workers=workers, engine=engine)
    check(loader.stats())
    assert loader.stats()["verdict"] == "nothing delivered yet"
    packed = sum(
        int(chunks(data, sample, name)["stored"].sum())
        for name in BOTH
        for sample in range(LOCATIONS)
    )
    for epoch in (1, 2, 3):
        unpacked = sum(batch[name].nbytes for batch in loader for name in BOTH)
        stats = loader.stats()
        check(stats)
        assert stats["samples"] == epoch * LOCATIONS
        assert stats["batches"] == epoch * len(loader)
        assert stats["bytes_in"] == epoch * packed
        assert stats["bytes_out"] == epoch * unpacked
        assert (stats["errors"], stats["replaced"]) == (0, 0)
        assert stats["engine"] == ("dali" if engine == "dali" else "threads")
        assert stats["workers"] == workers


def test_only_the_dates_that_views_need_are_read() -> None:
    data = dataset(moco())
    loader = DataLoader(data, 4, shuffle=True)
    needed = 0
    for batch in loader:
        for b, sample in enumerate(batch["index"].tolist()):
            dates = data.times(sample).tolist()
            views = sorted({dates.index(batch["time"][v][b]) for v in (0, 1)})
            needed += int(chunks(data, sample, timestamps=views)["stored"].sum())
    assert loader.stats()["bytes_in"] == needed


@pytest.mark.parametrize("engine", ENGINES)
def test_figures_hold_at_any_time(engine: Any) -> None:
    loader = DataLoader(dataset(moco()), 2, num_workers=2, engine=engine)
    before = loader.stats()
    for step, _ in enumerate(loader, 1):
        stats = loader.stats()
        check(stats)
        assert stats["batches"] == step
        assert stats["samples"] >= 2 * step if step < len(loader) else LOCATIONS
        assert stats["elapsed"] >= before["elapsed"]
        before = stats
    for _ in loader:
        break
    assert loader.stats()["batches"] == len(loader) + 1
    check(loader.stats())


@pytest.mark.parametrize("engine", ENGINES)
def test_a_slow_consumer_is_the_limit(engine: Any) -> None:
    loader = DataLoader(dataset(moco()), 6, num_workers=2, engine=engine)
    list(loader)  # compiles, imports
    loader.profile = Profile()
    for _ in loader:
        time.sleep(0.5)  # a hundred times what a batch takes
    stats = loader.stats()
    assert stats["verdict"].startswith("the consumer limits"), stats
    assert stats["seconds"]["wait_for_consumer"] > stats["seconds"]["consumer_waiting"]


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("workers", [0, 2])
def test_the_loader_is_the_limit_of_an_instant_consumer(engine: Any, workers: int) -> None:
    loader = DataLoader(dataset(moco()), 1, num_workers=workers, engine=engine)
    for _ in loader:
        pass
    stats = loader.stats()
    assert stats["verdict"].startswith("the loader limits"), stats


@pytest.mark.parametrize(
    ("waiting", "stages", "sentence"),
    [
        (0.4, {}, "the consumer limits: it waited 4.0% of the time for data"),
        (0.0, {}, "the consumer limits: it waited 0.0% of the time for data"),
        (8.0, {"views": 3.0}, "the loader limits: the consumer waited 80.0% of the time; "
         "views takes 60% of the workers' busy time"),
        (5.0, {"read": 18.0}, "the loader limits: the consumer waited 50.0% of the time; "
         "read takes 90% of the workers' busy time"),
    ],
)  # fmt: skip
def test_verdict(waiting: float, stages: dict[str, float], sentence: str) -> None:
    seconds = {"read": 0.5, "decode": 1.0, "copy": 0.5, "views": 0.5} | stages
    busy, seconds = dict(seconds), {"consumer_waiting": waiting}
    assert verdict({"seconds": seconds, "elapsed": 10.0, "batches": 3}, busy) == sentence


def test_the_first_batch_is_timed_apart() -> None:
    """What happens once says nothing about what limits a run."""
    profile = Profile()
    profile.stages().decode = 30.0
    profile.delivered(60.0, 60.0)
    found = profile.summary()
    assert (found["first_batch"], found["elapsed"]) == (60.0, 0.0)
    assert found["seconds"]["consumer_waiting"] == 0.0
    assert found["verdict"] == "one batch delivered, after 60.0 s; nothing to compare yet"
    profile.stages().views = 1.0
    profile.delivered(0.5, 1.0)
    found = profile.summary()
    assert found["first_batch"] == 60.0
    assert found["seconds"]["decode"] == 30.0
    assert found["verdict"] == (
        "the loader limits: the consumer waited 50.0% of the time; "
        "views takes 100% of the workers' busy time"
    )


def test_compiling_is_counted() -> None:
    """Once, also where one function compiles another; what runs costs nothing."""
    profile = Profile()
    inner = numba.njit(lambda x: x + 1)
    outer = numba.njit(lambda x: inner(x) * 2)
    began = time.perf_counter()
    assert outer(1) == 4
    passed = time.perf_counter() - began
    counted = profile.summary()["compiling"]
    assert passed / 2 < counted <= passed
    outer(2)
    assert profile.summary()["compiling"] == counted
    assert Profile().summary()["compiling"] == 0


def test_threads_are_summed_up_and_forgotten() -> None:
    profile = Profile()

    def work() -> None:
        profile.stages().samples += 1
        profile.stages().decode += 0.5

    for _ in range(200):
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
    assert profile.summary()["samples"] == 200
    assert profile.summary()["seconds"]["decode"] == 100
    assert len(profile._threads) < 5


def test_many_epochs_keep_no_threads() -> None:
    loader = DataLoader(dataset(), LOCATIONS, num_workers=3)
    for _ in range(30):
        list(loader)
    assert loader.stats()["samples"] == 30 * LOCATIONS
    assert len(loader.profile._threads) <= 2 * 3 + 1


def test_a_profile_starts_anew_in_another_process() -> None:
    profile = Profile()
    profile.stages().samples += 3
    assert pickle.loads(pickle.dumps(profile)).summary()["samples"] == 0
