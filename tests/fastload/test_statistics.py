import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fastload import DataLoader, Radiometry, Recipe, View
from fastload.datasets import copernicus
from fastload.radiometry_check import darkest, warn_of_offset
from fastload.seasons import SEASONS, season
from fastload.statistics import STATISTICS, Statistics, statistics
from tests.fastload import shardmaker as make
from tests.fastload.conftest import Open

BANDS = {"S2L1C": 13, "S2L2A": 12, "S2RGB": 3, "S1GRD": 2}
SINGLE = {"NDVI": 1, "DEM": 1, "S1RTC": 2}
"""Which some sets have alone."""
CELLS = {name: len(names) for name, names in copernicus.BANDS.items()}

# --- statistics ---


@pytest.mark.parametrize("name", STATISTICS)
def test_every_set_is_complete(name: str) -> None:
    found = statistics(name)
    assert found.name == name
    assert set(found.mean) == set(found.std)
    for modality in found.mean:
        named = {m: len(names) for m, names in found.bands.items()}
        bands = (BANDS | SINGLE | CELLS | named).get(modality, len(found.std[modality]))
        mean, std = found.of(modality, bands)
        assert mean.shape == std.shape == (bands,)
        assert (std > 0).all()


def test_the_releases_differ_by_the_offset() -> None:
    """1000 DN in each Sentinel-2 band, nothing in the others, and the same spread."""
    tars, chunks = statistics("v1.1-webdataset"), statistics("v1.1-zarr")
    assert (tars.dn_offset, chunks.dn_offset) == (0.0, 1000.0)
    for modality, bands in BANDS.items():
        expected = 1000 if modality in ("S2L1C", "S2L2A") else 0
        difference = chunks.of(modality, bands)[0] - tars.of(modality, bands)[0]
        np.testing.assert_allclose(difference, expected, atol=1e-9)
        np.testing.assert_array_equal(chunks.of(modality, bands)[1], tars.of(modality, bands)[1])


@pytest.mark.parametrize(
    ("name", "b01", "vv"),
    [
        ("v1.0", 752.40, -12.548),
        ("v1.1-webdataset", 793.243, -12.577),
        ("v1.1-zarr", 1793.243, -12.577),
    ],
)
def test_published_numbers(name: str, b01: float, vv: float) -> None:
    found = statistics(name)
    assert found.of("S2L2A", 12)[0][0] == pytest.approx(b01, abs=1e-3)
    assert found.of("S1GRD", 2)[0][0] == pytest.approx(vv, abs=1e-3)


def test_the_statistics_fit_the_real_samples(real: Path, reopen: Open) -> None:
    """Ten samples are no population, but 1000 DN would show in every band."""
    ds = reopen(real, modalities=["S2L2A"])
    image = np.concatenate([ds.read("S2L2A", i) for i in range(0, len(ds), 3)])
    mean, std = ds.statistics.of("S2L2A", 12)
    assert ds.statistics.name == "v1.1-webdataset"
    assert (np.abs(image.mean(axis=(0, 2, 3)) - mean) < 2 * std).all()
    # The darkest pixels are what an offset moves: below 1000 DN in each band.
    assert (np.percentile(image, 0.5, axis=(0, 2, 3)) < 1000).all()


def test_unknown_names_are_refused() -> None:
    with pytest.raises(ValueError, match=r"unknown statistics 'v1.1', expected one of .*v1.1-zarr"):
        statistics("v1.1")
    with pytest.raises(ValueError, match="have no modality 'NDVI'"):
        statistics("v1.0").of("NDVI", 1)
    with pytest.raises(ValueError, match="have 12 bands for S2L2A, the data has 13"):
        statistics("v1.0").of("S2L2A", 13)


# --- radiometry ---

TOY = Statistics("toy", 1000.0, {"S2L1C": (3000.0, 500.0)}, {"S2L1C": (500.0, 50.0)})


def scaled(radiometry: Radiometry, x: list[float], stats: Statistics = TOY) -> list[float]:
    """What the first band makes of some numbers on disk."""
    s = radiometry.scaling("S2L1C", 2, stats)
    y = np.clip((np.array(x) - s.offset[0]) * s.scale[0], s.low[0], s.high[0])
    return [float(v) for v in np.round(y.astype(np.float64), 6)]


@pytest.mark.parametrize(
    ("radiometry", "x", "y"),
    [
        (Radiometry.reflectance(), [1000, 6000, 11000, 500, 30000], [0, 0.5, 1, 0, 1]),
        (Radiometry.standardise(), [3000, 3500, 2000, 30000], [0, 1, -2, 54]),
        (Radiometry.two_sigma(), [2000, 3000, 4000, 0, 9000], [0, 0.5, 1, 0, 1]),
        (Radiometry.quantile(1000.0, 3000.0), [1000, 1500, 3000, 0, 4000], [0, 0.25, 1, 0, 1]),
        (Radiometry.quantile((0.0, 5.0), (100.0, 6.0)), [0, 25, 100], [0, 0.25, 1]),
        (Radiometry.quantile(0.0, (100.0, 6.0)), [0, 25, 100], [0, 0.25, 1]),
    ],
)
def test_radiometry(radiometry: Radiometry, x: list[float], y: list[float]) -> None:
    np.testing.assert_allclose(scaled(radiometry, x), y, atol=1e-6)
    assert radiometry.unit_range == (radiometry.kind != "standardise")


def test_reflectance_follows_the_releases_offset() -> None:
    for name, dn in (("v1.0", 0), ("v1.1-webdataset", 0), ("v1.1-zarr", 1000)):
        s = Radiometry.reflectance().scaling("S2L2A", 12, statistics(name))
        np.testing.assert_array_equal(s.offset, np.full(12, dn, np.float32))


@pytest.mark.parametrize(
    ("radiometry", "modality", "words"),
    [
        (Radiometry.reflectance(), "S1GRD", "defined for S2L1C, S2L2A and s2_toa, not for S1GRD"),
        (Radiometry.standardise(), "LULC", "no modality 'LULC'"),
        (Radiometry.quantile((1.0, 2.0, 3.0), 9.0), "S2L1C", "expected 1 or 2 limits"),
        (Radiometry.quantile(5.0, 5.0), "S2L1C", "low must be below high"),
        (Radiometry.quantile((0.0, 6.0), 5.0), "S2L1C", "low must be below high"),
    ],
)
def test_radiometry_that_makes_no_sense(radiometry: Radiometry, modality: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        radiometry.scaling(modality, 2, TOY)


# --- recipes ---


def test_recipes_are_checked() -> None:
    view, unit = View(size=8), Radiometry.quantile(0.0, 1.0)
    with pytest.raises(ValueError, match=r"Recipe.views must hold at least one View"):
        Recipe((), unit)
    with pytest.raises(ValueError, match=r"Recipe.dtype must be one of .*, got 'float64'"):
        Recipe((view,), unit, "float64")  # type: ignore[arg-type]
    solar = View(size=8, solarize=0.2)
    Recipe((solar,), {"S2L1C": unit, "S1GRD": Radiometry.two_sigma()})
    for radiometry in (Radiometry.standardise(), {"a": unit, "b": Radiometry.standardise()}):
        with pytest.raises(ValueError, match="solarize is defined on"):
            Recipe((view, solar), radiometry)


def test_a_recipe_knows_the_radiometry_of_a_modality() -> None:
    one, other = Radiometry.reflectance(), Radiometry.standardise()
    assert Recipe((View(size=8),), one).radiometry_of("any") is one
    both = Recipe((View(size=8),), {"S2L1C": one, "S1GRD": other})
    assert both.radiometry_of("S1GRD") is other
    with pytest.raises(ValueError, match="no radiometry for DEM, only for"):
        both.radiometry_of("DEM")


def test_the_series_recipe() -> None:
    train, test = Recipe.series(size=96), Recipe.series(size=96, train=False)
    assert [v.timestamp for v in train.views] == ["all"]
    assert (train.views[0].d4, train.views[0].center, train.views[0].shape) == (
        1.0,
        False,
        (96, 96),
    )
    assert (test.views[0].d4, test.views[0].center) == (0.0, True)
    assert train.radiometry == Radiometry.standardise()
    assert hash(train) != hash(test)


# --- seasons ---


def ns(*days: str) -> np.ndarray:
    return np.array(days, "datetime64[ns]").astype(np.int64)


@pytest.mark.parametrize(
    ("day", "northern"),
    [
        ("2019-12-01", 0), ("2020-01-15", 0), ("2020-02-29", 0), ("2020-03-01", 1),
        ("2020-05-31T23:59:59.999999999", 1), ("2020-06-01", 2), ("2021-08-31", 2),
        ("2021-09-01", 3), ("2021-11-30T23:59:59", 3), ("1969-07-20", 2), ("1970-01-01", 0),
    ],
)  # fmt: skip
def test_seasons_on_both_hemispheres(day: str, northern: int) -> None:
    assert season(ns(day), 48.0).tolist() == [northern]
    assert season(ns(day), 0.0).tolist() == [northern]
    assert season(ns(day), -0.1).tolist() == [(northern + 2) % 4]
    assert season(ns(day), -80.0, hemisphere=False).tolist() == [northern]


def test_seasons_broadcast() -> None:
    times = np.stack([ns("2020-01-01", "2020-07-01"), ns("2020-04-01", "2020-10-01")])
    got = season(times, np.array([[50.0], [-50.0]]))
    assert got.tolist() == [[0, 2], [3, 1]]
    assert got.dtype == np.int64
    assert [SEASONS[i] for i in got[0]] == ["winter", "summer"]


# --- the offset of 1000 DN ---


def shifted(root: Path, modality: str, low: int, bands: int = 3) -> Path:
    """Pixels from `low` DN on, with some of no data."""

    def one(number: int, _: str) -> bytes:
        image = make.pixels(number, (4, bands, 24, 24)) - 200 + low
        image[:, :, :2] = 0
        return make.zipped(make.group(image, number=number))

    return make.write(root, [modality], make=one)


UNIT = Recipe((View(size=8),), Radiometry.quantile(0.0, 5000.0))


def warned(ds: Any) -> list[str]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        warn_of_offset(ds)
    return [str(w.message) for w in caught]


@pytest.mark.parametrize("modality", ["S2L1C", "S2L2A"])
@pytest.mark.parametrize(
    ("statistics", "low", "words"),
    [
        ("v1.1-webdataset", 100, None),
        ("v1.1-webdataset", 1100, "as if 1000 DN were added"),
        ("v1.0", 1100, "as if 1000 DN were added"),
        ("v1.1-zarr", 1100, None),
        ("v1.1-zarr", 100, "as if nothing were added"),
    ],
)
def test_data_and_statistics_that_disagree(
    tmp_path: Path, reopen: Open, modality: str, statistics: str, low: int, words: str | None
) -> None:
    root = shifted(tmp_path, modality, low)
    ds = reopen(root, modalities=[modality], recipe=UNIT, statistics=statistics)
    messages = warned(ds)
    assert len(messages) == (words is not None)
    if words:
        assert words in messages[0]
        assert modality in messages[0]
        assert repr(statistics) in messages[0]
    assert warned(ds) == []  # once per dataset


def test_other_modalities_and_raw_data_are_not_judged(tmp_path: Path, reopen: Open) -> None:
    root = shifted(tmp_path, "S1GRD", 1100)
    assert warned(reopen(root, modalities=["S1GRD"], recipe=UNIT)) == []
    shifted(tmp_path, "S2L1C", 1100)
    assert warned(reopen(root)) == []


def test_the_darkest_band_counts_and_no_data_does_not(tmp_path: Path, reopen: Open) -> None:
    ds = reopen(shifted(tmp_path, "S2L1C", 700), recipe=UNIT)
    dark = darkest(ds, "S2L1C")
    assert dark is not None
    assert 700 <= dark < 760


def test_unreadable_samples_are_passed_over(tmp_path: Path, reopen: Open) -> None:
    root = shifted(tmp_path, "S2L1C", 1100)
    ds = reopen(root, recipe=UNIT)
    make.shard(root, number=1).unlink()
    assert len(warned(ds)) == 1
    ds = reopen(root, recipe=UNIT)
    make.shard(root, number=2).unlink()
    assert darkest(ds, "S2L1C") is None
    assert warned(ds) == []


@pytest.mark.timeout(60)
def test_a_loader_warns(tmp_path: Path, reopen: Open) -> None:
    ds = reopen(shifted(tmp_path, "S2L1C", 1100), recipe=UNIT)
    loader = DataLoader(ds, batch_size=3)
    with pytest.warns(UserWarning, match="as if 1000 DN were added"):
        assert len(list(loader)) == 2
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(list(loader)) == 2


def test_the_real_samples_agree(real: Path, reopen: Open) -> None:
    recipe = Recipe((View(size=64),), Radiometry.reflectance())
    assert warned(reopen(real, modalities=["S2L2A"], recipe=recipe)) == []
    shifted_set = reopen(real, modalities=["S2L2A"], recipe=recipe, statistics="v1.1-zarr")
    assert len(warned(shifted_set)) == 1
