"""A plan as GeoParquet, for DuckDB, geopandas and QGIS.

A row a location: its number, the key of its sample, place and city of its first candidate, and
`candidates`, a list with attempt, lon, lat, the city's number, and windows [start, end) of each.
Settings, sources and the names of cities are JSON in the file's metadata, under `META`.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastload.extras import missing
from fastload.gather.draws import E7, Fixed
from fastload.gather.plan import Plan
from fastload.gather.settings import Settings
from fastload.geotable import ROWS, blocks, boxes, points, save, told

META = "fastload.gather.plan"
FORMAT = 1
COLUMNS = ("location", "candidates")
"""Those that a plan is read from; the others say the same in other words."""


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
        with parquet.ParquetFile(path) as file:
            meta = _meta(path, file.schema_arrow)
            batches = file.iter_batches(batch_size=ROWS, columns=list(COLUMNS))
            parts = [_part(path, batch) for batch in batches]
    except (pa.ArrowException, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        raise ValueError(f"{path}: expected a plan as GeoParquet, got {error}") from error
    return _plan(path, meta, parts)


def _pyarrow() -> Any:
    try:
        import pyarrow
    except ImportError as error:
        raise missing("plans need pyarrow", "gather") from error
    return pyarrow


def _meta(path: Path | str, schema: Any) -> dict[str, Any]:
    """The plan's own metadata."""
    data = (schema.metadata or {}).get(META.encode())
    if data is None:
        raise ValueError(
            f"{path}: expected a plan that `fastload gather plan` wrote, got another file"
        )
    meta: dict[str, Any] = json.loads(data)
    if meta.get("format") != FORMAT:
        raise ValueError(f"{path}: expected a plan of format {FORMAT}, got {meta.get('format')}")
    for name in COLUMNS:
        if name not in schema.names:
            raise ValueError(f"{path}: expected a column {name}, got {', '.join(schema.names)}")
    return meta


Part = dict[str, NDArray[Any]]


def _part(path: Path | str, batch: Any) -> Part:
    """Arrays of some locations."""
    candidates = batch.column("candidates")
    each = candidates.flatten()
    try:
        found = {name: each.field(name) for name in ("attempt", "lon", "lat", "city", "windows")}
        windows = found.pop("windows")
        dates = [windows.flatten().field(name) for name in ("start", "end")]
    except (KeyError, AttributeError) as error:
        raise ValueError(f"{path}: column candidates lacks {error}") from error
    part = {name: values.to_numpy(zero_copy_only=False) for name, values in found.items()}
    part["city"] = np.nan_to_num(part["city"], nan=-1)
    part["days"] = np.stack([d.to_numpy(zero_copy_only=False).astype("M8[D]") for d in dates], -1)
    part["location"] = batch.column("location").to_numpy(zero_copy_only=False)
    part["K"] = np.diff(candidates.offsets.to_numpy())
    part["D"] = np.diff(windows.offsets.to_numpy())
    return part


def _plan(path: Path | str, meta: dict[str, Any], parts: list[Part]) -> Plan:
    """The plan of its parts, checked as a whole."""
    joined = {name: np.concatenate([p[name] for p in parts]) for name in parts[0]} if parts else {}
    if not joined or not len(joined["location"]):
        raise ValueError(f"{path}: expected locations, found none")
    try:
        settings = Settings.of(meta["settings"])
    except (ValueError, TypeError, KeyError) as error:
        raise ValueError(f"{path}: metadata {META}: {error}") from error
    N, K = len(joined["location"]), settings.candidates or 0
    _check(path, joined, K)

    def each(name: str) -> Fixed:
        values = joined[name] * E7 if name in ("lon", "lat") else joined[name]
        return np.asarray(np.rint(values), np.int32).reshape(N, K)

    days = joined["days"].astype(np.int64).astype(np.int32).reshape(N, K, -1, 2)
    names = tuple(meta["names"])
    return Plan(
        settings,
        meta["sources"],
        names,
        each("attempt"),
        each("lon"),
        each("lat"),
        each("city"),
        days,
    )


def _check(path: Path | str, joined: Part, K: int) -> None:
    """Refuse what no plan has."""
    wrong = {
        "location must count from 0": joined["location"] != np.arange(len(joined["location"])),
        f"each location must have {K} candidates": joined["K"] != K,
        "each candidate must have as many windows": joined["D"] != joined["D"][0],
        "lon must be -180 to 180": ~(np.abs(joined["lon"]) <= 180),
        "lat must be -90 to 90": ~(np.abs(joined["lat"]) <= 90),
        "attempt must not be negative": ~(joined["attempt"] >= 0),
        "a window must end after its start": ~(joined["days"][:, 0] < joined["days"][:, 1]),
    }
    for sentence, bad in wrong.items():
        if bad.any():
            raise ValueError(f"{path}: {sentence}, which is not so in {bad.sum()} places")
