"""Shards that are written: what became of their locations, as a piece of the manifest each."""

import json
from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

from fastload.gather.fetch.location import Planned
from fastload.gather.fetch.rows import ABSENT, GEO, WHOLE, arrow, rows, schema
from fastload.gather.fetch.state import State
from fastload.storage.whole import whole

_META = b"gather.record"


class Record(NamedTuple):
    """A shard that is written.

    Attributes:
        shard: its number, from 0 on; names of files count from 1.
        sizes: bytes of the tar by modality; empty where no location of it is whole.
        whole, absent: how many locations are which.
        reasons: why the candidates of those that are absent did not fit.
    """

    shard: int
    sizes: dict[str, int]
    whole: int
    absent: int
    reasons: dict[str, int]


def record(
    planned: Planned, state: State, shard: int, modalities: Sequence[str], sizes: dict[str, int]
) -> Record:
    """Remember a shard whose tars are written; what was kept of its locations goes then."""
    pa, parquet = arrow()
    found = [*rows(planned, state, shard, modalities, {})]
    states, reasons = count(found)
    made = Record(shard, sizes, states[WHOLE], states[ABSENT], dict(reasons))
    kind = schema(modalities, {"geo": GEO, _META.decode(): made})
    path = state.record(shard)
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole(path) as temporary:
        parquet.write_table(pa.Table.from_pylist(found, kind), temporary, compression="zstd")
    state.drop_parts(shard)
    return made


def recorded(state: State, shard: int) -> Record | None:
    """What is known of a shard; None where it is not written."""
    _, parquet = arrow()
    try:
        return Record(*json.loads(parquet.read_schema(state.record(shard)).metadata[_META]))
    except FileNotFoundError:
        return None


def count(found: Sequence[dict[str, Any]]) -> tuple[Counter[str], Counter[str]]:
    """How many rows are in each state, and why candidates of absent locations did not fit."""
    absent = [row for row in found if row["state"] == ABSENT]
    reasons = Counter(failed["reason"] for row in absent for failed in row["failed"])
    return Counter(row["state"] for row in found), reasons
