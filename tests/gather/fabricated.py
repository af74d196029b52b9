"""Plans and outcomes that are made up, for tests of what is said of them."""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as parquet
from numpy.typing import NDArray

from fastload.gather.fetch.manifest import write
from fastload.gather.fetch.state import State
from fastload.gather.patch import LEFT_OUT, REASONS, Outcome
from fastload.gather.plan.draws import E7
from fastload.gather.plan.plan import Plan
from fastload.gather.plan.settings import Settings
from fastload.gather.report.squares import around

MODALITIES = ("S1GRD", "S2L2A")
FAILURES = [reason for reason in REASONS if reason != LEFT_OUT]
RULES = (("02.14", "baseline 02.14", 0), ("05.00", "baseline 05.00", 1000))


def plan(count: int, tries: int = 4, seed: int = 0, spread: float = 1.0, length: int = 31) -> Plan:
    """Locations around 20 places, and windows a quarter apart, moved by up to a year."""
    rng = np.random.default_rng(seed)
    centre = np.stack([rng.uniform(-180, 180, 20), rng.uniform(-70, 75, 20)])
    lon, lat = centre[:, rng.integers(20, size=count), None] + rng.normal(
        0, spread, (2, count, tries)
    )
    first = np.datetime64("2019-12-08").astype(int) + rng.integers(365, size=(count, tries))
    start = first[..., None] + 91 * np.arange(4)
    attempt = np.cumsum(rng.integers(1, 3, (count, tries)), axis=1) - 1
    days = np.stack([start, start + length], axis=-1)
    settings = Settings(locations=count, seed=seed, candidates=tries, apart=False)
    east, north = (lon + 180) % 360 - 180, lat.clip(-80, 80)
    lon7, lat7 = (np.rint(degrees * E7).astype(np.int32) for degrees in (east, north))
    city = np.full((count, tries), -1, np.int32)
    return Plan(settings, {}, (), attempt.astype(np.int32), lon7, lat7, city, days.astype(np.int32))


def outcomes(made: Plan, seed: int = 0, modalities: tuple[str, ...] = MODALITIES) -> list[Outcome]:
    """Some whole, some absent, and the last eighth open."""
    rng = np.random.default_rng([seed, 1])
    return [outcome(made, i, rng, modalities) for i in range(len(made) - len(made) // 8)]


def outcome(made: Plan, i: int, rng: np.random.Generator, modalities: tuple[str, ...]) -> Outcome:
    tries = made.attempt[i].tolist()
    fits = int(rng.integers(len(tries) + 1))
    failed = [
        {"attempt": k, "reason": str(rng.choice(FAILURES)), "detail": "made up"}
        for k in tries[:fits]
    ]
    if fits == len(tries):
        return Outcome(i, made.key(i), None, failed=failed, requests=3 * fits)
    lon, lat, days = float(made.lon[i, fits]), float(made.lat[i, fits]), made.days[i, fits]
    square = around(np.array([lon]), np.array([lat]), 2640.0)
    corner = [10.0, 0.0, _snapped(square.west), 0.0, -10.0, _snapped(square.north)]
    grid = {"crs": int(square.crs[0]), "scene_crs": None, "transform": corner}
    scenes = {
        name: [grid | _scene(name, f"{i}_{t}", days[t], rng) for t in range(len(days))]
        for name in modalities
    }
    sizes = {name: {"bytes": 1000 + i, "sha256": "0" * 64} for name in modalities}
    return Outcome(i, made.key(i), tries[fits], lon, lat, failed, scenes, sizes,
                   bytes_read=5000 + i, requests=40 + i)  # fmt: skip


def _snapped(metres: NDArray[np.float64]) -> float:
    return float(np.round(metres[0] / 60) * 60)


def _scene(name: str, number: str, days: Any, rng: np.random.Generator) -> dict[str, Any]:
    start, end = (int(day) * 86400 for day in days)
    baseline, why, offset = RULES[int(rng.integers(2))]
    optical = name.startswith("S2")
    return {
        "id": f"{name}_{number}<script>alert(1)</script>",
        "collection": f"{name.lower()}-made",
        "time": str(np.datetime64(int(rng.integers(start, end)), "s")),
        "cloud": float(rng.random() * 0.2) if optical else None,
        "cloud_patch": float(rng.random()) if optical else None,
        "footprint": {},
        "properties": {"tile": "made", "baseline": baseline} if optical else {},
        "why_offset": why if optical else "",
        "offset": offset if optical else 0,
        "hrefs": {"B02": "https://example.com/<b>.tif"},
    }


def manifest(
    path: Path,
    made: Plan,
    known: list[Outcome],
    trouble: dict[int, str] | None = None,
    modalities: tuple[str, ...] = MODALITIES,
) -> Path:
    """A manifest of outcomes, as fetching writes it."""
    with TemporaryDirectory() as folder:
        state = State(Path(folder), len(made), 64)
        for one in known:
            state.keep(one, {})
        write(path, made, state, modalities, {"format": "made"}, trouble or {})
    return path


def renumbered(table: Any, location: list[int], **more: Any) -> Any:
    """A manifest's table with other numbers and keys of locations, and other columns."""
    columns = {
        "location": pa.array(location, pa.int64()),
        "key": pa.array([f"{i:07d}" for i in location]),
        **more,
    }
    for name, values in columns.items():
        at = table.schema.get_field_index(name)
        table = table.set_column(at, table.field(at), values)
    return table


def rewritten(path: Path, location: list[int]) -> None:
    """Write a manifest anew, with other numbers and keys of locations."""
    parquet.write_table(renumbered(table_of(path), location), path)


def table_of(path: Path) -> Any:
    """A manifest's table, with all that it says of itself."""
    with parquet.ParquetFile(path) as file:
        told = {k: v for k, v in file.metadata.metadata.items() if k != b"ARROW:schema"}
        return file.read().replace_schema_metadata(told)
