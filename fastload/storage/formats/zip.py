"""The directory of a zip that lies inside a shard, read from the zip's last bytes alone."""

import struct
from collections.abc import Callable
from itertools import pairwise
from typing import NamedTuple

STORED, DEFLATED = 0, 8
_END = struct.Struct("<4s4H2LH")
_ENTRY = struct.Struct("<4s6H3L5H2L")
_LOCAL = struct.Struct("<4s5H3L2H")

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
        name = data[at + _ENTRY.size : at + _ENTRY.size + n_name].decode("utf-8", "replace")
        if flags & 1:
            raise ValueError(f"zip member {name} is encrypted, which is not supported")
        if 0xFFFFFFFF in (stored, full, header):
            raise ValueError(f"zip member {name} uses zip64, which is not supported")
        raw.append((name, n_name, header, Entry(0, stored, full, crc, method)))
        at += _ENTRY.size + n_name + n_extra + n_comment
    if at != length:
        raise ValueError(f"the {count} entries of the zip directory fill {at} of {length} bytes")
    return Directory(_with_offsets(read, raw, start), [(name, head) for name, _, head, _ in raw])


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
    if 0xFFFF in (here, count) or 0xFFFFFFFF in (length, start):
        raise ValueError("zip64 is not supported")
    if disk or first_disk or here != count:
        raise ValueError("a zip of several disks is not supported")
    if start + length > size - look + at:
        raise ValueError(f"the zip directory of {length} bytes at {start} does not fit the zip")
    return count, length, start


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
