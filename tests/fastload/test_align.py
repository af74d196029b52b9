"""Dates that disagree under one index (A10), and the way out."""

import warnings
from itertools import permutations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from fastload import SSL4EOS12, DataError, DataLoader, Radiometry, Recipe, View
from fastload.datasets.agree import gaps, nearest
from fastload.storage.dates import NO_TIME
from tests.fastload import shardmaker as make
from tests.fastload.made import assert_like_torch

BOTH = ["S2L1C", "S1GRD"]
GRIDS = {"a timestamp": (1, 3, 24, 24), "two timestamps": (2, 3, 24, 24), "uneven": (3, 2, 10, 24)}


def order_of(number: int, T: int = make.T) -> list[int]:
    """In which order a sample's S1 lies on disk; another one for each."""
    return list(list(permutations(range(T)))[number * 7 % 24])


def write(root: Path, late: int = 3, **options: Any) -> Path:
    """S1 some days after S2, each sample in an order of its own; so are the keys."""

    def sample(number: int, modality: str) -> bytes:
        bands = make.pixels(f"{modality} {number}")
        content = make.group(bands, number=number, consolidated=False, **options)
        if modality == "S1GRD":
            order = order_of(number)
            content = make.group(bands[order], number=number, consolidated=False, **options)
            store: dict[str, Any] = {n: c for n, c in content.items() if n[:5] != "time/"}
            times = make.dates(number, make.T) + late * make.DAY
            make.zarr.open_group(store, mode="r+").create_dataset("time", data=times[order])
            content = {n: bytes(c) for n, c in store.items()}
        return make.zipped(content)

    for modality in BOTH:
        keys = make.KEYS if modality == "S2L1C" else make.KEYS[::-1]
        make.write(root, [modality], keys, make=sample)
    return root


def opened(root: Path, **options: Any) -> SSL4EOS12:
    found = SSL4EOS12(root, modalities=BOTH, progress=False, **options)
    found.set_epoch(0)
    return found


def quiet(root: Path, **options: Any) -> SSL4EOS12:
    """Opened without a warning."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return opened(root, **options)


def test_a10_unsorted_dates_are_reported(tmp_path: Path) -> None:
    write(tmp_path)
    with pytest.warns(UserWarning, match="dates under one index") as caught:
        opened(tmp_path)
    (warning,) = caught
    text = str(warning.message)
    apart = [abs(make.dates(0, 4)[order_of(n)] + 3 * make.DAY - make.dates(0, 4)).max() // make.DAY
             for n in range(6)]  # fmt: skip
    many = sum(days > 45 for days in apart)
    assert f"S1GRD in {many} of 6 samples, by up to {max(apart)} days" in text
    assert "align='nearest'" in text


@pytest.mark.parametrize("late", [-20, 0, 20])
def test_a10_published_pairs_pass(tmp_path: Path, late: int) -> None:
    quiet(write(tmp_path, late), align="nearest")


def test_a10_what_stays_apart_is_reported_without_advice(tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match="S1GRD in 6 of 6") as caught:
        opened(write(tmp_path, 46), align="nearest")
    assert "align=" not in str(caught[0].message)


@pytest.mark.parametrize("grid", GRIDS)
def test_a10_aligned_pixels_dates_and_columns(tmp_path: Path, grid: str) -> None:
    ds = quiet(write(tmp_path, chunks=GRIDS[grid]), align="nearest")
    s1 = ds.sources["S1GRD"]
    for i in range(len(ds)):
        row = ds.row_of("S1GRD", i)
        expected = make.pixels(f"S1GRD {i}")
        assert make.same(ds.read("S1GRD", i), expected)
        for some in ([0], [3], [1, 2], [2, 0], [0, 1, 3]):
            assert make.same(ds.read("S1GRD", i, some), expected[some])
        np.testing.assert_array_equal(s1.columns.time[row] - ds.times(i), 3 * make.DAY)
        stored = s1.index.time[row]
        np.testing.assert_array_equal(stored, s1.columns.time[row][order_of(i)])


RECIPES = {
    "raw": None,
    "views": Recipe(
        (
            View(size=16, timestamp="independent"),
            View(size=20, timestamp=2),
            View(size=8, timestamp="all"),
        ),
        Radiometry.quantile(0, 4000),
    ),
}  # fmt: skip


@pytest.mark.parametrize("recipe", RECIPES)
@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize("workers", [0, 2])
def test_a10_engines_agree(
    tmp_path: Path, grid: str, recipe: str, workers: int, engine: Any
) -> None:
    ds = quiet(write(tmp_path, chunks=GRIDS[grid]), align="nearest", recipe=RECIPES[recipe])
    loader = DataLoader(ds, 4, num_workers=workers, engine=engine)
    expected = torch.utils.data.DataLoader(ds, 4)
    for mine, theirs in zip(loader, expected, strict=True):
        assert_like_torch(mine, theirs, "float32", BOTH)


def test_a10_an_error_names_what_is_stored(tmp_path: Path) -> None:
    """The chunk on disk, not its place in the new order."""
    ds = quiet(write(tmp_path), align="nearest")
    wanted = np.arange(make.T)[None] == 0
    source, row = ds.sources["S1GRD"], ds.row_of("S1GRD", 1)
    (chunk,) = source.chunks(np.array([row]), wanted).rows
    stored = order_of(1).index(0)
    assert (chunk["timestamp"], chunk["cell"]) == (0, stored)
    path = tmp_path / "train" / "S1GRD" / source.files[chunk["file"]]
    data = bytearray(path.read_bytes())
    data[chunk["offset"] + 50] ^= 1
    path.write_bytes(data)
    with pytest.raises(DataError) as caught:
        ds.read("S1GRD", 1, [0])
    assert caught.value.member == f"{make.KEYS[1]}.zarr.zip/bands/{stored}.0.0.0"
    assert make.same(ds.read("S1GRD", 1, [1, 2, 3]), make.pixels("S1GRD 1")[1:])


def test_nearest_is_the_best_pairing() -> None:
    rng = np.random.default_rng(0)
    first, other = rng.integers(1, 10**6, (2, 200, 4))
    order = nearest(first, other)
    for a, b, found in zip(first, other, order, strict=True):
        costs = {p: np.abs(a - b[list(p)]).sum() for p in permutations(range(4))}
        assert costs[tuple(found.tolist())] == min(costs.values())


def test_unknown_dates_keep_their_order_and_have_no_gap() -> None:
    day = 86_400_000_000_000
    first = np.array([[1, 100], [1, 100], [1, NO_TIME]]) * np.array([[day], [day], [1]])
    other = np.array([[100 * day, day], [NO_TIME, day], [100 * day, day]])
    assert nearest(first, other).tolist() == [[1, 0], [0, 1], [0, 1]]
    assert gaps(first, other).tolist() == [99, 99, 99]
    assert gaps(first, np.full_like(first, NO_TIME)).tolist() == [0, 0, 0]


def test_one_timestamp_is_left_alone(tmp_path: Path) -> None:
    """DEM has no date, and one timestamp serves for all."""

    def sample(number: int, modality: str) -> bytes:
        T = 1 if modality == "DEM" else make.T
        return make.zipped(make.group(make.pixels(number, (T, 1, 24, 24)), number=number))

    make.write(tmp_path, ["S2L1C", "DEM"], make=sample)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ds = SSL4EOS12(tmp_path, modalities=["S2L1C", "DEM"], align="nearest", progress=False)
    assert ds.sources["DEM"].order is None


def test_an_align_that_is_not_there(tiny: Path) -> None:
    with pytest.raises(ValueError, match="align must be None or 'nearest'"):
        SSL4EOS12(tiny, align="date", progress=False)  # type: ignore[arg-type]
