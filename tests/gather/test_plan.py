"""A plan is a function of its settings: demand 1."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from fastload.cli import main
from fastload.gather.plan import plan, plan_file
from fastload.gather.plan import plan as planning
from fastload.gather.plan.settings import Settings

pytest.importorskip("pyarrow", reason="needs pyarrow")
SHORT = Settings(locations=120, seed=5, candidates=3, city_list="shipped", cities=100)


def head(made: plan.Plan, n: int) -> list[np.ndarray]:
    return [getattr(made, name)[:n] for name in ("attempt", "lon7", "lat7", "city", "days")]


def test_a_shorter_plan_is_the_head_of_a_longer_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """500 of 1,000, and whatever is drawn at once."""
    settings = {"city_list": "shipped", "cities": 20, "spread_km": 25.0, "seed": 2}
    long = plan.make(Settings(locations=1000, **settings))
    monkeypatch.setattr(planning, "BLOCK", 37)
    monkeypatch.setattr(planning, "MORE", 5)
    short = plan.make(Settings(locations=500, **settings))
    for a, b in zip(head(long, 500), head(short, 500), strict=True):
        np.testing.assert_array_equal(a, b)
    tries = long.attempt[:, -1]
    assert tries.max() > 30  # crowded, so that many draws were refused
    assert (np.diff(long.attempt, axis=1) > 0).all()


def test_another_seed_is_another_plan() -> None:
    one, other = (plan.make(Settings("uniform", 5, seed=s)) for s in (0, 2**63))
    assert not (one.lon7 == other.lon7).any()
    assert one == plan.make(Settings("uniform", 5, seed=0))
    assert one != other


def test_candidates() -> None:
    made = plan.make(SHORT)
    assert len(made) == 120
    assert made.key(7) == "0000007"
    for i in (0, 119):
        found = made.candidates(i)
        assert [c.location for c in found] == [i] * 3
        for k, c in enumerate(found):
            assert (c.attempt, c.lon, c.lat) == (made.attempt[i, k], made.lon[i, k], made.lat[i, k])
            assert round(c.lon, 7) == c.lon
            assert len(c.windows) == 4
            assert c.windows[0].start.dtype == "datetime64[D]"
            assert all(w.start < w.end for w in c.windows)
            assert list(c.windows) == sorted(c.windows)


COMMAND = ["gather", "plan", "--locations", "300", "--seed", "9", "--candidates", "4",
           "--city-list", "shipped", "--cities", "200", "--quiet"]  # fmt: skip


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "plan.parquet"
    assert main([*COMMAND[:2], str(path), *COMMAND[2:]]) == 0
    said = capsys.readouterr()
    assert "300 locations, 4 candidates each by law cities, 4 dates from" in said.out
    assert "CC BY 4.0" in said.out
    made = plan_file.read(path)
    assert made == plan.make(
        Settings(locations=300, seed=9, candidates=4, city_list="shipped", cities=200)
    )
    assert made.settings.dates == "seasons"


@pytest.mark.slow
def test_the_same_bytes_in_another_process_with_other_threads(tmp_path: Path) -> None:
    paths = [str(tmp_path / name) for name in ("here.parquet", "there.parquet")]
    assert main([*COMMAND[:2], paths[0], *COMMAND[2:]]) == 0
    variables = {"NUMBA_NUM_THREADS": "3", "OMP_NUM_THREADS": "3", "PYTHONHASHSEED": "9"}
    command = [sys.executable, "-m", "fastload", *COMMAND[:2], paths[1], *COMMAND[2:]]
    subprocess.run(command, env={**os.environ, **variables}, check=True, timeout=240)
    here, there = (Path(path).read_bytes() for path in paths)
    assert here == there


def test_the_command_says_what_is_wrong(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = str(tmp_path / "plan.parquet")
    assert main(["gather", "plan", path, "--law", "csv"]) == 1
    assert capsys.readouterr().err == "fastload gather: places: law csv needs a file, got none\n"
    assert main(["gather", "plan", path, "--law", "csv", "--places", "/no/where.csv"]) == 1
    assert "/no/where.csv" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
