"""Outcomes as rows of a table, and back."""

import json
import struct
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from fastload.extras import missing
from fastload.gather.candidate import Candidate, Window
from fastload.gather.fetch.location import Planned
from fastload.gather.fetch.state import State
from fastload.gather.patch import Outcome

WHOLE, ABSENT, OPEN = "whole", "absent", "open"
"""A location has its sample; no candidate fits; not decided yet."""
_TEXTS = ("footprint", "properties")
"""Of a scene; JSON in a column."""
_SIZES = ("bytes", "sha256")


def rows(
    planned: Planned,
    state: State,
    shard: int,
    modalities: Sequence[str],
    trouble: Mapping[int, str],
) -> Iterator[dict[str, Any]]:
    """The rows of a shard that is not written yet, by what is kept of it; see `manifest`."""
    kept = state.kept(shard)
    for i in state.locations(shard):
        if i in kept:
            yield _row(state.outcome(i), planned.candidates(i), modalities)
        else:
            yield {"location": i, "key": planned.key(i), "state": OPEN, "trouble": trouble.get(i)}


def _row(o: Outcome, candidates: Sequence[Candidate], modalities: Sequence[str]) -> dict[str, Any]:
    row: dict[str, Any] = {
        "location": o.location, "key": o.key, "state": ABSENT if o.attempt is None else WHOLE,
        "attempt": o.attempt, "lon": o.lon, "lat": o.lat, "failed": o.failed,
        "bytes_read": o.bytes_read, "requests": o.requests,
    }  # fmt: skip
    if o.attempt is None:
        return row
    [taken] = [c for c in candidates if c.attempt == o.attempt]
    row["windows"] = [{"start": w.start.item(), "end": w.end.item()} for w in taken.windows]
    row["geometry"] = struct.pack("<BIdd", 1, 1, o.lon, o.lat)
    for name in modalities:
        row[f"scenes_{name}"] = [_scene(told) for told in o.scenes[name]]
        row |= {f"{kind}_{name}": o.sizes[name][kind] for kind in _SIZES}
    return row


def _scene(told: Mapping[str, Any]) -> dict[str, Any]:
    texts = {name: json.dumps(told[name]) for name in _TEXTS}
    time = int(np.datetime64(told["time"], "us").astype(np.int64))
    return {**told, **texts, "time": time, "hrefs": [*told["hrefs"].items()]}


def back(row: dict[str, Any]) -> tuple[Outcome | None, tuple[Window, ...]]:
    """The outcome and the windows that a row was made of; none of an open location."""
    if row["state"] == OPEN:
        return None, ()
    names = [name.removeprefix("scenes_") for name in row if name.startswith("scenes_")]
    there = [name for name in names if row[f"scenes_{name}"] is not None]
    same = ("location", "key", "attempt", "lon", "lat", "bytes_read", "requests")
    outcome = Outcome(
        **{name: row[name] for name in same},
        failed=row["failed"],
        scenes={n: [_scene_back(told) for told in row[f"scenes_{n}"]] for n in there},
        sizes={n: {kind: row[f"{kind}_{n}"] for kind in _SIZES} for n in there},
    )
    days = [(w["start"], w["end"]) for w in row["windows"] or ()]
    return outcome, tuple(Window(*(np.datetime64(day, "D") for day in pair)) for pair in days)


def _scene_back(told: dict[str, Any]) -> dict[str, Any]:
    texts = {name: json.loads(told[name]) for name in _TEXTS}
    time = str(np.datetime64(told["time"].replace(tzinfo=None), "ns"))
    return {**told, **texts, "time": time, "hrefs": dict(told["hrefs"])}


def schema(modalities: Sequence[str], metadata: Mapping[str, Any]) -> Any:
    """Of the table, with metadata that are written as JSON."""
    pa, _ = arrow()
    number, real, text = pa.int64(), pa.float64(), pa.string()
    window = pa.struct({"start": pa.date32(), "end": pa.date32()})
    failed = pa.struct({"attempt": pa.int32(), "reason": text, "detail": text})
    scene = pa.struct({
        "id": text, "collection": text, "time": pa.timestamp("us", "UTC"), "cloud": real,
        "cloud_patch": real, "crs": pa.int32(), "transform": pa.list_(real),
        "scene_crs": pa.int32(), "offset": pa.int32(), "why_offset": text,
        "hrefs": pa.map_(text, text), "footprint": text, "properties": text,
    })  # fmt: skip
    columns = {
        "location": number, "key": text, "state": text, "attempt": pa.int32(), "lon": real,
        "lat": real, "windows": pa.list_(window), "failed": pa.list_(failed), "trouble": text,
    }  # fmt: skip
    for name in modalities:
        columns |= {f"scenes_{name}": pa.list_(scene), f"bytes_{name}": number,
                    f"sha256_{name}": text}  # fmt: skip
    columns |= {"bytes_read": number, "requests": number, "geometry": pa.binary()}
    return pa.schema(columns).with_metadata({k: json.dumps(v) for k, v in metadata.items()})


GEO = {
    "version": "1.1.0",
    "primary_column": "geometry",
    "columns": {"geometry": {"encoding": "WKB", "geometry_types": ["Point"]}},
}
"""Without a `crs`, coordinates are longitude and latitude on WGS 84."""


def arrow() -> tuple[Any, Any]:
    """pyarrow, and its part for Parquet.

    Raises:
        ImportError: says what to install.
    """
    try:
        import pyarrow as pa
        from pyarrow import parquet
    except ImportError as error:
        raise missing("a manifest is a Parquet file and needs pyarrow", "gather") from error
    return pa, parquet
