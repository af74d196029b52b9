"""Boxes of image files in a store: TIFF by rasterio, all others by Pillow."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from io import BytesIO
from pathlib import PurePosixPath
from threading import Lock
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastload.datasets.scenes.kept import Kept
from fastload.extras import missing
from fastload.storage.errors import DataError
from fastload.storage.formats.tiff_window import StoreFile, opened, pixels
from fastload.storage.store import Stat, Store

_TIFF = (".tif", ".tiff")
_FORMATS = ("JPEG", "PNG", "BMP")
_MODES = {
    "1": (1, "uint8"), "L": (1, "uint8"), "P": (1, "uint8"), "LA": (2, "uint8"),
    "RGB": (3, "uint8"), "RGBA": (4, "uint8"), "I;16": (1, "uint16"), "I;16B": (1, "uint16"),
    "I": (1, "int32"), "F": (1, "float32"),
}  # fmt: skip
"""Bands and dtype of Pillow's modes; of a palette, the numbers of its colours."""
_WHOLE = 2**24
"""Bytes of a decoded TIFF up to which it is decoded whole and kept; of a larger one only the strips
or tiles of a box are read, each time."""
Box = tuple[int, int, int, int]
"""Top, left, height and width in pixels."""


class Look(NamedTuple):
    """What a file's pixels ``[bands, height, width]`` look like."""

    bands: int
    height: int
    width: int
    dtype: str


class Pictures:
    """The image files of a store; safe in threads, and pickles.

    Args:
        store: holds them.
        most_bytes: of decoded files that are kept for the next box.
    """

    def __init__(self, store: Store, most_bytes: int = 2**28) -> None:
        self.store, self._kept = store, Kept(most_bytes)
        self._looks: dict[str, Look] = {}
        self._listed: dict[str, dict[str, Stat]] = {}
        self._lock = Lock()

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name != "_lock"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state, _lock=Lock())

    def look(self, name: str) -> Look:
        """What a file looks like, as its header says.

        Raises:
            DataError: where it is no sound image.
        """
        if name not in self._looks:
            self._looks[name] = self._tiff_look(name) if _is_tiff(name) else self._pillow_look(name)
        return self._looks[name]

    def read(self, name: str, bands: Sequence[int] | None, box: Box) -> NDArray[Any]:
        """Pixels ``[C, h, w]`` of some bands, from 0, or all, of a box that is inside of the image;
        not to be written to.

        Raises:
            DataError: where it is no sound image.
        """
        look = self.look(name)
        shown = range(look.bands) if bands is None else bands
        size = look.bands * look.height * look.width * np.dtype(look.dtype).itemsize
        if _is_tiff(name) and size > _WHOLE:
            with opened(self.store, name, self._size(name)) as image:
                return pixels(image, shown, box)
        top, left, height, width = box
        whole = self._kept.get(name, lambda: self._whole(name, look))
        return whole[list(shown), top : top + height, left : left + width]

    def _whole(self, name: str, look: Look) -> NDArray[Any]:
        if not _is_tiff(name):
            found = self._pillow_pixels(name)
        else:
            with opened(self.store, name, self._size(name)) as image:
                found = pixels(image, range(look.bands), (0, 0, look.height, look.width))
        found.flags.writeable = False
        return found

    def _tiff_look(self, name: str) -> Look:
        with opened(self.store, name, self._size(name)) as image:
            if len(set(image.dtypes)) != 1:
                raise self._error(name, f"its bands differ in dtype: {list(image.dtypes)}")
            return Look(image.count, image.height, image.width, str(image.dtypes[0]))

    def _size(self, name: str) -> int:
        """Bytes of a file; each folder is listed once."""
        folder, _, file = name.rpartition("/")
        with self._lock:
            if folder not in self._listed:
                place = self.store.below(folder) if folder else self.store
                try:
                    self._listed[folder] = place.list()
                except FileNotFoundError as error:
                    raise self._error(name, "there is no such file") from error
            found = self._listed[folder].get(file)
        if found is None:
            raise self._error(name, "there is no such file")
        return found.size

    def _pillow_look(self, name: str) -> Look:
        file = StoreFile(self.store, name, self._size(name))
        with self._pillow(name, file) as image:
            if image.mode not in _MODES:
                known = ", ".join(_MODES)
                raise self._error(name, f"has pixels of {image.mode}, expected one of {known}")
            bands, dtype = _MODES[image.mode]
            return Look(bands, image.height, image.width, dtype)

    def _pillow_pixels(self, name: str) -> NDArray[Any]:
        with self._pillow(name, BytesIO(self.store.content(name))) as image:
            found = np.asarray(image)
        planes = found[None] if found.ndim == 2 else found.transpose(2, 0, 1)
        return np.ascontiguousarray(planes, np.uint8 if found.dtype == np.bool_ else None)

    @contextmanager
    def _pillow(self, name: str, file: BytesIO | StoreFile) -> Iterator[Any]:
        """A file as Pillow has it; what is wrong with it, at once or inside, is a `DataError`."""
        try:
            from PIL import Image
        except ImportError as error:
            raise missing("JPEG and PNG files need Pillow", "images") from error
        try:
            with Image.open(file, formats=_FORMATS) as image:  # type: ignore[arg-type]
                yield image
        except (MemoryError, DataError):
            raise
        except Exception as error:  # decoders raise whatever they come upon in damaged bytes
            if isinstance(file, StoreFile) and file.fault is not None:
                raise file.fault from error
            raise self._error(name, f"is no sound image ({error})") from error

    def _error(self, name: str, reason: str) -> DataError:
        return DataError(self.store.path(name), "", 0, reason)


def _is_tiff(name: str) -> bool:
    return PurePosixPath(name).suffix.lower() in _TIFF
