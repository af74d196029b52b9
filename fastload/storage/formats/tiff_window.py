"""Windows of TIFF files in a store, of which only the needed bytes are read, by rasterio (GDAL).

GDAL is asked for GeoTIFF alone and sees this one file: neither files beside it nor addresses in it.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from io import RawIOBase
from os import SEEK_CUR, SEEK_END
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastload.storage.errors import DataError
from fastload.storage.formats.geotiff import rasterio
from fastload.storage.store import Store

_NAME = "image.tif"
_BLOCK = 2**16
_KEPT = 16
"""Blocks of the file that are kept while it is open: a directory of many strips is read in small
pieces."""


class StoreFile(RawIOBase):
    """A file of a store as Python has files. `fault` is what went wrong last, or None.

    `known` are bytes that were read before, by where they begin; there may come to be more.
    """

    def __init__(
        self, store: Store, name: str, size: int, known: Mapping[int, bytes] | None = None
    ) -> None:
        super().__init__()
        self._store, self._name, self._size, self._at = store, name, size, 0
        self._known = {} if known is None else known
        self._blocks: dict[int, bytes] = {}
        self.fault: Exception | None = None

    def readable(self) -> bool:
        """It is."""
        return True

    def seekable(self) -> bool:
        """It is."""
        return True

    def seek(self, offset: int, whence: int = 0) -> int:
        """See `io.IOBase.seek`."""
        start = {SEEK_CUR: self._at, SEEK_END: self._size}.get(whence, 0)
        self._at = start + offset
        return self._at

    def tell(self) -> int:
        """See `io.IOBase.tell`."""
        return self._at

    def read(self, size: int = -1) -> bytes:
        """See `io.RawIOBase.read`; nothing where the store has an error."""
        end = self._size if size < 0 else min(self._at + size, self._size)
        first, last = self._at // _BLOCK, max(end - 1, self._at) // _BLOCK
        try:
            known = self._before(self._at, end)
            if known is not None:
                data = known
            elif last - first >= _KEPT:
                data = self._store.bytes(self._name, self._at, end - self._at)
            else:
                data = b"".join(self._block(n) for n in range(first, last + 1))
                data = data[self._at - first * _BLOCK :][: max(end - self._at, 0)]
        except Exception as error:  # GDAL, which calls this, forgets it
            self.fault, data = error, b""
        self._at += len(data)
        return data

    def _before(self, start: int, end: int) -> bytes | None:
        """Bytes that are known; None where some are not."""
        for at, data in self._known.items():
            if at <= start and end <= at + len(data):
                return data[start - at : end - at]
        return None

    def _block(self, number: int) -> bytes:
        if number not in self._blocks:
            if len(self._blocks) >= _KEPT:
                self._blocks.pop(next(iter(self._blocks)))
            start = number * _BLOCK
            size = max(min(_BLOCK, self._size - start), 0)
            self._blocks[number] = self._store.bytes(self._name, start, size)
        return self._blocks[number]


@contextmanager
def opened(
    store: Store,
    name: str,
    size: int,
    known: Mapping[int, bytes] | None = None,
    driver: str = "GTiff",
) -> Iterator[Any]:
    """A file as rasterio has it.

    Args:
        store: holds it.
        name: of it there.
        size: its bytes.
        known: see `StoreFile`.
        driver: the only one that GDAL may take the file for.

    Raises:
        DataError: where it is no sound TIFF, at once or inside; or what the store raises.
        ImportError: where rasterio is missing.
    """
    library = rasterio()
    files: list[StoreFile] = []

    def only(path: str, mode: str = "rb") -> StoreFile:
        if not path.endswith(_NAME):
            raise FileNotFoundError(path)
        files.append(StoreFile(store, name, size, known))
        return files[-1]

    try:
        with library.open(_NAME, driver=driver, opener=only) as image:
            yield image
    except library.errors.RasterioError as error:
        for fault in (file.fault for file in files if file.fault is not None):
            raise fault from error
        cause = error.__cause__ or error
        raise DataError(store.path(name), "", 0, f"is no sound TIFF ({cause})") from error


def pixels(image: Any, bands: Sequence[int], box: tuple[int, int, int, int]) -> NDArray[Any]:
    """Some bands, from 0, of a box (top, left, height, width) inside of an opened file: ``[C, h,
    w]``."""
    from rasterio.windows import Window

    top, left, height, width = box
    window = Window(left, top, width, height)
    found: NDArray[Any] = image.read([band + 1 for band in bands], window=window)
    return np.ascontiguousarray(found)
