"""One `{key}.zarr.zip` inside a tar: its directory, and the content of its small members."""

from dataclasses import dataclass, field

from fastload.storage.checksum import CRC_FAULT, crc32
from fastload.storage.errors import DataError
from fastload.storage.formats.streams import inflate
from fastload.storage.formats.zip import DEFLATED, STORED, Directory, Entry, directory
from fastload.storage.store import Store

TAIL = 24 * 1024
"""Bytes read from a zip's end at once: its directory and the small arrays lie there."""

_DEFLATED_MORE = 2**20
"""So many bytes more than there are may be stored, where what does not shrink was deflated."""


@dataclass
class Member:
    """A member of a tar: `size` bytes at `start`."""

    store: Store
    shard: str
    name: str
    start: int
    size: int
    tail: bytes = b""
    entries: dict[str, Entry] = field(default_factory=dict)

    def open(self) -> Directory:
        """Read the zip's directory."""
        found = directory(self.read, self.size)
        self.entries = found.entries
        return found

    def error(self, reason: str, offset: int = -1, inner: str = "") -> DataError:
        """The error of this member, or of one inside it."""
        name = f"{self.name}/{inner}" if inner else self.name
        return DataError(
            self.store.path(self.shard), name, self.start if offset < 0 else offset, reason
        )

    def read(self, offset: int, size: int) -> bytes:
        """Bytes of the zip, from its cached tail where they lie there."""
        if not 0 <= offset <= offset + size <= self.size:
            raise ValueError(f"{size} bytes at {offset} reach beyond the zip of {self.size} bytes")
        tail_start = max(0, self.size - TAIL)
        if offset < tail_start:
            data = self.store.bytes(self.shard, self.start + offset, size)
        else:
            if not self.tail:
                start, length = self.start + tail_start, self.size - tail_start
                self.tail = self.store.bytes(self.shard, start, length)
            data = self.tail[offset - tail_start : offset - tail_start + size]
        if len(data) != size:
            raise ValueError(f"the file ends inside the {size} bytes at {self.start + offset}")
        return data

    def get(self, name: str, most: int) -> bytes | None:
        """A zip member's content of at most so many bytes, CRC checked; None where there is no
        such member.

        Raises:
            DataError: names the member.
        """
        entry = self.entries.get(name)
        if entry is None:
            return None
        try:
            check_entry(entry, most)
            data = self.read(entry.offset, entry.stored)
            if entry.method == DEFLATED:
                data = inflate(data, entry.size)
            if crc32(data) != entry.crc:
                raise ValueError(CRC_FAULT)
        except ValueError as error:
            raise self.error(str(error), self.start + entry.offset, name) from error
        return data


def check_entry(entry: Entry, most: int) -> None:
    """Compare a directory's entry with what it may be.

    Raises:
        ValueError: says what does not fit.
    """
    if entry.method not in (STORED, DEFLATED):
        raise ValueError(f"zip method {entry.method} is not supported, expected stored or deflated")
    if entry.size > most or (entry.method == STORED and entry.size != entry.stored):
        raise ValueError(f"size field {entry.size} does not fit, expected at most {most} bytes")
    if entry.stored > most + _DEFLATED_MORE:
        raise ValueError(f"stored size field {entry.stored} does not fit {entry.size} bytes")
