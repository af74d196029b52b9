"""What is known of each sample, as GeoParquet 1.1 for DuckDB, pandas and QGIS."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastload.datasets.base import Dataset
from fastload.datasets.entries import texts
from fastload.datasets.source import ChunkedSource
from fastload.geotable import Floats, blocks, boxes, points, save, told
from fastload.ground import corners, size_of
from fastload.seasons import SEASONS
from fastload.storage.dates import NO_TIME

_POLYGON = np.dtype(
    [("order", "u1"), ("kind", "<u4"), ("rings", "<u4"), ("points", "<u4"), ("xy", "<f8", (5, 2))]
)


def write(
    dataset: Dataset, path: Path, *, patches: bool = False, patch_metres: float | None = None
) -> int:
    """Write a table with a row a sample, whole or not at all.

    Columns: key; index, its number; lon, lat; time, season and cloud, lists with an entry a date of
    the first modality (null where unknown), first_date and last_date; time_NAME of the other
    modalities; shard, the file of the first; the dataset's extras; bbox; geometry (null where no
    place is known).

    Args:
        dataset: any.
        path: of the file.
        patches: polygons of the patches' ground instead of their centres.
        patch_metres: side of a patch; what the layout says by default.

    Returns:
        How many samples were written.

    Raises:
        ImportError: where pyarrow is not installed.
        ValueError: where patches are asked for whose size nobody knows.
    """
    shapes, box = _geometry(dataset, patches, patch_metres)
    kinds = ["Point"]
    if patches:
        split = np.isfinite(box).all(axis=1) & (box[:, 0] <= -180)
        kinds = ["Polygon", "MultiPolygon"] if split.any() else ["Polygon"]

    def tables() -> Iterator[Any]:
        import pyarrow as pa

        for rows in blocks(len(dataset)):
            columns = dict(_columns(pa, dataset, rows))
            columns["bbox"] = boxes(pa, box[rows])
            columns["geometry"] = pa.array([shapes[i] for i in rows.tolist()], pa.binary())
            yield pa.table(columns)

    save(path, tables(), told(kinds, box))
    return len(dataset)


def _geometry(
    dataset: Dataset, patches: bool, patch_metres: float | None
) -> tuple[list[bytes | None], Floats]:
    """Each sample's WKB, and its west, south, east, north ``[N, 4]``."""
    lon, lat = np.asarray(dataset.lon), np.asarray(dataset.lat)
    known = np.isfinite(lon) & np.isfinite(lat)
    box = np.full((len(lon), 4), np.nan)
    if not patches:
        box[known] = np.stack([lon, lat, lon, lat], axis=1)[known]
        return points(lon, lat), box
    size = size_of(next(iter(dataset.modalities.values())), patch_metres)
    if size is None:
        raise ValueError("the patches' size is unknown: --patch-metres gives it")
    shapes: list[bytes | None] = [None] * len(lon)
    rings = corners(lon[known], lat[known], *size)
    for row, ring in zip(np.flatnonzero(known).tolist(), rings, strict=True):
        shapes[row], box[row] = _patch(ring)
    return shapes, box


def _polygon(ring: Floats) -> bytes:
    return np.array((1, 3, 1, len(ring) + 1, np.concatenate([ring, ring[:1]])), _POLYGON).tobytes()


def _patch(ring: Floats) -> tuple[bytes, Floats]:
    """A ring ``[4, 2]`` as WKB and its box; where it crosses the antimeridian two polygons, as
    RFC 7946 (3.1.9) has them, and a box of all longitudes."""
    low, high = ring[:, 0].min(), ring[:, 0].max()
    south, north = ring[:, 1].min(), ring[:, 1].max()
    if low >= -180 and high <= 180:
        return _polygon(ring), np.array([low, south, high, north])
    turn = np.array([360.0 if low < -180 else -360.0, 0.0])
    edge = -180.0 if low < -180 else 180.0
    parts = [_clipped(ring, edge), _clipped(ring + turn, -edge)]
    head = np.array([1], "u1").tobytes() + np.array([6, 2], "<u4").tobytes()
    return head + b"".join(map(_polygon, parts)), np.array([-180.0, south, 180.0, north])


def _clipped(ring: Floats, edge: float) -> Floats:
    """What of a ring lies on the near side of the antimeridian."""
    out = ring.copy()
    out[:, 0] = np.maximum(out[:, 0], edge) if edge < 0 else np.minimum(out[:, 0], edge)
    return out


def _columns(pa: Any, dataset: Dataset, rows: NDArray[np.int64]) -> Iterator[tuple[str, Any]]:
    """Columns of some samples, by name."""
    first, *others = dataset.sources
    time, seasons = dataset.all_times[rows], dataset.all_seasons[rows]
    yield "key", pa.array([str(key) for key in dataset.keys[rows]], pa.string())
    yield "index", pa.array(dataset.ids_of(rows), pa.int64())
    for name in ("lon", "lat"):
        values = np.asarray(getattr(dataset, name))[rows]
        yield name, pa.array(values, pa.float64(), mask=~np.isfinite(values))
    yield "time", _times(pa, time)
    named = [[SEASONS[s] if s >= 0 else None for s in row] for row in seasons.tolist()]
    yield "season", pa.array(named, pa.list_(pa.string()))
    yield "cloud", _lists(pa, dataset.all_clouds[rows], pa.float32())
    known = np.where(time == NO_TIME, np.iinfo(np.int64).max, time).min(axis=1)
    yield "first_date", _dates(pa, known, (time == NO_TIME).all(axis=1))
    yield "last_date", _dates(pa, time.max(axis=1), (time == NO_TIME).all(axis=1))
    for name in others:
        source = dataset.sources[name]
        yield f"time_{name}", _times(pa, source.columns.time[dataset.rows_of(name, rows)])
    yield "shard", pa.array(_files(dataset, first, rows), pa.string())
    for name, values in dataset.extras.items():
        yield name, _extra(pa, values[rows])


def _dates(pa: Any, time: NDArray[np.int64], unknown: NDArray[np.bool_]) -> Any:
    stamps = time.astype("datetime64[ns]").astype("datetime64[ms]")
    return pa.array(stamps, pa.timestamp("ms"), mask=unknown).cast(pa.timestamp("ms", "UTC"))


def _flat(pa: Any, values: Any, N: int, T: int) -> Any:
    return pa.ListArray.from_arrays(pa.array(np.arange(N + 1) * T, pa.int32()), values)


def _times(pa: Any, time: NDArray[np.int64]) -> Any:
    return _flat(pa, _dates(pa, time.ravel(), time.ravel() == NO_TIME), *time.shape)


def _lists(pa: Any, values: NDArray[Any], kind: Any) -> Any:
    flat = values.ravel()
    unknown = np.isnan(flat) if flat.dtype.kind == "f" else None
    return _flat(pa, pa.array(flat, kind, mask=unknown), *values.shape)


def _extra(pa: Any, values: NDArray[Any]) -> Any:
    if values.dtype.kind == "S":
        columns = [texts(column) for column in (values.T if values.ndim == 2 else [values])]
        rows = columns[0] if values.ndim == 1 else [list(row) for row in zip(*columns, strict=True)]
        return pa.array(rows)
    if values.dtype.kind == "U":
        return pa.array(values.tolist())
    if values.ndim == 1:
        return pa.array(values)
    return _lists(pa, values, pa.from_numpy_dtype(values.dtype))


def _files(dataset: Dataset, name: str, rows: NDArray[np.int64]) -> list[str | None]:
    """The file that holds each sample's first chunk; None where a source has no files."""
    source = dataset.sources[name]
    if not isinstance(source, ChunkedSource):
        return [None] * len(rows)
    wanted = np.zeros((len(rows), source.modality.timestamps), bool)
    wanted[:, 0] = True
    chunks = source.chunks(dataset.rows_of(name, rows), wanted)
    return [source.files[i] for i in chunks.rows["file"][chunks.starts[:-1]].tolist()]
