"""Where bytes come from: named files, of which ranges are read into memory that the caller owns.

Nothing else in the package opens, lists, maps or stats a file of a data set, so that a data set may
lie wherever a `Store` can read.
"""

import contextlib
import hashlib
import os
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastload.storage.errors import (
    DataError,
    MachineError,
    StorageError,
    is_scarce,
    is_storage,
    scarce,
    unreadable,
)
from fastload.storage.handles import HANDLES, Opened
from fastload.storage.native import bytes_at, read_ranges

RETRIES_S = (0.05, 0.2, 0.8)
"""Seconds to wait before asking a storage that failed again."""
_BLOCK = 2**20
Names = list[str]
Content = bytes
Entries = list[os.DirEntry[str]]


class Stat(NamedTuple):
    """What tells one state of a file from another."""

    size: int
    version: str


@dataclass(frozen=True)
class Ranges:
    """Byte ranges of files, and where they go. All arrays are ``[n]``.

    Attributes:
        file: int32, which of the names.
        offset, size: int64.
        address: int64, memory that the caller owns and keeps until the call returns.
    """

    file: NDArray[np.int32]
    offset: NDArray[np.int64]
    size: NDArray[np.int64]
    address: NDArray[np.int64]

    def some(self, which: NDArray[np.int64]) -> "Ranges":
        """Those of some numbers."""
        return Ranges(self.file[which], self.offset[which], self.size[which], self.address[which])


Failures = dict[int, DataError]
"""Why ranges were not read, by their number."""


class Store(ABC):
    """A place that holds named files.

    A store is safe in threads, and pickles. It holds no file open longer than it lives, and none
    beyond the process's budget. An error says what is at fault: `DataError` the file,
    `StorageError` what keeps it (after it was asked again), `MachineError` this machine.

    Attributes:
        far: whether each read takes so long that those of a whole batch are asked for together.
    """

    far: bool = False

    @property
    @abstractmethod
    def place(self) -> str:
        """Where it is, for people and for telling stores apart."""

    @property
    def folder(self) -> Path | None:
        """A local folder beside the files, where an index may be kept; None if there is none."""
        return None

    def owners(self) -> set[int]:
        """The user who owns all of the files, by number; empty where there is no such one."""
        return set()

    def path(self, name: str) -> str:
        """What messages call a file."""
        return f"{self.place}/{name}"

    @abstractmethod
    def list(self, suffix: str = "") -> dict[str, Stat]:
        """The files whose names end so, in the order of their names.

        Raises:
            FileNotFoundError: where there is no such place.
        """

    def folders(self) -> Names:
        """Names of the folders in it, sorted; none where there is no such place."""
        return []

    def below(self, name: str) -> "Store":
        """The store of a folder in it, which need not be there; "a/b" is one in another."""
        raise FileNotFoundError(f"{self.place}: there is no folder {name!r}")

    def folders_with(self, suffix: str) -> Names:
        """Those of `folders` that hold a file whose name ends so."""
        return [name for name in self.folders() if self.below(name).filenames(suffix, 1)]

    def walk(self, suffix: str = "") -> Iterator[str]:
        """Names of the files at any depth that end so, such as "a/b.tif", in their order."""
        found, inside = self.filenames(suffix), self.folders()
        for name in sorted([*found, *inside]):
            if name in found:
                yield name
            if name in inside:
                yield from (f"{name}/{file}" for file in self.below(name).walk(suffix))

    def filenames(self, suffix: str = "", most: int | None = None) -> Names:
        """Names of files that end so, sorted, `most` of them at most; none where there is no such
        place. What macOS leaves beside a file is passed over."""
        try:
            found = (name for name in self.list(suffix) if not name.startswith("._"))
        except FileNotFoundError:
            return []
        return list(islice(found, most))

    @abstractmethod
    def read(self, name: str, offset: int, out: memoryview) -> int:
        """Read from `offset` on into `out`, up to the file's end; returns how many bytes.

        Raises:
            OSError: as the storage has it.
        """

    def bytes(self, name: str, offset: int, size: int) -> bytes:
        """As `read`; fewer bytes where the file ends.

        Raises:
            DataError: where it cannot be read.
        """
        out = bytearray(size)
        return bytes(out[: self._retried(name, offset, memoryview(out), RETRIES_S)])

    def content(self, name: str) -> Content:
        """All of a file, such as a small image; see `bytes`."""
        parts = [self.bytes(name, 0, _BLOCK)]
        while len(parts[-1]) == _BLOCK:
            parts.append(self.bytes(name, len(parts) * _BLOCK, _BLOCK))
        return b"".join(parts)

    def head(self, name: str, most: int) -> tuple[Content, int]:
        """The first bytes of a file, so many at most, and how many it has in all.

        Raises:
            DataError: where it cannot be read.
        """
        folder, _, base = name.rpartition("/")
        first = self.bytes(name, 0, most)
        return first, (self.below(folder) if folder else self).list(base)[base].size

    def read_ranges(
        self, names: Sequence[str], sizes: NDArray[np.int64], ranges: Ranges
    ) -> Failures:
        """Read many ranges; what fails is returned, and the others are read all the same.

        Args:
            names: of the files that `ranges.file` points to.
            sizes: int64, the bytes that each of them had when it was indexed.
            ranges: see there.

        Raises:
            MachineError: where the machine lacks what reading takes.
        """
        return self._one_by_one(names, sizes, ranges, range(len(ranges.file)))

    def fetch(
        self, name: str, size: int, offset: int, out: NDArray[np.uint8], patient: bool = True
    ) -> None:
        """Read one range into `out`.

        Args:
            name: of the file.
            size: bytes that the file had when it was indexed.
            offset: where the range begins.
            out: uint8, as long as the range.
            patient: whether a storage that fails is asked again.

        Raises:
            DataError: where it cannot be read, or the file ends before, or, where a store sees
                that, has another size than it had.
            MachineError: where the machine lacks what reading takes.
        """
        got = self._retried(name, offset, out.data, RETRIES_S if patient else ())
        if got != len(out):
            reason = (
                f"{len(out)} bytes are promised but the file ends at {offset + got}; "
                f"it had {size} bytes when it was indexed"
            )
            raise DataError(self.path(name), "", offset, reason)

    def _one_by_one(
        self, names: Sequence[str], sizes: NDArray[np.int64], ranges: Ranges, todo: Sequence[int]
    ) -> Failures:
        failures: Failures = {}
        failed: set[int] = set()  # files whose storage failed: no more waiting for them
        for i in todo:
            file = int(ranges.file[i])
            out = bytes_at(int(ranges.address[i]), int(ranges.size[i]))
            size, offset = int(sizes[file]), int(ranges.offset[i])
            try:
                self.fetch(names[file], size, offset, out, patient=file not in failed)
            except DataError as error:
                failures[i] = error
                if isinstance(error, StorageError):
                    failed.add(file)
        return failures

    def _retried(self, name: str, offset: int, out: memoryview, waits: tuple[float, ...]) -> int:
        for wait in (*waits, None):
            try:
                return self.read(name, offset, out)
            except MachineError:
                raise
            except OSError as error:
                if is_scarce(error):
                    raise scarce(error, self.path(name)) from error
                if wait is None or not is_storage(error):
                    raise unreadable(error, self.path(name), offset) from error
                time.sleep(wait)
        raise AssertionError

    def digest(self) -> str:
        """A short name for the place, for what is kept elsewhere."""
        return _digest(self.place)


def version(stat: os.stat_result) -> str:
    """What tells one state of a file from another of the same size.

    Networks and containers may number inodes anew; what has no disk of its own has a device whose
    major number is 0.
    """
    inode = f"-{stat.st_ino}" if os.name == "posix" and os.major(stat.st_dev) else ""
    return f"{stat.st_mtime_ns}-{stat.st_ctime_ns}{inode}"


def _digest(place: str) -> str:
    return hashlib.sha256(place.encode()).hexdigest()[:16]


class Local(Store):
    """A folder. Files are read through descriptors, many ranges in one call without the GIL.

    Nothing is mapped: a file that shrinks, or a disk that fails, under a map is a signal that ends
    the process, and a read is an error. What that costs is in docs/architecture.md.
    """

    def __init__(self, folder: str | Path) -> None:
        self._folder = Path(folder)
        self._opened = Opened()
        self._known: tuple[Sequence[str], NDArray[np.int64]] = ((), np.empty(0, np.int64))

    @property
    def place(self) -> str:
        """The folder's path as it was given."""
        return str(self._folder)

    @property
    def folder(self) -> Path:
        """The folder itself."""
        return self._folder

    def digest(self) -> str:
        """See `Store.digest`; the same for every way to the folder."""
        return _digest(str(self._folder.resolve()))

    def owners(self) -> set[int]:
        """See `Store.owners`; where there are no tars, whose the folder is."""
        with os.scandir(self._folder) as entries:
            found = {e.stat().st_uid for e in entries if e.name.endswith(".tar")}
        found = found or {self._folder.stat().st_uid}
        return found if len(found) == 1 else set()

    def list(self, suffix: str = "") -> dict[str, Stat]:
        """See `Store.list`. The version is the time of the last change, of content and of inode,
        and the inode where a disk of this machine numbers them."""
        if not self._folder.is_dir():
            raise FileNotFoundError(f"{self._folder}: there is no such folder of shards")
        with os.scandir(self._folder) as entries:
            # A folder by such a name, too: it must be refused, not passed over.
            stats = {e.name: e.stat() for e in entries if e.name.endswith(suffix)}
        return {n: Stat(stats[n].st_size, version(stats[n])) for n in sorted(stats)}

    def folders(self) -> Names:
        """See `Store.folders`."""
        return [e.name for e in self._entries(None) if e.is_dir()]

    def below(self, name: str) -> "Local":
        """See `Store.below`."""
        return Local(self._folder / name)

    def filenames(self, suffix: str = "", most: int | None = None) -> Names:
        """See `Store.filenames`; nothing is looked at but names."""
        found = (e for e in self._entries(None if most is None else 100 * most + 1000))
        files = (e.name for e in found if e.name.endswith(suffix) and not e.is_dir())
        return list(islice((n for n in files if not n.startswith("._")), most))

    def _entries(self, most: int | None) -> Entries:
        """What is in the folder, by name, so many that are found first."""
        try:
            with os.scandir(self._folder) as entries:
                return sorted(islice(entries, most), key=lambda e: e.name)
        except OSError:
            return []

    def read(self, name: str, offset: int, out: memoryview) -> int:
        """See `Store.read`."""
        number = self._number(name)
        fd = HANDLES.take(self._opened, number)
        try:
            done = 0
            while done < len(out):
                got = _read_into(fd, out[done:], offset + done)
                if not got:
                    break
                done += got
        finally:
            HANDLES.put(self._opened, number)
        return done

    def content(self, name: str) -> Content:
        """See `Store.content`. By a handle of its own: such files are many, and each is read once,
        so that none is to be remembered."""
        # What cannot be opened or read goes the slow way, which says why.
        with contextlib.suppress(OSError):
            return _whole(self.path(name))
        return super().content(name)

    def fetch(
        self, name: str, size: int, offset: int, out: NDArray[np.uint8], patient: bool = True
    ) -> None:
        """See `Store.fetch`."""
        found, number = size, self._number(name)
        # What cannot be opened or read goes the slow way, which says why.
        with contextlib.suppress(OSError):
            fd = HANDLES.take(self._opened, number)
            try:
                found = os.lseek(fd, 0, os.SEEK_END)
                if found == size and _read_into(fd, out, offset) == len(out):
                    return
            finally:
                HANDLES.put(self._opened, number)
        if found != size:
            reason = f"had {size} bytes when it was indexed, has {found} now; open it anew"
            raise DataError(self.path(name), "", offset, reason)
        super().fetch(name, size, offset, out, patient)

    def read_ranges(
        self, names: Sequence[str], sizes: NDArray[np.int64], ranges: Ranges
    ) -> Failures:
        """See `Store.read_ranges`."""
        numbers = self._numbers(names)[ranges.file]
        files, rows = np.unique(numbers, return_inverse=True)
        done = np.zeros(len(rows), bool)
        if HANDLES.all_open(self._opened, files):  # then one lease is no burden
            self._read_leased(sizes, ranges, files, rows, done)
        else:
            step = HANDLES.most_at_once
            for start in range(0, len(files), step):
                mine = np.flatnonzero((rows >= start) & (rows < start + step))
                read = np.zeros(len(mine), bool)
                some = files[start : start + step]
                self._read_leased(sizes, ranges.some(mine), some, rows[mine] - start, read)
                done[mine] = read
        if done.all():
            return {}
        return self._one_by_one(names, sizes, ranges, np.flatnonzero(~done).tolist())

    def _number(self, name: str) -> int:
        """The handles' number of a file."""
        found = self._opened.numbers.get(name)
        return HANDLES.add(self._opened, name, self.path(name)) if found is None else found

    def _numbers(self, names: Sequence[str]) -> NDArray[np.int64]:
        """The handles' numbers of files."""
        known, numbers = self._known
        if known is not names:
            numbers = np.array([self._number(name) for name in names], np.int64)
            self._known = names, numbers
        return numbers

    def _read_leased(
        self,
        sizes: NDArray[np.int64],
        ranges: Ranges,
        files: NDArray[np.int64],
        rows: NDArray[np.int64],
        done: NDArray[np.bool_],
    ) -> None:
        """Read ranges that lie in `files`; `rows` says in which, `done` receives whether."""
        fds = HANDLES.lease(self._opened, files)
        try:
            lengths = sizes[ranges.file]
            read_ranges(fds[rows], lengths, ranges.offset, ranges.size, ranges.address, done)
        finally:
            HANDLES.give(self._opened, files)

    def __getstate__(self) -> dict[str, Any]:
        return {"_folder": self._folder}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(state["_folder"])  # type: ignore[misc]


def _whole(path: str) -> Content:
    """All of a file, also of one that grows."""
    fd = os.open(path, os.O_RDONLY)
    try:
        size = os.fstat(fd).st_size
        parts = [os.read(fd, size + 1)]
        if len(parts[0]) != size:
            while parts[-1]:
                parts.append(os.read(fd, _BLOCK))
    finally:
        os.close(fd)
    return parts[0] if len(parts) == 1 else b"".join(parts)


if hasattr(os, "preadv"):

    def _read_into(fd: int, out: Any, offset: int) -> int:
        return os.preadv(fd, [out], offset)

else:  # older systems

    def _read_into(fd: int, out: Any, offset: int) -> int:
        data = os.pread(fd, len(out), offset)
        out[: len(data)] = np.frombuffer(data, np.uint8) if isinstance(out, np.ndarray) else data
        return len(data)
