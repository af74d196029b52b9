"""A zip in a store as a store of its own: nothing is unpacked, members are read by byte range."""

import errno
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from fastload.storage.checksum import CRC_FAULT, crc32
from fastload.storage.errors import DataError, unreadable
from fastload.storage.formats.streams import inflate
from fastload.storage.formats.zip import DEFLATED, STORED, Entry, directory
from fastload.storage.store import Content, Failures, Names, Ranges, Stat, Store

_FOREIGN = "__MACOSX/"


class ZipStore(Store):
    """The members of a zip, or of a folder in it.

    The directory is read once. A stored member's ranges are ranges of the zip; a deflated one is
    inflated whole for each read of it. `content` compares with the CRC-32 of the directory.

    Args:
        outer: holds the zip.
        name: of the zip there.

    Raises:
        DataError: where there is no sound zip by this name.
    """

    def __init__(self, outer: Store, name: str) -> None:
        self._outer, self._name, self._prefix = outer, name, ""
        self._zip, self._sizes = outer.path(name), np.empty(0, np.int64)
        self._entries = self._read_directory()
        self._folders = _folders(self._entries)

    def _read_directory(self) -> dict[str, Entry]:
        found = self._outer.list(self._name).get(self._name)
        if found is None:
            raise DataError(self._zip, "", -1, "there is no such file")
        self._sizes = np.array([found.size], np.int64)

        def read(offset: int, size: int) -> bytes:
            data = self._outer.bytes(self._name, offset, size)
            if len(data) != size:
                raise ValueError(f"{size} bytes at {offset} are promised, the file ends before")
            return data

        try:
            entries = directory(read, found.size).entries
        except ValueError as error:
            raise DataError(self._zip, "", -1, str(error)) from error
        return {
            name: entry
            for name, entry in entries.items()
            if not name.endswith("/") and not name.startswith(_FOREIGN)
        }

    @property
    def place(self) -> str:
        """The zip's path, and the folder in it."""
        return f"{self._zip}/{self._prefix}".rstrip("/")

    def path(self, name: str) -> str:
        """See `Store.path`."""
        return f"{self._zip}/{self._prefix}{name}"

    def below(self, name: str) -> "ZipStore":
        """See `Store.below`."""
        other = object.__new__(ZipStore)
        other.__dict__.update(self.__dict__)
        other._prefix = f"{self._prefix}{name}/"
        return other

    def folders(self) -> Names:
        """See `Store.folders`."""
        return self._folders.get(self._prefix, ([], []))[0]

    def list(self, suffix: str = "") -> dict[str, Stat]:
        """See `Store.list`. The version is the CRC-32."""
        if self._prefix not in self._folders:
            raise FileNotFoundError(f"{self.place}: there is no such folder in the zip")
        names = [n for n in self._folders[self._prefix][1] if n.endswith(suffix)]
        entries = [self._entries[self._prefix + n] for n in names]
        return {n: Stat(e.size, f"{e.crc:08x}") for n, e in zip(names, entries, strict=True)}

    def crc(self, name: str) -> int:
        """CRC-32 of a member, as the directory has it."""
        return self._entries[self._prefix + name].crc

    def content(self, name: str) -> Content:
        """See `Store.content`."""
        entry = self._entries.get(self._prefix + name)
        if entry is None:
            raise unreadable(_not_there(self.path(name)), self.path(name), 0)
        try:
            data = self._outer.bytes(self._name, entry.offset, entry.stored)
            if len(data) != entry.stored:
                raise ValueError(f"{entry.stored} bytes are promised but the zip ends before")
            content = _plain(data, entry)
            if crc32(content) != entry.crc:
                raise ValueError(CRC_FAULT)
        except DataError as error:
            raise self._named(error, name, 0) from error
        except ValueError as error:
            raise DataError(self.path(name), "", 0, str(error)) from error
        return content

    def read(self, name: str, offset: int, out: memoryview) -> int:
        """See `Store.read`."""
        entry = self._entries.get(self._prefix + name)
        if entry is None:
            raise _not_there(self.path(name))
        size = max(0, min(len(out), entry.size - offset))
        if entry.method == STORED:
            return self._outer.read(self._name, entry.offset + offset, out[:size])
        try:
            out[:size] = self.content(name)[offset : offset + size]
        except DataError as error:
            raise self._named(error, name, offset) from error
        return size

    def fetch(
        self, name: str, size: int, offset: int, out: NDArray[np.uint8], patient: bool = True
    ) -> None:
        """See `Store.fetch`."""
        entry = self._entries.get(self._prefix + name)
        if entry is None or entry.method != STORED or offset + len(out) > entry.stored:
            super().fetch(name, size, offset, out, patient)
            return
        at, total = entry.offset + offset, int(self._sizes[0])
        try:
            self._outer.fetch(self._name, total, at, out, patient)
        except DataError as error:
            raise self._named(error, name, offset) from error

    def read_ranges(
        self, names: Sequence[str], sizes: NDArray[np.int64], ranges: Ranges
    ) -> Failures:
        """See `Store.read_ranges`; those of stored members go to the zip's store in one call."""
        entries = [self._entries.get(self._prefix + names[file]) for file in ranges.file.tolist()]
        here = [
            i
            for i, entry in enumerate(entries)
            if entry is not None
            and entry.method == STORED
            and ranges.offset[i] + ranges.size[i] <= entry.size == sizes[ranges.file[i]]
        ]
        starts = np.array([entries[i].offset for i in here], np.int64)  # type: ignore[union-attr]
        some = ranges.some(np.array(here, np.int64))
        inside = Ranges(np.zeros_like(some.file), some.offset + starts, some.size, some.address)
        failed = self._outer.read_ranges([self._name], self._sizes, inside) if here else {}
        failures = {
            here[i]: self._named(error, names[some.file[i]], int(some.offset[i]))
            for i, error in failed.items()
        }
        others = sorted(set(range(len(entries))) - set(here))
        return failures | (self._one_by_one(names, sizes, ranges, others) if others else {})

    def _named(self, error: DataError, name: str, offset: int) -> DataError:
        """An error of the zip's store as one of a member."""
        return type(error)(self.path(name), "", offset, error.reason)


def _not_there(path: str) -> FileNotFoundError:
    return FileNotFoundError(errno.ENOENT, "there is no such member of the zip", path)


def _plain(data: bytes, entry: Entry) -> bytes:
    """A member's content."""
    if entry.method == STORED:
        if entry.stored != entry.size:
            raise ValueError(f"{entry.stored} stored bytes are said to be {entry.size}")
        return data
    if entry.method != DEFLATED:
        raise ValueError(f"is compressed by zip method {entry.method}, expected stored or deflated")
    return inflate(data, entry.size)


def _folders(entries: dict[str, Entry]) -> dict[str, tuple[Names, Names]]:
    """Folders and files of each folder by its prefix, sorted."""
    out: dict[str, tuple[set[str], set[str]]] = {"": (set(), set())}
    for name in entries:
        prefix = ""
        *folders, file = name.split("/")
        for folder in folders:
            out[prefix][0].add(folder)
            prefix += f"{folder}/"
            out.setdefault(prefix, (set(), set()))
        out[prefix][1].add(file)
    return {prefix: (sorted(a), sorted(b)) for prefix, (a, b) in out.items()}
