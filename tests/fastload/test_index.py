import multiprocessing
import os
import pickle
import signal
import time
import tracemalloc
import warnings
from collections.abc import Callable
from concurrent.futures import Executor, Future
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fastload import SSL4EOS12, DataError
from fastload.storage import index as storage_index
from fastload.storage.index import FILE, Index, load, merge, open_index, save
from fastload.storage.scan import scan
from fastload.storage.store import Local
from tests.fastload import shardmaker as make
from tests.fastload.conftest import Open


class Spy(Executor):
    """Runs at once, and notes what was scanned."""

    def __init__(self) -> None:
        self.scanned: list[str] = []

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> "Future[Any]":
        self.scanned.append(args[1])
        future: Future[Any] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as error:
            future.set_exception(error)
        return future


def names(*numbers: int) -> list[str]:
    return [f"ssl4eos12_shard_{n:06d}.tar" for n in numbers]


def folder(root: Path) -> Path:
    return root / "train" / "S2L1C"


def scanned(root: Path) -> list[str]:
    """What opening scans."""
    spy = Spy()
    open_index(Local(folder(root)), spy)
    return spy.scanned


def all_keys(root: Path) -> list[str]:
    return [k.decode() for k in open_index(Local(folder(root)), Spy()).key]


def check_pixels(ds: SSL4EOS12) -> None:
    for i, key in enumerate(ds.keys):
        assert make.same(ds.read("S2L1C", i), make.pixels(f"S2L1C {int(key)}"))


def touch(path: Path) -> None:
    stat = path.stat()
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns + 1_000_000))


def test_built_once_then_loaded(tiny: Path) -> None:
    assert scanned(tiny) == names(1, 2)
    assert (folder(tiny) / FILE).is_file()
    assert scanned(tiny) == []


def test_rows_are_what_the_shards_hold(tiny: Path, reopen: Open) -> None:
    ds = reopen(tiny)
    assert ds.keys.tolist() == list(make.KEYS)
    np.testing.assert_array_equal(ds.group, [0, 0, 0, 1, 1, 1])
    for i in range(len(ds)):
        np.testing.assert_array_equal(ds.times(i), make.dates(i, make.T))
    check_pixels(ds)


def test_loaded_by_memory_map(tiny: Path) -> None:
    open_index(Local(folder(tiny)), Spy())
    tracemalloc.start()
    index = load(folder(tiny) / FILE)
    taken, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    for name in ("key", "lon", "lat", "time", "cloud", "chunks", "first"):
        array = getattr(index, name)
        assert not array.flags.writeable
        assert not array.flags.owndata
    assert taken < 100_000
    with Path("/proc/self/maps").open() as maps:
        assert any(str(folder(tiny) / FILE) in line for line in maps)


def test_a_changed_time_is_scanned_again(tiny: Path) -> None:
    scanned(tiny)
    touch(make.shard(tiny, number=2))
    assert scanned(tiny) == names(2)
    assert scanned(tiny) == []


def test_a_changed_size_is_scanned_again(tiny: Path, reopen: Open) -> None:
    scanned(tiny)
    path = make.shard(tiny, number=1)
    before = path.stat()
    make.write_tar(path, {"0000007": make.sample(7)})
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert path.stat().st_mtime_ns == before.st_mtime_ns
    assert scanned(tiny) == names(1)
    ds = reopen(tiny)
    assert ds.keys.tolist() == ["0000007", "0000003", "0000004", "0000005"]
    check_pixels(ds)


def test_added_tars_join_between_the_others(tiny: Path, reopen: Open) -> None:
    make.shard(tiny, number=2).rename(make.shard(tiny, number=9))
    scanned(tiny)
    make.write_tar(make.shard(tiny, number=5), {"0000007": make.sample(7)})
    assert scanned(tiny) == names(5)
    ds = reopen(tiny)
    assert [int(k) for k in ds.keys] == [0, 1, 2, 7, 3, 4, 5]
    check_pixels(ds)


@pytest.mark.parametrize(("gone", "left"), [(1, [3, 4, 5]), (2, [0, 1, 2])])
def test_removed_tars_leave(tiny: Path, reopen: Open, gone: int, left: list[int]) -> None:
    scanned(tiny)
    make.shard(tiny, number=gone).unlink()
    assert scanned(tiny) == []
    ds = reopen(tiny)
    assert [int(k) for k in ds.keys] == left
    check_pixels(ds)


def test_kept_rows_of_many_layouts(tmp_path: Path, reopen: Open) -> None:
    kinds: list[dict[str, Any]] = [
        {},
        {"order": "F"},
        {"chunks": (2, 3, 10, 24)},
        {"separator": "/"},
    ]
    for n, kind in enumerate(kinds):
        contents = {f"{2 * n + j:07d}": make.sample(2 * n + j, **kind) for j in range(2)}
        make.write_tar(make.shard(tmp_path, number=n + 1), contents)
    assert scanned(tmp_path) == names(1, 2, 3, 4)
    make.shard(tmp_path, number=1).unlink()
    touch(make.shard(tmp_path, number=3))
    assert scanned(tmp_path) == names(3)
    ds = reopen(tmp_path)
    assert [int(k) for k in ds.keys] == [2, 3, 4, 5, 6, 7]
    check_pixels(ds)


def test_a_layout_that_is_gone_is_forgotten(tiny: Path, reopen: Open) -> None:
    """A shard of another shape is refused; once it is replaced, the rest opens."""
    path = make.shard(tiny, number=2)
    sound = path.read_bytes()
    make.write_tar(path, {"0000003": make.zipped(make.group(make.pixels(1, (4, 2, 24, 24))))})
    with pytest.raises(DataError, match="differ in shape"):
        reopen(tiny)
    path.write_bytes(sound)
    assert len(reopen(tiny)) == 6


def test_timestamps_of_tars_may_differ_in_the_index(tmp_path: Path) -> None:
    make.write_tar(make.shard(tmp_path), {"a": make.sample(1)})
    two = make.zipped(make.group(make.pixels(1, (2, 3, 24, 24))))
    make.write_tar(make.shard(tmp_path, number=2), {"b": two})
    index = open_index(Local(folder(tmp_path)))
    assert index.time.shape == (2, 4)
    np.testing.assert_array_equal(index.time[1, :2], make.dates(0, 2))
    assert (index.time[1, 2:] == np.iinfo(np.int64).min).all()


def test_shards_without_samples(tmp_path: Path, reopen: Open) -> None:
    """A15: however many zeros, and whatever lies beside it."""
    path = make.write_tar(make.shard(tmp_path), {})
    for size in (path.stat().st_size, 2**20, 2**22, 512, 1024):
        path.write_bytes(bytes(size))
        with pytest.raises(DataError, match=r"holds no \*.zarr.zip sample") as caught:
            reopen(tmp_path)
        assert caught.value.shard == str(path)
    make.write_tar(make.shard(tmp_path, number=2), {"0000001": make.sample(1)})
    with pytest.raises(DataError, match=r"shard_000001.tar: .*holds no \*.zarr.zip sample"):
        reopen(tmp_path)


# --- damage of the index itself ---


def in_place(path: Path, at: int, value: int) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= value
    path.write_bytes(bytes(data))


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: b"",
        lambda data: data[:10],
        lambda data: data[:-1],
        lambda data: data[: len(data) // 2],
        lambda data: data + b"\0",
        lambda data: b"PK" + data[2:],
        lambda data: data[:8] + b"\xff" * 8 + data[16:],
        lambda data: data[:40] + b"}" + data[41:],
        lambda data: data.replace(b'"version": 4', b'"version": 9'),
        lambda data: b"\0" * len(data),
    ],
    ids=range(10),
)
def test_a_damaged_index_is_built_anew(
    tiny: Path, reopen: Open, damage: Callable[[bytes], bytes]
) -> None:
    reopen(tiny)
    path = folder(tiny) / FILE
    sound = path.read_bytes()
    assert damage(sound) != sound
    path.write_bytes(damage(sound))
    with pytest.warns(UserWarning, match="is not a sound index"):
        ds = reopen(tiny)
    assert path.read_bytes() == sound
    check_pixels(ds)


def test_no_byte_of_the_index_is_trusted(tiny: Path, reopen: Open) -> None:
    """A14: any flipped byte is found at opening, in the chunk table too; the index is rebuilt."""
    reopen(tiny)
    path = folder(tiny) / FILE
    sound = path.read_bytes()
    found_at_opening = 0
    for at in range(0, len(sound), 29):
        data = bytearray(sound)
        data[at] ^= 1 << at % 8
        path.write_bytes(bytes(data))
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            ds = reopen(tiny)
        found_at_opening += bool(caught)
        assert ds.keys.tolist() == list(make.KEYS)
        check_pixels(ds)
        assert bytes(data) == sound or not caught or path.read_bytes() == sound
    assert 0 < found_at_opening < len(sound) / 29


def test_a_directory_where_the_index_should_be(tiny: Path, reopen: Open) -> None:
    (folder(tiny) / FILE).mkdir()
    with (
        pytest.warns(UserWarning, match="is not a sound index"),
        pytest.warns(UserWarning, match="is kept in"),
    ):
        check_pixels(reopen(tiny))


# --- folders that cannot be written ---


def test_a_read_only_folder_is_indexed_in_the_cache(tiny: Path, cache: Path, reopen: Open) -> None:
    folder(tiny).chmod(0o555)
    try:
        check_pixels(reopen(tiny))
        assert sorted(os.listdir(folder(tiny))) == names(1, 2)
        assert [p.suffix for p in sorted((cache / "index").iterdir())] == [".index", ".lock"]
        assert scanned(tiny) == []
        touch(make.shard(tiny, number=2))
        assert scanned(tiny) == names(2)
    finally:
        folder(tiny).chmod(0o755)


def test_a_stale_index_in_a_read_only_folder(tiny: Path, cache: Path) -> None:
    scanned(tiny)
    touch(make.shard(tiny, number=2))
    folder(tiny).chmod(0o555)
    try:
        assert scanned(tiny) == names(1, 2)
        assert scanned(tiny) == []
        assert list((cache / "index").glob("S2L1C-*.index"))
    finally:
        folder(tiny).chmod(0o755)


def test_folders_of_one_name_do_not_share_a_cache_file(tmp_path: Path, reopen: Open) -> None:
    roots = [make.write(tmp_path / name, keys=[key]) for name, key in (("a", "1"), ("b", "2"))]
    for root in roots:
        folder(root).chmod(0o555)
    try:
        for _ in range(2):
            assert [reopen(r).keys.tolist() for r in roots] == [["1"], ["2"]]
    finally:
        for root in roots:
            folder(root).chmod(0o755)


# --- several processes, interruptions ---

FORK = multiprocessing.get_context("fork")


def open_together(root: Path, barrier: Any, results: Any) -> None:
    barrier.wait(20)
    spy = Spy()
    index = open_index(Local(folder(root)), spy)
    results.put((spy.scanned, index.key.tolist(), index.chunks.tobytes()))


@pytest.mark.timeout(60)
def test_processes_that_open_at_once(tiny: Path) -> None:
    barrier, results = FORK.Barrier(3), FORK.Queue()
    processes = [FORK.Process(target=open_together, args=(tiny, barrier, results)) for _ in "abc"]
    for process in processes:
        process.start()
    found = [results.get(timeout=30) for _ in processes]
    for process in processes:
        process.join(30)
    assert [p.exitcode for p in processes] == [0, 0, 0]
    # One of them built it, the others waited for the lock and found it.
    assert sorted(len(scanned) for scanned, *_ in found) == [0, 0, 2]
    assert {tuple(keys) for _, keys, _ in found} == {tuple(k.encode() for k in make.KEYS)}
    assert len({chunks for *_, chunks in found}) == 1


def build_half(root: Path) -> None:
    """Save after the first shard, then hang in the second."""
    real = storage_index.scan

    def slow(store: Local, name: str, size: int) -> Any:
        if name in names(2):
            time.sleep(60)
        return real(store, name, size)

    storage_index._SAVE_EVERY_S = 0.0
    open_index(Local(folder(root)), scanner=slow)


@pytest.mark.timeout(60)
@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGTERM])
def test_a_build_that_was_killed_goes_on(tiny: Path, reopen: Open, end: int) -> None:
    """What was saved before stays; the lock of the dead process does not hold the next one up."""
    process = FORK.Process(target=build_half, args=(tiny,))
    process.start()
    deadline = time.monotonic() + 20
    while not (folder(tiny) / FILE).exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    os.kill(process.pid or 0, end)
    process.join(20)
    assert process.exitcode == -end
    assert [s.name for s in load(folder(tiny) / FILE).shards] == names(1)
    assert scanned(tiny) == names(2)
    check_pixels(reopen(tiny))


def test_a_build_that_failed_while_writing(
    tiny: Path, cache: Path, monkeypatch: pytest.MonkeyPatch, reopen: Open
) -> None:
    """C2: where no place takes the index, it is in memory; nothing is left behind."""

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.warns(UserWarning, match="cannot be kept.*No space left"):
        ds = reopen(tiny)
    check_pixels(ds)
    check_pixels(pickle.loads(pickle.dumps(ds)))
    monkeypatch.undo()
    monkeypatch.setenv("FASTLOAD_CACHE", str(cache))
    assert not [*folder(tiny).glob("*.tmp"), *cache.rglob("*.tmp")]
    assert not (folder(tiny) / FILE).exists()
    check_pixels(reopen(tiny))


def test_a_left_over_of_a_crash_does_no_harm(tiny: Path, reopen: Open) -> None:
    (folder(tiny) / "fastload.4711.tmp").write_bytes(b"FASTLOAD half")
    (folder(tiny) / "fastload.lock").write_bytes(b"")
    check_pixels(reopen(tiny))


# --- keys ---


@pytest.mark.parametrize("second", [1, 2], ids=["in one tar", "in two tars"])
def test_duplicate_keys_are_refused(tmp_path: Path, reopen: Open, second: int) -> None:
    make.write_tar(make.shard(tmp_path), {"x/0000001": make.sample(1), "a": make.sample(2)})
    more = {"y/0000001": make.sample(3), "b": make.sample(4)}
    if second == 1:
        more = {"x/0000001": make.sample(1)} | more
    make.write_tar(make.shard(tmp_path, number=second), more)
    for _ in range(2):  # also when the first refusal left an index behind
        with pytest.raises(DataError, match="1 keys stand more than once") as caught:
            reopen(tmp_path)
        assert caught.value.member == "0000001"
        assert f"shard_{second:06d}" in str(caught.value)


def test_duplicate_keys_are_refused_after_a_save_on_the_way(
    tmp_path: Path, reopen: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(storage_index, "_SAVE_EVERY_S", 0.0)
    for n in (1, 2, 3):
        make.write_tar(make.shard(tmp_path, number=n), {"0000001": make.sample(n)})
    for _ in range(2):
        with pytest.raises(DataError, match="more than once"):
            reopen(tmp_path)


def test_no_folder_and_no_shards(tmp_path: Path, reopen: Open) -> None:
    with pytest.raises(FileNotFoundError, match="S2L1C: there is no such folder of shards"):
        reopen(tmp_path)
    folder(tmp_path).mkdir(parents=True)
    with pytest.raises(FileNotFoundError, match=r"expected shards named \*.tar, found none"):
        reopen(tmp_path)


# --- the file ---


def built(path: Path) -> Index:
    store = Local(path.parent)
    stat = store.list()[path.name]
    return storage_index.part(path.name, stat, scan(store, path.name, stat.size))


def test_saved_and_loaded(tiny: Path, tmp_path: Path) -> None:
    index = merge([built(make.shard(tiny, number=n)) for n in (1, 2)])
    save(index, tmp_path / "x.index")
    again = load(tmp_path / "x.index")
    assert again.shards == index.shards
    assert again.layouts == index.layouts
    for name in ("key", "shard", "layout", "first", "lon", "lat", "time", "cloud", "chunks"):
        np.testing.assert_array_equal(getattr(again, name), getattr(index, name))
        assert getattr(again, name).dtype == getattr(index, name).dtype


def test_an_index_pickles_as_a_place(tiny: Path, reopen: Open) -> None:
    index = reopen(tiny).sources["S2L1C"].index
    data = pickle.dumps(index)
    assert len(data) < 500
    np.testing.assert_array_equal(pickle.loads(data).chunks, index.chunks)
    make.write_tar(make.shard(tiny, number=3), {"0000009": make.sample(9)})
    reopen(tiny)
    with pytest.raises(DataError, match="built anew meanwhile"):
        pickle.loads(data)


def test_an_index_in_memory_pickles_with_all_that_it_holds(tiny: Path) -> None:
    """C2: a spawned worker has it, too."""
    index = built(make.shard(tiny))
    again = pickle.loads(pickle.dumps(index))
    assert (again.shards, again.layouts, again.origin) == (index.shards, index.layouts, None)
    for name, column in index.columns().items():
        np.testing.assert_array_equal(again.columns()[name], column)
