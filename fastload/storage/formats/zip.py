"""The directory of a zip that lies inside a shard, read from the zip's last bytes alone."""

import struct
from collections.abc import Callable
from itertools import pairwise
from typing import NamedTuple

STORED, DEFLATED = 0, 8
_END = struct.Struct("<4s4H2LH")
_ENTRY = struct.Struct("<4s6H3L5H2L")
_LOCAL = struct.Struct("<4s5H3L2H")
_LOCATOR = struct.Struct("<4sLQL")
_END64 = struct.Struct("<4sQ2H2L4Q")
_FAR, _MANY = 0xFFFFFFFF, 0xFFFF
"""What stands in a field whose value a zip64 record has."""
_ZIP64 = 1
"""The extra field of a member's zip64 values."""
MOST_ENTRIES, MOST_DIRECTORY = 2**18, 2**26
"""Members, and bytes of a directory, that are believed."""

Read = Callable[[int, int], bytes]
"""``read(offset, size)`` gives bytes of the zip; it raises ValueError where there are fewer."""


class Entry(NamedTuple):
    """Where a member's data lies, relative to the zip's start."""

    offset: int
    stored: int
    size: int
    crc: int
    method: int


class Directory(NamedTuple):
    """A zip's members; of those written twice the last counts."""

    entries: dict[str, Entry]
    headers: list[tuple[str, int]]
    """Name and local header of everything that the directory lists, in its order."""

    @property
    def repeats(self) -> bool:
        """Whether a name stands more than once."""
        return len(self.entries) < len(self.headers)


def directory(read: Read, size: int) -> Directory:
    """Read the central directory.

    Raises:
        ValueError: says what of the directory is damaged or not supported.
    """
    count, length, start = _end_record(read, size)
    if count > MOST_ENTRIES or length > MOST_DIRECTORY:
        raise ValueError(
            f"the zip directory of {count} entries and {length} bytes exceeds {MOST_ENTRIES} "
            f"entries or {MOST_DIRECTORY} bytes"
        )
    data = read(start, length)
    raw: list[tuple[str, int, int, Entry]] = []
    at = 0
    for _ in range(count):
        if at + _ENTRY.size > length:
            raise ValueError("the zip directory is shorter than its entries")
        (magic, _, _, flags, method, _, _, crc, stored, full, n_name, n_extra, n_comment, _, _, _,
         header) = _ENTRY.unpack_from(data, at)  # fmt: skip
        if magic != b"PK\x01\x02":
            raise ValueError(f"entry {len(raw)} of the zip directory has no signature")
        at += _ENTRY.size
        name = data[at : at + n_name].decode("utf-8", "replace")
        if flags & 1:
            raise ValueError(f"zip member {name} is encrypted, which is not supported")
        if _FAR in (stored, full, header):
            extra = data[at + n_name : at + n_name + n_extra]
            full, stored, header = _far(name, extra, (full, stored, header))
        raw.append((name, n_name, header, Entry(0, stored, full, crc, method)))
        at += n_name + n_extra + n_comment
    if at != length:
        raise ValueError(f"the {count} entries of the zip directory fill {at} of {length} bytes")
    return Directory(_with_offsets(read, raw, start), [(name, head) for name, _, head, _ in raw])


def _far(name: str, extra: bytes, values: tuple[int, int, int]) -> list[int]:
    """Size, stored size and header offset of a member, of which those that do not fit their fields
    stand in this order in its zip64 field. Source: PKWARE's APPNOTE, 4.5.3."""
    at = 0
    while at + 4 <= len(extra):
        kind, size = struct.unpack_from("<2H", extra, at)
        at += 4
        if kind == _ZIP64 and 8 * values.count(_FAR) <= size <= len(extra) - at:
            found = iter(struct.unpack_from(f"<{values.count(_FAR)}Q", extra, at))
            return [next(found) if value == _FAR else value for value in values]
        at += size
    raise ValueError(f"zip member {name} has no zip64 field with its sizes and its place")


def check_names(read: Read, headers: list[tuple[str, int]]) -> None:
    """Compare the names in the directory, which no checksum guards, with the local headers'.

    Raises:
        ValueError: names the member.
    """
    for name, header in headers:
        *_, n_name, _ = _LOCAL.unpack(read(header, _LOCAL.size))
        local = read(header + _LOCAL.size, n_name).decode("utf-8", "replace")
        if local != name:
            raise ValueError(f"zip member {name} is called {local!r} in its own header")


def _end_record(read: Read, size: int) -> tuple[int, int, int]:
    """Entry count, length and start of the directory."""
    if size < _END.size:
        raise ValueError(f"a zip has at least {_END.size} bytes, this one has {size}")
    span = min(size, _END.size + 0xFFFF)
    for look in sorted({_END.size, span}):
        tail = read(size - look, look)
        at = tail.rfind(b"PK\x05\x06")
        if at >= 0 and at + _END.size <= look:
            break
    else:
        raise ValueError("no end record of a zip directory was found")
    _, disk, first_disk, here, count, length, start, _ = _END.unpack_from(tail, at)
    end = size - look + at
    if _MANY in (disk, first_disk, here, count) or _FAR in (length, start):
        disk, first_disk, here, count, length, start, end = _end64_record(read, end)
    if disk or first_disk or here != count:
        raise ValueError("a zip of several disks is not supported")
    if start + length > end:
        raise ValueError(f"the zip directory of {length} bytes at {start} does not fit the zip")
    return count, length, start


def _end64_record(read: Read, end: int) -> tuple[int, ...]:
    """What the end record at `end` has no room for, and where the record that has it begins.
    Source: PKWARE's APPNOTE, 4.3.14 and 4.3.15."""
    at = end - _LOCATOR.size
    magic, disk, place, disks = _LOCATOR.unpack(read(at, _LOCATOR.size)) if at >= 0 else (b"",) * 4
    if magic != b"PK\x06\x07":
        raise ValueError("the zip's end record promises a zip64 one, of which there is no locator")
    if disk or disks != 1:
        raise ValueError("a zip of several disks is not supported")
    if place > at - _END64.size:
        raise ValueError(f"the zip64 end record at {place} does not fit the zip")
    magic, _, _, _, disk, first_disk, here, count, length, start = _END64.unpack(
        read(place, _END64.size)
    )
    if magic != b"PK\x06\x06":
        raise ValueError(f"there is no zip64 end record at {place}")
    return disk, first_disk, here, count, length, start, place


def _with_offsets(read: Read, raw: list[tuple[str, int, int, Entry]], end: int) -> dict[str, Entry]:
    """Turn header offsets into data offsets.

    A local header may be longer than its directory entry tells. Where the gap to the next member
    leaves no room for that, its length is known without reading it.
    """
    following = sorted({header for _, _, header, _ in raw} | {end})
    after = dict(pairwise(following))
    entries = {}
    for name, n_name, header, entry in raw:
        data = header + _LOCAL.size + n_name
        if header >= end or data + entry.stored > end:
            raise ValueError(f"zip member {name} of {entry.stored} bytes does not fit the zip")
        if after[header] != data + entry.stored:
            magic, *_, n_local, n_extra = _LOCAL.unpack(read(header, _LOCAL.size))
            if magic != b"PK\x03\x04":
                raise ValueError(f"zip member {name} has no local header")
            data = header + _LOCAL.size + n_local + n_extra
            if data + entry.stored > end:
                raise ValueError(f"zip member {name} of {entry.stored} bytes does not fit the zip")
        entries[name] = entry._replace(offset=data)
    return entries
