"""The device's part of the loader, with the host in the device's place: the same source, tables,
bookkeeping and kernels, run by a C++ compiler and by the public LZ4 and zstd libraries."""

import shutil
import time
import warnings
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from fastload import DataError, DataLoader, Recipe, View
from fastload.delivery import default_index
from fastload.engines import Options
from fastload.engines.device.queue import DeviceQueue
from fastload.engines.device.state import check_releases
from fastload.engines.device.target import DeviceTarget
from fastload.profile import Profile
from fastload_kernels.reference import count
from tests.fastload.made import (
    BOTH,
    LOCATIONS,
    assert_like_torch,
    assert_same,
    chunks,
    damaged,
    dataset,
    file_of,
    indices,
    moco,
    root,
    workers_alive,
)
from tests.fastload.test_loader_engines import CASES
from tests.fastload.twin import twin_engine

pytestmark = pytest.mark.timeout(120)
BATCH, SEED = 6, 6


class OnHost:
    """A loader whose device is the host."""

    def __init__(
        self,
        data: Any,
        engine: str,
        cache_bytes: int = 0,
        on_error: str = "raise",
        depth: int = 2,
        workers: int = 2,
    ) -> None:
        self.loader = DataLoader(data, BATCH, shuffle=True, seed=SEED)
        self.profile, self.depth, self.workers = Profile(), depth, workers
        options = Options(
            torch.device("cpu"), SEED, self.profile, BATCH, on_error, device_cache=cache_bytes
        )
        self.engine = twin_engine(engine, data, options)
        self.state = self.engine.target.state

    def epoch(self, epoch: int = 0) -> Iterator[dict[str, Any]]:
        steps = self.loader.plan.steps(epoch).since(0)
        return self.engine.iterate(self.workers, self.depth, epoch, steps)


def on_cpu(data: Any, epoch: int = 0, **more: Any) -> list[dict[str, Any]]:
    loader = DataLoader(data, BATCH, shuffle=True, seed=SEED, **more)
    loader.set_epoch(epoch)
    return list(loader)


@pytest.mark.parametrize("engine", ["threads", "dali"])
@pytest.mark.parametrize("case", CASES)
def test_the_device_gives_the_batches_of_the_cpu(case: str, engine: str) -> None:
    modalities, recipe = CASES[case]
    data = dataset(recipe, modalities, seed=SEED)
    dtype, pixels = ("float32", ()) if recipe is None else (recipe.dtype, modalities)
    found = list(OnHost(data, engine).epoch())
    for mine, theirs in zip(found, on_cpu(data), strict=True):
        assert_like_torch(mine, theirs, dtype, pixels)
        for path in modalities:
            views = [mine[path]] if recipe is None else mine[path]
            expected = [theirs[path]] if recipe is None else theirs[path]
            assert [v.stride() for v in views] == [v.stride() for v in expected]


@pytest.mark.parametrize("engine", ["threads", "dali"])
def test_batches_stay_as_they_are_while_others_are_made(engine: str) -> None:
    data = dataset(moco(), BOTH)
    loader = OnHost(data, engine, depth=1)
    kept, copies = [], []
    for epoch in range(2):
        for batch in loader.epoch(epoch):
            kept.append(batch)
            copies.append({n: [v.clone() for v in batch[n]] for n in BOTH})
    for batch, copy in zip(kept, copies, strict=True):
        assert_same({n: batch[n] for n in BOTH}, copy)
    pointers = [view.data_ptr() for batch in kept for n in BOTH for view in batch[n]]
    assert len(set(pointers)) == len(pointers)


@pytest.mark.parametrize("engine", ["threads", "dali"])
def test_cached_samples_are_drawn_and_shown_without_reading(engine: str) -> None:
    data = dataset(moco())
    m = data.modalities["S2L1C"]
    sample = int(np.prod(m.shape)) * 2
    for room in (5, LOCATIONS):
        loader = OnHost(data, engine, cache_bytes=room * sample + 7)
        for epoch in range(3):
            before = loader.profile.summary()["bytes_in"]
            found = list(loader.epoch(epoch))
            for mine, theirs in zip(found, on_cpu(data, epoch), strict=True):
                assert_like_torch(mine, theirs, "float32", ["S2L1C"])
            read = loader.profile.summary()["bytes_in"] - before
            assert (read == 0) == (epoch > 0 and room == LOCATIONS)
        assert loader.state.summary()["device_bytes"]["cache"] == room * sample


def test_cache_survives_an_iteration_that_was_given_up() -> None:
    data = dataset(moco())
    loader = OnHost(data, "dali", cache_bytes=10**9, depth=3)
    for _ in loader.epoch(0):
        break
    for epoch in (0, 1):
        for mine, theirs in zip(loader.epoch(epoch), on_cpu(data, epoch), strict=True):
            assert_like_torch(mine, theirs, "float32", ["S2L1C"])


@pytest.mark.parametrize("engine", ["threads", "dali"])
def test_unreadable_samples_are_replaced_as_on_the_cpu(tmp_path: Path, engine: str) -> None:
    path = damaged(tmp_path / "data", 3)
    data = dataset(moco(), BOTH, path=path)
    found = list(OnHost(data, engine, on_error="replace").epoch())
    expected = on_cpu(data, on_error="replace", error_report=tmp_path / "report")
    assert indices(found) == indices(expected)
    assert all(3 not in batch for batch in indices(found))
    for mine, theirs in zip(found, expected, strict=True):
        assert_like_torch(mine, theirs, "float32", BOTH)
    with pytest.raises(DataError, match="CRC-32"):
        list(OnHost(data, engine).epoch())


@pytest.mark.parametrize("engine", ["threads", "dali"])
def test_batches_that_are_given_up_outlive_the_work_on_them(
    engine: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun: list[weakref.ref[Any]] = []
    alive: list[bool] = []
    draw = DeviceTarget.draw

    def noted(self: DeviceTarget, epoch: int, samples: Any) -> Any:
        request = draw(self, epoch, samples)
        begun.append(weakref.ref(request))
        return request

    monkeypatch.setattr(DeviceTarget, "draw", noted)
    monkeypatch.setattr(
        DeviceQueue, "wait", lambda _: alive.extend(b() is not None for b in begun[1:3])
    )
    for _ in OnHost(dataset(moco()), engine, depth=2).epoch():
        while len(begun) < 3:
            time.sleep(0.001)
        break
    while not alive or workers_alive():  # an iterator that is dropped only tells its threads
        time.sleep(0.001)
    assert alive[:2] == [True, True]


def behind_its_checksum(folder: Path) -> Any:
    """A dataset with frames that only a decoder finds damaged: those of sample 3."""
    path = damaged(folder, 3)
    data = dataset(moco(), path=path)
    data.sources["S2L1C"].check_crc = False
    rows = chunks(data, 3)
    shard = file_of(data, rows[0])
    content = bytearray(shard.read_bytes())
    for row in rows:
        start, stored = int(row["offset"]), int(row["stored"])
        content[start + 60 : start + stored] = b"\xff" * (stored - 60)
    shard.write_bytes(content)
    return data


@pytest.mark.parametrize("on_error", ["raise", "replace"])
def test_frame_damaged_behind_its_checksum(tmp_path: Path, on_error: str) -> None:
    """With checksums off only the device's decoder sees it, by its status or the frame's fields."""
    loader = OnHost(behind_its_checksum(tmp_path / "data"), "dali", on_error=on_error)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if on_error == "raise":
            with pytest.raises(DataError, match="damaged"):
                list(loader.epoch())
        else:
            assert all(3 not in batch for batch in indices(list(loader.epoch())))
            assert loader.profile.replaced == 1


def test_damaged_pixels_do_not_stay_in_the_cache(tmp_path: Path) -> None:
    loader = OnHost(behind_its_checksum(tmp_path / "data"), "dali", cache_bytes=10**9)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for epoch in range(2):
            with pytest.raises(DataError, match="damaged"):
                list(loader.epoch(epoch))
    assert not loader.state.cache.holds(np.array([3]))[0]


def test_shards_that_change_under_a_run_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "data"
    shutil.copytree(root(), path)
    data = dataset(moco(), path=path)
    for shard in (path / "train" / "S2L1C").glob("*.tar"):
        with shard.open("ab") as file:
            file.write(b"more")
    with pytest.raises(DataError, match="when it was indexed"):
        list(OnHost(data, "dali").epoch())


def test_pixels_are_counted_as_the_reference_does() -> None:
    views = (View(size=16, scale=(0.5, 1.0)), View(size=9, timestamp="all"))
    data = dataset(Recipe(views, moco().radiometry))
    loader = OnHost(data, "dali")
    seen = indices(list(loader.epoch()))
    m, nodata = data.modalities["S2L1C"], data.modalities["S2L1C"].fill_value
    total = np.zeros(3, np.int64)
    for ids in seen:
        params = data.draw(np.array(ids), SEED, 0)
        for sample, drawn in zip(ids, params, strict=True):
            for view, p in zip(views, drawn, strict=True):
                t = int(p["timestamp"])
                for image in data.read("S2L1C", sample, range(m.timestamps) if t < 0 else [t]):
                    total += count(image, p, view, nodata=nodata)
    found = loader.state.summary()["pixels"]
    assert list(found.values()) == total.tolist()


def test_a_gpu_that_is_not_there_is_refused() -> None:
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    with pytest.raises(ValueError, match="torch finds no GPU"):
        DataLoader(dataset(moco()), 4, device="cuda")


@pytest.mark.parametrize(
    ("current", "local_rank", "count", "expected"),
    [
        (0, None, 4, 0), (2, None, 4, 2), (0, "3", 4, 3), (2, "3", 4, 2), (0, "3", 1, 0),
        (0, "x", 4, 0), (0, "", 4, 0),
    ],
)  # fmt: skip
def test_the_default_gpu(current: int, local_rank: str | None, count: int, expected: int) -> None:
    assert default_index(current, local_rank, count) == expected


def test_releases_of_cuda_that_do_not_fit() -> None:
    check_releases("13.2", 13)
    with pytest.raises(ImportError, match=r"torch is built for CUDA 13\.2, CuPy for CUDA 12"):
        check_releases("13.2", 12)
