"""The members of a tar: any of the GNU, USTAR and PAX formats, damaged ones refused."""

import os
import posixpath
import tarfile
from collections.abc import Iterator

from fastload.storage.errors import DataError, NotAShardError
from fastload.storage.formats.foreign import HEAD, foreign
from fastload.storage.store import Store

_BLOCK = tarfile.BLOCKSIZE
_AT_ONCE = 2**20
"""Bytes of the padding behind the last member that are looked at together."""
TWIN = "._"
"""How the twins begin that macOS leaves beside files."""
_AHEAD = 1024
"""Bytes read at once: a header and what a sparse or long name adds to it."""
_ZIP = b"PK\x03\x04"
_FAULTS = (tarfile.TarError, ValueError, ArithmeticError, LookupError, EOFError, RecursionError)
"""What `tarfile` raises on damaged headers."""


class _File:
    """A file of a store for `tarfile`. No header can make it read beyond its end."""

    def __init__(self, store: Store, name: str, size: int) -> None:
        self._store, self._name, self._size = store, name, size
        self._at = self._start = 0
        self._block = b""

    def tell(self) -> int:
        return self._at

    def seek(self, at: int, whence: int = os.SEEK_SET) -> int:
        self._at = at + {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._size}[whence]
        return self._at

    def read(self, size: int) -> bytes:
        if size < 0 or self._at < 0:
            raise ValueError(f"{size} bytes at {self._at}")
        size = min(size, max(0, self._size - self._at))
        first = self._at - self._start
        if first < 0 or first + size > len(self._block):
            self._block = self._store.bytes(
                self._name, self._at, min(max(size, _AHEAD), self._size - self._at)
            )
            self._start, first = self._at, 0
        data = self._block[first : first + size]
        self._at += len(data)
        return data


def members(
    store: Store, name: str, size: int, suffix: str | tuple[str, ...]
) -> Iterator[tuple[str, int, int]]:
    """Name, data offset and size of every file in a tar whose name ends in `suffix`.

    Args:
        store, name, size: the tar.
        suffix: of the members' names, or several of them.

    Raises:
        DataError: names the place where the archive is damaged or ends too soon.
    """
    path = store.path(name)
    file = _File(store, name, size)
    try:
        with tarfile.open(fileobj=file, mode="r:") as tar:  # type: ignore[call-overload]
            for info in tar:
                if posixpath.basename(info.name).startswith(TWIN):
                    continue
                _check(path, info, size, suffix)
                if info.name.endswith(suffix):
                    yield info.name, info.offset_data, info.size
                elif store.bytes(name, info.offset_data, min(len(_ZIP), info.size)) == _ZIP:
                    # Long names have no checksum; a damaged one must not hide a sample.
                    reason = f"expected a name that ends in {_ends(suffix)}, since this is a zip"
                    raise DataError(path, info.name, info.offset, reason)
            end = tar.offset
    except _FAULTS as error:
        what = foreign(store.bytes(name, 0, min(HEAD, size)))
        if what:
            reason = f"expected a tar, found {what}"
            raise NotAShardError(path, "", -1, reason) from error
        raise DataError(path, "", -1, f"is not a sound tar ({error})") from error
    _check_end(store, name, end, size)


def _ends(suffix: str | tuple[str, ...]) -> str:
    return suffix if isinstance(suffix, str) else " or ".join(suffix)


def _check(path: str, info: tarfile.TarInfo, size: int, suffix: str | tuple[str, ...]) -> None:
    if not 0 <= info.size <= size - info.offset_data:
        reason = f"{info.size} bytes are promised but the file ends at {size}"
        raise DataError(path, info.name, info.offset_data, reason)
    if not info.name.isprintable():
        reason = f"the name {info.name!r} is not plain text"
        raise DataError(path, ascii(info.name), info.offset, reason)
    if info.name.endswith(suffix) and (not info.isreg() or info.issparse()):
        reason = f"expected a plain file, found tar type {info.type!r}"
        raise DataError(path, info.name, info.offset, reason)


def _check_end(store: Store, name: str, end: int, size: int) -> None:
    """`tarfile` takes a damaged or zeroed header for the end; the true end is zeros to the last,
    and a tape's blocks may make many of them."""
    path, first = store.path(name), store.bytes(name, end, _BLOCK)
    if len(first) < _BLOCK or any(first):
        raise DataError(path, "", end, "expected a tar header or the end of the archive")
    zeros = bytes(_AT_ONCE)
    for at in range(end + _BLOCK, size, _AT_ONCE):
        count = min(_AT_ONCE, size - at)
        if store.bytes(name, at, count) != (zeros if count == _AT_ONCE else bytes(count)):
            reason = f"the archive ends, but other bytes follow up to {size}"
            raise DataError(path, "", end, reason)
