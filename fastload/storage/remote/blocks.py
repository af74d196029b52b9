"""A cache of byte ranges in a local folder, shared by processes, that is never believed unchecked.

A block is a range as it was asked for, in a file of its own, so that nothing is read twice or
besides. It is written aside and renamed, and has a CRC-32 over key and bytes: what was torn by a
kill, a crash or a full disk is no block. When the folder holds more than it may, the blocks that
were used longest ago go. Each process looks after a 32nd of the bound was written by it; so far it
may be exceeded by each.
"""

import contextlib
import hashlib
import os
import secrets
import struct
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastload.storage.checksum import crc32
from fastload.storage.notice import once

_HEAD = struct.Struct("<8s32sQI12x")
_MAGIC = b"FASTBLK1"
_SHARE = 32
"""The part of the bound that a process may write before it looks at the folder again."""
_KEPT = 0.9
"""The part of the bound that is left after it was exceeded."""
_FRESH_S = 60.0
"""A block that was used so recently is not marked as used again."""
_LEFT_OVER_S = 3600.0
_FLAGS = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0)


class _Kept(NamedTuple):
    used: float
    size: int
    path: str


class Blocks:
    """A folder of blocks; safe in threads and between processes, and pickles."""

    def __init__(self, folder: str, most: int) -> None:
        self._folder, self._most = Path(folder), most
        self._written = most  # the first block that is written looks at what there is
        self.hits = self.misses = 0

    def get(self, key: str, out: NDArray[np.uint8]) -> bool:
        """Read the block of a key into `out`; whether it was there, whole and as long as that."""
        digest = _digest(key)
        path = self._path(digest)
        try:
            fd = os.open(path, _FLAGS)
        except OSError:
            self.misses += 1
            return False
        try:
            sound = self._read(fd, digest, out)
        except OSError:
            sound = False
        finally:
            os.close(fd)
        if not sound:
            with contextlib.suppress(OSError):
                path.unlink()
        self.hits += sound
        self.misses += not sound
        return sound

    def _read(self, fd: int, digest: bytes, out: NDArray[np.uint8]) -> bool:
        stat = os.fstat(fd)
        mine = not hasattr(os, "geteuid") or stat.st_uid in (os.geteuid(), 0)
        if not mine or stat.st_size != _HEAD.size + len(out):
            return False
        head = bytearray(_HEAD.size)
        if os.readv(fd, [head, out.data]) != stat.st_size:
            return False
        magic, named, size, checksum = _HEAD.unpack(head)
        sound: bool = (magic, named, size) == (_MAGIC, digest, len(out))
        sound = sound and crc32(out, crc32(digest)) == checksum
        if sound and time.time() - stat.st_mtime > _FRESH_S:
            with contextlib.suppress(OSError):
                os.utime(fd)
        return sound

    def put(self, key: str, data: NDArray[np.uint8]) -> None:
        """Keep a block. Where it cannot be kept, things go on without, which is said once."""
        if len(data) + _HEAD.size > self._most // 4:
            return
        digest = _digest(key)
        path = self._path(digest)
        head = _HEAD.pack(_MAGIC, digest, len(data), crc32(data, crc32(digest)))
        temporary = path.with_name(f"{path.name}.{secrets.token_hex(6)}.tmp")
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            try:
                with temporary.open("xb", buffering=0) as file:
                    if os.writev(file.fileno(), [head, data.data]) != len(head) + len(data):
                        raise OSError("the disk took a part only")
                temporary.replace(path)
            except BaseException:
                with contextlib.suppress(OSError):
                    temporary.unlink()
                raise
            self._written += len(head) + len(data)
            if self._written > self._most // _SHARE:
                self.sweep()
        except OSError as error:
            once("blocks", str(self._folder), f"{self._folder}: the block cache cannot be written "
                 f"({error}); what it lacks is read from afar each time")  # fmt: skip

    def sweep(self) -> None:
        """Remove what was used longest ago, where there is more than there may be, and what killed
        processes left behind."""
        self._written = 0
        found = self._kept()
        total = sum(block.size for block in found)
        if total <= self._most - self._most // _SHARE:
            return
        for block in sorted(found):
            if total <= self._most * _KEPT:
                break
            with contextlib.suppress(OSError):
                os.unlink(block.path)
            total -= block.size

    def _kept(self) -> list[_Kept]:
        found: list[_Kept] = []
        with contextlib.suppress(OSError):
            folders = [e.path for e in os.scandir(self._folder) if len(e.name) == 2]
            for folder in folders:
                found += _blocks_in(folder)
        return found

    def _path(self, digest: bytes) -> Path:
        name = digest.hex()
        return self._folder / name[:2] / name[2:]


def _blocks_in(folder: str) -> list[_Kept]:
    """The blocks of one folder."""
    found = []
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            with contextlib.suppress(OSError):
                stat = entry.stat(follow_symlinks=False)
                if not entry.name.endswith(".tmp"):
                    found.append(_Kept(stat.st_mtime, stat.st_size, entry.path))
                elif time.time() - stat.st_mtime > _LEFT_OVER_S:
                    os.unlink(entry.path)
    return found


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode()).digest()
