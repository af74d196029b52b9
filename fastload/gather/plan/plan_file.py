"""A plan as GeoParquet, for DuckDB, geopandas and QGIS.

A row a location: its number, the key of its sample, place and city of its first candidate, and
`candidates`, a list with attempt, lon, lat, the city's number, and windows [start, end) of each.
Settings, sources and the names of cities are JSON in the file's metadata, under `META`.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastload.extras import missing
from fastload.gather.plan.draws import E7
from fastload.gather.plan.plan import Plan
from fastload.gather.plan.settings import Settings
from fastload.geotable import ROWS, blocks, boxes, points, save, told

META = "fastload.gather.plan.plan"
FORMAT = 1


def write(plan: Plan, path: Path | str) -> None:
    """Write a plan, whole or not at all; the same plan is the same bytes.

    Raises:
        ImportError: where pyarrow is not installed.
    """
    pa = _pyarrow()
    lon, lat = plan.lon7[:, 0] / E7, plan.lat7[:, 0] / E7
    meta = {"format": FORMAT, **plan.describe(), "names": plan.names}
    geo = told(["Point"], np.stack([lon, lat, lon, lat], axis=1))
    save(Path(path), _tables(pa, plan), geo, {META: meta})


def _tables(pa: Any, plan: Plan) -> Iterator[Any]:
    names = np.array([*plan.names, None], object)  # number -1 has none
    for rows in blocks(len(plan)):
        block = slice(int(rows[0]), int(rows[-1]) + 1)
        lon, lat = plan.lon7[block, 0] / E7, plan.lat7[block, 0] / E7
        yield pa.table(
            {
                "location": pa.array(rows, pa.int32()),
                "key": pa.array([plan.key(i) for i in rows.tolist()], pa.string()),
                "lon": pa.array(lon),
                "lat": pa.array(lat),
                "city": pa.array(names[plan.city[block, 0]], pa.string()),
                "candidates": _candidates(pa, plan, block),
                "bbox": boxes(pa, np.stack([lon, lat, lon, lat], axis=1)),
                "geometry": pa.array(points(lon, lat), pa.binary()),
            }
        )


def _candidates(pa: Any, plan: Plan, block: slice) -> Any:
    city = plan.city[block].ravel()
    days = plan.days[block]
    B, K, D, _ = days.shape
    dates = [pa.array(days[..., i].ravel(), pa.int32()).cast(pa.date32()) for i in (0, 1)]
    windows = pa.StructArray.from_arrays(dates, ["start", "end"])
    columns = {
        "attempt": pa.array(plan.attempt[block].ravel(), pa.int32()),
        "lon": pa.array(plan.lon7[block].ravel() / E7),
        "lat": pa.array(plan.lat7[block].ravel() / E7),
        "city": pa.array(city, pa.int32(), mask=city < 0),
        "windows": _lists(pa, windows, B * K, D),
    }
    return _lists(pa, pa.StructArray.from_arrays(list(columns.values()), list(columns)), B, K)


def _lists(pa: Any, values: Any, lists: int, each: int) -> Any:
    return pa.ListArray.from_arrays(pa.array(np.arange(lists + 1) * each, pa.int32()), values)


def read(path: Path | str) -> Plan:
    """Read a plan; further columns are left alone.

    Raises:
        ValueError: a sentence on a file that is damaged, or no plan.
        OSError: where it cannot be read.
        ImportError: where pyarrow is not installed.
    """
    pa = _pyarrow()
    import pyarrow.parquet as parquet

    try:
        with parquet.ParquetFile(path, page_checksum_verification=True) as file:
            meta = _meta(pa, path, file.schema_arrow)
            parts: list[Part] = []
            for batch in file.iter_batches(batch_size=ROWS, columns=["location", "candidates"]):
                parts.append(_part(path, batch, ROWS * len(parts), meta))
    except (pa.ArrowException, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        raise ValueError(f"{path}: expected a plan as GeoParquet, got {error}") from error
    if not parts:
        raise ValueError(f"{path}: expected locations, found none")
    arrays = {name: np.concatenate([part.pop(name) for part in parts]) for name in list(parts[0])}
    return Plan(meta.settings, meta.sources, meta.names, **arrays)


def _pyarrow() -> Any:
    try:
        import pyarrow
    except ImportError as error:
        raise missing("plans need pyarrow", "gather") from error
    return pyarrow


class _Meta(NamedTuple):
    """The plan's own metadata."""

    settings: Settings
    sources: dict[str, Any]
    names: tuple[str, ...]


def _meta(pa: Any, path: Path | str, schema: Any) -> _Meta:
    data = (schema.metadata or {}).get(META.encode())
    if data is None:
        raise ValueError(f"{path}: expected a plan, of `fastload gather plan`, got another table")
    for name, kind in (("location", pa.int32()), ("candidates", _kind(pa))):
        if name not in schema.names or schema.field(name).type != kind:
            there = schema.field(name).type if name in schema.names else "none"
            raise ValueError(f"{path}: expected a column {name} of {kind}, got {there}")
    try:
        meta = json.loads(data)
        if meta["format"] != FORMAT:
            raise ValueError(f"expected a plan of format {FORMAT}, got {meta['format']}")
        return _Meta(Settings.of(meta["settings"]), dict(meta["sources"]), tuple(meta["names"]))
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path}: metadata {META}: {error}") from error


def _kind(pa: Any) -> Any:
    """Of the column of candidates."""
    windows = pa.list_(pa.struct({"start": pa.date32(), "end": pa.date32()}))
    columns = {"attempt": pa.int32(), "lon": pa.float64(), "lat": pa.float64(), "city": pa.int32()}
    return pa.list_(pa.struct({**columns, "windows": windows}))


Part = dict[str, NDArray[Any]]


def _part(path: Path | str, batch: Any, first: int, meta: _Meta) -> Part:
    """The plan's arrays of some locations, which are checked."""
    candidates = batch.column("candidates")
    each = candidates.flatten()
    windows = each.field("windows")
    dates = [windows.flatten().field(name).cast("int32") for name in ("start", "end")]
    N, K = len(batch), meta.settings.candidates or 0
    D = len(dates[0]) // max(1, N * K)
    city = each.field("city").fill_null(-1).to_numpy()
    lon, lat, attempt, start, end = (
        _known(path, values) for values in (*map(each.field, ("lon", "lat", "attempt")), *dates)
    )
    location = batch.column("location").to_numpy(zero_copy_only=False)
    right = {
        "location must count from 0": location == np.arange(first, first + N),
        f"each location must have {K} candidates": np.diff(candidates.offsets) == K,
        "all candidates must have as many windows": np.diff(windows.offsets) == max(1, D),
        "lon must be -180 to 180": np.abs(lon) <= 180,
        "lat must be -90 to 90": np.abs(lat) <= 90,
        "attempt must not be negative": attempt >= 0,
        "city must be one of those named": (city >= -1) & (city < len(meta.names)),
        "a window must end after its start": start < end,
    }
    for sentence, rows in right.items():
        if not rows.all():
            raise ValueError(f"{path}: {sentence}, which is not so {np.sum(~rows)} times")
    return {
        "attempt": attempt.reshape(N, K),
        "lon7": np.rint(lon * E7).astype(np.int32).reshape(N, K),
        "lat7": np.rint(lat * E7).astype(np.int32).reshape(N, K),
        "city": city.reshape(N, K),
        "days": np.stack([start, end], axis=-1).reshape(N, K, D, 2),
    }


def _known(path: Path | str, values: Any) -> NDArray[Any]:
    if values.null_count:
        raise ValueError(f"{path}: column candidates lacks {values.null_count} values")
    return np.asarray(values.to_numpy())
