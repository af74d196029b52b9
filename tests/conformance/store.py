"""What every `fastload.storage.store.Store` must do."""

import errno
import gc
import os
import pickle
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from fastload.storage.errors import DataError, MachineError, StorageError
from fastload.storage.store import Ranges, Store

GUARD = 0xAB
"""What memory holds that nobody may write to."""
Fail = Callable[[Store, OSError, int], None]


def content(seed: int, size: int) -> bytes:
    """Random bytes, of which each place is known by what follows."""
    return np.random.default_rng(seed).integers(0, 256, size, np.uint8).tobytes()


FILES = {
    "b.tar": content(1, 5000),
    "a.tar": content(2, 3),
    "c.tar": b"",
    "notes.txt": b"not a shard",
    "d e.tar": content(3, 70_000),
}


class Asked:
    """Ranges of files, and memory with guards around what each of them gets."""

    def __init__(self, ranges: Sequence[tuple[str, int, int]], indexed: dict[str, int]) -> None:
        """`ranges` are file, offset and size; `indexed` is how long the files were."""
        self.names = list(indexed)
        self.sizes = np.array(list(indexed.values()), np.int64)
        size = np.array([n for _, _, n in ranges], np.int64)
        self._ends = np.cumsum(size + 16)
        self.memory = np.full(int(self._ends[-1]) + 16, GUARD, np.uint8)
        self._starts = self._ends - size
        self.ranges = Ranges(
            np.array([self.names.index(name) for name, _, _ in ranges], np.int32),
            np.array([offset for _, offset, _ in ranges], np.int64),
            size,
            self._starts + self.memory.ctypes.data,
        )

    def read(self, store: Store) -> dict[int, DataError]:
        """Ask for them; nothing is written outside of them."""
        failures = store.read_ranges(self.names, self.sizes, self.ranges)
        inside = np.zeros(len(self.memory), bool)
        for start, end in zip(self._starts, self._ends, strict=True):
            inside[start:end] = True
        assert (self.memory[~inside] == GUARD).all()
        return failures

    def got(self, i: int) -> bytes:
        """What a range received."""
        return self.memory[self._starts[i] : self._ends[i]].tobytes()


def guarded(size: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Memory, and a range in its middle."""
    memory = np.full(size + 32, GUARD, np.uint8)
    return memory, memory[16 : 16 + size]


class StoreTests:
    """Subclass it and give `make`, and what else your store can be tested with."""

    sees_sizes = False
    """Whether a file that is longer than when it was indexed is noticed, too."""

    def make(self, tmp_path: Path, files: dict[str, bytes]) -> Store:
        """A store of these files."""
        raise NotImplementedError

    def missing(self, tmp_path: Path) -> Store:
        """A store whose place is not there."""
        raise NotImplementedError

    def put(self, store: Store, name: str, data: bytes | None) -> None:
        """Change a file behind the store's back; None removes it."""
        raise NotImplementedError

    def fail(
        self, monkeypatch: pytest.MonkeyPatch, store: Store, error: OSError, times: int
    ) -> None:
        """Let the next reads of a store's files fail so many times."""
        raise NotImplementedError

    @pytest.fixture
    def store(self, tmp_path: Path) -> Store:
        return self.make(tmp_path, FILES)

    @pytest.fixture
    def fail_with(self, monkeypatch: pytest.MonkeyPatch) -> Fail:
        """As `fail`; asking again costs no time."""
        monkeypatch.setattr("fastload.storage.store.RETRIES_S", (0.0, 0.0, 0.0))
        return lambda *args: self.fail(monkeypatch, *args)

    # What there is

    def test_files_are_listed_in_the_order_of_their_names(self, store: Store) -> None:
        """`list`: all files, by name, each with its size."""
        found = store.list()
        assert list(found) == sorted(FILES)
        assert {name: stat.size for name, stat in found.items()} == {
            name: len(data) for name, data in FILES.items()
        }

    def test_a_suffix_picks_files(self, store: Store) -> None:
        """`list`: those whose names end so."""
        assert list(store.list(".tar")) == ["a.tar", "b.tar", "c.tar", "d e.tar"]
        assert list(store.list(".zip")) == []

    def test_a_version_tells_one_state_from_another(self, store: Store) -> None:
        """`Stat.version` stays while the file does, and changes with it, at the same size too."""
        before = store.list()
        assert store.list() == before
        self.put(store, "b.tar", content(9, 5000))
        after = store.list()
        assert after["b.tar"].size == before["b.tar"].size
        assert after["b.tar"].version != before["b.tar"].version
        assert after["a.tar"] == before["a.tar"]
        assert all(isinstance(stat.version, str) for stat in after.values())

    def test_a_place_that_is_not_there_is_named(self, tmp_path: Path) -> None:
        """`list`: FileNotFoundError with the place."""
        store = self.missing(tmp_path)
        with pytest.raises(FileNotFoundError) as caught:
            store.list(".tar")
        assert store.place in str(caught.value)

    def test_names_are_for_people(self, store: Store) -> None:
        """`path` is the place and the file; `folder`, where there is one, is local."""
        assert store.path("b.tar").startswith(store.place)
        assert store.path("b.tar").endswith("b.tar")
        assert store.folder is None or store.folder.is_dir()

    def test_a_digest_is_the_places(self, store: Store, tmp_path: Path) -> None:
        """`digest` is a name for a file, the same for the same place."""
        assert store.digest() == store.digest() != self.missing(tmp_path).digest()
        assert store.digest().isalnum()

    # Reading

    @pytest.mark.parametrize(
        ("offset", "size", "expected"),
        [
            (0, 5000, 5000), (0, 1, 1), (1234, 777, 777), (4999, 1, 1), (0, 0, 0),
            (4990, 100, 10), (5000, 10, 0), (6000, 10, 0),
        ],
        ids=["whole", "first", "partial", "last", "nothing", "over the end", "at end", "beyond"],
    )  # fmt: skip
    def test_reads_end_where_the_file_does(
        self, store: Store, offset: int, size: int, expected: int
    ) -> None:
        """`read` and `bytes`: as much as there is, and nothing more is written."""
        data = FILES["b.tar"][offset : offset + size]
        memory, out = guarded(size)
        assert store.read("b.tar", offset, out.data) == expected == len(data)
        assert out[:expected].tobytes() == data
        assert (np.delete(memory, np.s_[16 : 16 + expected]) == GUARD).all()
        assert store.bytes("b.tar", offset, size) == data

    def test_an_empty_file_is_read(self, store: Store) -> None:
        """`bytes`: no bytes are no error."""
        assert store.bytes("c.tar", 0, 10) == b""

    def test_one_range_is_fetched(self, store: Store) -> None:
        """`fetch`: exactly the range, into the caller's memory."""
        for offset, size in ((0, 5000), (17, 1000), (4999, 1), (12, 0)):
            memory, out = guarded(size)
            store.fetch("b.tar", 5000, offset, out)
            assert out.tobytes() == FILES["b.tar"][offset : offset + size]
            assert (np.delete(memory, np.s_[16 : 16 + size]) == GUARD).all()

    def test_many_ranges_of_many_files_are_read(self, store: Store) -> None:
        """`read_ranges`: in any order, overlapping, repeated, of no bytes."""
        rng = np.random.default_rng(0)
        asked = []
        for _ in range(300):
            name = str(rng.choice(["a.tar", "b.tar", "d e.tar"]))
            offset = int(rng.integers(len(FILES[name])))
            most = min(4000, len(FILES[name]) - offset)
            asked.append((name, offset, int(rng.integers(most + 1))))
        many = Asked(asked, {name: len(data) for name, data in FILES.items()})
        assert many.read(store) == {}
        for i, (name, offset, size) in enumerate(asked):
            assert many.got(i) == FILES[name][offset : offset + size]

    def test_no_ranges_are_read(self, store: Store) -> None:
        """`read_ranges` of none is none."""
        none = [np.empty(0, dtype) for dtype in (np.int32, np.int64, np.int64, np.int64)]
        assert store.read_ranges(["b.tar"], np.array([5000]), Ranges(*none)) == {}

    def test_threads_read_at_once(self, store: Store) -> None:
        """A store is safe in threads."""

        def read(seed: int) -> None:
            rng = np.random.default_rng(seed)
            for _ in range(50):
                name = str(rng.choice(["a.tar", "b.tar", "d e.tar"]))
                data = FILES[name]
                offset = int(rng.integers(len(data)))
                size = int(rng.integers(len(data) - offset + 1))
                assert store.bytes(name, offset, size) == data[offset : offset + size]
                many = Asked([(name, offset, size)], {name: len(data)})
                assert many.read(store) == {}
                assert many.got(0) == data[offset : offset + size]

        with ThreadPoolExecutor(8) as pool:
            list(pool.map(read, range(8)))

    def test_a_pickled_store_reads_the_same(self, store: Store) -> None:
        """A store pickles, also after it has read."""
        store.bytes("b.tar", 0, 10)
        other = pickle.loads(pickle.dumps(store))
        assert (other.place, other.digest()) == (store.place, store.digest())
        assert other.list() == store.list()
        assert other.bytes("b.tar", 100, 50) == FILES["b.tar"][100:150]

    def test_no_handle_outlives_the_store(self, tmp_path: Path) -> None:
        """What a store opens is closed when it dies."""
        if not Path("/proc/self/fd").is_dir():
            pytest.skip("needs /proc")
        gc.collect()
        before = len(os.listdir("/proc/self/fd"))
        store: Any = self.make(tmp_path, FILES)
        many = Asked([(name, 0, 1) for name in ("a.tar", "b.tar")], {"a.tar": 3, "b.tar": 5000})
        assert many.read(store) == {}
        store.fetch("d e.tar", 70_000, 0, np.empty(10, np.uint8))
        store.bytes("notes.txt", 0, 5)
        del store
        gc.collect()
        assert len(os.listdir("/proc/self/fd")) == before

    # What is wrong

    def check(self, store: Store, error: DataError, name: str, offset: int) -> None:
        """An error names file and place."""
        assert (error.shard, error.offset) == (store.path(name), offset)
        assert error.reason

    def test_a_file_that_is_not_there_is_the_datas_fault(self, store: Store) -> None:
        """`DataError` that names it, and no `StorageError`: asking again would not help."""
        with pytest.raises(DataError) as caught:
            store.bytes("gone.tar", 7, 10)
        self.check(store, caught.value, "gone.tar", 7)
        assert not isinstance(caught.value, StorageError)
        with pytest.raises(DataError) as caught:
            store.fetch("gone.tar", 100, 8, np.empty(4, np.uint8))
        self.check(store, caught.value, "gone.tar", 8)

    def test_failures_are_returned_and_the_others_are_read(self, store: Store) -> None:
        """`read_ranges`: a failure by the number of its range; all the rest is there."""
        self.put(store, "b.tar", FILES["b.tar"][:100])
        asked = [
            ("a.tar", 0, 3), ("gone.tar", 3, 10), ("d e.tar", 500, 600), ("b.tar", 4000, 100),
            ("gone.tar", 9, 1), ("d e.tar", 0, 70_000),
        ]  # fmt: skip
        indexed = {name: len(data) for name, data in FILES.items()} | {"gone.tar": 50}
        many = Asked(asked, indexed)
        failures = many.read(store)
        assert sorted(failures) == [1, 3, 4]
        for i, error in failures.items():
            assert isinstance(error, DataError)
            self.check(store, error, *asked[i][:2])
        for i in (0, 2, 5):
            name, offset, size = asked[i]
            assert many.got(i) == FILES[name][offset : offset + size]

    def test_a_file_shorter_than_indexed_is_not_what_was_indexed(self, store: Store) -> None:
        """`fetch` and `read_ranges`: the range is not there; the error says how long it was."""
        self.put(store, "b.tar", FILES["b.tar"][:100])
        with pytest.raises(DataError, match="5000 bytes when it was indexed") as caught:
            store.fetch("b.tar", 5000, 90, np.empty(20, np.uint8))
        self.check(store, caught.value, "b.tar", 90)
        failures = Asked([("b.tar", 90, 20)], {"b.tar": 5000}).read(store)
        assert "5000 bytes when it was indexed" in failures[0].reason

    def test_a_file_longer_than_indexed_is_not_what_was_indexed(self, store: Store) -> None:
        """Where the store sees sizes, bytes of another file are not taken for those indexed."""
        if not self.sees_sizes:
            pytest.skip("this store does not see sizes when it reads")
        self.put(store, "b.tar", FILES["b.tar"] + b"more")
        with pytest.raises(DataError, match="when it was indexed"):
            store.fetch("b.tar", 5000, 0, np.empty(20, np.uint8))
        assert list(Asked([("b.tar", 0, 20)], {"b.tar": 5000}).read(store)) == [0]

    def test_a_storage_that_fails_is_asked_again(self, store: Store, fail_with: Fail) -> None:
        """An EIO that passes is no error."""
        error = OSError(errno.EIO, "input/output error")
        fail_with(store, error, 2)
        assert store.bytes("b.tar", 10, 20) == FILES["b.tar"][10:30]
        fail_with(store, error, 2)
        out = np.empty(20, np.uint8)
        store.fetch("b.tar", 5000, 10, out)
        assert out.tobytes() == FILES["b.tar"][10:30]
        fail_with(store, error, 2)
        many = Asked([("b.tar", 10, 20), ("a.tar", 0, 3)], {"b.tar": 5000, "a.tar": 3})
        assert many.read(store) == {}
        assert (many.got(0), many.got(1)) == (FILES["b.tar"][10:30], FILES["a.tar"])

    @pytest.mark.parametrize("name", ["EIO", "ESTALE", "ETIMEDOUT"])
    def test_a_storage_that_goes_on_failing_is_its_own_kind(
        self, store: Store, fail_with: Fail, name: str
    ) -> None:
        """`StorageError`, which names file and offset."""
        fail_with(store, OSError(getattr(errno, name), "the storage fails"), 10**6)
        with pytest.raises(StorageError) as caught:
            store.bytes("b.tar", 10, 20)
        self.check(store, caught.value, "b.tar", 10)
        with pytest.raises(StorageError) as caught:
            store.fetch("b.tar", 5000, 11, np.empty(20, np.uint8))
        self.check(store, caught.value, "b.tar", 11)
        failures = Asked([("b.tar", 12, 20)], {"b.tar": 5000}).read(store)
        assert isinstance(failures[0], StorageError)
        self.check(store, failures[0], "b.tar", 12)

    @pytest.mark.parametrize("name", ["EMFILE", "ENFILE", "ENOMEM"])
    def test_a_machine_that_lacks_something_is_not_the_datas_fault(
        self, store: Store, fail_with: Fail, name: str
    ) -> None:
        """`MachineError`, raised also by `read_ranges`; never a `DataError`, never replaced."""
        fail_with(store, OSError(getattr(errno, name), "the machine lacks"), 10**6)
        with pytest.raises(MachineError):
            store.bytes("b.tar", 10, 20)
        with pytest.raises(MachineError):
            store.fetch("b.tar", 5000, 10, np.empty(20, np.uint8))
        with pytest.raises(MachineError):
            Asked([("b.tar", 10, 20)], {"b.tar": 5000}).read(store)
        assert not issubclass(MachineError, DataError)
