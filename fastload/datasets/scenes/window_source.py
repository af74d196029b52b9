"""A source of windows of scenes that lie in image files of any size."""

from collections.abc import Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastload.bands import pick
from fastload.datasets.scenes.cut import Windows
from fastload.datasets.scenes.pictures import Look, Pictures
from fastload.datasets.scenes.tables import Classes
from fastload.datasets.source import Columns, Modality, Source
from fastload.profile import Stages
from fastload.storage.errors import DataError

_TRIED = 8
"""Scenes that are asked what files look like, until one can be read."""


@dataclass(frozen=True, kw_only=True)
class Layer:
    """One modality of S scenes.

    Attributes:
        files: of each scene, of each date, its files in the store: one with all bands, or one a
            band. All scenes have as many dates.
        names: of the stored bands, in the order of the files and within them.
        bands: names of those to show, in this order; all by default.
        classes: makes class numbers of the pixels, as one band; then `names` has one name, or
            those of several bands, of which `bands` is the one that has the numbers.
        pad: what pixels of a window hold, as they are shown, where there is no image below; None
            refuses such windows.
        alike: whether all files of a scene have the size of its first layer's.
    """

    files: Sequence[Sequence[Sequence[str]]]
    names: Sequence[str]
    bands: Sequence[str] | None = None
    classes: Classes | None = None
    pad: float | None = None
    alike: bool = True


class WindowSource(Source):
    """Windows of scenes, ``[T, C, h, w]`` a sample, in the units on disk.

    Files are TIFF, PNG or JPEG. Of large TIFFs only the strips or tiles below a window are read;
    other files are decoded whole and kept, within a bound, for the next windows. All files must
    have the dtype of the first. PNG and TIFF keep few checksums: what is cut short or cannot be
    decoded is found, a changed byte may not be.

    Args:
        name: of the modality.
        pictures: reads the files; layers of one dataset share it.
        layer: which files.
        windows: which windows of its scenes.
        columns: of the windows.
        sizes: int64 ``[S, 2]``, height and width that each scene's files must have, where the layer
            is `Layer.alike`; None: unknown.

    Raises:
        DataError: where none of the first files can be read.
        ValueError: where an argument does not fit, or a band is unknown.
    """

    def __init__(
        self,
        name: str,
        pictures: Pictures,
        layer: Layer,
        windows: Windows,
        columns: Columns,
        sizes: NDArray[np.int64] | None = None,
    ) -> None:
        self.pictures, self.layer, self.windows = pictures, layer, windows
        self.columns, self.sizes = columns, sizes if layer.alike else None
        dates = {len(scene) for scene in layer.files}
        if len(dates) != 1 or 0 in dates:
            raise ValueError(f"{name}: scenes must have as many dates each, got {sorted(dates)}")
        counts = {len(files) for scene in layer.files for files in scene}
        if not counts <= {1, len(layer.names)}:
            wanted = f"one file a date or {len(layer.names)}, one a band"
            raise ValueError(f"{name}: expected {wanted}, got {sorted(counts)}")
        self._look = self._first()
        shown = pick(layer.bands, layer.names, f"{name} in {pictures.store.place}")
        names = [layer.names[i] for i in shown] if shown else layer.names
        dtype = np.dtype(np.uint8 if layer.classes else self._look.dtype)
        self._check_pad(name, dtype)
        self.modality = Modality(
            name, dates.pop(), len(names), windows.height, windows.width, dtype, tuple(names),
            layer.pad, shown, None if shown is None else len(layer.names),
        )  # fmt: skip

    def _first(self) -> Look:
        """What the first file looks like that can be read."""
        first: DataError | None = None
        for scene in self.layer.files[:_TRIED]:
            try:
                return self.pictures.look(scene[0][0])
            except DataError as error:
                first = first or error
        assert first is not None
        raise first

    def _check_pad(self, name: str, dtype: np.dtype[Any]) -> None:
        pad = self.layer.pad
        if pad is not None and dtype.kind in "iu":
            limits = np.iinfo(dtype)
            if not limits.min <= pad <= limits.max or pad != int(pad):
                raise ValueError(f"{name}: pad must be a number of {dtype}, got {pad}")

    def read(
        self, sample: int, timestamps: Sequence[int], out: NDArray[Any], stages: Stages
    ) -> None:
        """See `Source.read`."""
        start = perf_counter()
        for t, planes in zip(timestamps, out, strict=True):
            files, picked = self.layer.files[int(self.windows.scene[sample])][t], None
            if len(files) == 1:
                picked = self.modality.picked
                shown = [(files[0], planes)]
            else:
                order = self.modality.picked or range(len(files))
                shown = [(files[band], planes[i : i + 1]) for i, band in enumerate(order)]
            for file, some in shown:
                self._read_file(file, sample, picked, some)
        stages.decode += perf_counter() - start
        stages.bytes_out += out.nbytes

    def _read_file(
        self, file: str, sample: int, bands: Sequence[int] | None, out: NDArray[Any]
    ) -> None:
        """Fill `out` ``[C, h, w]`` with bands of a file where it has an image; pad the rest."""
        top, left = int(self.windows.top[sample]), int(self.windows.left[sample])
        look = self._looked(file, int(self.windows.scene[sample]))
        h, w = out.shape[1:]
        height, width = max(min(h, look.height - top), 0), max(min(w, look.width - left), 0)
        if (height, width) != (h, w):
            if self.layer.pad is None:
                place = f"the window of {h} x {w} at row {top}, column {left}"
                reason = f"is an image of {look.height} x {look.width}, too small for {place}"
                raise self._error(file, reason)
            out[...] = self.layer.pad
        if not height * width:
            return
        pixels = self.pictures.read(file, bands, (top, left, height, width))
        if self.layer.classes is not None:
            try:
                pixels = self.layer.classes(pixels, top, left)
            except ValueError as error:
                raise self._error(file, str(error)) from error
        out[:, :height, :width] = pixels

    def _looked(self, file: str, scene: int) -> Look:
        """What a file looks like, which must fit."""
        look, layer = self.pictures.look(file), self.layer
        alone = len(layer.files[scene][0]) == 1
        numbers = layer.classes if len(layer.names) == 1 else None
        bands = numbers.bands if numbers else len(layer.names) if alone else 1
        if look.bands != bands and not (numbers and numbers.reads(look.bands)):
            raise self._error(file, f"has bands: {look.bands}, expected {bands}")
        if look.dtype != self._look.dtype:
            raise self._error(file, f"holds {look.dtype}, expected {self._look.dtype}")
        if self.sizes is not None and (look.height, look.width) != tuple(self.sizes[scene]):
            height, width = self.sizes[scene].tolist()
            reason = f"is an image of {look.height} x {look.width}, expected {height} x {width}"
            raise self._error(file, f"{reason} as its scene has")
        return look

    def _error(self, file: str, reason: str) -> DataError:
        return DataError(self.pictures.store.path(file), "", 0, reason)
