"""One modality of what is packed, and each of its samples as bytes."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastload.datasets.source import Columns, Source
from fastload.pack.narrow import Box, Scale, cut
from fastload.pack.tar import member_of
from fastload.profile import Stages
from fastload.storage.formats.zarr_write import GroupWriter
from fastload.storage.group import BANDS, CLOUD_MASK, CLOUD_SHARE, KEY, OURS
from fastload.storage.scan import cloud_share

RESERVED = (BANDS, "band", "time", "center_lon", "center_lat", CLOUD_MASK, CLOUD_SHARE)
"""Arrays of a sample that no further column may be called like."""
_AXES = {3: ("time", "y", "x"), 4: ("time", "band", "y", "x")}


@dataclass(frozen=True)
class Layer:
    """A modality: where its samples come from, and what is kept of them.

    Attributes:
        name: of the modality.
        source: its samples, by row, and
        beside: further arrays of the same rows.
        extra: further columns by row, ``[N]`` or ``[N, T]``, as `Columns.extra` has them.
        own: columns of the dataset, by the sample's place in it.
        box: the pixels that are kept, and
        scale: how they become 8 bits; None for all, and as they are.
        codec: of all chunks, of numcodecs; None stores them as they are.
        notes: what is said of that in every sample.
    """

    name: str
    source: Source
    beside: Mapping[str, Source]
    extra: Mapping[str, NDArray[Any]]
    own: Mapping[str, NDArray[Any]]
    box: Box | None
    scale: Scale | None
    codec: Any
    notes: Mapping[str, Any]

    def pack(self, key: str, place: int, row: int) -> bytes:
        """A sample as the bytes of its zip.

        Args:
            key: the sample's.
            place: its place in the dataset, and
            row: its row in the source.

        Raises:
            DataError: where it cannot be read.
        """
        dates = self.dates(row)
        group = GroupWriter(self._attributes(key))
        self._image(group, BANDS, self.source, row, self.scale)
        self._small(group, self.source.columns, row, dates)
        for name, source in self.beside.items():
            mask = self._image(group, name, source, row, None)
            if name == CLOUD_MASK:
                self._share(group, row, dates, mask)
        if CLOUD_MASK not in self.beside:
            self._share(group, row, dates, None)
        self._columns(group, self.extra, row, dates)
        self._columns(group, self.own, place, dates)
        return group.close()

    def dates(self, row: int) -> int:
        """How many timestamps a sample has."""
        dates = self.source.columns.dates
        return self.source.modality.timestamps if dates is None else int(dates[row])

    def _attributes(self, key: str) -> dict[str, Any]:
        ours = dict(self.notes) if member_of(key) == key else {**self.notes, KEY: key}
        return {OURS: ours} if ours else {}

    def _image(
        self, group: GroupWriter, name: str, source: Source, row: int, scale: Scale | None
    ) -> NDArray[Any]:
        """Add the pixels of a source; returns them."""
        m = source.modality
        count = min(self.dates(row), m.timestamps)
        pixels = np.empty((count, *m.shape[1:]), m.dtype)
        source.read(row, range(count), pixels, Stages())
        pixels = cut(pixels, self.box)
        if name == BANDS:
            pixels = pixels if scale is None else scale.apply(pixels)
        elif m.bands == 1:
            pixels = pixels[:, 0]
        fill = 0 if scale is not None or m.fill_value is None else m.fill_value
        codec = self.codec
        group.array(name, pixels, _AXES[pixels.ndim], codec, by_timestamp=True, fill_value=fill)
        return pixels

    def _small(self, group: GroupWriter, columns: Columns, row: int, dates: int) -> None:
        names = self.source.modality.band_names
        if names:
            group.array("band", np.array(names), ("band",), self.codec)
        for name, value in (("center_lon", columns.lon[row]), ("center_lat", columns.lat[row])):
            group.array(name, np.array(value, np.float64), ())
        group.array("time", columns.time[row, :dates], ("time",), self.codec)

    def _share(self, group: GroupWriter, row: int, dates: int, mask: NDArray[Any] | None) -> None:
        """Add the share of clouds, where the mask does not say it."""
        share = self.source.columns.cloud[row, :dates]
        told = mask is not None and self.box is not None
        if told or np.isnan(share).all():
            return
        if cloud_share(mask, dates).tobytes() != share.tobytes():
            group.array(CLOUD_SHARE, share.astype(np.float64), ("time",), self.codec)

    def _columns(
        self, group: GroupWriter, columns: Mapping[str, NDArray[Any]], row: int, dates: int
    ) -> None:
        for name, column in columns.items():
            value = column[row, :dates] if column.ndim == 2 else column[row]
            axes = ((), ("time",), ("sample", "number"))[column.ndim - 1]
            codec = None if column.ndim == 1 else self.codec
            group.array(name, np.asarray(value, column.dtype), axes, codec)
