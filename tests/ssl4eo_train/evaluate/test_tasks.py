"""Tasks of classes: pixels, labels, bands by name and splits, in fabricated and real trees."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from numpy.typing import NDArray
from PIL import Image
from sklearn.model_selection import train_test_split

import fastload
from benchmarks.archives.trees import noise
from fastload.bands import PUBLISHED
from fastload.datasets.eurosat import CLASSES
from fastload.datasets.labels.corine import CLASSES_19, CLASSES_43
from ssl4eo_train.errors import SetupError
from ssl4eo_train.evaluate.published_settings import FOLDER, task_options
from ssl4eo_train.evaluate.task import Splits, Task
from ssl4eo_train.evaluate.tasks import TASKS, task
from tests.fastload.trees import bigearthnet as patches
from tests.fastload.trees import eurosat as chips
from tests.shared_data import shared_data
from tests.ssl4eo_train.evaluate import trees

pytestmark = pytest.mark.timeout(120)
REAL = shared_data("eurosat_rgb")


def opened(name: str, root: Path, shown: Any = None, **options: Any) -> tuple[Task, Splits]:
    """A task and its splits, of some bands or of all that it offers."""
    made = task(name, options)
    offered = made.offers(root)
    return made, made.splits(root, offered if shown is None else shown, 0)


def keys(splits: Splits) -> dict[str, set[str]]:
    found = {n: set(map(str, getattr(splits, n).keys)) for n in ("train", "val", "test")}
    assert not found["train"] & found["test"]
    assert not found["val"] & found["test"]
    return found


def pixels(dataset: fastload.Dataset, key: str, modality: str) -> NDArray[Any]:
    return dataset.read(modality, dataset.index_of(key))


def label(dataset: fastload.Dataset, key: str) -> Any:
    return np.asarray(dataset[dataset.index_of(key)]["label"]).tolist()


@pytest.mark.parametrize("name", TASKS)
def test_options_are_checked(name: str) -> None:
    with pytest.raises(SetupError, match="--task-options: there is no 'nonsense'"):
        task(name, {"nonsense": 1})


@pytest.mark.parametrize(
    ("name", "options", "reason"),
    [
        ("eurosat", {"split": "mine"}, "split is mine, expected one of listed"),
        ("eurosat", {"val_share": 1.0}, "val_share is 1.0"),
        ("bigearthnet", {"classes": 20}, "classes is 20, expected 19 or 43"),
        ("so2sat", {"folder": "v3"}, "folder is v3, expected one of random, block"),
        ("aid", {"train_share": "much"}, "--task-options train_share: expected float"),
        ("oscd", {"border": "none"}, "border is none, expected one of refuse"),
        ("oscd", {"images": "native", "border": "drop"}, "border is drop, expected pad"),
        ("folders", {}, r"classes=\[NAME"),
        ("potsdam", {"images": "RGBN"}, "images is RGBN"),
    ],
)
def test_values_of_options_are_checked(name: str, options: Any, reason: str) -> None:
    with pytest.raises(SetupError, match=reason):
        task(name, options)


def lists(root: Path, pattern: str, **of: list[str]) -> Path:
    for split, some in of.items():
        (root / pattern.format(split=split)).write_text("".join(f"{k}.jpg\n" for k in some))
    return root


@pytest.mark.parametrize(
    ("split", "pattern", "tested"),
    [
        ("listed", "eurosat-{split}.txt", "test"),
        ("google", "eurosat-{split}.txt", "test"),
        ("spatial", "eurosat-spatial-{split}.txt", "test"),
        ("seco", "{split}.txt", "val"),
    ],
)
def test_eurosat_takes_the_named_lists(
    tmp_path: Path, split: str, pattern: str, tested: str
) -> None:
    names = chips.KEYS
    root = lists(chips.rgb(tmp_path), pattern, train=names[:9], val=names[9:12], test=names[12:])
    made, found = opened("eurosat_rgb", root, split=split)
    by = keys(found)
    assert by["test"] == set(names[12:] if tested == "test" else names[9:12])
    if tested == "test":
        assert (by["train"], by["val"]) == (set(names[:9]), set(names[9:12]))
    else:
        assert by["train"] | by["val"] == set(names[:9])
    assert made.classes == CLASSES
    key = names[0]
    assert label(found.train if key in by["train"] else found.val, key) == 0


def test_eurosat_shows_b8a_in_its_place(tmp_path: Path) -> None:
    """On disk it is last."""
    names = chips.KEYS
    root = lists(chips.ms(tmp_path), "eurosat-{split}.txt", train=names[:9], test=names[9:])
    _, found = opened("eurosat", root, {"S2L1C": ("B8A", "B04")})
    assert np.array_equal(pixels(found.test, names[9], "S2L1C")[0], chips.multi(names[9])[[12, 3]])
    assert found.test.statistics.dn_scale == 10000


@pytest.mark.slow
@pytest.mark.skipif(not REAL.is_dir(), reason="no shared/data/eurosat_rgb")
def test_the_published_division_of_eurosat_is_scikit_learns() -> None:
    """Over files in the order of their names, which is how SSL4EO-S12 lists them."""
    _, found = opened("eurosat_rgb", REAL, split="stratified", val_trains=True)
    names = sorted(chips_of(found), key=lambda key: (CLASSES.index(key.rpartition("_")[0]), key))
    labels = [CLASSES.index(key.rpartition("_")[0]) for key in names]
    train, test = train_test_split(range(27000), train_size=0.8, stratify=labels, random_state=42)
    assert {names[i] for i in test} == keys(found)["test"]
    assert {names[i] for i in train} == keys(found)["train"]
    assert keys(found)["val"] < keys(found)["train"]


def chips_of(found: Splits) -> set[str]:
    return set(found.train.keys) | set(found.test.keys)


@pytest.mark.slow
@pytest.mark.skipif(not REAL.is_dir(), reason="no shared/data/eurosat_rgb")
def test_the_split_of_presto_has_a_tenth_held_out() -> None:
    _, found = opened("eurosat_rgb", REAL, split="presto")
    assert [len(getattr(found, n)) for n in ("train", "val", "test")] == [19440, 2160, 5400]
    keys(found)


@pytest.mark.parametrize("version", [1, 2])
def test_bigearthnet_has_its_official_split(tmp_path: Path, version: int) -> None:
    root = patches.v1(tmp_path) if version == 1 else patches.v2(tmp_path)
    made, found = opened("bigearthnet", root)
    every = list(patches.PATCHES) if version == 1 else list(patches.V2)
    by = keys(found)
    assert by["train"] | by["val"] | by["test"] <= set(every)
    if version == 1:
        assert (by["train"], by["val"]) == (set(every[:3]), {every[3]})
    assert (made.kind, made.metric, made.classes) == ("labels", "map_micro", CLASSES_19)
    assert len(label(found.train, min(by["train"]))) == 19
    assert found.train.modalities["S1GRD"].band_names == ("VV", "VH")
    assert found.train.modalities["S2L2A"].band_names == PUBLISHED["S2L2A"]


def test_bigearthnet_has_the_split_and_labels_of_seco(tmp_path: Path) -> None:
    """The lists of google, less snow (the fourth patch) and clouds (the second)."""
    root, every = patches.v1(tmp_path), list(patches.PATCHES)
    for split, some in (("train", every[:2]), ("val", every[2:4]), ("test", every[4:])):
        (root / f"{split}.txt").write_text("".join(f"{name}\n" for name in some))
    made, found = opened("bigearthnet", root, {"S2L2A": ("B04",)}, split="seco", classes=43)
    assert keys(found) == {"train": {every[0]}, "val": {every[2]}, "test": set(every[4:])}
    assert made.classes == CLASSES_43
    assert found.train.extras[made.label].shape == (1, 1, 43)
    assert "less the lists of snow" in found.told


def test_version_2_of_bigearthnet_has_no_43_classes(tmp_path: Path) -> None:
    root = patches.v2(tmp_path)
    for options in ({"classes": 43}, {"split": "seco"}):
        with pytest.raises(ValueError, match="version 2 of BigEarthNet"):
            opened("bigearthnet", root, **options)


def test_so2sat_is_read_by_name(tmp_path: Path) -> None:
    root = trees.so2sat_tree(tmp_path)
    bands = {"S2L1C": ("B12", "B02"), "S1linear": ("VV_lee",)}
    made, found = opened("so2sat", root, bands)
    assert [len(getattr(found, n)) for n in ("train", "val", "test")] == [12, 5, 4]
    keys(found)
    for file, dataset in (("training", found.train), ("testing", found.test)):
        count, key = len(dataset), f"{file}_000003"
        s2 = trees.so2sat_pixels(file, "sen2", count, 10)[3].astype(np.float32)
        s1 = trees.so2sat_pixels(file, "sen1", count, 8)[3].astype(np.float32)
        assert np.array_equal(pixels(dataset, key, "S2L1C")[0], s2.transpose(2, 0, 1)[[9, 0]])
        assert np.array_equal(pixels(dataset, key, "S1linear")[0, 0], s1[:, :, 5])
        assert label(dataset, key) == trees.so2sat_labels(file, count)[3]
    assert len(made.classes) == 17
    assert found.train.statistics.dn_scale == 1.0


def test_version_3_of_so2sat_lies_in_folders(tmp_path: Path) -> None:
    trees.so2sat_tree(tmp_path / "block", ("training", "testing"))
    _, found = opened("so2sat", tmp_path, folder="block", val_share=0.25)
    assert [len(getattr(found, n)) for n in ("train", "val", "test")] == [9, 3, 4]
    assert keys(found) == keys(opened("so2sat", tmp_path, folder="block", val_share=0.25)[1])


def test_aid_is_divided_by_class(tmp_path: Path) -> None:
    root = trees.aid_tree(tmp_path)
    made, found = opened("aid", root, train_share=0.4, val_share=0.25)
    by = keys(found)
    assert made.classes == tuple(trees.AID)
    rest = by["train"] | by["val"]
    counts = [sum(key.startswith(name.lower()) for key in rest) for name in trees.AID]
    assert counts == [2, 2, 4]
    assert by == keys(opened("aid", root, train_share=0.4, val_share=0.25)[1])
    assert by["test"] != keys(opened("aid", root, train_share=0.4, split_seed=1)[1])["test"]
    key = min(by["test"])
    image = next((root / "AID").rglob(f"{key}.jpg"))
    assert np.array_equal(
        pixels(found.test, key, "RGB")[0], np.asarray(Image.open(image)).transpose(2, 0, 1)
    )
    assert made.classes[label(found.test, key)] == image.parent.name


def test_aid_takes_the_lists_of_rsp(tmp_path: Path) -> None:
    root = trees.aid_tree(tmp_path, "")
    (root / "train_labels_28_1.txt").write_text(
        "airport_1.jpg Airport 0\nbeach_2.jpg Beach 2\nbeach_3.jpg Beach 2\n"
    )
    (root / "valid_labels_28_1.txt").write_text("bareland_5.jpg BareLand 1\n")
    _, found = opened("aid", root, split_file="{split}_labels_28_1.txt")
    by = keys(found)
    assert by["train"] | by["val"] == {"airport_1", "beach_2", "beach_3"}
    assert by["test"] == {"bareland_5"}
    assert label(found.test, "bareland_5") == 1


def test_a_csv_labels_geotiffs(tmp_path: Path) -> None:
    root = trees.csv_tree(tmp_path)
    options = {"modality": "S2L2A", "bands": ["B02", "B03", "B04", "B08"], "dn_offset": 1000.0}
    made, found = opened("csv", root, {"S2L2A": ("B08", "B02")}, **options)
    assert keys(found) == {"train": {"a1", "a2", "a3"}, "val": {"b1"}, "test": {"c1", "c2"}}
    assert made.classes == ("lake", "moor", "wood")
    assert (label(found.test, "c1"), label(found.test, "c2")) == (1, 2)
    assert np.array_equal(pixels(found.val, "b1", "S2L2A")[0], noise("b1", (4, 16, 16))[[3, 0]])
    assert found.test.statistics.dn_offset == 1000.0


def test_a_csv_has_several_labels_and_names_of_files(tmp_path: Path) -> None:
    rows = [("x/a1.tif", "2;10", "train"), ("a2.tif", "", "train"), ("b1.tif", "2", "valid"),
            ("c1.tif", "3;2", "test")]  # fmt: skip
    root = trees.csv_tree(tmp_path, rows, "file,codes,part")
    options = {"key": "file", "label": "codes", "split": "part", "separator": ";"}
    made, found = opened("csv", root, **options)
    assert (made.kind, made.metric, made.classes) == ("labels", "map_micro", ("2", "3", "10"))
    assert label(found.train, "a1") == [1, 0, 1]
    assert label(found.train, "a2") == [0, 0, 0]
    assert label(found.test, "c1") == [1, 1, 0]


def test_a_csv_without_validation_holds_some_out(tmp_path: Path) -> None:
    rows = [(key, name, "train" if part == "val" else part) for key, name, part in trees.ROWS]
    _, found = opened("csv", trees.csv_tree(tmp_path, rows), val_share=0.25)
    assert [len(getattr(found, n)) for n in ("train", "val", "test")] == [3, 1, 2]
    keys(found)


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.yaml")), ids=lambda path: path.stem)
def test_published_options_are_options_of_their_task(path: Path) -> None:
    for method in yaml.safe_load(path.read_text())["runs"]:
        options = task_options(path.stem, method)
        made = vars(task(path.stem, options).options)
        assert {name: made[name] for name in options} == options


def test_published_options_go_by_the_method() -> None:
    assert task_options("eurosat", "dino") == {"split": "stratified", "val_trains": True}
    assert task_options("oscd", "seco")["images"] == "native"
    assert task_options("oscd", "moco_v2")["border"] == "drop"
    assert task_options("aid", "seco") == {}
