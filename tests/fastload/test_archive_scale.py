import shutil
from collections.abc import Iterator
from pathlib import Path
from time import perf_counter

import pytest

from benchmarks import archive

MOST_MEGABYTES = 200


@pytest.fixture
def whole(tmp_path: Path) -> Iterator[Path]:
    """Indexes of all 477 tars of seven modalities; about half a gigabyte, removed at once."""
    start = perf_counter()
    root = archive.fabricate(tmp_path / "archive")
    print(f"made in {perf_counter() - start:.1f} s")
    yield root
    shutil.rmtree(root)


@pytest.mark.timeout(180)
def test_opening_the_whole_archive(whole: Path) -> None:
    """The index is mapped, not loaded: memory stays far below its size."""
    size = sum(p.stat().st_size for p in whole.rglob("fastload.index")) / 1e6
    opened = archive.open_fresh(whole)
    print(f"opened in {opened.seconds:.3f} s, {opened.megabytes:.0f} MB of {size:.0f} MB resident")
    assert opened.samples == 477 * 512
    assert size > 2 * MOST_MEGABYTES
    assert opened.megabytes < MOST_MEGABYTES
