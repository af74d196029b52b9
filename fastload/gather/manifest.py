"""The plan with its outcomes, as GeoParquet: what was taken from where, and what was not.

A row a location. Columns: location, key; state, one of `STATES`; attempt, lon, lat and windows of
the candidate that fits; failed, those before it with reasons; trouble, why a location is open; for
each modality scenes_NAME, a list by date (see `scene_record.record`; footprint and properties are
JSON), bytes_NAME and sha256_NAME of the sample; bytes_read, requests; geometry, the patch's centre.
Null where it does not apply. The metadata has an entry "gather" with what `gather.json` says.
"""

import json
import os
import struct
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from fastload.extras import missing
from fastload.gather.candidate import Candidate, Window
from fastload.gather.location import Planned
from fastload.gather.patch import Outcome
from fastload.gather.state import State

FILE = "manifest.parquet"
WHOLE, ABSENT, OPEN = STATES = ("whole", "absent", "open")
"""A location has its sample; no candidate fits; not decided yet."""
_TEXTS = ("footprint", "properties")
"""Of a scene; JSON in a column."""
_SIZES = ("bytes", "sha256")
_GATHER, _COUNTS = b"gather", b"gather.counts"


class Counts(NamedTuple):
    """Locations by state, and why the candidates of those that are absent did not fit."""

    whole: int
    absent: int
    open: int
    reasons: dict[str, int]


def write(
    path: Path,
    planned: Planned,
    state: State,
    modalities: Sequence[str],
    told: Mapping[str, Any],
    trouble: Mapping[int, str],
) -> Counts:
    """Write a manifest, whole or not at all.

    Args:
        path: of the file.
        planned: the candidates.
        state: what is done.
        modalities: of the samples.
        told: what `gather.json` says.
        trouble: of locations that are open, as far as it is known.

    Raises:
        ImportError: where pyarrow is not installed.
    """
    pa, parquet = _arrow()
    schema = _schema(pa, modalities).with_metadata(
        {_GATHER: json.dumps(told), b"geo": json.dumps(_GEO)}
    )
    states, reasons = Counter[str](), Counter[str]()
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with parquet.ParquetWriter(temporary, schema, compression="zstd") as writer:
            for shard in range(state.shards):
                rows = [*_rows(planned, state, shard, modalities, trouble)]
                states.update(row["state"] for row in rows)
                absent = [row for row in rows if row["state"] == ABSENT]
                reasons.update(f["reason"] for row in absent for f in row["failed"])
                writer.write_table(pa.Table.from_pylist(rows, schema))
            counts = Counts(states[WHOLE], states[ABSENT], states[OPEN], dict(reasons))
            writer.add_key_value_metadata({_COUNTS: json.dumps(counts)})
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    return counts


def read(path: Path) -> list[Outcome]:
    """The outcomes of a manifest, or of the folder that it lies in; open locations have none.

    Raises:
        ImportError: where pyarrow is not installed.
        ValueError: where the file is no manifest.
    """
    return [outcome for outcome, _ in Manifest(path).outcomes() if outcome is not None]


def is_manifest(path: Path) -> bool:
    """Whether there is one."""
    try:
        return bool(Manifest(path).told)
    except (OSError, ValueError):
        return False


class Manifest:
    """A manifest that is read a shard at a time.

    Args:
        path: of the file, or of the folder that it lies in.

    Attributes:
        told: what `gather.json` said.
        counts: of its locations.
    """

    def __init__(self, path: Path) -> None:
        _, parquet = _arrow()
        self.path = path / FILE if path.is_dir() else path
        try:
            self._file = parquet.ParquetFile(self.path)
            told = (self._file.schema_arrow.metadata or {})[_GATHER]
            self.told: dict[str, Any] = json.loads(told)
            self.counts = Counts(*json.loads(self._file.metadata.metadata[_COUNTS]))
        except (OSError, ValueError, KeyError, TypeError) as error:
            if isinstance(error, FileNotFoundError):
                raise
            raise ValueError(
                f"{self.path}: expected a manifest that `fetch` wrote, such as OUT/{FILE} ({error})"
            ) from error

    def __len__(self) -> int:
        return int(self._file.metadata.num_rows)

    def outcomes(self) -> Iterator[tuple[Outcome | None, tuple[Window, ...]]]:
        """Outcome and windows of each location, in order."""
        for shard in range(self._file.num_row_groups):
            yield from self.shard(shard)

    def shard(self, number: int) -> list[tuple[Outcome | None, tuple[Window, ...]]]:
        """Those of a shard."""
        return [_back(row) for row in self._file.read_row_group(number).to_pylist()]


def _rows(
    planned: Planned,
    state: State,
    shard: int,
    modalities: Sequence[str],
    trouble: Mapping[int, str],
) -> Iterator[dict[str, Any]]:
    known = {outcome.location: outcome for outcome in state.outcomes(shard)}
    for i in state.locations(shard):
        if i in known:
            yield _row(known[i], planned.candidates(i), modalities)
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


def _back(row: dict[str, Any]) -> tuple[Outcome | None, tuple[Window, ...]]:
    """What `_row` was made of."""
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


def _schema(pa: Any, modalities: Sequence[str]) -> Any:
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
    return pa.schema(columns)


_GEO = {
    "version": "1.1.0",
    "primary_column": "geometry",
    "columns": {"geometry": {"encoding": "WKB", "geometry_types": ["Point"]}},
}
"""Without a `crs`, coordinates are longitude and latitude on WGS 84."""


def _arrow() -> tuple[Any, Any]:
    try:
        import pyarrow as pa
        from pyarrow import parquet
    except ImportError as error:
        raise missing("a manifest is a Parquet file and needs pyarrow", "gather") from error
    return pa, parquet
