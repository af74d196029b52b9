"""A source of images that lie one after the other in an array of an HDF5 file."""

import os
from collections.abc import Sequence
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastload.bands import pick
from fastload.datasets.source import Columns, Modality, Source
from fastload.extras import missing
from fastload.profile import Stages
from fastload.storage.errors import DataError
from fastload.storage.formats.tiff_window import StoreFile
from fastload.storage.store import Store


class HDF5Source(Source):
    """Images ``[1, C, H, W]`` of an array ``[N, H, W, C]``, in the units on disk.

    Numbers that are none of the package's pixels (`fastload.dtypes`) are read as float32. HDF5
    reads one image at a time, whatever the number of threads, and through the store. A process
    that was forked opens the file for itself.

    Args:
        name: of the modality.
        store: holds the file.
        file: its name.
        array: name of the array in it.
        names: of the stored bands.
        columns: of the samples, as many as the array has rows.
        bands: names of those to show, in this order; all by default.

    Raises:
        DataError: where the file is no HDF5, or lacks the array, or that is of another shape.
        ValueError: where a band is unknown.
        ImportError: where h5py is missing.
    """

    def __init__(
        self,
        name: str,
        store: Store,
        file: str,
        array: str,
        names: Sequence[str],
        columns: Columns,
        bands: Sequence[str] | None = None,
    ) -> None:
        self.store, self.file, self.array, self.columns = store, file, array, columns
        self._opened: dict[int, Any] = {}
        _, height, width, stored = self._shape(len(columns.key), len(names))
        picked = pick(bands, names, f"{name} in {store.path(file)}")
        shown = range(stored) if picked is None else picked
        self.modality = Modality(
            name, 1, len(shown), height, width, np.dtype(np.float32),
            tuple(names[i] for i in shown), None, picked, None if picked is None else stored,
        )  # fmt: skip

    def _shape(self, samples: int, bands: int) -> tuple[int, ...]:
        shape = tuple(self._array().shape)
        if len(shape) != 4 or shape[0] != samples or shape[3] != bands:
            reason = f"is {list(shape)}, expected [{samples}, height, width, {bands}]"
            raise self._error(-1, reason)
        return shape

    def __getstate__(self) -> dict[str, Any]:
        """What is open does not travel."""
        return {**vars(self), "_opened": {}}

    def _array(self) -> Any:
        """The array, opened by this process."""
        found = self._opened.get(os.getpid())
        if found is None:
            found = self._opened[os.getpid()] = array_of(self.store, self.file, self.array)
        return found

    def read(
        self, sample: int, timestamps: Sequence[int], out: NDArray[Any], stages: Stages
    ) -> None:
        """See `Source.read`."""
        start, array = perf_counter(), self._array()
        try:
            image = array[sample]
        except Exception as error:  # h5py and its filters raise whatever they come upon
            raise self._error(sample, f"cannot be read ({error})") from error
        read = perf_counter()
        planes = image.transpose(2, 0, 1)
        out[:] = planes if self.modality.picked is None else planes[list(self.modality.picked)]
        stages.read += read - start
        stages.decode += perf_counter() - read
        stages.bytes_in += image.nbytes
        stages.bytes_out += out.nbytes

    def _error(self, sample: int, reason: str) -> DataError:
        """Of one image, or of the whole array; HDF5 does not tell where its bytes lie."""
        if sample < 0:
            return DataError(self.store.path(self.file), self.array, -1, reason)
        return DataError(self.store.path(self.file), f"{self.array}[{sample}]", 0, reason)


class _File(StoreFile):
    """HDF5 wants bytes put into memory of its own, and lets errors through."""

    def readinto(self, out: Any) -> int:
        """See `io.RawIOBase.readinto`."""
        count = max(0, min(len(out), self._size - self._at))
        into = np.frombuffer(out, np.uint8)[:count]
        self._store.fetch(self._name, self._size, self._at, into)
        self._at += count
        return count


def array_of(store: Store, file: str, array: str) -> Any:
    """An array of an HDF5 file, as h5py has it.

    Raises:
        DataError: where the file is no HDF5 or lacks the array.
        FileNotFoundError: where there is no such file.
        ImportError: where h5py is missing.
    """
    try:
        import h5py
    except ImportError as error:
        raise missing("HDF5 files need h5py", "evaluate") from error
    stat = store.list(file).get(file)
    if stat is None:
        there = ", ".join(store.filenames("", 12)) or "no file"
        raise FileNotFoundError(f"{store.path(file)}: there is no such file, but {there}")
    try:
        opened = h5py.File(_File(store, file, stat.size), "r")
        if array in opened and isinstance(opened[array], h5py.Dataset):
            return opened[array]
        there = ", ".join(opened)
    except Exception as error:  # h5py raises whatever it comes upon in damaged bytes
        raise DataError(store.path(file), "", -1, f"is no sound HDF5 file ({error})") from error
    raise DataError(store.path(file), array, -1, f"is not there, only {there or 'nothing'}")
