"""A file of a store in the manner of Python's, for libraries that read no other."""

import io
from typing import Any

import numpy as np

from fastload.storage.store import Store


class AsFile(io.RawIOBase):
    """Bytes of a file, read from where one points to. Nothing is held open.

    Args:
        store: holds it.
        name: of the file.
        size: bytes that it has.
    """

    def __init__(self, store: Store, name: str, size: int) -> None:
        self._store, self._name, self._size, self._at = store, name, size, 0

    def readable(self) -> bool:
        """Yes."""
        return True

    def seekable(self) -> bool:
        """Yes."""
        return True

    def tell(self) -> int:
        """The next byte that is read."""
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Point to another byte."""
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        self._at = start + offset
        return self._at

    def readinto(self, out: Any) -> int:
        """Fill `out` from the next byte on; less of it where the file ends.

        Raises:
            DataError: where it cannot be read.
        """
        count = max(0, min(len(out), self._size - self._at))
        into = np.frombuffer(out, np.uint8)[:count]
        self._store.fetch(self._name, self._size, self._at, into)
        self._at += count
        return count
