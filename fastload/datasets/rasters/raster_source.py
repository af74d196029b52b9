"""A source of GeoTIFF files in a store: one file a band, or one with all bands, of each scene."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from time import perf_counter
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastload.bands import names_of, pick
from fastload.datasets.rasters.resample import RULES, Resampling, resample
from fastload.datasets.rasters.scenes import BAND, KEPT, Scenes
from fastload.datasets.source import Columns, Modality, Source
from fastload.profile import Stages
from fastload.storage.errors import DataError
from fastload.storage.formats.geotiff import Head, decode, head
from fastload.storage.store import Store

_TRIED = 8
"""Samples that are asked what files look like, until one can be read."""


class Wanted(NamedTuple):
    """What is read of one of a scene's files: bands ``[n]`` of it, from 0, and which bands of the
    modality ``[n]`` they are."""

    file: int
    bands: list[int]
    shown: list[int]


class RasterSource(Source):
    """Scenes of GeoTIFF files, ``[T, C, H, W]`` a sample, in the units on disk.

    Only the files of the wanted dates and bands are read, each in one piece, and of a file with
    more bands only those are decoded. All scenes must look like the first: a file of another size,
    dtype or number of bands is an error that names it. A sample may have fewer dates than T; those
    that it has not are filled with the no-data value, or 0. GeoTIFF keeps no checksum of pixels:
    what is cut short or cannot be decoded is found, a changed byte may not be.

    Args:
        name: of the modality.
        store: holds the files.
        scenes: which there are, each sample with one date at least; see `open_scenes`.
        files: what stands for `BAND` in a scene's path in each of its files; one entry, whatever it
            is, where a scene is one file.
        names: of the stored bands, in the order of the files and within them; by default the files'
            own descriptions, else the published ones of the modality, else B1, B2, ...
        bands: names of the bands to show, in this order; all as stored by default.
        resampling: how bands are brought to the grid of the largest one of the stored; see
            `fastload.datasets.rasters.resample`.
        nodata: what a pixel holds where nothing was seen; as the files say by default.
        ground: height and width in metres; as the files say, where their crs is in metres.
        extra: further columns, see `Columns`.

    Attributes:
        heads: what the first scene's files look like.

    Raises:
        DataError: where no file can be read, or the bands differ in dtype.
        ValueError: where an argument is out of range, or a band unknown.
    """

    def __init__(
        self,
        name: str,
        store: Store,
        scenes: Scenes,
        files: Sequence[str] = ("",),
        names: Sequence[str] | None = None,
        bands: Sequence[str] | None = None,
        resampling: Resampling = "bilinear",
        nodata: float | None = None,
        ground: tuple[float, float] | None = None,
        extra: Mapping[str, NDArray[Any]] | None = None,
    ) -> None:
        if resampling not in RULES:
            raise ValueError(f"resampling must be one of {RULES}, got {resampling!r}")
        self.store, self.scenes, self.files, self.resampling = store, scenes, files, resampling
        self.heads, self._like = self._look()
        m = self._modality(name, names, bands)
        known = m.fill_value if nodata is None else nodata
        self.modality = replace(m, fill_value=known, ground=ground or m.ground)
        self._wanted = self._plan()
        self.columns = self._columns(extra or {})

    def _look(self) -> tuple[list[Head], str]:
        """What the files of the first scene look like that can be read, and its place."""
        first: DataError | None = None
        for sample in range(min(_TRIED, len(self.scenes))):
            paths = [self._path(sample, 0, file) for file in range(len(self.files))]
            try:
                heads = [head(self.store.content(p), self.store.path(p)) for p in paths]
            except DataError as error:
                first = first or error
                continue
            return heads, self.store.path(paths[0])
        raise first or DataError(self.store.place, "", -1, "there is no scene")

    def _modality(
        self, name: str, names: Sequence[str] | None, bands: Sequence[str] | None
    ) -> Modality:
        stored = sum(h.bands for h in self.heads)
        known = self._names(name, names, stored)
        picked = pick(bands, known, f"{name} in {self.store.place}")
        shown = range(stored) if picked is None else picked
        of = [h for h in self.heads for _ in range(h.bands)]
        dtypes = {of[i].dtype for i in shown}
        if len(dtypes) > 1:
            each = ", ".join(f"{known[i]} {of[i].dtype}" for i in shown)
            reason = f"bands differ in dtype: {each}; choose some by bands=[...]"
            raise DataError(self._like, "", -1, reason)
        largest = max(self.heads, key=lambda h: h.height * h.width)
        T, dtype = self.scenes.path.shape[1], np.dtype(dtypes.pop())
        return Modality(
            name, T, len(shown), largest.height, largest.width, dtype,
            tuple(known[i] for i in shown), of[shown[0]].nodata, picked,
            None if picked is None else stored, largest.ground,
        )  # fmt: skip

    def _names(self, name: str, names: Sequence[str] | None, stored: int) -> tuple[str, ...]:
        """Of all stored bands."""
        if names is not None:
            if len(names) != stored:
                reason = f"has {stored} bands, expected {len(names)}: {', '.join(names)}"
                raise DataError(self._like, "", -1, reason)
            return tuple(names)
        own = tuple(text for h in self.heads for text in h.names)
        if all(own) and len(set(own)) == stored:
            return own
        return names_of(name, (), stored) or tuple(f"B{i + 1}" for i in range(stored))

    def _plan(self) -> list[Wanted]:
        """Which bands of which files are shown."""
        m = self.modality
        at = [(file, band) for file, h in enumerate(self.heads) for band in range(h.bands)]
        shown = range(m.bands) if m.picked is None else m.picked
        pairs = [(*at[stored], place) for place, stored in enumerate(shown)]
        wanted = {file: Wanted(file, [], []) for file, _, _ in pairs}
        for file, band, place in pairs:
            wanted[file].bands.append(band)
            wanted[file].shown.append(place)
        return list(wanted.values())

    def _columns(self, extra: Mapping[str, NDArray[Any]]) -> Columns:
        s = self.scenes
        N, T = s.path.shape
        dates = s.dates
        if N and not dates.all():
            reason = "has no scene"
            raise DataError(self.store.place, s.key[dates == 0][0].decode(), -1, reason)
        return Columns(
            s.key, s.lon, s.lat, s.time, np.full((N, T), np.nan, np.float32),
            np.arange(N, dtype=np.uint32), extra, None if (dates == T).all() else dates,
        )  # fmt: skip

    def _path(self, sample: int, timestamp: int, file: int) -> str:
        """Of one of a scene's files; "" where the sample has no such date."""
        path: bytes = self.scenes.path[sample, timestamp]
        return path.decode().replace(BAND, self.files[file])

    def read(
        self, sample: int, timestamps: Sequence[int], out: NDArray[Any], stages: Stages
    ) -> None:
        """See `Source.read`."""
        for t, planes in zip(timestamps, out, strict=True):
            if not self.scenes.path[sample, t]:
                planes[...] = self.modality.absent
                continue
            for wanted in self._wanted:
                self._read_file(self._path(sample, t, wanted.file), wanted, planes, stages)

    def _read_file(self, name: str, wanted: Wanted, planes: NDArray[Any], stages: Stages) -> None:
        start = perf_counter()
        content = self._content(name)
        read = perf_counter()
        path, like = self.store.path(name), self.heads[wanted.file]
        in_order = wanted.bands == list(range(like.bands))
        image = decode(content, path, None if in_order else wanted.bands, like)
        for band, place in zip(image, wanted.shown, strict=True):
            resample(band, planes[place], self.resampling)
        stages.read += read - start
        stages.decode += perf_counter() - read
        stages.bytes_in += len(content)
        stages.bytes_out += sum(planes[place].nbytes for place in wanted.shown)

    def _content(self, name: str) -> bytes:
        try:
            return self.store.content(name)
        except DataError as error:
            if not isinstance(error.__cause__, FileNotFoundError):
                raise
            reason = f"{error.reason}; was the tree changed? Then remove {KEPT}, which lists it"
            raise DataError(error.shard, "", error.offset, reason) from error
