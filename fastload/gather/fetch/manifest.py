"""The plan with its outcomes, as GeoParquet: what was taken from where, and what was not.

A row a location. Columns: location, key; state, "whole", "absent" (no candidate fits) or "open"
(not decided yet); attempt, lon, lat and windows of the candidate that fits; failed, those before it
with reasons; trouble, why a location is open; for each modality scenes_NAME, a list by date (see
`scene_record.record`; footprint and properties are JSON), bytes_NAME and sha256_NAME of the sample;
bytes_read, requests; geometry, the patch's centre. Null where it does not apply. The metadata has
an entry "gather" with what `gather.json` says.
"""

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from fastload.gather.candidate import Window
from fastload.gather.fetch.location import Planned
from fastload.gather.fetch.records import Record, count, recorded
from fastload.gather.fetch.rows import ABSENT, GEO, OPEN, WHOLE, arrow, back, rows, schema
from fastload.gather.fetch.state import State
from fastload.gather.patch import Outcome
from fastload.storage.whole import whole

FILE = "manifest.parquet"
_GATHER, _COUNTS = "gather", "gather.counts"


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
    _, parquet = arrow()
    kind = schema(modalities, {"geo": GEO, _GATHER: told})
    states, reasons = Counter[str](), Counter[str]()
    with (
        whole(path) as temporary,
        parquet.ParquetWriter(temporary, kind, compression="zstd") as writer,
    ):
        for shard in range(state.shards):
            table, record = _part(planned, state, shard, modalities, kind, trouble)
            writer.write_table(table)
            states.update({WHOLE: record.whole, ABSENT: record.absent, OPEN: len(table)})
            states.subtract({OPEN: record.whole + record.absent})
            reasons.update(record.reasons)
        counts = Counts(states[WHOLE], states[ABSENT], states[OPEN], dict(reasons))
        writer.add_key_value_metadata({_COUNTS: json.dumps(counts)})
    return counts


def _part(
    planned: Planned,
    state: State,
    shard: int,
    modalities: Sequence[str],
    kind: Any,
    trouble: Mapping[int, str],
) -> tuple[Any, Record]:
    """A shard's rows, as it was recorded, or of what is kept of it."""
    pa, parquet = arrow()
    record = recorded(state, shard)
    if record is not None:
        return parquet.read_table(state.record(shard)).replace_schema_metadata(
            kind.metadata
        ), record
    found = [*rows(planned, state, shard, modalities, trouble)]
    states, reasons = count(found)
    made = Record(shard, {}, states[WHOLE], states[ABSENT], dict(reasons))
    return pa.Table.from_pylist(found, kind), made


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
        _, parquet = arrow()
        self.path = path / FILE if path.is_dir() else path
        try:
            self._file = parquet.ParquetFile(self.path)
            told = (self._file.schema_arrow.metadata or {})[_GATHER.encode()]
            self.told: dict[str, Any] = json.loads(told)
            self.counts = Counts(*json.loads(self._file.metadata.metadata[_COUNTS.encode()]))
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
        return [back(row) for row in self._file.read_row_group(number).to_pylist()]
