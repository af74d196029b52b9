"""A source of small images of eight bits, JPEG or PNG, one a sample, in files or in a zip."""

from collections.abc import Sequence
from io import BytesIO
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastload.bands import pick
from fastload.datasets.source import CHUNK, OTHER, ChunkedSource, Chunks, Columns, Modality
from fastload.extras import missing
from fastload.profile import Stages
from fastload.storage.checksum import CRC_FAULT, crc32
from fastload.storage.errors import DataError
from fastload.storage.store import Store
from fastload.storage.zip_store import ZipStore

_TRIED = 8
"""Samples that are asked what images look like, until one can be read."""
_FORMATS = ("JPEG", "PNG")


class ImageSource(ChunkedSource):
    """Images ``[1, 3, H, W]``, uint8, decoded by Pillow. All must look like the first.

    Args:
        name: of the modality.
        store: holds the files.
        files: name of each sample's file.
        sizes: int64 ``[N]``, bytes of each.
        columns: of the samples.
        check_crc: compare what is read with the CRC-32 of its zip, where the store is one.
        bands: of R, G, B those to show, in this order; all by default.

    Raises:
        DataError: where none of the first samples can be read.
        ValueError: where a band is unknown.
    """

    chunks_a_timestamp = 1

    def __init__(
        self,
        name: str,
        store: Store,
        files: Sequence[str],
        sizes: NDArray[np.int64],
        columns: Columns,
        check_crc: bool = True,
        bands: Sequence[str] | None = None,
    ) -> None:
        self.store, self.files, self.sizes = store, list(files), sizes
        self.columns, self.largest = columns, int(sizes.max(initial=1))
        self.check_crc = check_crc and isinstance(store, ZipStore)
        self._crc = np.zeros(len(sizes), np.uint32)
        if isinstance(store, ZipStore):
            self._crc[:] = [store.crc(file) for file in files]
        picked = pick(bands, ("R", "G", "B"), f"{name} in {store.place}")
        height, width = self._look()
        shown = (0, 1, 2) if picked is None else picked
        self.modality = Modality(
            name, 1, len(shown), height, width, np.dtype(np.uint8),
            tuple("RGB"[i] for i in shown), None, picked, None if picked is None else 3,
        )  # fmt: skip

    def _look(self) -> tuple[int, int]:
        """Height and width of the first image that can be read."""
        first: DataError | None = None
        for file in self.files[:_TRIED]:
            try:
                return _decoded(self.store.content(file)).shape[1:]
            except DataError as error:
                first = first or error
            except ValueError as error:
                first = first or DataError(self.store.path(file), "", 0, str(error))
        raise first or DataError(self.store.place, "", -1, "there is no image")

    def whole_timestamps(self, sample: int) -> bool:
        """See `ChunkedSource.whole_timestamps`."""
        return True

    def chunks(self, samples: NDArray[np.int64], wanted: NDArray[np.bool_]) -> Chunks:
        """See `ChunkedSource.chunks`."""
        slots = np.flatnonzero(wanted[:, 0])
        mine = samples[slots]
        rows = np.zeros(len(slots), CHUNK)
        rows["slot"], rows["file"], rows["crc"] = slots, mine, self._crc[mine]
        rows["stored"] = rows["size"] = self.sizes[mine]
        rows["codec"] = OTHER
        return Chunks(rows, np.searchsorted(slots, np.arange(len(samples) + 1)))

    def decode(
        self,
        sample: int,
        rows: NDArray[np.void],
        data: Sequence[NDArray[np.uint8] | None],
        timestamps: Sequence[int],
        out: NDArray[Any],
        stages: Stages,
    ) -> None:
        """See `ChunkedSource.decode`."""
        m, start = self.modality, perf_counter()
        for row, stored in zip(rows, data, strict=True):
            try:
                if stored is None:
                    raise ValueError("is empty, expected an image")
                if self.check_crc and crc32(stored) != row["crc"]:
                    raise ValueError(CRC_FAULT)
                image = _decoded(stored, (m.height, m.width))
            except ValueError as error:
                raise self.error(sample, row, str(error)) from error
            out[0] = image if m.picked is None else image[list(m.picked)]
            stages.bytes_in += int(row["stored"])
            stages.bytes_out += out.nbytes
        stages.decode += perf_counter() - start

    def error(self, sample: int, row: np.void, reason: str | DataError) -> DataError:
        """See `ChunkedSource.error`."""
        kind = type(reason) if isinstance(reason, DataError) else DataError
        text = reason.reason if isinstance(reason, DataError) else reason
        name = self.files[row["file"]]
        return kind(self.store.path(name), name.rpartition("/")[2], int(row["offset"]), text)


def _decoded(content: Any, size: tuple[int, int] | None = None) -> NDArray[np.uint8]:
    """An image ``[3, H, W]`` of its bytes, of `size` if that is known.

    Raises:
        ValueError: says what it is instead.
        ImportError: where Pillow is missing.
    """
    try:
        from PIL import Image
    except ImportError as error:
        raise missing("JPEG and PNG files need Pillow", "images") from error
    try:
        with Image.open(BytesIO(content), formats=_FORMATS) as image:
            found = image.height, image.width
            if image.mode != "RGB" or (size is not None and found != size):
                wanted = "" if size is None else f" of {size[0]} x {size[1]}, as the first one is"
                raise ValueError(
                    f"is an image of {found[0]} x {found[1]} {image.mode}, expected RGB{wanted}"
                )
            return np.ascontiguousarray(np.asarray(image).transpose(2, 0, 1))
    except (MemoryError, ValueError):
        raise
    except Exception as error:  # decoders raise whatever they come upon in damaged bytes
        raise ValueError(f"is no sound image ({error})") from error
