"""A report on a quarter of a million locations: 0.75 GiB beside what its libraries take."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as parquet
import pytest

from fastload.gather.plan.plan import Plan
from tests.gather import fabricated

N, EACH = 250_000, 500
PROGRAM = """
import resource, sys
from pathlib import Path
from fastload.gather.report.making import Gathered, made
from tests.gather import fabricated

def peak(): return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

before = peak()
plan = fabricated.plan(250_000, tries=8, spread=10)
plan.attempt[:] = range(8)
figures, page = made("250,000", plan, Gathered(Path("/nowhere"), Path(sys.argv[1]), {}))
assert figures["gathered"]["asked"] == 250_000
assert figures["gathered"]["whole"] > 100_000
assert len(page) < 3_000_000
print(peak() - before)
"""


def manifest(path: Path) -> None:
    """The outcomes of some locations, again and again under the numbers and at the places of the
    others."""
    plan = fabricated.plan(N, tries=8, spread=10)
    plan.attempt[:] = np.arange(8)
    rng = np.random.default_rng(0)
    some = [fabricated.outcome(plan, i, rng, fabricated.MODALITIES) for i in range(EACH)]
    whole = np.array([o.attempt is not None for o in some])
    arrays = (plan.attempt, plan.lon7, plan.lat7, plan.city, plan.days)
    few = Plan(plan.settings, {}, (), *(array[:EACH] for array in arrays))
    table = fabricated.table_of(fabricated.manifest(path, few, some))
    with parquet.ParquetWriter(path, table.schema, compression="zstd") as writer:
        for start in range(0, N, EACH):
            rows = slice(start, start + EACH)
            lon, lat = (pa.array(a[rows, 0], mask=~whole) for a in (plan.lon, plan.lat))
            numbers = list(range(start, start + EACH))
            writer.write_table(fabricated.renumbered(table, numbers, lon=lon, lat=lat))


@pytest.mark.long
@pytest.mark.timeout(1200)
def test_a_quarter_of_a_million_locations(tmp_path: Path) -> None:
    path = tmp_path / "manifest.parquet"
    manifest(path)
    command = [sys.executable, "-c", PROGRAM, str(path)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    unit = 1 if sys.platform == "darwin" else 1024
    assert int(done.stdout) * unit < 0.75 * 2**30
