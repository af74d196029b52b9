"""An index of what is far: taken from there where it lies beside the data, else made in few reads.

An index that was built on another machine has that machine's versions of the files, times and
inodes. It is believed, file by file, where name and size are those listed, and if one chunk of each
of some files has the CRC-32 that it has in the index. From then on it has the versions that the
server lists, so that a change is noticed; and each chunk has its CRC-32 in any case.
"""

import os
import tempfile
import warnings
from collections import deque
from dataclasses import replace
from pathlib import Path

import numpy as np

from fastload.storage.checksum import crc32
from fastload.storage.errors import DataError
from fastload.storage.formats.streams import inflate
from fastload.storage.formats.zip import DEFLATED
from fastload.storage.index_file import Index, load
from fastload.storage.index_place import FILE
from fastload.storage.store import Stat, Store

FAR_AT_ONCE = 32
"""Tars that are scanned at once where each read is a round trip."""
_TRIED = 16
"""Files of which a chunk is compared."""
_MORE = 8 * 1024
"""Bytes read besides: behind the end of a member lies the header of the next."""
_BLOCKS = 6


def adopted(store: Store, tars: dict[str, Stat]) -> Index | None:
    """The index that lies beside a store's tars, as far as it is theirs; None where it is not.

    Args:
        store: holds the tars.
        tars: as they are listed now.
    """
    if FILE not in store.filenames(FILE):
        return None
    try:
        index = _loaded(store.content(FILE))
        shards = [
            s._replace(version=tars[s.name].version)
            if s.name in tars and tars[s.name].size == s.size
            else s._replace(version="")
            for s in index.shards
        ]
        _compare(store, index, [i for i, s in enumerate(shards) if s.version])
    except (DataError, ValueError, OSError) as error:
        warnings.warn(
            f"{store.path(FILE)}: is not taken for the index of the shards beside it ({error}); "
            "they are scanned",
            stacklevel=4,
        )
        return None
    return replace(index, shards=shards, origin=None)


def _loaded(content: bytes) -> Index:
    """An index file's content, mapped from a file that has no name any more."""
    number, name = tempfile.mkstemp(suffix=".index", prefix="fastload-")
    try:
        with os.fdopen(number, "wb") as file:
            file.write(content)
        return load(Path(name))
    finally:
        os.unlink(name)


def _compare(store: Store, index: Index, shards: list[int]) -> None:
    """Compare one chunk of some shards with the index.

    Raises:
        ValueError: names the shard that is not what was indexed.
        DataError: where a chunk cannot be read.
    """
    rows = index.chunks_of()
    for number in shards[:: max(1, len(shards) // _TRIED)]:
        chunks = index.chunks[rows[number]]
        there = np.flatnonzero(chunks["stored"])
        if not len(there):
            continue
        chunk, shard = chunks[there[-1]], index.shards[number]
        out = np.empty(int(chunk["stored"]), np.uint8)
        store.fetch(shard.name, shard.size, int(chunk["offset"]), out)
        data = inflate(out, int(chunk["size"])) if chunk["method"] == DEFLATED else out
        if crc32(data) != chunk["crc"]:
            raise ValueError(f"a chunk of {shard.name} does not match its CRC-32")


class Ahead(Store):
    """A store whose small reads take what follows along, for one thread that scans a tar.

    The end of a member, where its directory lies, and the next header are then one request.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._blocks: deque[tuple[str, int, bytes]] = deque(maxlen=_BLOCKS)

    @property
    def place(self) -> str:
        """See `Store.place`."""
        return self._store.place

    def path(self, name: str) -> str:
        """See `Store.path`."""
        return self._store.path(name)

    def list(self, suffix: str = "") -> dict[str, Stat]:
        """See `Store.list`."""
        return self._store.list(suffix)

    def read(self, name: str, offset: int, out: memoryview) -> int:
        """See `Store.read`."""
        return self._store.read(name, offset, out)

    def bytes(self, name: str, offset: int, size: int) -> bytes:
        """See `Store.bytes`."""
        for file, start, block in self._blocks:
            if file == name and start <= offset and offset + size <= start + len(block):
                return block[offset - start : offset - start + size]
        block = self._store.bytes(name, offset, size + _MORE)
        self._blocks.append((name, offset, block))
        return block[:size]
