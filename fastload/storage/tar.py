"""The members of a tar: any of the GNU, USTAR and PAX formats, damaged ones refused."""

import os
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from fastload.storage.errors import DataError

_BLOCK = tarfile.BLOCKSIZE
_MOST_PADDING = 2**20
"""Zeros that may follow the last member."""
_ZIP = b"PK\x03\x04"
_FAULTS = (tarfile.TarError, ValueError, ArithmeticError, LookupError, EOFError, RecursionError)
"""What `tarfile` raises on damaged headers."""


class _Bounded:
    """A file that never tries to read beyond its end, whatever size a header asks for."""

    def __init__(self, file: BinaryIO, size: int) -> None:
        self._file, self._size = file, size
        self.seek, self.tell = file.seek, file.tell

    def read(self, size: int) -> bytes:
        if size < 0:
            raise ValueError(f"a size of {size} bytes")
        return self._file.read(min(size, max(0, self._size - self.tell())))


def members(path: Path, file: BinaryIO, suffix: str) -> Iterator[tuple[str, int, int]]:
    """Name, data offset and size of every file whose name ends in `suffix`.

    Raises:
        DataError: names the place where the archive is damaged or ends too soon.
    """
    size = os.fstat(file.fileno()).st_size
    try:
        with tarfile.open(fileobj=_Bounded(file, size), mode="r:") as tar:  # type: ignore[call-overload]
            for info in tar:
                _check(path, info, size, suffix)
                if info.name.endswith(suffix):
                    yield info.name, info.offset_data, info.size
                elif os.pread(file.fileno(), len(_ZIP), info.offset_data) == _ZIP:
                    # Long names have no checksum; a damaged one must not hide a sample.
                    reason = f"expected a name that ends in {suffix}, since this is a zip"
                    raise DataError(str(path), info.name, info.offset, reason)
            end = tar.offset
    except _FAULTS as error:
        raise DataError(str(path), "", -1, f"is not a sound tar ({error})") from error
    _check_end(path, file, end, size)


def _check(path: Path, info: tarfile.TarInfo, size: int, suffix: str) -> None:
    if not 0 <= info.size <= size - info.offset_data:
        reason = f"{info.size} bytes are promised but the file ends at {size}"
        raise DataError(str(path), info.name, info.offset_data, reason)
    if not info.name.isprintable():
        reason = f"the name {info.name!r} is not plain text"
        raise DataError(str(path), ascii(info.name), info.offset, reason)
    if info.name.endswith(suffix) and (not info.isreg() or info.issparse()):
        reason = f"expected a plain file, found tar type {info.type!r}"
        raise DataError(str(path), info.name, info.offset, reason)


def _check_end(path: Path, file: BinaryIO, end: int, size: int) -> None:
    """`tarfile` takes a damaged or zeroed header for the end; the true end is zeros to the last."""
    rest = os.pread(file.fileno(), _MOST_PADDING, end)
    if len(rest) < _BLOCK or any(rest[:_BLOCK]):
        raise DataError(str(path), "", end, "expected a tar header or the end of the archive")
    if any(rest) or end + len(rest) < size:
        reason = f"the archive ends, but other bytes follow up to {size}"
        raise DataError(str(path), "", end, reason)
