"""EuroSAT: JPEGs and GeoTIFFs, in folders and zips, with labels and the lists of splits."""

import json
import pickle
import shutil
import zipfile
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import torch

import fastload
from benchmarks.archives.trees import tif
from fastload import DataError, DataLoader, Radiometry, Recipe, View
from fastload.bands import PUBLISHED
from fastload.datasets.eurosat import BANDS, CLASSES, EuroSAT
from tests.fastload.made import assert_like_torch, assert_same
from tests.fastload.trees import eurosat as made
from tests.fastload.twin import OnHost
from tests.shared_data import shared_data

pytestmark = pytest.mark.timeout(300)
RGB, MS = shared_data("eurosat_rgb"), shared_data("eurosat_ms")
LABELS = [CLASSES.index(key.rpartition("_")[0]) for key in made.KEYS]
PLACES = {
    "folders": lambda root: made.rgb(root, ""),
    "2750": made.rgb,
    "stored": lambda root: _zip(made.rgb(root / "t"), zipfile.ZIP_STORED),
    "deflated": lambda root: _zip(made.rgb(root / "t"), zipfile.ZIP_DEFLATED),
}
RASTERS = {
    "EuroSAT_MS": made.ms,
    "allBands": lambda root: made.ms(root, made.DEEP),
    "zip": lambda root: _zip(made.ms(root / "t"), zipfile.ZIP_DEFLATED),
}


def _zip(tree: Path, method: int) -> Path:
    made.zipped(tree, tree.parent / "EuroSAT.zip", method)
    shutil.rmtree(tree)
    return tree.parent


def opened(root: Path, *args: Any, **options: Any) -> EuroSAT:
    found = EuroSAT(root, *args, progress=False, **options)
    found.set_epoch(0)
    return found


@pytest.mark.parametrize("place", PLACES)
def test_jpegs_are_those_of_pillow(tmp_path: Path, place: str) -> None:
    ds = opened(PLACES[place](tmp_path))
    assert list(ds.keys) == made.KEYS
    for i, key in enumerate(made.KEYS):
        expected = made.by_pillow(made.jpeg(key))[None]
        assert np.array_equal(ds.read("S2RGB", i), expected)
        assert (ds[i]["label"], ds[i]["class"]) == (LABELS[i], key.rpartition("_")[0])
    assert ds.modalities["S2RGB"].band_names == ("R", "G", "B")
    assert not list(tmp_path.rglob("*.tmp"))


@pytest.mark.parametrize("place", RASTERS)
def test_tifs_are_shown_in_the_published_order(tmp_path: Path, place: str) -> None:
    """B8A, which is last on disk, stands behind B08; other orders by name."""
    root = RASTERS[place](tmp_path)
    ds = opened(root)
    assert ds.modalities["S2L1C"].band_names == PUBLISHED["S2L1C"]
    stored = opened(root, bands=BANDS)
    some = opened(root, bands=["B8A", "B4"])
    for i, key in enumerate(made.KEYS):
        pixels = made.multi(key)
        order = [BANDS.index(name) for name in PUBLISHED["S2L1C"]]
        assert np.array_equal(ds.read("S2L1C", i)[0], pixels[order])
        assert np.array_equal(stored.read("S2L1C", i)[0], pixels)
        assert np.array_equal(some.read("S2L1C", i)[0], pixels[[12, 3]])
    assert np.isfinite(ds.lon).all()
    assert len(set(ds.lon)) == len(ds)


def test_nothing_is_listed_of_a_tifs_place_where_nobody_asks(tmp_path: Path) -> None:
    assert np.isnan(opened(made.ms(tmp_path), coordinates=False).lon).all()


@pytest.mark.parametrize("place", ["2750", "stored", "deflated"])
@pytest.mark.parametrize("loader", [DataLoader, OnHost], ids=["host", "device"])
def test_batches_have_the_label(
    tmp_path: Path, engine: str, loader: type[DataLoader], place: str
) -> None:
    """Through every engine as torch collates ``dataset[i]``."""
    recipe = Recipe((View(size=8, scale=(0.3, 1.0), hflip=0.5),), Radiometry.quantile(0, 255))
    ds = opened(PLACES[place](tmp_path), recipe=recipe)
    expected = list(torch.utils.data.DataLoader(ds, 6))
    found = list(loader(ds, 6, engine=engine, num_workers=2))
    assert torch.cat([batch["label"] for batch in found]).tolist() == LABELS
    assert found[0]["label"].dtype == torch.int64
    for mine, theirs in zip(found, expected, strict=True):
        for name in ("lon", "lat"):  # JPEGs have no place
            assert torch.isnan(mine.pop(name)).all()
            assert torch.isnan(theirs.pop(name)).all()
        assert_like_torch(mine, theirs, "float32", ["S2RGB"])


def test_both_sets_are_joined_by_key(tmp_path: Path) -> None:
    root = made.ms(made.rgb(tmp_path))
    ds = opened(root, modalities=["S2RGB", "S2L1C"], bands={"S2L1C": ["B02"]})
    assert np.array_equal(ds.read("S2L1C", 5)[0, 0], made.multi(made.KEYS[5])[1])
    assert list(opened(root).modalities) == ["S2L1C"]
    (root / "2750/Forest/Forest_2.jpg").unlink()
    with pytest.raises(ValueError, match="S2RGB lacks 1 of 16 keys, such as Forest_2"):
        opened(root, modalities=["S2RGB", "S2L1C"])
    assert len(opened(root, modalities=["S2RGB", "S2L1C"], missing="drop")) == 15


def test_splits_are_those_of_the_lists(tmp_path: Path) -> None:
    root = _zip(made.rgb(tmp_path / "t"), zipfile.ZIP_STORED)
    train, test = made.KEYS[::2], made.KEYS[1::2]
    (root / "eurosat-train.txt").write_text("\n".join(f"{k}.jpg" for k in train) + "\n")
    (root / "eurosat-test.txt").write_text("\r\n".join(f"{k}.tif" for k in test))
    names = {"val": [f"{k}.tif" for k in train[:3]]}
    (root / "train_test_split.json").write_text(json.dumps(names))
    (root / "eurosat-spatial-val.txt").write_text(test[2])
    assert list(opened(root, "train").keys) == train
    assert list(opened(root, "test").keys) == test
    assert list(opened(root, "val").keys) == train[:3]
    spatial = opened(root, "val", split_file="eurosat-spatial-{split}.txt")
    assert list(spatial.keys) == [test[2]]
    assert spatial[0]["label"] == LABELS[made.KEYS.index(test[2])]
    assert [b["label"].tolist() for b in DataLoader(opened(root, "test"), 20)] == [LABELS[1::2]]


def test_a_list_that_names_what_is_not_there(tmp_path: Path) -> None:
    root = made.rgb(tmp_path)
    (root / "eurosat-train.txt").write_text("Forest_1.jpg\nForest_77.jpg\n")
    with pytest.raises(ValueError, match=r"eurosat-train.txt: 1 of 2 names are not there, such as"):
        opened(root, "train")
    assert list(opened(root, "train", missing="drop").keys) == ["Forest_1"]
    with pytest.raises(FileNotFoundError, match=r"no list of split 'dev'.*eurosat-train"):
        opened(root, "dev")


@pytest.mark.parametrize(
    ("file", "text", "words"),
    [
        ("eurosat-a.txt", "", "lists no sample"),
        ("eurosat-a.txt", b"\xff\xfe\x00", "is no text in UTF-8"),
        ("train_test_split.json", "{", "is no JSON"),
        ("train_test_split.json", "[]", "expected a list of names under 'a', got list"),
        ("train_test_split.json", '{"b": []}', r"under 'a', got \['b'\]"),
        ("train_test_split.json", '{"a": [3]}', "expected names under 'a', got 3"),
    ],
)
def test_lists_that_are_none(tmp_path: Path, file: str, text: Any, words: str) -> None:
    root = made.rgb(tmp_path)
    (root / file).write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(DataError, match=words) as caught:
        opened(root, "a")
    assert file in str(caught.value)


# Broken trees


def _no_class(root: Path) -> None:
    shutil.move(root / "2750", root / "other" / "deeper")


def _only_other_files(root: Path) -> None:
    for path in root.rglob("*.jpg"):
        path.rename(path.with_suffix(".png"))


def _wrong_class(root: Path) -> None:
    shutil.move(root / "2750/Forest/Forest_1.jpg", root / "2750/SeaLake/Forest_1.jpg")


@pytest.mark.parametrize(
    ("breaks", "error", "words"),
    [
        (_no_class, FileNotFoundError, "expected folders of EuroSAT's classes such as AnnualCrop"),
        (_only_other_files, FileNotFoundError, r"files \*.tif.*found none at all"),
        (_wrong_class, DataError, r"SeaLake/Forest_1.jpg: lies in the folder of class SeaLake"),
    ],
)
def test_broken_trees_are_refused(tmp_path: Path, breaks: Any, error: Any, words: str) -> None:
    root = made.rgb(tmp_path)
    (root / "other").mkdir()
    breaks(root)
    with pytest.raises(error, match=words):
        opened(root)


def test_the_other_modality_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"files \*.tif.*found .*2750 \(\*.jpg\)"):
        opened(made.rgb(tmp_path), modalities="S2L1C")
    with pytest.raises(ValueError, match="modalities of EuroSAT are some of"):
        opened(tmp_path, modalities="S2L2A")


def _write(root: Path, content: bytes) -> None:
    (root / "2750/Forest/Forest_1.jpg").write_bytes(content)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is empty, expected an image"),
        (b"version https://git-lfs.github.com/spec/v1\n", "is no sound image"),
        (made.jpeg("Forest_1")[:200], "is no sound image"),
        (made.jpeg("Forest_1", 24), r"is an image of 24 x 24 RGB, expected RGB of 16 x 16"),
        (made.jpeg("Forest_1", mode="L"), r"16 x 16 L, expected RGB"),
        (made.jpeg("Forest_1", mode="CMYK"), r"16 x 16 CMYK, expected RGB"),
        (made.jpeg("Forest_1", kind="GIF"), "is no sound image"),
    ],
)
def test_images_that_are_none_are_named(tmp_path: Path, content: bytes, words: str) -> None:
    """And replaced where that is asked for."""
    root = made.rgb(tmp_path)
    _write(root, content)
    ds = opened(root)
    with pytest.raises(DataError, match=words) as caught:
        list(DataLoader(ds, 4))
    assert "2750/Forest/Forest_1.jpg" in str(caught.value)
    loader = DataLoader(ds, 4, on_error="replace")
    batches = list(loader)
    assert sum(len(batch["label"]) for batch in batches) == len(made.KEYS)
    for batch in batches:
        assert batch["label"].tolist() == [LABELS[i] for i in batch["index"].tolist()]
    assert "Forest_1" not in [key for batch in batches for key in batch["key"]]


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_a_changed_byte_in_a_zip_is_found(tmp_path: Path, method: int) -> None:
    """By CRC-32, though a decoder might not see it."""
    root = _zip(made.rgb(tmp_path / "t"), method)
    path = root / "EuroSAT.zip"
    with zipfile.ZipFile(path) as archive:
        info = archive.getinfo("2750/Forest/Forest_2.jpg")
    data = bytearray(path.read_bytes())
    data[info.header_offset + 30 + len(info.filename) + info.compress_size // 2] ^= 4
    path.write_bytes(data)
    ds = opened(root)
    for i, key in enumerate(made.KEYS):
        if key != "Forest_2":
            ds.read("S2RGB", i)
            continue
        with pytest.raises(DataError, match=r"Forest_2\.jpg"):
            ds.read("S2RGB", i)


def test_zips_that_are_none(tmp_path: Path) -> None:
    root = _zip(made.rgb(tmp_path / "t"), zipfile.ZIP_STORED)
    path = root / "EuroSAT.zip"
    whole = path.read_bytes()
    for content in (b"", whole[: len(whole) // 2], b"no zip at all " * 9):
        path.write_bytes(content)
        with pytest.raises(DataError, match=r"EuroSAT.zip"):
            opened(root)
    path.write_bytes(whole)
    ds = opened(root)
    path.write_bytes(whole[:-400])
    with pytest.raises(DataError, match="bytes when it was indexed"):
        list(DataLoader(ds, 4))
    with pytest.raises(DataError, match="there is no such file"):
        opened(root / "other.zip")


def test_tifs_that_are_none_are_named(tmp_path: Path) -> None:
    root = made.ms(tmp_path)
    tif(root / "EuroSAT_MS/Forest/Forest_1.tif", made.multi("x")[:12])
    (root / "EuroSAT_MS/Forest/Forest_2.tif").write_bytes(b"no tif")
    ds = opened(root)
    for key, words in (("Forest_1", "12 bands"), ("Forest_2", "no sound GeoTIFF")):
        with pytest.raises(DataError, match=words) as caught:
            ds.read("S2L1C", ds.index_of(key))
        assert key in str(caught.value)


def test_a_tif_of_other_bands_is_refused(tmp_path: Path) -> None:
    for key in made.KEYS:
        tif(tmp_path / key.rpartition("_")[0] / f"{key}.tif", made.multi(key)[:12])
    with pytest.raises(DataError, match="has 12 bands, expected 13: B01"):
        opened(tmp_path)


def test_it_is_recognised_and_pickles(tmp_path: Path) -> None:
    root = _zip(made.rgb(tmp_path / "t"), zipfile.ZIP_STORED)
    for place in (root, root / "EuroSAT.zip"):
        ds = opened(place) if place != root else fastload.open(root, progress=False)
        assert isinstance(ds, EuroSAT)
        other = pickle.loads(pickle.dumps(ds))
        assert_same(other[3]["S2RGB"], ds[3]["S2RGB"])
        assert other[3]["label"] == LABELS[3]
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match="nothing in it"):
        fastload.open(tmp_path / "empty")


def test_statistics_are_by_the_bands_names(tmp_path: Path) -> None:
    recipe = Recipe((View(size=made.SIZE, center=True),), Radiometry.standardise())
    item = opened(made.ms(tmp_path), bands=["B8A", "B09"], recipe=recipe)[0]
    pixels = made.multi(made.KEYS[0])[[12, 8]].astype(np.float64)
    mean, std = np.array([2594.14080798, 732.08340178]), np.array([1231.58581042, 404.91978886])
    expected = (pixels - mean[:, None, None]) / std[:, None, None]
    np.testing.assert_allclose(item["S2L1C"][0], expected, atol=1e-5)


def test_torchgeo_reads_the_same(tmp_path: Path) -> None:
    """Its reader numbers the classes by the folders that are there, so that all ten are."""
    datasets = pytest.importorskip("torchgeo.datasets")
    keys = [f"{name}_{i}" for name in CLASSES for i in (1, 2)]
    root = made.ms(tmp_path, made.DEEP, keys)
    (root / "eurosat-train.txt").write_text("\n".join(f"{key}.jpg" for key in keys[::2]))
    theirs = datasets.EuroSAT(str(root), "train")
    ours = opened(root, "train", bands=BANDS)
    assert len(theirs) == len(ours) == 10
    for i, (path, _) in enumerate(theirs.imgs):
        item, row = theirs[i], ours.index_of(Path(path).stem)
        assert np.array_equal(item["image"].numpy(), ours.read("S2L1C", row)[0])
        assert item["label"] == ours[row]["label"]


@pytest.mark.slow
@pytest.mark.skipif(not RGB.is_dir(), reason=f"needs real samples in {RGB}")
def test_the_real_zip() -> None:
    """27,000 chips, the split of presto, and pixels as Pillow reads them."""
    ds = opened(RGB)
    assert len(ds) == 27_000
    counts = Counter(ds.extras["class"].tolist())
    assert counts["Pasture"] == 2000
    assert counts["Forest"] == counts["SeaLake"] == 3000
    train, test = opened(RGB, "train"), opened(RGB, "test")
    assert (len(train), len(test)) == (21_600, 5_400)
    assert not set(train.keys) & set(test.keys)
    with zipfile.ZipFile(RGB / "EuroSAT.zip") as archive:
        for i in range(0, 27_000, 900):
            name = f"2750/{ds[i]['class']}/{ds.keys[i]}.jpg"
            assert np.array_equal(ds.read("S2RGB", i)[0], made.by_pillow(archive.read(name)))


@pytest.mark.skipif(not MS.is_dir(), reason=f"needs real samples in {MS}")
def test_real_tifs() -> None:
    ds = opened(MS)
    assert len(ds) == 6
    for i in range(6):
        with rasterio.open(MS / ds[i]["class"] / f"{ds.keys[i]}.tif") as file:
            pixels = file.read()
        assert np.array_equal(ds.read("S2L1C", i)[0, [0, 8, 9, 12]], pixels[[0, 12, 8, 11]])
        assert pixels[9].mean() < 30 < pixels[8].mean()  # B10 is dark; B09 is not
