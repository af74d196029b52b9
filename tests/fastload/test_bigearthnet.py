"""BigEarthNet, both versions: pixels, labels, partners, splits, and trees that are broken."""

import json
import pickle
import shutil
from collections.abc import Callable
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
import rasterio
import torch
from rasterio.enums import Resampling

import fastload
from fastload import DataError, DataLoader, Radiometry, Recipe, View
from fastload.datasets.bigearthnet import BigEarthNet
from fastload.datasets.bigearthnet_parts import FILES, time_of
from fastload.datasets.labels.corine import CLASSES_19, CLASSES_43, FROM_43, bits, multi_hot, of_43
from tests.fastload.made import assert_like_torch, assert_same
from tests.fastload.trees import bigearthnet as made
from tests.fastload.twin import OnHost
from tests.shared_data import shared_data

pytestmark = pytest.mark.timeout(300)
REAL = shared_data("bigearthnet")
SIZE = 24
BOTH = ("S2L2A", "S1GRD")
Change = Callable[[Path], Any]


@cache
def folder() -> TemporaryDirectory[str]:
    return TemporaryDirectory(prefix="fastload-bigearthnet-")


@cache
def v1() -> Path:
    """Do not write there."""
    return made.v1(Path(folder().name) / "v1", SIZE)


@cache
def v2() -> Path:
    """Do not write there."""
    return made.v2(_made(Path(folder().name) / "v2"), SIZE)


def _made(path: Path) -> Path:
    path.mkdir()
    return path


def opened(root: Path, *args: Any, **options: Any) -> BigEarthNet:
    found = BigEarthNet(root, *args, progress=False, **options)
    found.set_epoch(0)
    return found


def by_rasterio(path: Path, size: int) -> Any:
    with rasterio.open(path) as file:
        return file.read(1, out_shape=(size, size), resampling=Resampling.bilinear)


def hot(labels: list[str], classes: tuple[str, ...]) -> list[int]:
    return [int(name in labels) for name in classes]


def test_the_published_classes() -> None:
    """Their numbers, and that 32 of the 43 are of the 19, each of one."""
    assert (len(CLASSES_43), len(CLASSES_19)) == (43, 19)
    flat = [k for some in FROM_43 for k in some]
    assert len(flat) == len(set(flat)) == 32
    same = [(k, some[0]) for k, some in enumerate(FROM_43) if CLASSES_43[some[0]] == CLASSES_19[k]]
    assert len(same) == 9
    each = np.array([1 << k for k in range(43)], np.uint64)
    for k, row in enumerate(multi_hot(of_43(each), 19)):
        assert row.tolist() == [int(k in some) for some in FROM_43]
    assert multi_hot(np.array([bits(CLASSES_43, CLASSES_43)], np.uint64), 43).all()


def test_dates_are_those_of_the_names() -> None:
    """The first version's names leave out the hour's zero; seconds are those of ESA's products."""
    found = {
        "S2A_MSIL2A_20170613T101031_87_48": "2017-06-13T10:10:31",
        "S2B_MSIL2A_20170924T93020_69_24": "2017-09-24T09:30:20",
        "S2B_MSIL2A_20180204T94161_57_38": "2018-02-04T09:42:01",
        "S1A_IW_GRDH_1SDV_20170613T165043_33UUP_87_48": "2017-06-13T16:50:43",
        made.V2[0]: "2017-06-13T10:10:31",
    }
    for name, date in found.items():
        assert time_of(name) == np.datetime64(date, "ns").astype(np.int64)
    for name in ("notes", "S2A_MSIL2A_20171313T101031_87_48", "S2A_MSIL2A_87_48"):
        assert time_of(name) == np.iinfo(np.int64).min


def test_v1_pixels_labels_and_partners() -> None:
    ds = opened(v1(), modalities=BOTH, resampling="nearest")
    assert list(ds.keys) == sorted(made.PATCHES)
    for i, patch in enumerate(ds.keys):
        labels = made.PATCHES[patch]
        of_19 = {CLASSES_19[k] for k, some in enumerate(FROM_43)
                 if {CLASSES_43[j] for j in some} & set(labels)}  # fmt: skip
        assert np.array_equal(ds.read("S2L2A", i)[0], made.repeated(patch, "S2L2A"))
        assert np.array_equal(ds.read("S1GRD", i)[0], made.repeated(made.s1_of_v1(patch), "S1GRD"))
        item = ds[i]
        assert item["label"].tolist() == hot(list(of_19), CLASSES_19)
        assert item["label_43"].tolist() == hot(labels, CLASSES_43)
        assert item["snow"] is (patch == list(made.PATCHES)[3])
        assert item["cloud"] is (patch == list(made.PATCHES)[1])
        assert item["time"].item() == time_of(patch)
        assert item["time_S1GRD"].item() == time_of(made.s1_of_v1(patch))
    west = np.argsort(ds.lon)[0]
    assert ds.keys[west] == list(made.PATCHES)[1]  # of another zone
    assert np.isfinite(ds.lat).all()


def test_v2_pixels_labels_and_partners() -> None:
    modalities = (*BOTH, "LULC")
    ds = opened(v2(), modalities=modalities, resampling="nearest")
    assert list(ds.keys) == list(made.V2)
    for i, patch in enumerate(made.V2):
        assert np.array_equal(ds.read("S2L2A", i)[0], made.repeated(patch, "S2L2A"))
        assert np.array_equal(ds.read("S1GRD", i)[0], made.repeated(made.s1_of_v2(patch), "S1GRD"))
        path = next((v2() / "Reference_Maps").rglob(f"{patch}_reference_map.tif"))
        assert np.array_equal(ds.read("LULC", i)[0, 0], by_rasterio(path, SIZE))
        item = ds[i]
        assert item["label"].tolist() == hot(made.LABELS_V2[i], CLASSES_19)
        assert item["country"] == made.columns()["country"][i]
        assert (item["snow"], item["cloud"]) == (i == 1, i == 3)
        assert "label_43" not in item
    assert len(set(ds.lon)) == len(ds)
    assert np.isnan(opened(v2(), coordinates=False).lon).all()


@pytest.mark.parametrize("version", ["v1", "v2"])
def test_bilinear_is_gdals(version: str) -> None:
    """To a grey level: GDAL rounds weights of its own."""
    root = globals()[version]()
    ds = opened(root)
    assert ds.modalities["S2L2A"].band_names == FILES["S2L2A"]
    for i, patch in enumerate(ds.keys):
        for c, name in enumerate(FILES["S2L2A"]):
            path = next(root.rglob(f"{patch}_{name}.tif"))
            expected = by_rasterio(path, SIZE).astype(int)
            assert np.abs(ds.read("S2L2A", i)[0, c].astype(int) - expected).max() <= 1


@pytest.mark.parametrize("version", ["v1", "v2"])
@pytest.mark.parametrize("loader", [DataLoader, OnHost], ids=["host", "device"])
def test_batches_have_vectors_of_labels(
    engine: str, loader: type[DataLoader], version: str
) -> None:
    """``[B, 19]`` through every engine, as torch collates ``dataset[i]``."""
    view = View(size=8, scale=(0.3, 1.0), hflip=0.5)
    recipe = Recipe((view, view), Radiometry.standardise())
    ds = opened(
        globals()[version](), modalities=BOTH, recipe=recipe, bands={"S2L2A": ["B04", "B1"]}
    )
    found = list(loader(ds, 2, engine=engine, shuffle=True))
    order = [i for batch in found for i in batch["index"].tolist()]
    expected = list(torch.utils.data.DataLoader(ds, 2, sampler=order))
    for mine, theirs in zip(found, expected, strict=True):
        assert mine["label"].shape[1:] == (19,)
        assert mine["label"].dtype == torch.int64
        assert_like_torch(mine, theirs, "float32", BOTH)
    loss = torch.nn.MultiLabelSoftMarginLoss()(torch.zeros(2, 19), found[0]["label"].float())
    assert loss.item() == pytest.approx(np.log(2))


def test_labels_stay_with_chosen_joined_and_mixed_samples() -> None:
    train, test = (opened(v2(), split) for split in ("train", "test"))
    labels = {key: ds[i]["label"].tolist() for ds in (train, test) for i, key in enumerate(ds.keys)}
    joined = fastload.concat(train, test)
    mixed = fastload.mix({train: 0.5, test: 0.5}, samples=8)
    further = joined.with_labels({key: i for i, key in enumerate(labels)}, columns=["rank"])
    for ds in (joined, joined.subset([3, 0]), further, mixed):
        seen = 0
        for batch in DataLoader(ds, 3):
            assert batch["label"].shape == (len(batch["key"]), 19)
            for key, label in zip(batch["key"], batch["label"].tolist(), strict=True):
                assert label == labels[key]
                seen += 1
        assert seen == len(ds)


def test_splits_of_v1_are_those_of_the_lists(tmp_path: Path) -> None:
    names = list(made.PATCHES)
    assert set(opened(v1(), "train").keys) == set(names[:3])
    assert list(opened(v1(), "val", modalities=BOTH).keys) == names[3:4]
    root = copied(v1(), tmp_path)
    (root / "splits").mkdir()
    (root / "splits/mine.txt").write_text("\n".join(names[1:3]))
    found = opened(root, "mine", modalities=BOTH)
    assert set(found.keys) == set(names[1:3])
    for i, key in enumerate(found.keys):
        assert np.array_equal(found.read("S1GRD", i)[0], made.repeated(made.s1_of_v1(key), "S1GRD"))
    (root / "seco-train.txt").write_text(names[0])
    assert list(opened(root, "train", split_file="seco-{split}.txt").keys) == names[:1]


def test_splits_of_v2_are_those_of_the_metadata() -> None:
    for split, some in (("train", [0, 1]), ("val", [2]), ("validation", [2]), ("test", [3, 4])):
        assert list(opened(v2(), split).keys) == [made.V2[i] for i in some]
    with pytest.raises(ValueError, match=r"split must be one of \['train', 'val', .*got 'dev'"):
        opened(v2(), "dev")


def test_snow_and_clouds_are_left_out() -> None:
    names = list(made.PATCHES)
    assert set(opened(v1(), clear=True).keys) == {names[0], names[2], names[4]}
    assert set(opened(v1(), "train", clear=True).keys) == {names[0], names[2]}
    assert list(opened(v2(), clear=True).keys) == [made.V2[i] for i in (0, 2, 4)]


def test_sentinel_1_alone() -> None:
    """By the names of Sentinel-2's patches, with the same labels, places and dates of its own."""
    for root, options in ((v1(), {}), (v2(), {})):
        both = opened(root, modalities=BOTH, **options)
        alone = opened(root, modalities="S1GRD", **options)
        assert set(alone.keys) == set(both.keys)
        for i, key in enumerate(alone.keys):
            mine, theirs = alone[i], both[both.index_of(key)]
            assert_same(mine["S1GRD"], theirs["S1GRD"])
            assert_same(mine["label"], theirs["label"])
            assert mine["lon"] == pytest.approx(theirs["lon"])
            assert mine["time"].item() == theirs["time_S1GRD"].item()
    turned = opened(v1(), "train", modalities=BOTH[::-1])
    assert set(turned.keys) == set(list(made.PATCHES)[:3])


def test_it_is_recognised_and_kept(tmp_path: Path) -> None:
    """What is read once is kept beside the tree; a patch that comes is noticed."""
    root = copied(v1(), tmp_path)
    ds = fastload.open(root, modalities=BOTH, progress=False)
    assert isinstance(ds, BigEarthNet)
    assert_same(pickle.loads(pickle.dumps(ds))[2]["S2L2A"], ds[2]["S2L2A"])
    kept = sorted(root.rglob("fastload.*"))
    assert {path.name.partition("-")[0] for path in kept} >= {"fastload.scenes", "fastload.labels"}
    for path in root.rglob("*_labels_metadata.json"):
        path.rename(path.with_suffix(".away"))
    again = opened(root, modalities=BOTH)
    assert np.array_equal(again.extras["label"], ds.extras["label"])
    new = "S2A_MSIL2A_20170617T113321_5_55"
    shutil.copytree(
        root / "BigEarthNet-v1.0" / list(made.PATCHES)[1], root / "BigEarthNet-v1.0" / new
    )
    with pytest.raises(DataError, match=r"_labels_metadata\.json at byte 0: cannot be read"):
        opened(root)
    (root / "BigEarthNet-v1.0" / "fastload.labels-1").write_bytes(b"no table")
    with pytest.warns(UserWarning, match="holds no sound labels"), pytest.raises(DataError):
        opened(root)


# Broken trees


def copied(root: Path, tmp_path: Path) -> Path:
    """A copy without what was kept."""
    return Path(
        shutil.copytree(root, tmp_path / "tree", ignore=shutil.ignore_patterns("fastload.*"))
    )


def first(root: Path, name: str) -> Path:
    return next(iter(sorted(root.rglob(name))))


def write(name: str, text: str) -> Change:
    return lambda root: first(root, name).write_text(text)


def edit(name: str, **changes: Any) -> Change:
    """Change a JSON file; None removes a field."""

    def change(root: Path) -> None:
        path = first(root, name)
        found = json.loads(path.read_text()) | changes
        path.write_text(json.dumps({n: v for n, v in found.items() if v is not None}))

    return change


def remove(name: str) -> Change:
    def change(root: Path) -> None:
        path = first(root, name)
        shutil.rmtree(path) if path.is_dir() else path.unlink()

    return change


LABELS = "S2A*_87_48_labels_metadata.json"
V1_BROKEN: list[tuple[Change, Any, Any, str]] = [
    (remove("BigEarthNet-v1.0"), {}, FileNotFoundError, r"BigEarthNet-\(v1.0\|S2.*for S2L2A"),
    (remove("BigEarthNet-S1-v1.0"), {"modalities": BOTH}, FileNotFoundError, "for S1GRD, found"),
    (remove("S1A*_87_48"), {"modalities": BOTH}, ValueError, r"lacks the partners: 1 of 5 patches"),
    (remove(LABELS), {}, DataError, r"_labels_metadata.json"),
    (write(LABELS, "{"), {}, DataError, "is no file of labels"),
    (write(LABELS, "[]"), {}, DataError, "expected an object, got list"),
    (edit(LABELS, labels=["Moon"]), {}, DataError, "'Moon' is none of the 43 classes"),
    (edit(LABELS, labels="Pastures"), {}, DataError, "expected 'labels' to be a list"),
    (edit(LABELS, coordinates={"ulx": 1}), {}, DataError, "expected a number 'uly' in"),
    (edit(LABELS, coordinates=None), {}, DataError, "expected 'coordinates' to be a dict"),
    (edit(LABELS, projection="EPSG:nowhere"), {}, DataError, "a projection in .* is unknown"),
    (edit("S1A*_87_48_labels_metadata.json", corresponding_s2_patch=None),
     {"modalities": "S1GRD"}, DataError, "names no patch of Sentinel-2"),
    (edit("S1A*_87_48_labels_metadata.json", corresponding_s2_patch=list(made.PATCHES)[1]),
     {"modalities": "S1GRD"}, DataError, "is the patch of Sentinel-2 of more than one"),
    (remove("bigearthnet-train.csv"), {"split": "train"}, FileNotFoundError,
     r"no list of split 'train', expected bigearthnet-train.csv.*there are bigearthnet-test.csv"),
    (write("bigearthnet-train.csv", ""), {"split": "train"}, DataError, "lists no sample"),
    (write("bigearthnet-train.csv", "S2A_x,S1A_x"), {"split": "train"}, ValueError,
     "1 of 1 names are not there, such as S2A_x"),
    (remove("patches_with_seasonal_snow.csv"), {"clear": True}, FileNotFoundError,
     "clear=True needs patches_with_seasonal_snow.csv"),
    (lambda _: None, {"modalities": "LULC"}, FileNotFoundError, "Reference_Maps for LULC"),
    (lambda _: None, {"modalities": "S2L1C"}, ValueError, "modalities of BigEarthNet are of"),
    (lambda _: None, {"resampling": "cubic"}, ValueError, "resampling must be one of"),
]  # fmt: skip


@pytest.mark.parametrize(("change", "options", "error", "words"), V1_BROKEN)
def test_broken_trees_of_v1(
    tmp_path: Path, change: Change, options: dict[str, Any], error: Any, words: str
) -> None:
    root = copied(v1(), tmp_path)
    change(root)
    with pytest.raises(error, match=words):
        opened(root, **options)


def replaced(**changes: Any) -> Change:
    return lambda root: made.table(root / "metadata.parquet", **changes)


V2_BROKEN: list[tuple[Change, Any, Any, str]] = [
    (remove("metadata.parquet"), {}, FileNotFoundError, "metadata.parquet: there is no such file"),
    (write("metadata.parquet", "PAR1"), {}, DataError, "is no sound parquet file"),
    (replaced(s1_name=None), {}, DataError, "has no column 's1_name', only"),
    (replaced(labels=[["Moon"]] * 5), {}, DataError, "'Moon' is none of the 19 classes"),
    (replaced(labels=[None] * 5), {}, DataError, "column 'labels'"),
    (replaced(patch_id=[made.V2[0]] * 5), {}, DataError, "a patch_id stands there twice"),
    (replaced(split=["x"] * 5), {"split": "test"}, ValueError, "no patch is left of split 'test'"),
    (replaced(contains_seasonal_snow=None), {"clear": True}, ValueError,
     "needs column 'contains_seasonal_snow'"),
    (remove(made.V2[1]), {}, ValueError, f"lacks: 1 of 5 patches, such as {made.V2[1]}"),
    (remove("Reference_Maps"), {"modalities": ["S2L2A", "LULC"]}, FileNotFoundError,
     "Reference_Maps for LULC"),
    (lambda _: None, {"metadata": []}, ValueError, "expected one table at least"),
]  # fmt: skip


@pytest.mark.parametrize(("change", "options", "error", "words"), V2_BROKEN)
def test_broken_trees_of_v2(
    tmp_path: Path, change: Change, options: dict[str, Any], error: Any, words: str
) -> None:
    root = copied(v2(), tmp_path)
    change(root)
    with pytest.raises(error, match=words):
        opened(root, **options)


@pytest.mark.parametrize("version", ["v1", "v2"])
def test_what_is_missing_may_be_dropped(tmp_path: Path, version: str) -> None:
    """Labels stay with their patches."""
    root = copied(globals()[version](), tmp_path)
    gone = list(made.PATCHES)[2] if version == "v1" else made.V2[2]
    partner = made.s1_of_v1(gone) if version == "v1" else made.s1_of_v2(gone)
    remove(partner)(root)
    whole, ds = opened(root), opened(root, modalities=BOTH, missing="drop")
    assert set(whole.keys) - set(ds.keys) == {gone}
    for i, key in enumerate(ds.keys):
        assert_same(ds[i]["label"], whole[whole.index_of(key)]["label"])
        assert np.array_equal(ds.read("S2L2A", i), whole.read("S2L2A", whole.index_of(key)))


def test_files_that_are_none_are_named(tmp_path: Path) -> None:
    root = copied(v1(), tmp_path)
    first(root, "*_4_55_B03.tif").write_bytes(b"")
    first(root, "*_69_24_B8A.tif").unlink()
    path = first(root, "*_57_38_B02.tif")
    path.write_bytes(path.read_bytes()[:300])
    shutil.copy(first(root, "*_57_38_B05.tif"), first(root, "*_56_35_B02.tif"))
    ds = opened(root)
    for place, name in (("4_55", "B03"), ("69_24", "B8A"), ("57_38", "B02"), ("56_35", "B02")):
        [i] = [i for i, key in enumerate(ds.keys) if key.endswith(f"_{place}")]
        with pytest.raises(DataError, match=f"_{place}_{name}.tif"):
            ds.read("S2L2A", i)
    batches = list(DataLoader(ds, 5, on_error="replace"))
    assert {key for batch in batches for key in batch["key"]} == {next(iter(made.PATCHES))}


def test_several_tables_of_v2(tmp_path: Path) -> None:
    root, all_columns = copied(v2(), tmp_path), made.columns()
    for file, rows in (("metadata.parquet", [0, 2, 4]), ("hazy.parquet", [1, 3])):
        some = {name: [values[i] for i in rows] for name, values in all_columns.items()}
        made.table(root / file, **some)
    assert list(opened(root).keys) == [made.V2[i] for i in (0, 2, 4)]
    both = opened(root, metadata=["metadata.parquet", "hazy.parquet"])
    assert list(both.keys) == [made.V2[i] for i in (0, 2, 4, 1, 3)]
    assert both[4]["label"].tolist() == hot(made.LABELS_V2[3], CLASSES_19)


# Peers and real pixels


def test_torchgeo_reads_the_same_of_v1() -> None:
    """Its reader of version 1, which makes whole numbers of dB, too."""
    datasets = pytest.importorskip("torchgeo.datasets")
    for classes in (19, 43):
        theirs = datasets.BigEarthNet(str(v1()), "train", "all", classes)
        theirs.image_size = (SIZE, SIZE)
        ours = opened(v1(), "train", modalities=BOTH)
        assert len(theirs) == len(ours)
        for i, pair in enumerate(theirs.folders):
            item, row = theirs[i], ours.index_of(Path(pair["s2"]).name)
            same_as_torchgeo(item["image"], ours, row, ["VH", "VV"])
            mine = ours[row]["label" if classes == 19 else "label_43"]
            assert mine.tolist() == item["label"].tolist()


def test_torchgeo_reads_the_same_of_v2() -> None:
    datasets = pytest.importorskip("torchgeo.datasets")
    for split in ("train", "val", "test"):
        theirs = datasets.BigEarthNetV2(str(v2()), split, "all")
        theirs.image_size = (SIZE, SIZE)
        ours = opened(v2(), split, modalities=BOTH)
        assert len(theirs) == len(ours)
        for i in range(len(ours)):
            item = theirs[i]
            image = torch.cat([item["image_s1"], item["image_s2"]])
            same_as_torchgeo(image, ours, i, ["VH", "VV"])
            assert ours[i]["label"].tolist() == item["label"].tolist()


def same_as_torchgeo(image: torch.Tensor, ours: BigEarthNet, row: int, s1: list[str]) -> None:
    """Two bands of Sentinel-1 by name, cut to whole numbers, then twelve of Sentinel-2."""
    radar = ours.read("S1GRD", row)[0][[FILES["S1GRD"].index(name) for name in s1]]
    mine = np.concatenate([radar, ours.read("S2L2A", row)[0].astype(np.float64)])
    assert np.abs(image.numpy() - mine).max() <= 1


@pytest.mark.skipif(not REAL.is_dir(), reason=f"needs real samples in {REAL}")
def test_real_patches() -> None:
    ds = opened(REAL, modalities=BOTH)
    assert len(ds) == 6
    assert ds.modalities["S2L2A"].shape == (1, 12, 120, 120)
    for i, patch in enumerate(ds.keys):
        place = REAL / "BigEarthNet-S2-Example" / patch
        labels = json.loads((place / f"{patch}_labels_metadata.json").read_text())["labels"]
        assert ds[i]["label_43"].tolist() == hot(labels, CLASSES_43)
        pixels = ds.read("S2L2A", i)[0].astype(int)
        for c, name in enumerate(FILES["S2L2A"]):
            expected = by_rasterio(place / f"{patch}_{name}.tif", 120).astype(int)
            assert np.abs(pixels[c] - expected).max() <= (
                0 if len(expected) == 120 and c in (1, 2, 3, 7) else 1
            )
        partner = next(
            path.parent
            for path in (REAL / "BigEarthNet-S1-Example").rglob("*.json")
            if json.loads(path.read_text())["corresponding_s2_patch"] == patch
        )
        for c, name in enumerate(FILES["S1GRD"]):
            expected = by_rasterio(partner / f"{partner.name}_{name}.tif", 120)
            assert np.array_equal(ds.read("S1GRD", i)[0, c], expected)
    assert -20 < ds.lon.min() < ds.lon.max() < 40
