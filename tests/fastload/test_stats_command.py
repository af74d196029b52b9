"""Measuring a dataset: against NumPy over all pixels, whoever counts them."""

import json
import os
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from fastload import DataError, DataLoader, Radiometry, Recipe, View
from fastload.cli import main, stats
from fastload.cli.stats import LEVELS, chosen, collected, measure
from fastload.statistics import Statistics
from fastload.tally import Moments, Summary, Tally
from tests.fastload import shardmaker as make
from tests.fastload.conftest import Open

pytestmark = pytest.mark.timeout(120)


# --- arithmetic ---


def pixels(dtype: str, seed: int = 0, bands: int = 3, images: int = 7) -> list[NDArray[Any]]:
    """Images ``[T, C, H, W]`` over the whole range of a dtype, with odd values in floats."""
    rng, kind = np.random.default_rng(seed), np.dtype(dtype)
    shape = (images, 2, bands, 9, 11)
    if kind.kind == "b":
        return list(rng.random(shape) < 0.3)
    if kind.kind in "iu":
        info = np.iinfo(kind)
        low, high = max(info.min, -(2**40)), min(info.max, 2**40)
        made = rng.integers(low, high, shape, endpoint=True).astype(kind)
        made[rng.random(shape) < 0.2] = 0
        return list(made)
    made = rng.normal(-14, 5, shape).astype(kind)
    made[:, :, 0] *= kind.type(1000.0)
    for value in (np.nan, np.inf, -np.inf, 0.0, -0.0):
        made[rng.random(shape) < 0.05] = value
    return list(made)


def told(images: list[NDArray[Any]], no_data: float | None = None) -> Summary:
    """What a tally says of images."""
    tally = Tally(images[0].dtype, images[0].shape[1], no_data)
    moments = Moments.none(images[0].shape[1])
    for image in images:
        moments = moments.merged(tally.add(image))
    return tally.summary(moments, LEVELS)


def whole(images: list[NDArray[Any]], band: int) -> NDArray[np.float64]:
    return np.concatenate([image[:, band].ravel() for image in images]).astype(np.float64)


EXACT = ("bool", "uint8", "int8", "int16", "uint16", "float16")
WIDE = ("float32", "float64", "int32", "int64", "uint32")


@pytest.mark.parametrize("no_data", [None, 0.0])
@pytest.mark.parametrize("dtype", [*EXACT, *WIDE])
def test_against_numpy_over_whole_data(dtype: str, no_data: float | None) -> None:
    images = pixels(dtype)
    found = told(images, no_data)
    for c in range(3):
        every = whole(images, c)
        empty = every == 0 if no_data is not None else np.zeros(len(every), bool)
        kept = every[np.isfinite(every) & ~empty]
        counts = {"nan": np.isnan(every), "infinite": np.isinf(every), "no_data": empty}
        assert {k: v[c] for k, v in found.left_out.items()} == {
            k: v.sum() for k, v in counts.items()
        }
        assert found.pixels[c] == len(kept)
        np.testing.assert_allclose(found.mean[c], kept.mean(), rtol=1e-13)
        np.testing.assert_allclose(found.std[c], kept.std(), rtol=1e-13)
        assert (found.min[c], found.max[c]) == (kept.min(), kept.max())
        expected = np.quantile(kept, LEVELS)
        quantiles = [found.quantiles[level][c] for level in LEVELS]
        if dtype in EXACT:
            np.testing.assert_allclose(quantiles, expected, rtol=1e-14)
        else:
            np.testing.assert_allclose(quantiles, expected, rtol=1 / 2048)


def test_quantiles_of_wide_pixels_are_exact_for_small_whole_numbers() -> None:
    rng = np.random.default_rng(0)
    images = list(rng.integers(-4096, 4097, (5, 1, 2, 16, 16)).astype(np.float32))
    found = told(images)
    for c in range(2):
        expected = np.quantile(whole(images, c), LEVELS)
        np.testing.assert_allclose([found.quantiles[q][c] for q in LEVELS], expected, rtol=1e-14)


def test_a_mean_far_from_zero_costs_no_digits() -> None:
    """Where the sum of squares would: a spread of 0.1 about 10,000,000, merged 300 times."""
    rng = np.random.default_rng(1)
    images = list(1e7 + rng.normal(0, 0.1, (300, 1, 1, 8, 8)))
    expected = whole(images, 0)
    found = told(images)
    np.testing.assert_allclose(found.std[0], expected.std(), rtol=1e-9)
    np.testing.assert_allclose(found.mean[0], expected.mean(), rtol=1e-15)


def test_beyond_float32() -> None:
    found = told([np.array([-1e300, -3.0, 2.0, 1e300]).reshape(1, 1, 2, 2)])
    assert (found.min[0], found.max[0]) == (-1e300, 1e300)
    assert found.quantiles[0.5][0] == -0.5


@pytest.mark.parametrize("dtype", ["int16", "float32"])
def test_a_band_of_no_data(dtype: str) -> None:
    image = np.ones((2, 2, 4, 4), dtype)
    image[:, 1] = 0
    found = told([image], 0.0)
    assert found.pixels.tolist() == [32, 0]
    for values in (found.mean, found.std, found.min, found.max, *found.quantiles.values()):
        assert values[0] in (0, 1)
        assert np.isnan(values[1])


@pytest.mark.parametrize("dtype", ["int16", "float32"])
def test_tallies_are_merged(dtype: str) -> None:
    """Two that share the images count as one; moments in the images' order."""
    images = pixels(dtype)
    one, both = Tally(images[0].dtype, 3, None), [Tally(images[0].dtype, 3, None) for _ in "ab"]
    alone = [one.add(image) for image in images]
    shared = [both[i % 2].add(image) for i, image in enumerate(images)]
    both[0].merge(both[1])
    moments = [Moments.none(3), Moments.none(3)]
    for a, b in zip(alone, shared, strict=True):
        moments = [moments[0].merged(a), moments[1].merged(b)]
    same(one.summary(moments[0], LEVELS), both[0].summary(moments[1], LEVELS))


def same(one: Summary, other: Summary) -> None:
    """Equal to the bit."""
    for name, value in vars(one).items():
        theirs = getattr(other, name)
        if isinstance(value, dict):
            assert list(value) == list(theirs)
            for key in value:
                assert value[key].tobytes() == theirs[key].tobytes(), (name, key)
        else:
            assert value.tobytes() == theirs.tobytes(), name


# --- datasets ---


def odd(number: int, modality: str) -> bytes:
    """A sample: some no data in S2L1C, heights with NaN in DEM, decibels in S1GRD."""
    rng = np.random.default_rng([number, *modality.encode()])
    if modality == "S2L1C":
        image = make.pixels(f"{modality} {number}")
        image[:, :, :2, : 3 + number] = 0
    elif modality == "DEM":
        image = rng.normal(400, 90, (1, 1, 24, 24)).astype("f4")
        image[0, 0, number] = np.nan
    else:
        image = rng.normal(-14, 4, (4, 2, 24, 24)).astype("f2")
        image[0, 1, :number] = -np.inf
    return make.zipped(make.group(image, number=number))


MODALITIES = ["DEM", "S1GRD", "S2L1C"]
KEYS = tuple(f"{i:07d}" for i in range(21))


@pytest.fixture
def made(tmp_path: Path) -> Path:
    return make.write(tmp_path / "made", MODALITIES, KEYS, 5, odd)


@pytest.mark.parametrize("modality", MODALITIES)
def test_the_number_of_workers_changes_nothing(made: Path, reopen: Open, modality: str) -> None:
    """To the bit, blocks of samples in any order of their ending."""
    ds = reopen(made, modalities=[modality])
    expected = measure(ds, modality, np.arange(len(ds)), 1, 0.0)
    for workers in (2, 3, 8):
        same(measure(ds, modality, np.arange(len(ds)), workers, 0.0), expected)


def test_the_command_writes_what_statistics_take(
    made: Path, reopen: Open, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    path = tmp_path / "mine.json"
    assert main(["stats", str(made), "--out", str(path), "--workers", "2"]) == 0
    said = capsys.readouterr()
    assert f"written to {path}" in said.out
    assert "sample/s" in said.err  # the bar
    own = Statistics.load(path)
    assert (own.name, own.dn_offset, sorted(own.mean)) == ("mine", 0.0, MODALITIES)
    recipe = Recipe((View(size=24, timestamp="all"),), Radiometry.standardise())
    ds = reopen(made, modalities=["S2L1C", "DEM"], recipe=recipe, statistics=path)
    raw = reopen(made, modalities=["S2L1C", "DEM"])
    (batch,) = DataLoader(ds, 21)
    (stored,) = DataLoader(raw, 21)
    valid = (stored["S2L1C"] != 0).numpy()
    for c in range(3):
        seen = batch["S2L1C"][0].double().numpy()[:, :, c][valid[:, :, c]]
        assert abs(seen.mean()) < 1e-6
        assert abs(seen.std() - 1) < 1e-6
    heights = batch["DEM"][0].double().numpy()
    assert abs(np.nanmean(heights)) < 1e-5
    assert abs(np.nanstd(heights) - 1) < 1e-5


def test_what_is_left_out_is_counted_and_said(
    made: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    path = tmp_path / "x.json"
    assert main(["stats", str(made), "--out", str(path), "--quiet"]) == 0
    said = capsys.readouterr()
    assert said.err == ""
    details = Statistics.load(path).details
    rows = sum(range(21))
    empty = 4 * 2 * sum(min(3 + i, 24) for i in range(21))
    assert details["S2L1C"]["left_out"] == {
        "nan": [0] * 3,
        "infinite": [0] * 3,
        "no_data": [empty] * 3,
    }
    assert details["DEM"]["left_out"]["nan"] == [21 * 24]
    assert details["S1GRD"]["left_out"]["infinite"] == [0, rows * 24]
    assert details["S2L1C"]["pixels"] == [21 * 4 * 24 * 24 - empty] * 3
    assert f"left out, no data (0): B00 {empty}" in said.out
    assert f"left out, infinite: B00 0, B01 {rows * 24}" in said.out
    assert list(details["DEM"]["quantiles"]) == [
        "0.01",
        "0.02",
        "0.25",
        "0.5",
        "0.75",
        "0.98",
        "0.99",
    ]


@pytest.mark.parametrize(("no_data", "left"), [("none", False), ("0", True), ("auto", True)])
def test_what_is_no_data(made: Path, tmp_path: Path, no_data: str, left: bool) -> None:
    path = tmp_path / "x.json"
    arguments = ["--modality", "S2L1C", "--no-data", no_data, "--out", str(path), "--quiet"]
    assert main(["stats", str(made), *arguments]) == 0
    assert (Statistics.load(path).details["S2L1C"]["left_out"]["no_data"][0] > 0) == left
    assert (Statistics.load(path).details["S2L1C"]["min"][0] == 0) != left


def test_some_samples_by_a_seed(made: Path, reopen: Open, tmp_path: Path) -> None:
    assert chosen(9, None, 0).tolist() == chosen(9, 20, 0).tolist() == list(range(9))
    assert len(set(chosen(100, 30, 1).tolist())) == 30
    assert chosen(100, 30, 1).tolist() == sorted(chosen(100, 30, 1).tolist())
    assert chosen(100, 30, 1).tolist() != chosen(100, 30, 2).tolist()
    path = tmp_path / "x.json"
    arguments = ["--modality", "S2L1C", "--samples", "4", "--seed", "7", "--out", str(path)]
    assert main(["stats", str(made), *arguments, "--quiet"]) == 0
    ds = reopen(made)
    image = np.stack([ds.read("S2L1C", int(i)) for i in chosen(21, 4, 7)]).astype(np.float64)
    mean = [band[band != 0].mean() for band in np.moveaxis(image, 2, 0)]
    np.testing.assert_allclose(Statistics.load(path).mean["S2L1C"], mean, rtol=1e-13)


def test_bands_have_their_names(made: Path, reopen: Open, tmp_path: Path) -> None:
    """A choice of them is then looked up by name."""
    path = tmp_path / "x.json"
    assert main(["stats", str(made), "--modality", "S2L1C", "--out", str(path), "--quiet"]) == 0
    own = Statistics.load(path)
    assert own.bands == {"S2L1C": ("B00", "B01", "B02")}
    recipe = Recipe((View(size=8),), Radiometry.standardise())
    ds = reopen(made, bands=["B02", "B00"], recipe=recipe, statistics=path)
    expected = np.float32([own.mean["S2L1C"][2], own.mean["S2L1C"][0]])
    assert ds.scalings["S2L1C"].offset.tolist() == expected.tolist()


def test_without_a_file_it_only_says(made: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["stats", str(made), "--modality", "DEM", "--quiet"]) == 0
    out = capsys.readouterr().out
    assert "DEM: 21 samples of 1 dates, float32" in out
    assert "written" not in out


@pytest.mark.parametrize("given", [False, True])
def test_an_offset_that_seems_to_be_there_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], given: bool
) -> None:
    def bright(number: int, modality: str) -> bytes:
        return make.zipped(make.group(make.pixels(number) + np.int16(1000), number=number))

    make.write(tmp_path, make=bright)
    more = ["--dn-offset", "1000"] if given else []
    path = tmp_path / "x.json"
    assert main(["stats", str(tmp_path), "--out", str(path), "--quiet", *more]) == 0
    assert ("give --dn-offset 1000" in capsys.readouterr().out) != given
    assert Statistics.load(path).dn_offset == (1000 if given else 0)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--workers", "0"], "--workers must be at least 1, got 0"),
        (["--samples", "0"], "--samples must be at least 1, got 0"),
        (["--split", "val"], "val"),
        (["--modality", "S2L2A"], "S2L2A"),
    ],
)
def test_arguments_that_do_not_fit(
    made: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], words: str
) -> None:
    assert main(["stats", str(made), "--quiet", *arguments]) == 1
    assert words in capsys.readouterr().err


def test_a_band_that_never_counts_is_named(tmp_path: Path, reopen: Open) -> None:
    def dark(number: int, modality: str) -> bytes:
        image = make.pixels(number)
        image[:, 1] = 0
        return make.zipped(make.group(image, number=number))

    ds = reopen(make.write(tmp_path, make=dark))
    found = {"S2L1C": (ds.modalities["S2L1C"], measure(ds, "S2L1C", np.arange(6), 1, 0.0))}
    with pytest.raises(ValueError, match="S2L1C: band B01 has no pixel that counts"):
        collected("x", 0.0, found)


def test_damage_ends_it_in_a_sentence(
    made: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """Nothing is written, and no thread goes on."""
    path, out = make.shard(made, "S2L1C", 2), tmp_path / "x.json"
    assert main(["stats", str(made), "--modality", "S2L1C", "--quiet"]) == 0
    data = bytearray(path.read_bytes())
    stamp = path.stat()
    data[3000:9000] = bytes(6000)
    path.write_bytes(data)
    os.utime(path, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    before = threading.active_count()
    assert main(["stats", str(made), "--modality", "S2L1C", "--out", str(out), "--quiet"]) == 1
    error = capsys.readouterr().err
    assert error.startswith("fastload stats: ")
    assert str(path) in error
    assert not out.exists()
    assert threading.active_count() <= before


def test_samples_in_flight_are_the_only_ones_after_an_error(
    made: Path, reopen: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is queued is given up."""
    ds, reads = reopen(made), []
    monkeypatch.setattr(stats, "BLOCK", 1)

    def read(modality: str, sample: int, timestamps: Any) -> Any:
        reads.append(sample)
        time.sleep(0.002)
        raise DataError("shard", "member", 0, "damaged")

    monkeypatch.setattr(ds, "read", read)
    with pytest.raises(DataError, match="damaged"):
        measure(ds, "S2L1C", np.arange(21).repeat(500), 2)
    assert len(reads) < 4000


def test_the_file_is_plain_json(made: Path, tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    assert main(["stats", str(made), "--modality", "DEM", "--out", str(path), "--quiet"]) == 0
    content = json.loads(path.read_text(), parse_constant=pytest.fail)
    assert set(content["modalities"]["DEM"]) == {
        "bands", "mean", "std", "min", "max", "quantiles", "pixels", "left_out",
    }  # fmt: skip
