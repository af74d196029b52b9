"""Folders of GeoTIFFs, by a pattern of their names."""

import os
import pickle
import re
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import torch
from rasterio.warp import transform

import fastload
from benchmarks.archives.trees import UTM33, noise, tif
from fastload import DataError, DataLoader, Radiometry, Recipe, View
from fastload.datasets.geotiffs import GeoTIFFs
from fastload.datasets.rasters.pattern import Pattern, in_order, names
from fastload.storage.dates import NO_TIME
from tests.fastload.made import assert_like_torch

REAL = Path(__file__).parents[3] / "shared" / "data"
pytestmark = pytest.mark.timeout(60)


def geotiffs(root: Path, *args: Any, **options: Any) -> GeoTIFFs:
    return GeoTIFFs(root, *args, progress=False, **options)


def day(text: str) -> int:
    return int(np.datetime64(text, "ns").astype(np.int64))


# --- patterns ---


@pytest.mark.parametrize(
    ("pattern", "path", "expected"),
    [
        ("{key}.tif", "a_b.tif", ("a_b", NO_TIME, "", "a_b.tif")),
        ("{key}.tif", "x/a.tif", None),
        ("**/{key}.tif", "x/y/a.tif", ("a", NO_TIME, "", "x/y/a.tif")),
        ("{key}_{date}.tif", "Bo_2020-01-13.tif", ("Bo", day("2020-01-13"), "", "Bo_2020-01-13.tif")),  # noqa: E501
        ("{key}_{date}.tif", "a_20200113T101112.tif",
         ("a", day("2020-01-13T10:11:12"), "", "a_20200113T101112.tif")),
        ("{key}_{date:%Y%j}.tif", "a_2020366.tif", ("a", day("2020-12-31"), "", "a_2020366.tif")),
        ("{key}_{date:%Y%m%d}.tif", "a_20201301.tif", None),
        ("{key}/{date}/{band}.tif", "7/20200113/B8A.tif",
         ("7", day("2020-01-13"), "B8A", "7/20200113/*.tif")),
        ("{key}/{key}_{band}.tif", "p/p_B01.tif", ("p", NO_TIME, "B01", "p/p_*.tif")),
        ("{key}/{key}_{band}.tif", "p/q_B01.tif", None),
        ("{band}/{key}_{band}.tif", "B2/x_B2.tif", ("x", NO_TIME, "B2", "*/x_*.tif")),
        ("*/{key}-?.tif", "any/a-1.tif", ("a", NO_TIME, "", "any/a-1.tif")),
        ("{key}.tif", "a*.tif", None),
        ("{key}+(1).tif", "a+(1).tif", ("a", NO_TIME, "", "a+(1).tif")),
        (re.compile(r"(?P<key>\w+)_(?P<date>\d{8})_(?P<band>B\w+)\.tif"), "a_20200113_B02.tif",
         ("a", day("2020-01-13"), "B02", "a_20200113_*.tif")),
    ],
)  # fmt: skip
def test_patterns_say_what_names_mean(pattern: Pattern, path: str, expected: Any) -> None:
    found = names(pattern)
    assert found.named(path) == expected
    assert pickle.loads(pickle.dumps(found)).named(path) == expected


@pytest.mark.parametrize(
    ("pattern", "words"),
    [
        ("x.tif", "has no key"), ("", "must be text"), (7, "must be text"),
        ("{key:d}.tif", r"\{key:d\} is none of"), ("{key}_{tile}.tif", r"\{tile\} is none of"),
        ("{key}_{date:%Q}.tif", "'%Q' is none of %Y"), (re.compile("(a)"), "has no key"),
    ],
)  # fmt: skip
def test_patterns_that_make_no_sense_are_refused(pattern: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        names(pattern)


def test_numbers_in_names_count_as_such() -> None:
    mixed = ["VV", "B10", "B8A", "B9", "B2", "VH", "B11", "B1", "B8"]
    ordered = ["B1", "B2", "B8", "B8A", "B9", "B10", "B11", "VH", "VV"]
    assert sorted(mixed, key=in_order) == ordered


# --- files ---


def test_a_folder_of_files(tmp_path: Path) -> None:
    pixels = {key: noise(key, (4, 12, 9), np.int16) for key in "abc"}
    for key, some in pixels.items():
        tif(tmp_path / f"{key}.tif", some, names=("blue", "green", "red", "nir"), nodata=-1)
    (tmp_path / "readme.txt").write_text("x")
    ds = geotiffs(tmp_path, bands=["red", "blue"])
    m = ds.modalities["image"]
    assert (m.shape, m.dtype, m.band_names) == ((1, 2, 12, 9), np.int16, ("red", "blue"))
    assert (m.fill_value, m.ground) == (-1, (120.0, 90.0))
    for i, key in enumerate("abc"):
        assert (ds.read("image", i)[0] == pixels[key][[2, 0]]).all()
    assert (ds.all_times == NO_TIME).all()
    x, y = transform("EPSG:4326", UTM33, ds.lon, ds.lat)
    np.testing.assert_allclose([x, y], [[404_445.0] * 3, [5_342_340.0] * 3], atol=1e-3)


@pytest.mark.parametrize("engine", ["threads", "dali"])
def test_dates_of_places_one_file_a_band(tmp_path: Path, engine: str) -> None:
    """Ragged dates, bands of two resolutions, those of the files in the order of numbers."""
    dates = {"north": ("20200301", "20200107"), "south": ("2020-05-05",)}
    for key, some in dates.items():
        for date in some:
            for band, n in (("B10", 4), ("B2", 8)):
                seed = f"{key}{date.replace('-', '')}{band}"
                tif(tmp_path / key / date / f"{band}.tif", noise(seed, (n, n), np.int16))
    ds = geotiffs(tmp_path, "S2", "{key}/{date}/{band}.tif", resampling="nearest")
    assert list(ds.keys) == ["north", "south"]
    assert ds.modalities["S2"].band_names == ("B2", "B10")
    assert ds.all_dates.tolist() == [2, 1]
    assert ds.all_times[0].tolist() == [day("2020-01-07"), day("2020-03-01")]
    early = ds.read("S2", 0, [0])[0]
    assert (early[0] == noise("north20200107B2", (8, 8), np.int16)).all()
    assert (early[1] == noise("north20200107B10", (4, 4), np.int16).repeat(2, 0).repeat(2, 1)).all()
    ds.set_epoch(0)
    [batch] = DataLoader(ds, 2, engine=engine, num_workers=2)
    assert batch["present"].tolist() == [[True, True], [True, False]]
    expected = torch.utils.data.default_collate([ds[0], ds[1]])
    assert_like_torch(batch, expected, "float32", ["S2"])


def test_modalities_as_folders(tmp_path: Path) -> None:
    for name, dtype in (("S2L2A", np.int16), ("LULC", np.uint8)):
        for key in ("a", "b", "c")[: 3 if name == "LULC" else 2]:
            tif(tmp_path / name / f"{key}.tif", noise(name + key, (1, 8, 8), dtype))
    (tmp_path / "docs").mkdir()
    with pytest.raises(ValueError, match="S2L2A lacks 1 of 3 keys, such as c"):
        geotiffs(tmp_path)
    ds = geotiffs(tmp_path, ["S2L2A", "LULC"], missing="drop")
    assert (len(ds), list(ds.modalities)) == (2, ["S2L2A", "LULC"])
    same = geotiffs(tmp_path, pattern={"LULC": "{key}.tif", "S2L2A": "{key}.tif"}, missing="drop")
    assert list(same.modalities) == ["LULC", "S2L2A"]
    assert (same.read("LULC", 1) == noise("LULCb", (1, 8, 8), np.uint8)).all()
    with pytest.raises(FileNotFoundError, match="no folder 'S1', only LULC, S2L2A, docs"):
        geotiffs(tmp_path, ["S1"])


def test_a_pattern_below_folders_of_modalities(tmp_path: Path) -> None:
    for name in ("s1", "s2"):
        for date in ("20200101", "20200201"):
            tif(tmp_path / name / f"x_{date}.tiff", noise(name + date, (2, 8, 8), np.int16))
    ds = geotiffs(tmp_path, pattern="{modality}/{key}_{date:%Y%m%d}.tiff")
    assert [m.shape for m in ds.modalities.values()] == [(2, 2, 8, 8)] * 2
    assert (ds.read("s2", 0)[1] == noise("s220200201", (2, 8, 8), np.int16)).all()


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("size", "holds 3 bands of 7 x 8 int16, expected 3 bands of 8 x 8 int16"),
        ("dtype", "holds 3 bands of 8 x 8 uint16, expected 3 bands"),
        ("bands", "holds 2 bands of 8 x 8 int16, expected 3 bands"),
        ("cut", "no sound GeoTIFF"),
    ],
)
@pytest.mark.parametrize("bands", [None, ["B3"]])
def test_files_that_are_not_as_others_are_named(
    tmp_path: Path, kind: str, words: str, bands: Any
) -> None:
    for key in "abc":
        tif(tmp_path / f"{key}.tif", noise(key, (3, 8, 8), np.int16))
    path = tmp_path / "b.tif"
    shape = {"size": (3, 7, 8), "bands": (2, 8, 8)}.get(kind, (3, 8, 8))
    tif(path, noise("b", shape, np.uint16 if kind == "dtype" else np.int16))
    if kind == "cut":
        path.write_bytes(path.read_bytes()[:-9])
    ds = geotiffs(tmp_path, bands=bands)
    with pytest.raises(DataError, match=words) as caught:
        ds.read("image", 1)
    assert caught.value.shard == str(path)
    assert ds.read("image", 2).any()


def test_several_files_of_a_key_need_a_date(tmp_path: Path) -> None:
    for name in ("a-1", "a-2", "b-1"):
        tif(tmp_path / f"{name}.tif", noise(name, (1, 8, 8)))
    with pytest.raises(DataError, match=r"member a: has several files, but the pattern .* no date"):
        geotiffs(tmp_path, pattern="{key}-*.tif")


def test_what_does_not_fit_is_passed_over_with_a_word(tmp_path: Path) -> None:
    for name in ("a_20200101", "b"):
        tif(tmp_path / f"{name}.tif", noise(name, (1, 8, 8)))
    with pytest.warns(UserWarning, match=r"1 names are no scenes and passed over, such as b\.tif"):
        assert list(geotiffs(tmp_path, pattern="{key}_{date}.tif").keys) == ["a"]
    with pytest.raises(DataError, match="no scene in 2 names"):
        geotiffs(tmp_path, pattern="{key}_{band}_{date}.tif")


def test_bands_of_several_dtypes(tmp_path: Path) -> None:
    for band, dtype in (("red", np.uint16), ("mask", np.uint8)):
        tif(tmp_path / "a" / f"{band}.tif", noise(band, (8, 8), dtype))
    with pytest.raises(DataError, match=r"mask uint8, red uint16; choose some by bands"):
        geotiffs(tmp_path, pattern="{key}/{band}.tif")
    ds = geotiffs(tmp_path, pattern="{key}/{band}.tif", bands=["mask"])
    assert ds.modalities["image"].dtype == np.uint8


def test_statistics_are_not_assumed(tmp_path: Path) -> None:
    for key in "ab":
        tif(tmp_path / f"{key}.tif", noise(key, (12, 8, 8), np.int16))
    ds = geotiffs(tmp_path, "S2L2A")
    assert ds.modalities["S2L2A"].band_names[8] == "B8A"
    view = (View(size=8),)
    with pytest.raises(ValueError, match="nobody knows which DN is 0; give statistics="):
        ds.with_recipe(Recipe(view, Radiometry.reflectance()))
    with pytest.raises(ValueError, match="statistics 'unknown' have no modality 'S2L2A'"):
        ds.with_recipe(Recipe(view, Radiometry.standardise()))
    known = geotiffs(tmp_path, "S2L2A", statistics="v1.0")
    assert known.with_recipe(Recipe(view, Radiometry.reflectance())).scalings


def test_a_file_without_a_place(tmp_path: Path) -> None:
    for key, crs in (("a", None), ("b", UTM33)):
        tif(tmp_path / f"{key}.tif", noise(key, (1, 8, 8)), crs)
    ds = geotiffs(tmp_path)
    assert np.isnan(ds.lon).tolist() == [True, False]


@pytest.mark.parametrize("kind", ["nothing", "no folder", "text"])
def test_folders_without_tifs_are_refused(tmp_path: Path, kind: str) -> None:
    root = tmp_path / ("x" if kind == "no folder" else ".")
    if kind == "text":
        (tmp_path / "docs").mkdir()
    with pytest.raises(FileNotFoundError, match=r"expected \*\.tif, or folders of them, found"):
        geotiffs(root)
    assert not GeoTIFFs.looks_right(fastload.storage.at.at(root))


class Pickling(ThreadPoolExecutor):
    """Sends jobs and results as another process would get them."""

    def submit(self, job: Any, /, *args: Any, **kwargs: Any) -> Any:
        sent = pickle.dumps((job, args))

        def work() -> Any:
            function, own = pickle.loads(sent)
            return pickle.loads(pickle.dumps(function(*own)))

        return super().submit(work)


def test_other_processes_list_the_files(tmp_path: Path) -> None:
    for key in range(130):
        tif(tmp_path / f"{key:03d}" / "20200101.tif", noise(key, (1, 2, 2)))
    with Pickling(2) as pool:
        ds = geotiffs(tmp_path, "x", "{key}/{date}.tif", executor=pool)
    assert list(ds.keys) == [f"{key:03d}" for key in range(130)]
    assert not np.isnan(ds.lon).any()
    assert (ds.read("x", 129) == noise(129, (1, 2, 2))).all()


@pytest.mark.parametrize(
    "pattern", ["{key}/{date}.tif", re.compile("(?P<key>a)/(?P<date>\\d+).tif")]
)
def test_links_in_a_loop_and_names_that_are_no_text(tmp_path: Path, pattern: Pattern) -> None:
    tif(tmp_path / "a" / "20200101.tif", noise("a", (1, 4, 4)))
    (tmp_path / "a" / "loop").symlink_to(tmp_path)
    odd = Path(os.fsdecode(os.fsencode(tmp_path / "a" / "20200102") + b"\xff.tif"))
    try:
        odd.write_bytes(b"x")
    except OSError:
        pytest.skip("file names must be text here")
    with pytest.warns(UserWarning, match="names are no scenes and passed over"):
        ds = geotiffs(tmp_path, "x", pattern)
    assert ds.all_times.tolist() == [[day("2020-01-01")]]


# --- real files ---


@pytest.mark.skipif(not REAL.is_dir(), reason=f"no real pixels in {REAL}")
def test_dates_of_a_real_place() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # where the table is kept, which is said once
        ds = geotiffs(REAL / "boadella", "S2L2A", "{key}_{date}.tif")
    assert (list(ds.keys), ds.modalities["S2L2A"].shape) == (["Boadella"], (12, 12, 377, 380))
    files = sorted(REAL.glob("boadella/*.tif"))
    for t in (0, 7):
        with rasterio.open(files[t]) as file:
            assert (ds.read("S2L2A", 0, [t])[0] == file.read()).all()
            west, south, east, north = file.bounds
    np.testing.assert_allclose([*ds.lon, *ds.lat], [(west + east) / 2, (south + north) / 2])
    assert (np.diff(ds.all_times) > 0).all()


@pytest.mark.skipif(not REAL.is_dir(), reason=f"no real pixels in {REAL}")
def test_real_modalities_as_folders() -> None:
    with pytest.warns(UserWarning, match="is kept in"):
        ds = fastload.open(REAL / "terramesh", modalities=["S2L2A", "S1RTC", "LULC"],
                           progress=False)  # fmt: skip
    assert len(ds) == 5
    for name, m in ds.modalities.items():
        for i, key in enumerate(ds.keys):
            with rasterio.open(REAL / "terramesh" / name / f"{key}.tif") as file:
                assert (ds.read(name, i)[0] == file.read()).all()
                assert m.dtype == file.dtypes[0]
