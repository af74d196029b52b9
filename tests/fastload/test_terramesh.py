"""TerraMesh: shards of two names, one date, S1GRD or S1RTC for each sample."""

import json
import pickle
import shutil
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import zarr

import fastload
from fastload import DataLoader, Radiometry, Recipe, Statistics, View
from fastload.datasets.source import ChunkedSource
from fastload.datasets.terramesh import TerraMesh
from fastload.statistics import STATISTICS
from tests.fastload import shardmaker
from tests.fastload.made import assert_like_torch, assert_same
from tests.fastload.trees import terramesh as made
from tests.fastload.twin import OnHost
from tests.shared_data import shared_data

pytestmark = pytest.mark.timeout(300)
BOTH = ("S2L2A", "S1")
REAL = shared_data("terramesh")
VIEWS = Recipe((View(size=8), View(size=8, scale=(0.3, 1.0), d4=0.5)), Radiometry.standardise())
PLAIN = Recipe((View(size=made.SIZE, center=True),), Radiometry.standardise())


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Do not write there."""
    return made.write(tmp_path_factory.mktemp("terramesh"))


def opened(root: Path, *args: Any, **options: Any) -> TerraMesh:
    found = TerraMesh(root, *args, progress=False, **options)
    found.set_epoch(0)
    return found


def kind(key: str) -> str:
    return "S1RTC" if key in made.MAJORTOM else "S1GRD"


def test_all_modalities_are_read(root: Path) -> None:
    """Of both names of shards, bit for bit as zarr reads them."""
    ds = opened(root, modalities=["S2L2A", "DEM", "S1"])
    assert list(ds.keys) == list(made.KEYS)
    assert isinstance(ds.sources["S1"], ChunkedSource)
    for i, key in enumerate(made.KEYS):
        for name in ("S2L2A", "DEM", "S1"):
            folder = root / "train" / (kind(key) if name == "S1" else name)
            shard = next(p for p in folder.glob("*.tar") if key in _members(p))
            expected = shardmaker.read_by_zarr(shard, key)
            assert shardmaker.same(ds.read(name, i), expected)
            assert torch.equal(ds[i][name], torch.from_numpy(expected.astype(expected.dtype)))


def _members(path: Path) -> list[str]:
    with tarfile.open(path) as tar:
        return [name.removesuffix(".zarr.zip") for name in tar.getnames()]


def test_a_batch_says_which_kind_each_sample_is(root: Path) -> None:
    ds = opened(root, modalities=BOTH, recipe=VIEWS)
    for loader in (DataLoader(ds, 4), OnHost(ds, 4)):
        for batch in loader:
            assert batch["S1_kind"] == [kind(key) for key in batch["key"]]
    assert ds[0]["S1_kind"] == "S1RTC"
    assert ds[8]["S1_kind"] == "S1GRD"


def test_each_sample_is_standardised_by_its_kind(root: Path) -> None:
    ds = opened(root, modalities=BOTH, recipe=PLAIN)
    published = STATISTICS["terramesh"]
    for i, key in enumerate(made.KEYS):
        mean, std = (np.array(s[kind(key)])[:, None, None] for s in (published.mean, published.std))
        expected = (made.pixels(key, kind(key))[0].astype(np.float64) - mean) / std
        np.testing.assert_allclose(ds[i]["S1"][0], expected, rtol=0, atol=2e-6)


@pytest.mark.parametrize("drop", [0.0, 0.7])
@pytest.mark.parametrize("loader", [DataLoader, OnHost], ids=["host", "device"])
def test_every_engine_standardises_alike(
    root: Path, engine: str, loader: type[DataLoader], drop: float
) -> None:
    """Batches of both kinds, of one, and masks and dropped bands besides."""
    view = View(size=8, scale=(0.3, 1.0), d4=0.5, drop=drop, drop_bands=(1, 1))
    recipe = Recipe((view, view), Radiometry.standardise(), mask=True)
    ds = opened(root, modalities=BOTH, recipe=recipe)
    expected = list(torch.utils.data.DataLoader(ds, 4))
    found = list(loader(ds, 4, engine=engine))
    assert len(found) == len(expected) == 3
    for mine, theirs in zip(found, expected, strict=True):
        assert_like_torch(mine, theirs, "float32", BOTH)


def test_engines_give_the_same_with_workers_and_state(root: Path) -> None:
    ds = opened(root, modalities=BOTH, recipe=VIEWS)
    plain = list(DataLoader(ds, 2, shuffle=True))
    assert_same(list(DataLoader(ds, 2, shuffle=True, num_workers=2)), plain)
    state, loader = None, DataLoader(ds, 2, shuffle=True)
    for i, _ in enumerate(loader):
        if i == 1:
            state = loader.state_dict()
            break
    again = DataLoader(ds, 2, shuffle=True)
    again.load_state_dict(state)
    assert_same(list(again), plain[2:])


def test_a_sample_that_replaces_another_takes_its_own_statistics(tmp_path: Path) -> None:
    root = made.write(tmp_path / "data")
    ds = opened(root, modalities=["S1", "S2L2A"], recipe=PLAIN)
    source, row, damaged = ds.sources["S1"], ds.row_of("S1", 8), ds.keys[8]
    chunk = source.chunks(np.array([row]), np.ones((1, 1), bool)).rows[0]
    path = Path(source.store.path(source.files[chunk["file"]]))
    data = bytearray(path.read_bytes())
    data[chunk["offset"] + chunk["stored"] // 2] ^= 0x10
    path.write_bytes(data)
    for loader in (DataLoader, OnHost):
        batch = next(iter(loader(ds, 9, on_error="replace")))
        shown = int(batch["index"][8])
        assert shown != 8
        assert batch["key"][8] == ds.keys[shown] != damaged
        assert batch["S1_kind"][8] == kind(ds.keys[shown])
        np.testing.assert_allclose(batch["S1"][0][8], ds[shown]["S1"][0], atol=1e-5)


def test_chosen_joined_and_pickled_samples_keep_their_kind(root: Path, tmp_path: Path) -> None:
    ds = opened(root, modalities=BOTH, recipe=PLAIN)
    some = ds.subset([8, 0, 6])
    some.set_epoch(0)
    assert [some[i]["S1_kind"] for i in range(3)] == ["S1GRD", "S1RTC", "S1GRD"]
    other = made.write(tmp_path / "val", "val", made.KEYS[2:7])
    joined = fastload.concat(some, opened(other, "val", modalities=BOTH, recipe=PLAIN))
    joined = pickle.loads(pickle.dumps(joined))
    joined.set_epoch(0)
    for i in range(len(joined)):
        key = joined.keys[i]
        assert_same(joined[i]["S1"], ds[made.KEYS.index(key)]["S1"])
        assert joined[i]["S1_kind"] == kind(key)


def test_statistics_of_s1_itself_are_those_of_all_kinds(root: Path) -> None:
    own = Statistics("own", 0.0, {"S1": (-10.0, -20.0)}, {"S1": (2.0, 4.0)})
    ds = opened(root, modalities="S1", recipe=PLAIN, statistics=own)
    for i, key in ((0, ds.keys[0]), (8, ds.keys[8])):
        raw = made.pixels(key, kind(key))[0].astype(np.float64)
        expected = (raw - np.array([-10, -20])[:, None, None]) / np.array([2, 4])[:, None, None]
        np.testing.assert_allclose(ds[i]["S1"][0], expected, atol=1e-5)
    with pytest.raises(ValueError, match="concat: the statistics of S1 differ"):
        fastload.concat(ds, opened(root, modalities="S1", recipe=PLAIN))


def test_bands_of_s1_are_chosen_in_all_kinds(root: Path, tmp_path: Path) -> None:
    ds = opened(root, modalities="S1", bands=["B01"])
    for i in (0, 8):
        assert shardmaker.same(ds.read("S1", i), made.pixels(ds.keys[i], kind(ds.keys[i]))[:, [1]])


def test_one_folder_of_s1_is_enough(root: Path, tmp_path: Path) -> None:
    shutil.copytree(root, tmp_path / "some")
    shutil.rmtree(tmp_path / "some/train/S1GRD")
    ds = opened(tmp_path / "some", modalities=BOTH, missing="drop", recipe=PLAIN)
    assert list(ds.keys) == list(made.MAJORTOM)
    assert {ds[i]["S1_kind"] for i in range(len(ds))} == {"S1RTC"}
    shutil.rmtree(tmp_path / "some/train/S1RTC")
    with pytest.raises(FileNotFoundError, match=r"neither folder has shards; there are DEM, S2L2A"):
        opened(tmp_path / "some", modalities=BOTH)


def test_a_single_kind_says_what_would_serve(root: Path) -> None:
    with pytest.raises(ValueError, match="'S1' is S1GRD or S1RTC, whichever a sample has"):
        opened(root, modalities=["S2L2A", "S1GRD"])
    assert len(opened(root, modalities=["S2L2A", "S1GRD"], missing="drop")) == len(made.SSL4EO)


def test_a_key_of_both_kinds_is_refused(tmp_path: Path) -> None:
    root, key = made.write(tmp_path), made.MAJORTOM[0]
    shardmaker.write_tar(
        root / "train/S1GRD/ssl4eos12_shard_000795.tar", {key: made.sample(key, "S1RTC")}
    )
    with pytest.raises(ValueError, match=f"1 keys are in more than one of S1GRD, S1RTC.*{key}"):
        opened(root, modalities=BOTH)


def test_kinds_of_other_shapes_are_refused(tmp_path: Path) -> None:
    root = made.write(tmp_path)
    shutil.rmtree(root / "train/S1GRD")
    wide = shardmaker.zipped(shardmaker.group(made.pixels(made.SSL4EO[0], "S1GRD", 24)))
    shardmaker.write_tar(root / "train/S1GRD/ssl4eos12_shard_000794.tar", {made.SSL4EO[0]: wide})
    with pytest.raises(ValueError, match=r"S1GRD has shape \(1, 2, 24, 24\), S1RTC has"):
        opened(root, modalities=BOTH)


def test_it_is_recognised(root: Path, tmp_path: Path) -> None:
    assert isinstance(fastload.open(root, progress=False), TerraMesh)
    plain = shardmaker.write(tmp_path / "plain")
    assert isinstance(fastload.open(plain, progress=False), fastload.SSL4EOS12)
    with pytest.raises(FileNotFoundError, match=r"there is no such folder of shards; .*holds DEM"):
        opened(root, modalities="NDVI")


def test_the_date_of_dem_is_unknown(tmp_path: Path) -> None:
    """It is stored as 0, and labels and heights have no statistics to miss."""
    key = made.KEYS[0]
    for name in ("S2L2A", "DEM"):
        store = shardmaker.group(made.pixels(key, name))
        if name == "DEM":
            store["time/0"] = np.zeros(1, "i8").tobytes()
            store.pop(".zmetadata")
            meta = json.loads(store["time/.zarray"]) | {"compressor": None}
            store["time/.zarray"] = json.dumps(meta).encode()
        shardmaker.write_tar(
            tmp_path / f"train/{name}/majortom_shard_000001.tar", {key: shardmaker.zipped(store)}
        )
    ds = opened(tmp_path, modalities=["S2L2A", "DEM"], recipe=PLAIN)
    assert ds[0]["time"][0] > 0
    assert ds[0]["time_DEM"][0] < 0


def test_arrays_without_an_axis_of_time(tmp_path: Path) -> None:
    """As xarray writes samples of a single date: ``[C, H, W]``, and a date that is a scalar; in one
    folder with others."""
    for name in ("S2L2A", "S1RTC", "DEM"):
        members = {key: made.sample(key, name) for key in made.MAJORTOM[:2]}
        members |= {key: _squeezed(key, name) for key in made.MAJORTOM[2:]}
        shardmaker.write_tar(tmp_path / f"train/{name}/majortom_shard_000001.tar", members)
    ds = opened(tmp_path, modalities=["S2L2A", "S1", "DEM"], recipe=VIEWS)
    for i, key in enumerate(made.MAJORTOM):
        for name, stored in (("S2L2A", "S2L2A"), ("S1", "S1RTC"), ("DEM", "DEM")):
            assert shardmaker.same(ds.read(name, i), made.pixels(key, stored))
        assert ds.times(i).tolist() == shardmaker.dates(made.KEYS.index(key), 1).tolist()
    for loader in (DataLoader, OnHost):
        for mine, theirs in zip(loader(ds, 3), torch.utils.data.DataLoader(ds, 3), strict=True):
            assert_like_torch(mine, theirs, "float32", ["S2L2A", "S1", "DEM"])


def _squeezed(key: str, modality: str) -> bytes:
    image, number, store = made.pixels(key, modality)[0], made.KEYS.index(key), dict[str, Any]()
    root = zarr.group(store=store)
    root.array("bands", image, chunks=image.shape, compressor=shardmaker.LZ4, fill_value=0)
    root.array("band", np.array([f"B{i:02d}" for i in range(len(image))]))
    root.array("time", np.int64(shardmaker.dates(number, 1)[0]))
    root.array("center_lon", np.float64(number / 10))
    root.array("center_lat", np.float64(50.0))
    zarr.consolidate_metadata(store)
    return shardmaker.zipped({name: bytes(value) for name, value in store.items()})


@pytest.mark.skipif(not REAL.is_dir(), reason=f"needs real samples in {REAL}")
def test_real_pixels(tmp_path: Path) -> None:
    """Of the published validation samples, in shards; the offset of 1000 DN is in some of them."""
    rasterio = pytest.importorskip("rasterio")
    types = {"S2L2A": "i2", "S1RTC": "f2", "NDVI": "f2", "DEM": "i2", "LULC": "u1"}
    stems = sorted(p.stem for p in (REAL / "S2L2A").glob("*.tif"))
    true: dict[str, list[Any]] = {name: [] for name in types}
    for name, dtype in types.items():
        members = {}
        for stem in stems:
            with rasterio.open(REAL / name / f"{stem}.tif") as file:
                true[name].append(file.read()[None].astype(dtype))
            members[stem] = shardmaker.zipped(shardmaker.group(true[name][-1]))
        shardmaker.write_tar(tmp_path / "val" / name / "majortom_shard_000001.tar", members)
    ds = opened(tmp_path, "val", modalities=["S2L2A", "S1", "NDVI", "DEM", "LULC"])
    for i in range(len(stems)):
        for name in ds.modalities:
            stored = true["S1RTC" if name == "S1" else name][i]
            assert shardmaker.same(ds.read(name, i), stored)
    recipe = Recipe((View(size=224),), Radiometry.standardise())
    batch = next(iter(DataLoader(ds.with_recipe(recipe), len(stems))))
    assert batch["S1"][0].abs().mean() < 2
    classes = {float(c) for image in true["LULC"] for c in np.unique(image)}
    assert set(batch["LULC"][0].unique().tolist()) == classes


def test_columns_are_a_list(root: Path) -> None:
    with pytest.raises(ValueError, match="columns must be a list of names"):
        TerraMesh(root, modalities="S1", columns="crs", progress=False)
