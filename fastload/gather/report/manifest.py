"""A manifest as arrays. Only what figures need is read, a shard at a time: a quarter of a million
locations are some tens of megabytes here, while the addresses of all their files are gigabytes."""

import sys
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastload.gather.fetch.manifest import Manifest
from fastload.gather.plan.plan import Plan
from fastload.gather.report.dates import Dates
from fastload.gather.report.locations import STATES, WHOLE, Locations, located

Ints = NDArray[np.int64]
COLUMNS = ("location", "key", "state", "attempt", "lon", "lat", "trouble", "bytes_read", "requests",
           "failed.list.element.attempt", "failed.list.element.reason")  # fmt: skip
SCENE = ("collection", "time", "cloud", "cloud_patch", "crs", "transform", "offset", "why_offset",
         "properties")  # fmt: skip
BASELINE = r'"baseline": "(?P<baseline>[^"]*)"'
"""In a scene's properties, which are JSON."""
UNDATED = ("DEM",)
US_NS = 1000


def collected(plan: Plan, path: Path) -> Locations:
    """All locations with what became of them.

    Args:
        plan: theirs.
        path: of the manifest.

    Raises:
        FileNotFoundError: where there is none.
        ValueError: where the file is no manifest, or one of another plan: names a location that the
            plan does not have, or that stands twice, or an attempt that is none of its candidates'.
    """
    import pyarrow.parquet as parquet

    if not path.exists():
        raise FileNotFoundError(f"{path} is not there; `fetch` writes it whenever it ends")
    Manifest(path)  # which says what is wrong with a file that is none
    with parquet.ParquetFile(path) as file:
        names = file.schema_arrow.names
        reading = _Reading(plan, path, [n[7:] for n in names if n.startswith("scenes_")])
        for number in range(file.num_row_groups):
            reading.add(file.read_row_group(number, columns=reading.columns).combine_chunks())
    return reading.finished()


class _Reading:
    """Locations that are filled, a row group at a time."""

    def __init__(self, plan: Plan, path: Path, modalities: list[str]) -> None:
        self.plan, self.path, self.modalities = plan, path, modalities
        self.found, self.lat = located(plan), plan.lat
        self._seen = np.zeros(len(plan), bool)
        self._parts: dict[str, list[Dates]] = {name: [] for name in modalities}
        scenes = [f"scenes_{m}.list.element.{name}" for m in modalities for name in SCENE]
        self.columns = [*COLUMNS, *(f"bytes_{m}" for m in modalities), *scenes]

    def add(self, table: Any) -> None:
        """The locations of a table."""
        location = _numbers(table.column("location"))
        self._check(location, table.column("key").to_pylist())
        self._places(location, table)
        self._failures(location, table.column("failed"))
        for modality in self.modalities:
            self.found.bytes[modality] += int(_numbers(table.column(f"bytes_{modality}")).sum())
            self._scenes(location, modality, table.column(f"scenes_{modality}"))

    def finished(self) -> Locations:
        """All that was read."""
        dated = {name: parts for name, parts in self._parts.items() if name not in UNDATED}
        self.found.dates = {name: Dates.joined(parts) for name, parts in dated.items() if parts}
        return self.found

    def _check(self, location: Ints, keys: list[str]) -> None:
        N = len(self.plan)
        for i, key in zip(location.tolist(), keys, strict=True):
            if not 0 <= i < N or key != self.plan.key(i):
                raise ValueError(
                    f"{self.path}: has location {i} with key {key!r}, and the plan none such among "
                    f"its {N}; expected the manifest of this plan"
                )
            if self._seen[i]:
                raise ValueError(f"{self.path}: has location {i} twice; expected it once")
            self._seen[i] = True

    def _places(self, location: Ints, table: Any) -> None:
        found = self.found
        state = np.array([STATES.index(name) for name in table.column("state").to_pylist()])
        found.state[location] = state
        whole = state == WHOLE
        found.tries[location[whole]] += 1
        for name in ("lon", "lat"):
            getattr(found, name)[location[whole]] = _reals(table.column(name))[whole]
        found.bytes_read += int(_numbers(table.column("bytes_read")).sum())
        found.requests += int(_numbers(table.column("requests")).sum())
        said = zip(location.tolist(), table.column("trouble").to_pylist(), strict=True)
        found.trouble |= {i: words for i, words in said if words}

    def _failures(self, location: Ints, column: Any) -> None:
        whose, failed = _flat(location, column)
        given_up = failed.field("attempt").is_null().to_numpy(zero_copy_only=False)
        self.found.left_out += int(given_up.sum())
        whose, failed = whose[~given_up], failed.filter(~given_up)
        attempt = _numbers(failed.field("attempt"))
        same = self.plan.attempt[whose] == attempt[:, None]
        for row in np.flatnonzero(~same.any(axis=1))[:1].tolist():
            i = int(whose[row])
            raise ValueError(
                f"{self.path}: has attempt {attempt[row]} of location {i}, and the plan "
                f"{self.plan.attempt[i].tolist()}; expected the manifest of this plan"
            )
        np.add.at(self.found.tries, whose, 1)
        self.found.failed_lat += self.lat[whose, same.argmax(axis=1)].tolist()
        self.found.failed += map(sys.intern, failed.field("reason").to_pylist())

    def _scenes(self, location: Ints, modality: str, column: Any) -> None:
        whose, scene = _flat(location, column)
        if not len(whose):
            return
        crs = _numbers(scene.field("crs"))
        self._count(modality, scene)
        self._corners(whose, crs, scene.field("transform"))
        dates = Dates(
            whose, _numbers(scene.field("time")) * US_NS, _reals(scene.field("cloud")),
            _reals(scene.field("cloud_patch")), crs,
        )  # fmt: skip
        self._parts[modality].append(dates)

    def _count(self, modality: str, scene: Any) -> None:
        """Scenes by what was done to them."""
        import pyarrow as pa
        import pyarrow.compute as pc

        baseline = pc.extract_regex(scene.field("properties"), BASELINE).field("baseline")
        columns = [scene.field("collection"), baseline, scene.field("why_offset")]
        columns = [pc.fill_null(column, "") for column in columns]
        names = ["collection", "baseline", "why", "offset"]
        table = pa.table([*columns, pc.fill_null(scene.field("offset"), 0)], names)
        for row in table.group_by(names).aggregate([([], "count_all")]).to_pylist():
            self.found.scenes[modality, *(row[name] for name in names)] += row["count_all"]

    def _corners(self, whose: Ints, crs: Ints, transform: Any) -> None:
        """Where patches lie, by their first scene."""
        import pyarrow.compute as pc

        found = self.found
        first = np.flatnonzero(np.diff(whose, prepend=-1))
        first = first[found.crs[whose[first]] == 0]
        at = whose[first]
        found.crs[at] = crs[first]
        found.west[at] = _reals(pc.list_element(transform, 2))[first]
        found.north[at] = _reals(pc.list_element(transform, 5))[first]


def _flat(location: Ints, column: Any) -> tuple[Ints, Any]:
    """The entries of a column of lists, and the location of each."""
    import pyarrow.compute as pc

    lists = column.chunk(0) if column.num_chunks else column.combine_chunks()
    count = _numbers(pc.list_value_length(lists))
    return np.repeat(location, count), lists.flatten()


def _numbers(column: Any) -> Ints:
    """Whole numbers or times; 0 where there is none."""
    import pyarrow as pa

    return np.asarray(column.cast(pa.int64()).fill_null(0).to_numpy(), np.int64)


def _reals(column: Any) -> NDArray[np.float64]:
    """NaN where there is none."""
    return np.asarray(column.to_numpy(zero_copy_only=False), np.float64)
