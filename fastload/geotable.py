"""Tables with a place in each row, as GeoParquet 1.1.

Source: the specification, https://geoparquet.org/releases/v1.1.0/; geometries are ISO WKB.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastload.extras import missing
from fastload.storage.whole import whole

ROWS = 8192
"""Of a row group."""
Floats = NDArray[np.float64]
_POINT = np.dtype([("order", "u1"), ("kind", "<u4"), ("xy", "<f8", 2)])


def blocks(rows: int) -> Iterator[NDArray[np.int64]]:
    """Numbers of rows, a row group at a time."""
    yield from np.split(np.arange(rows), np.arange(ROWS, rows, ROWS))


def points(lon: Floats, lat: Floats) -> list[bytes | None]:
    """Places ``[N]`` in degrees as WKB; None where one is not finite."""
    out = np.zeros(len(lon), _POINT)
    out["order"], out["kind"], out["xy"] = 1, 1, np.stack([lon, lat], axis=-1)
    data, size = out.tobytes(), _POINT.itemsize
    known = np.isfinite(lon) & np.isfinite(lat)
    return [data[i * size : (i + 1) * size] if k else None for i, k in enumerate(known.tolist())]


def boxes(pa: Any, box: Floats) -> Any:
    """West, south, east, north ``[N, 4]`` in degrees as a column, null where unknown."""
    names = ("xmin", "ymin", "xmax", "ymax")
    unknown = ~np.isfinite(box).all(axis=1)
    parts = [pa.array(column, pa.float64()) for column in box.T]
    return pa.StructArray.from_arrays(parts, names, mask=pa.array(unknown))


def told(kinds: Sequence[str], box: Floats) -> dict[str, Any]:
    """Metadata of a table with a column "geometry" of such kinds and a column "bbox" ``[N, 4]``;
    without a `crs` coordinates are longitude and latitude on WGS 84."""
    known = box[np.isfinite(box).all(axis=1)]
    column: dict[str, Any] = {
        "encoding": "WKB",
        "geometry_types": list(kinds),
        "covering": {"bbox": {n: ["bbox", n] for n in ("xmin", "ymin", "xmax", "ymax")}},
    }
    if "Polygon" in kinds:
        column["orientation"] = "counterclockwise"
    if len(known):
        column["bbox"] = [*known[:, :2].min(axis=0).tolist(), *known[:, 2:].max(axis=0).tolist()]
    return {"version": "1.1.0", "primary_column": "geometry", "columns": {"geometry": column}}


def save(
    path: Path, tables: Iterable[Any], geo: Mapping[str, Any], more: Mapping[str, Any] | None = None
) -> None:
    """Write tables below each other, a row group each, whole or not at all.

    Args:
        path: of the file.
        tables: of pyarrow, at least one, all of one schema.
        geo: the metadata, see `told`.
        more: further metadata, as JSON under these names.

    Raises:
        ImportError: where pyarrow is not installed.
    """
    try:
        import pyarrow as pa
        import pyarrow.parquet as parquet
    except ImportError as error:
        raise missing("GeoParquet needs pyarrow", "tools") from error
    metadata = {name: json.dumps(value) for name, value in {"geo": geo, **(more or {})}.items()}
    with whole(path) as temporary:
        writer: Any = None
        for table in tables:
            table = table.replace_schema_metadata(metadata)
            writer = writer or parquet.ParquetWriter(
                temporary, table.schema, compression="zstd", write_page_checksum=True
            )
            writer.write_table(table)
            pa.default_memory_pool().release_unused()  # which else keeps as much as it ever had
        writer.close()
