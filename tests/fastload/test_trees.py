"""SSL4EO-S12 v1.0 and SeCo as they lie: what is read, listed, kept and refused."""

import os
import shutil
import warnings
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
import rasterio
import torch

import fastload
from benchmarks.archives import trees
from fastload import DataError, DataLoader, Radiometry, Recipe, View
from fastload.datasets.rasters import open_scenes as opening
from fastload.datasets.seco import SeCo
from fastload.datasets.ssl4eo_v10 import SSL4EOS12V10
from fastload.storage.store import Local
from tests.fastload.made import assert_like_torch
from tests.fastload.test_resample import slow

pytestmark = pytest.mark.timeout(60)
SIZE, IDS, DATES = 24, (0, 3, 12), 3
DAY = 86_400 * 10**9


@cache
def folder() -> TemporaryDirectory[str]:
    return TemporaryDirectory(prefix="fastload-trees-")


@cache
def made() -> Path:
    """A tree of all three modalities. Do not write there."""
    return trees.v10(Path(folder().name) / "v10", IDS, size=SIZE, dates=DATES)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A copy of one's own."""
    return shutil.copytree(
        made(), tmp_path / "data", ignore=shutil.ignore_patterns("fastload.*", "s2c")
    )


@pytest.fixture
def seco(tmp_path: Path) -> Path:
    return trees.seco(tmp_path / "seasonal_contrast_100k", [0, 1], SIZE, dates=2)


def v10(root: Path, *modalities: str, **options: Any) -> SSL4EOS12V10:
    return SSL4EOS12V10(root, modalities or ("S2L2A",), progress=False, **options)


def scenes(root: Path, folder: str, number: int) -> list[Path]:
    """Of an id, by date."""
    found = (p for p in (root / folder / f"{number:07d}").iterdir() if p.is_dir())
    return sorted(found, key=lambda p: p.name.partition("DV_")[2] or p.name)


def by_rasterio(path: Path) -> Any:
    with rasterio.open(path) as file:
        return file.read(1)


# --- pixels ---


@pytest.mark.parametrize("modality", ["S1GRD", "S2L1C", "S2L2A"])
def test_pixels_are_those_of_rasterio(modality: str) -> None:
    """10 m bands to the bit; others by the formula, rounded."""
    name = {"S1GRD": "s1", "S2L1C": "s2c", "S2L2A": "s2a"}[modality]
    ds = v10(made(), modality)
    m, bands = ds.modalities[modality], trees.BANDS[name]
    assert m.dtype == (np.float32 if name == "s1" else np.uint16)
    assert m.shape == (DATES, len(bands), SIZE, SIZE)
    assert (m.ground, m.fill_value) == ((2640.0, 2640.0), 0.0)
    pixels = ds.read(modality, 1)
    for t, scene in enumerate(scenes(made(), name, IDS[1])):
        for c, band in enumerate(bands):
            stored = by_rasterio(scene / f"{band}.tif")
            if stored.shape == (SIZE, SIZE):
                assert (pixels[t, c] == stored).all()
            else:
                assert np.abs(pixels[t, c] - slow(stored, SIZE, SIZE)).max() <= 0.5 + 1e-9


def test_bands_by_name_read_only_their_files(monkeypatch: pytest.MonkeyPatch) -> None:
    ds, everything = v10(made(), bands=("B8A", "B4")), v10(made())
    assert ds.modalities["S2L2A"].band_names == ("B8A", "B04")
    read: list[str] = []
    whole = Local.content
    monkeypatch.setattr(Local, "content", lambda s, n: read.append(n) or whole(s, n))  # type: ignore[func-returns-value]
    pixels = ds.read("S2L2A", 2, [1])
    assert sorted(Path(name).name for name in read) == ["B4.tif", "B8A.tif"]
    assert {Path(name).parent.name for name in read} == {scenes(made(), "s2a", IDS[2])[1].name}
    assert (pixels[0] == everything.read("S2L2A", 2)[1, [8, 3]]).all()


def test_modalities_are_joined_by_id() -> None:
    ds = v10(made(), "s2c", "S1GRD", columns=("scene",))
    assert list(ds.modalities) == ["S2L1C", "S1GRD"]
    assert list(ds.keys) == ["0000000", "0000003", "0000012"]
    sample = ds[1]
    assert sample["S2L1C"].shape == (DATES, 13, SIZE, SIZE)
    assert sample["S1GRD"].dtype == torch.float32
    names = [p.name for p in scenes(made(), "s2c", IDS[1])]
    assert [s.decode() for s in ds.extras["scene"][1]] == names


def test_dates_ascend_and_come_from_the_scenes_names() -> None:
    ds = v10(made(), "S1GRD")
    for i, number in enumerate(IDS):
        want = [np.datetime64(f"{d[:4]}-{d[4:6]}-{d[6:]}T05:{number:02d}:30")
                for d in trees.DAYS[:DATES]]  # fmt: skip
        assert (ds.all_times[i].astype("datetime64[ns]") == want).all()
    assert ds.all_seasons.tolist() == [[3, 0, 1]] * 3


def test_where_samples_lie() -> None:
    ds = v10(made())
    middle = SIZE / 2 * 10 * trees.METRE_DEG
    np.testing.assert_allclose(ds.lon, 13 + 0.1 * np.array(IDS) + middle, atol=1e-9)
    np.testing.assert_allclose(ds.lat, 48 - middle, atol=1e-9)
    assert np.isnan(v10(made(), coordinates=False).lon).all()


@pytest.mark.parametrize("workers", [0, 2])
def test_engines_give_what_indexing_gives(engine: str, workers: int) -> None:
    ds = v10(made(), "S2L1C", "S1GRD")
    for batch in DataLoader(ds, 2, num_workers=workers, engine=engine, shuffle=True):
        expected = torch.utils.data.default_collate([ds[i] for i in batch["index"].tolist()])
        assert_like_torch(batch, expected, "float32", list(ds.modalities))


@pytest.mark.slow
def test_engines_show_what_indexing_shows(engine: str) -> None:
    view = View(size=8, scale=(0.3, 1.0), timestamp="independent")
    recipe = Recipe((view, view), Radiometry.standardise(), mask=True)
    ds = v10(made(), "S2L1C", "S1GRD", recipe=recipe)
    ds.set_epoch(0)
    for batch in DataLoader(ds, 2, num_workers=2, engine=engine, shuffle=True):
        expected = torch.utils.data.default_collate([ds[i] for i in batch["index"].tolist()])
        assert_like_torch(batch, expected, "float32", list(ds.modalities))


# --- ids that are not as others ---


def test_void_ids_are_named(root: Path) -> None:
    (root / "s2a" / "0000005").mkdir()
    (root / "s2a" / "0000007" / ".cache").mkdir(parents=True)
    with pytest.raises(ValueError, match=r"2 of 5 ids have no scene, such as 0000005, 0000007"):
        v10(root)
    assert list(v10(root, missing="drop").keys) == ["0000000", "0000003", "0000012"]


def test_ids_that_a_modality_lacks_are_named(root: Path) -> None:
    shutil.rmtree(root / "s1" / "0000003")
    with pytest.raises(ValueError, match=r"S1GRD lacks 1 of 3 keys, such as 0000003"):
        v10(root, "S2L2A", "S1GRD")
    assert len(v10(root, "S2L2A", "S1GRD", missing="drop")) == 2


def test_ids_may_have_fewer_dates(tmp_path: Path, engine: str) -> None:
    # Views of int16 are compiled by other tests, too.
    root = trees.v10(tmp_path / "root", IDS, ("s2a",), SIZE, DATES, np.int16)
    whole = v10(shutil.copytree(root, tmp_path / "whole"))
    shutil.rmtree(scenes(root, "s2a", IDS[1])[1])
    ds = v10(root, recipe=Recipe((View(size=8),), Radiometry.standardise()))
    assert ds.all_dates.tolist() == [3, 2, 3]
    pixels = ds.read("S2L2A", 1)
    assert (pixels[:2] == whole.read("S2L2A", 1, [0, 2])).all()
    assert (pixels[2] == 0).all()
    for epoch in range(4):
        ds.set_epoch(epoch)
        loader = DataLoader(ds, 3, engine=engine, num_workers=2)
        loader.set_epoch(epoch)
        batch = next(iter(loader))
        assert bool(batch["present"][0].all())
        expected = torch.utils.data.default_collate([ds[i] for i in batch["index"].tolist()])
        assert_like_torch(batch, expected, "float32", ["S2L2A"])


def test_odd_folders_are_passed_over_with_a_word(root: Path) -> None:
    (root / "s2a" / "old").mkdir()
    (root / "s2a" / "0000000" / "20201399T999999_x").mkdir()
    with pytest.warns(UserWarning, match="2 names are no scenes and passed over, such as"):
        ds = v10(root)
    assert len(ds) == 3


@pytest.mark.parametrize("kind", ["no ids", "no scenes", "no tifs", "nothing"])
def test_folders_without_scenes_are_refused(root: Path, kind: str) -> None:
    shutil.rmtree(root / "s2a")
    place, words = {
        "no ids": (root / "s2a", "expected folders of ids"),
        "no scenes": (root / "s2a" / "0000001", "no scene in 1 names"),
        "no tifs": (root / "s2a" / "0000001" / "20200330T052649_x", "its scenes have no B01"),
        "nothing": (root, "expected S2L2A in a folder 's2a', found s1"),
    }[kind]
    place.mkdir(parents=True, exist_ok=True)
    with pytest.raises((FileNotFoundError, DataError), match=words):
        v10(root)


def test_the_folder_of_a_modality_is_no_root(root: Path) -> None:
    with pytest.raises(FileNotFoundError, match=f"give root='{root}'"):
        v10(root / "s2a")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"modalities": ["S2RGB"]}, "modalities must be some of S1GRD"),
        ({"modalities": ["s2a", "S2L2A"]}, "each once"),
        ({"resampling": "cubic"}, "resampling must be one of"),
        ({"missing": "skip"}, "missing must be"),
        ({"bands": ["B13"]}, "B13"),
        ({"columns": ["cloudy"]}, "there is no column 'cloudy'"),
    ],
)
def test_arguments_are_checked(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        SSL4EOS12V10(made(), progress=False, **{"modalities": "S2L2A", **options})


# --- damage ---


def spoil(kind: str, path: Path) -> None:
    pixels = by_rasterio(path)
    if kind == "missing":
        path.unlink()
    elif kind == "empty":
        path.write_bytes(b"")
    elif kind == "cut":
        path.write_bytes(path.read_bytes()[:-50])
    elif kind == "text":
        path.write_bytes(b"<html>502 Bad Gateway</html>" * 9)
    elif kind == "size":
        trees.tif(path, pixels[:-1])
    elif kind == "dtype":
        trees.tif(path, pixels.astype(np.float64))
    elif kind == "bands":
        trees.tif(path, np.stack([pixels, pixels]))


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("missing", r"cannot be read .* remove fastload\.scenes-\*, which lists it"),
        ("empty", "is empty, expected a GeoTIFF"),
        ("cut", "is no sound GeoTIFF"),
        ("text", "is no sound GeoTIFF"),
        ("size", "holds 1 band of 23 x 24 uint16, expected 1 band of 24 x 24 uint16"),
        ("dtype", "holds 1 band of 24 x 24 float64, expected"),
        ("bands", "holds 2 bands of 24 x 24 uint16, expected 1 band"),
    ],
)
def test_a_damaged_file_is_named(root: Path, engine: str, kind: str, words: str) -> None:
    v10(root)  # what is listed stays listed
    path = scenes(root, "s2a", IDS[1])[2] / "B4.tif"
    spoil(kind, path)
    ds = v10(root)
    with pytest.raises(DataError, match=words) as caught:
        ds.read("S2L2A", 1)
    assert caught.value.shard == str(path)
    assert ds.read("S2L2A", 1, [0, 1]).any()
    loader = DataLoader(ds, 3, num_workers=2, engine=engine, on_error="replace")
    assert [batch["index"].shape for batch in loader] == [(3,)]
    assert loader.stats()["errors"] == 1


def test_a_damaged_first_sample_hinders_no_opening(root: Path) -> None:
    spoil("cut", scenes(root, "s2a", IDS[0])[0] / "B1.tif")
    spoil("missing", scenes(root, "s2a", IDS[1])[0] / "B2.tif")
    ds = v10(root)
    assert ds.modalities["S2L2A"].bands == 12
    assert np.isnan(ds.lon[0])
    assert ds.read("S2L2A", 2).any()


def test_a_tree_of_some_bands(root: Path) -> None:
    for path in root.glob("s2a/*/*/B1*.tif"):
        path.unlink()
    with pytest.raises(DataError, match=r"no B01, B11, B12, only B2,.*choose some by bands="):
        v10(root)
    assert v10(root, bands=["B2", "B5"]).read("S2L2A", 0).shape == (3, 2, SIZE, SIZE)


# --- eight bits ---


def test_eight_bits_are_not_taken_for_numbers(tmp_path: Path) -> None:
    root = trees.v10(tmp_path, [0, 1], ["s2a"], SIZE, 2, np.uint8, compress="JPEG")
    ds = v10(root)
    assert ds.modalities["S2L2A"].dtype == np.uint8
    views = (View(size=8),)
    with pytest.raises(ValueError, match=r"hold uint8, but statistics 'v1\.0'"):
        ds.with_recipe(Recipe(views, Radiometry.standardise()))
    with pytest.raises(ValueError, match="has 8 bits, but statistics"):
        ds.with_recipe(Recipe(views, Radiometry.reflectance()))
    own = Recipe(views, Radiometry.quantile(0, 255))
    assert ds.with_recipe(own)[0]["S2L2A"][0].shape == (12, 8, 8)
    eight = v10(root, statistics="v1.0-8bit", recipe=Recipe(views, Radiometry.two_sigma()))
    np.testing.assert_allclose(eight.scalings["S2L2A"].scale, 1 / 255)


# --- the table that is kept ---


@pytest.fixture
def made_anew(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The places whose table was made, not loaded."""
    places: list[str] = []
    make = opening._make

    def spy(store: Any, *args: Any) -> Any:
        places.append(store.place)
        return make(store, *args)

    monkeypatch.setattr(opening, "_make", spy)
    return places


def tables(root: Path) -> list[Path]:
    return sorted((root / "s2a").glob("fastload.scenes-*"))


def test_a_tree_is_listed_once(root: Path, made_anew: list[str]) -> None:
    for _ in range(3):
        ds = v10(root)
    assert made_anew == [str(root / "s2a")]
    assert len(tables(root)) == 1
    shutil.rmtree(root / "s2a" / "0000003")
    assert len(v10(root)) == 2
    assert len(made_anew) == 2
    assert len(ds) == 3


@pytest.mark.parametrize("damage", ["cut", "text", "points out", "other", "flipped"])
def test_a_damaged_table_is_made_anew(root: Path, made_anew: list[str], damage: str) -> None:
    v10(root)
    made_anew.clear()
    [path] = tables(root)
    content = path.read_bytes()
    if damage == "cut":
        path.write_bytes(content[:-300])
    elif damage == "text":
        path.write_bytes(b"hello")
    elif damage == "points out":
        path.write_bytes(content.replace(b"0000000/", b"../0000/"))
    elif damage == "flipped":
        at = content.index(b"0000003/2020")
        path.write_bytes(content[:at] + b"X" + content[at + 1 :])
    else:
        np.savez(path.with_suffix(".npz"), key=np.arange(3))
        path.with_suffix(".npz").replace(path)
    with pytest.warns(UserWarning, match="is no sound table of scenes"):
        ds = v10(root)
    assert made_anew == [str(root / "s2a")]
    assert (ds.read("S2L2A", 0) == v10(made()).read("S2L2A", 0)).all()


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="needs root's rights")
def test_another_users_table_is_not_believed(root: Path, made_anew: list[str]) -> None:
    v10(root)
    [path] = tables(root)
    os.chown(path, 12345, 12345)
    made_anew.clear()
    with pytest.warns(UserWarning, match="it is of user 12345"):
        v10(root)
    os.chown(tables(root)[0], 12345, 12345)
    os.chown(root / "s2a", 12345, 12345)  # the owner of the data is believed
    made_anew.clear()
    v10(root)
    assert made_anew == []


def test_a_tree_that_cannot_be_written(root: Path, cache: Path, made_anew: list[str]) -> None:
    (root / "s2a").chmod(0o555)
    with pytest.warns(UserWarning, match="is kept in"):
        v10(root)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(v10(root)) == 3
    assert len(made_anew) == 1
    assert [p for p in cache.glob("index/*") if "scenes-" in p.name]
    assert tables(root) == []
    (root / "s2a").chmod(0o755)


# --- SeCo ---


def test_seco_reads_what_rasterio_reads(seco: Path) -> None:
    ds = SeCo(seco.parent, bands=SeCo.rgb, columns=("scene",), progress=False)
    assert ds.modalities["S2L2A"].shape == (2, 3, SIZE, SIZE)
    assert ds.modalities["S2L2A"].dtype == np.uint8
    folders = sorted(p for p in (seco / "000001").iterdir() if p.is_dir())
    assert [s.decode() for s in ds.extras["scene"][1]] == [p.name for p in folders]
    for t, scene in enumerate(folders):
        for c, band in enumerate(SeCo.rgb):
            assert (ds.read("S2L2A", 1)[t, c] == by_rasterio(scene / f"{band}.tif")).all()
    coarse = SeCo(seco, progress=False).read("S2L2A", 1)[0, 0]
    assert np.abs(coarse - slow(by_rasterio(folders[0] / "B1.tif"), SIZE, SIZE)).max() <= 0.5 + 1e-9


def test_seco_is_stretched_as_published(seco: Path, engine: str) -> None:
    recipe = Recipe((View(size=8, center=True, timestamp="all"),), SeCo.stretch())
    ds = SeCo(seco, recipe=recipe, bands=SeCo.rgb, progress=False)
    ds.set_epoch(0)
    stored = ds.read("S2L2A", 0).astype(float)
    for c, (low, high) in enumerate([(0, 129), (2, 103), (3, 88)]):
        want = np.clip((stored[:, c] - low) / (high - low), 0, 1)
        mine = ds.with_recipe(Recipe((View(size=SIZE, center=True, timestamp="all"),),
                                     SeCo.stretch()))[0]["S2L2A"][0][:, c]  # fmt: skip
        np.testing.assert_allclose(mine, want, atol=1e-6)
    [batch] = DataLoader(ds, 2, engine=engine, num_workers=2)
    expected = torch.utils.data.default_collate([ds[0], ds[1]])
    assert_like_torch(batch, expected, "float32", ["S2L2A"])
    with pytest.raises(ValueError, match="published of"):
        SeCo.stretch(["B8"])


def test_seco_as_reflectance(seco: Path) -> None:
    recipe = Recipe((View(size=SIZE, center=True, timestamp=0),), Radiometry.reflectance())
    ds = SeCo(seco, recipe=recipe, bands=SeCo.rgb, progress=False)
    np.testing.assert_allclose(ds[1]["S2L2A"][0], ds.read("S2L2A", 1)[0] / 255.0, atol=1e-6)


def test_seco_beside_another_version(seco: Path) -> None:
    shutil.copytree(seco, seco.with_name("seco_1m"))
    with pytest.raises(ValueError, match="holds several"):
        SeCo(seco.parent, progress=False)
    assert len(SeCo(seco.parent, "1m", progress=False)) == 2
    assert len(SeCo(seco, modalities="S2L2A", progress=False)) == 2
    with pytest.raises(ValueError, match="S2L2A alone"):
        SeCo(seco, modalities=["S2L1C"], progress=False)
    with pytest.raises(ValueError, match="version must be"):
        SeCo(seco.parent, "2m", progress=False)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="have no modality 'S2L2A'"):
        SeCo(seco, recipe=Recipe((View(size=8),), Radiometry.standardise()), progress=False)


# --- recognised ---


def test_open_finds_the_layout(seco: Path) -> None:
    assert type(fastload.open(made(), progress=False)) is SSL4EOS12V10
    assert type(fastload.open(seco, progress=False)) is SeCo
    assert type(fastload.open(seco.parent, progress=False)) is SeCo
    with pytest.raises(FileNotFoundError, match=r"no known layout|looks like"):
        fastload.open(made() / "s2a", progress=False)
