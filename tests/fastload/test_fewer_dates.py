"""Samples that differ in their number of dates, in tars."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fastload import SSL4EOS12, DataError, DataLoader
from fastload.storage.dates import NO_TIME
from tests.fastload import shardmaker as make

DATES = (4, 3, 4, 4, 1, 5)
"""Of each sample."""
GRIDS = {"a timestamp": (1, 3, 24, 24), "two": (2, 3, 24, 24), "whole": (6, 3, 24, 24),
         "uneven": (3, 2, 7, 10)}  # fmt: skip


def values(number: int) -> np.ndarray[Any, Any]:
    return make.pixels(f"fewer {number}", (DATES[number], make.C, make.H, make.W))


def sample(number: int, _: str, **options: Any) -> bytes:
    return make.zipped(make.group(values(number), number=number, fill_value=-7, **options))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return make.write(tmp_path, make=sample)


@pytest.mark.parametrize("grid", GRIDS.values(), ids=GRIDS)
def test_all_are_kept(tmp_path: Path, grid: tuple[int, ...]) -> None:
    make.write(tmp_path, make=lambda i, m: sample(i, m, chunks=grid))
    ds = SSL4EOS12(tmp_path, progress=False)
    assert ds.modalities["S2L1C"].shape == (5, make.C, make.H, make.W)
    assert ds.all_dates.tolist() == list(DATES)
    for i, dates in enumerate(DATES):
        expected = np.full((5, make.C, make.H, make.W), -7, np.int16)
        expected[:dates] = values(i)
        assert make.same(ds.read("S2L1C", i), expected)
        for t in range(5):
            assert make.same(ds.read("S2L1C", i, [t]), expected[[t]])
        np.testing.assert_array_equal(ds.times(i)[:dates], make.dates(i, dates))
        assert (ds.times(i)[dates:] == NO_TIME).all()


@pytest.mark.parametrize("engine", ["threads", "dali"])
def test_a_batch_says_which_dates_there_are(root: Path, engine: Any) -> None:
    if engine == "dali":
        pytest.importorskip("nvidia.dali")
    ds = SSL4EOS12(root, progress=False)
    (batch,) = DataLoader(ds, batch_size=6, engine=engine, num_workers=2)
    assert batch["present"].sum(1).tolist() == list(DATES)
    for i in range(6):
        assert make.same(batch["S2L1C"][i].numpy(), ds.read("S2L1C", i))


def test_those_with_unusual_dates_are_left_out(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ds = SSL4EOS12(root, dates="drop", columns=["crs"], progress=False)
    assert [int(key) for key in ds.keys] == [0, 2, 3]
    assert "3 samples dropped" in capsys.readouterr().out
    assert ds.modalities["S2L1C"].timestamps == 4
    assert ds.extras["crs"].shape == (3,)
    assert "present" not in ds[0]
    for i, number in enumerate((0, 2, 3)):
        assert make.same(ds.read("S2L1C", i), values(number))
        np.testing.assert_array_equal(ds.times(i), make.dates(number, 4))


def test_of_several_modalities_joined(root: Path) -> None:
    make.write(root, ["S1GRD"], make.KEYS[::-1])
    ds = SSL4EOS12(root, modalities=["S1GRD", "S2L1C"], dates="drop", progress=False)
    assert sorted(int(key) for key in ds.keys) == [0, 2, 3]
    for i, key in enumerate(ds.keys):
        assert make.same(ds.read("S2L1C", i), values(int(key)))
        assert make.same(ds.read("S1GRD", i), make.pixels(f"S1GRD {int(key)}"))


def test_they_may_be_refused(root: Path) -> None:
    with pytest.raises(DataError, match="number of dates: 1 in 1 samples, 3 in 1 samples, 4 in 3"):
        SSL4EOS12(root, dates="error", progress=False)
    with pytest.raises(ValueError, match="dates must be 'mask', 'drop' or 'error', got 'keep'"):
        SSL4EOS12(root, dates="keep", progress=False)  # type: ignore[arg-type]


def test_where_all_agree_nothing_is_refused(tiny: Path) -> None:
    for dates in ("mask", "drop", "error"):
        ds = SSL4EOS12(tiny, dates=dates, progress=False)  # type: ignore[arg-type]
        assert len(ds) == 6
        assert ds.sources["S2L1C"].columns.dates is None


def test_nothing_is_left(root: Path) -> None:
    """Where no sample has the usual dates in all modalities."""
    odd = {i: 2 if i in (0, 2, 3) else 3 for i in range(6)}
    odd[5] = 3
    make.write(
        root, ["S1GRD"],
        make=lambda i, m: make.zipped(make.group(make.pixels(i, (odd[i], 2, 24, 24)))),
    )  # fmt: skip
    with pytest.raises(ValueError, match="dates='drop' leaves no sample"):
        SSL4EOS12(root, modalities=["S2L1C", "S1GRD"], dates="drop", progress=False)
