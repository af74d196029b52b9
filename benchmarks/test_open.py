"""(f) Opening the whole archive, all modalities, in a process that has just started."""

import shutil
from pathlib import Path

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from benchmarks import archive
from benchmarks.conftest import FOUND, Setup
from benchmarks.measure import Pedantic
from benchmarks.results import Figure, Race


def test_open(
    benchmark: BenchmarkFixture, setup: Setup, pytestconfig: pytest.Config, tmp_path: Path
) -> None:
    root = archive.fabricate(tmp_path / "archive")
    found: list[archive.Opened] = []
    try:
        pedantic: Pedantic = benchmark.pedantic
        pedantic(lambda: found.append(archive.open_fresh(root)), rounds=setup.rounds, iterations=1)
    finally:
        shutil.rmtree(root)
    samples = archive.SHARDS * archive.PER_SHARD
    assert all(opened.samples == samples for opened in found)
    benchmark.extra_info |= {
        "seconds_to_open": [opened.seconds for opened in found],
        "megabytes_resident": [opened.megabytes for opened in found],
    }
    note = f"{samples} samples, {len(archive.BANDS)} modalities, imports done before, warm cache"
    title = "(f) opening the whole archive"
    races = pytestconfig.stash[FOUND].races
    milliseconds = Figure("fastload", tuple(1000 * opened.seconds for opened in found), note)
    grown = Figure("fastload", tuple(opened.megabytes for opened in found), note)
    races.append(Race(f"{title}: time", (milliseconds,), unit="ms"))
    races.append(Race(f"{title}: growth of resident memory", (grown,), unit="MB"))
