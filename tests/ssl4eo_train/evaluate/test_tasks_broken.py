"""What is wrong with a user's copy is refused by a sentence: the file, what was expected, what lies
there instead."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np
import pytest

import fastload
from benchmarks.archives.trees import noise, tif
from ssl4eo_train.evaluate.tasks import task
from tests.fastload.trees import bigearthnet as patches
from tests.fastload.trees import eurosat as chips
from tests.ssl4eo_train.evaluate import trees

pytestmark = pytest.mark.timeout(120)


class Broken(NamedTuple):
    """A tree that something is done to, and the sentence.

    Attributes:
        task: its name.
        make: the tree.
        damage: what is done to it.
        sentence: a regular expression.
        options: of the task.
    """

    task: str
    make: Callable[[Path], Any]
    damage: Callable[[Path], Any]
    sentence: str
    options: dict[str, Any] = {}  # noqa: RUF012  # of a tuple


def cut_short(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def replaced(path: Path, old: str, new: str) -> None:
    path.write_text(path.read_text().replace(old, new))


def without(path: Path, array: str) -> None:
    with h5py.File(path, "a") as file:
        del file[array]


def label_of_two(path: Path) -> None:
    with h5py.File(path, "a") as file:
        file["label"][2, :2] = 1


def lists(root: Path, **of: list[str]) -> Path:
    for split, some in of.items():
        (root / f"eurosat-{split}.txt").write_text("".join(f"{k}.jpg\n" for k in some))
    return root


def eurosat(root: Path) -> Path:
    return lists(chips.rgb(root), train=chips.KEYS[:9], test=chips.KEYS[9:])


def seco(root: Path) -> Path:
    patches.v1(root, s1=False)
    for split, name in zip(("train", "val", "test"), patches.PATCHES, strict=False):
        (root / f"{split}.txt").write_text(f"{name}\n")
    return root


FOLDERS = {"classes": ["wood", "lake", "moor"], "first": 1, "ignored": 9}
ONERA = trees.ONERA
BROKEN = {
    "eurosat without a list": Broken(
        "eurosat_rgb", chips.rgb, lambda root: None,
        "no list of split 'train', expected eurosat-train.txt or train_test_split.json",
    ),
    "eurosat with an empty list": Broken(
        "eurosat_rgb", eurosat, lambda root: (root / "eurosat-test.txt").write_text(""),
        "eurosat-test.txt: lists no sample",
    ),
    "eurosat with a list of what is not there": Broken(
        "eurosat_rgb", eurosat, lambda root: (root / "2750/Forest/Forest_1.jpg").unlink(),
        "eurosat-train.txt|eurosat-test.txt: 1 of . names are not there, such as Forest_1",
    ),
    "eurosat with a list that is no JSON": Broken(
        "eurosat_rgb", chips.rgb, lambda root: (root / "train_test_split.json").write_text("{"),
        "train_test_split.json: is no JSON",
    ),
    "eurosat of the other kind": Broken(
        "eurosat", eurosat, lambda root: None, r"files \*.tif.*found .*2750 \(\*.jpg\)"
    ),
    "bigearthnet in an empty folder": Broken(
        "bigearthnet", lambda root: root, lambda root: (root / "BigEarth").mkdir(),
        r"expected a folder BigEarthNet-\(v1.0.*for S2L2A, found BigEarth$",
    ),
    "bigearthnet without SeCo's lists": Broken(
        "bigearthnet", patches.v1, lambda root: None,
        "no list of split 'train', expected bigearthnet-train.txt", {"split": "seco"},
    ),
    "bigearthnet without the list of snow": Broken(
        "bigearthnet", seco, lambda root: (root / "patches_with_seasonal_snow.csv").unlink(),
        "needs patches_with_seasonal_snow.csv there", {"split": "seco"},
    ),
    "bigearthnet with a label of its own": Broken(
        "bigearthnet", seco, lambda root: relabelled(root, "Moon base"), "'Moon base' is none of",
        {"split": "seco"},
    ),
    "so2sat without a file": Broken(
        "so2sat", trees.so2sat_tree, lambda root: (root / "testing.h5").unlink(),
        "testing.h5: there is no such file, but training.h5, validation.h5",
    ),
    "so2sat of another folder": Broken(
        "so2sat", trees.so2sat_tree, lambda root: (root / "block").mkdir(),
        "block/training.h5: there is no such file, but no file", {"folder": "block"},
    ),
    "so2sat without an array": Broken(
        "so2sat", trees.so2sat_tree, lambda root: without(root / "training.h5", "sen2"),
        "training.h5, member sen2: is not there, only label, sen1",
    ),
    "so2sat with other bands": Broken(
        "so2sat", trees.so2sat_tree, lambda root: rewritten(root / "training.h5"),
        r"training.h5, member sen2: is \[12, 32, 32, 3\], expected \[12, height, width, 10\]",
    ),
    "so2sat with two classes a chip": Broken(
        "so2sat", trees.so2sat_tree, lambda root: label_of_two(root / "validation.h5"),
        r"validation.h5, member label\[2\]: is .* expected 1 for one class",
    ),
    "so2sat cut short": Broken(
        "so2sat", trees.so2sat_tree, lambda root: cut_short(root / "training.h5"),
        "training.h5: is no sound HDF5 file",
    ),
    "aid with an empty class": Broken(
        "aid", trees.aid_tree, lambda root: (root / "AID/Bridge").mkdir(),
        r"AID/Bridge: there is no \*.jpg of this class",
    ),
    "aid without classes": Broken(
        "aid", lambda root: root, lambda root: (root / "2750").mkdir(),
        r"expected folders of classes such as Airport with \*.jpg.*found 2750",
    ),
    "aid without a list": Broken(
        "aid", trees.aid_tree, lambda root: None,
        "train_labels_28_9.txt: there is no such list", {"split_file": "{split}_labels_28_9.txt"},
    ),
    "aid with a file in both lists": Broken(
        "aid", trees.aid_tree, lambda root: [
            (root / f"{name}.txt").write_text("beach_1.jpg Beach 2\nbeach_2.jpg Beach 2\n")
            for name in ("train", "valid")
        ],
        "beach_1 is in train.txt and in valid.txt", {"split_file": "{split}.txt"},
    ),
    "aid with a name twice": Broken(
        "aid", trees.aid_tree,
        lambda root: trees.picture(root / "AID/Beach/airport_1.jpg", trees.rgb("a")),
        "Beach/airport_1.jpg: has the name of Airport/airport_1.jpg",
    ),
    "csv without the file": Broken(
        "csv", trees.csv_tree, lambda root: (root / "labels.csv").rename(root / "other.csv"),
        "labels.csv: there is no such file, but .*other.csv",
    ),
    "csv without the column": Broken(
        "csv", trees.csv_tree, lambda root: replaced(root / "labels.csv", "label", "class"),
        r"no column 'label' \(label=...\), only key, class, split",
    ),
    "csv with a key twice": Broken(
        "csv", trees.csv_tree, lambda root: replaced(root / "labels.csv", "a2", "a1"),
        "labels.csv, member line 3: key 'a1' is there more than once",
    ),
    "csv with an unknown class": Broken(
        "csv", trees.csv_tree, lambda root: None,
        "labels.csv, member c1: has the label 'moor', expected one of wood, lake",
        {"classes": ["wood", "lake"]},
    ),
    "csv with an unknown split": Broken(
        "csv", trees.csv_tree, lambda root: replaced(root / "labels.csv", "val", "dev"),
        "line 5: says split 'dev', expected one of train, val",
    ),
    "csv without a test split": Broken(
        "csv", trees.csv_tree, lambda root: replaced(root / "labels.csv", "test", "train"),
        "column 'split' has no test, only train, val",
    ),
    "csv of an image that is not there": Broken(
        "csv", trees.csv_tree, lambda root: (root / "b1.tif").unlink(),
        "labels.csv: names b1, of which there is no image",
    ),
    "csv with a short line": Broken(
        "csv", trees.csv_tree, lambda root: replaced(root / "labels.csv", "lake,val", "lake"),
        "line 5: has 2 cells, expected 3",
    ),
    "csv with other bands": Broken(
        "csv", trees.csv_tree, lambda root: tif(root / "b1.tif", noise("b1", (3, 16, 16))),
        "b1.tif.*3 bands|b1.tif.*bands",
    ),
    "oscd without a band": Broken(
        "oscd", trees.oscd_tree,
        lambda root: (root / f"{ONERA}Images/rio/imgs_2_rect/B10.tif").unlink(),
        "rio/imgs_2_rect/B10.tif: there is no such file, but B01.tif",
    ),
    "oscd without labels of testing": Broken(
        "oscd", trees.oscd_tree, lambda root: shutil.rmtree(root / f"{ONERA}Test Labels"),
        "Test Labels/brasilia/cm/cm.png: there is no such file, but nothing; in .* there is Onera",
    ),
    "oscd with a mask of another size": Broken(
        "oscd", trees.oscd_tree,
        lambda root: trees.picture(
            root / f"{ONERA}Test Labels/rio/cm/cm.png", trees.classes("rio", (0, 255), 8)
        ),
        "rio/cm/cm.png.*is an image of 8 x 8, expected 20 x 20 as its scene has",
        {"window": 20},
    ),
    "dfc2020 without a sensor": Broken(
        "dfc2020", trees.dfc_tree,
        lambda root: shutil.rmtree(root / "ROIs0000_validation/s2_validation"),
        r"expected \*.tif in ROIs0000_validation/s2_validation or s2_validation, found .*lc_valid",
    ),
    "dfc2020 without a chip": Broken(
        "dfc2020", trees.dfc_tree,
        lambda root: (root / "ROIs0000_test/s1_0/ROIs0000_test_s1_0_p2.tif").unlink(),
        "ROIs0000_test_s1_0_p2.tif: there is no such file, but ROIs0000_test_s1_0_p0.tif",
    ),
    "dfc2020 with an unknown class": Broken(
        "dfc2020", trees.dfc_tree,
        lambda root: tif(
            root / "ROIs0000_test/dfc_0/ROIs0000_test_dfc_0_p2.tif", np.full((16, 16), 99, np.uint8)
        ),
        "dfc_0_p2.tif.*holds the number 99 at row 0, column 0, expected one of 0, 1",
    ),
    "levir without a mask": Broken(
        "levir_cd", lambda root: trees.pair_tree(root, "folders"),
        lambda root: (root / "val/label/val_2.png").unlink(),
        "val/label/val_2.png: there is no such file, but val_1.png",
    ),
    "levir without masks": Broken(
        "levir_cd", lambda root: trees.pair_tree(root, "folders"),
        lambda root: shutil.rmtree(root / "test/label"),
        "test: expected masks in label or OUT, found A/, B/",
    ),
    "levir without a split": Broken(
        "levir_cd", lambda root: trees.pair_tree(root, "folders"),
        lambda root: shutil.rmtree(root / "test"),
        "expected train/A, test/A and so on, or A, B and label, found train/, val/",
    ),
    "levir without a list": Broken(
        "levir_cd", lambda root: trees.pair_tree(root, "list"),
        lambda root: (root / "list/val.txt").unlink(),
        "list/val.txt: there is no such file, but test.txt, train.txt",
    ),
    "levir with a name twice in a list": Broken(
        "levir_cd", lambda root: trees.pair_tree(root, "list"),
        lambda root: replaced(root / "list/train.txt", "_2", "_1"),
        "list/train.txt: names train_1.png more than once",
    ),
    "levir with dates of other sizes": Broken(
        "levir_cd", lambda root: trees.pair_tree(root, "folders"),
        lambda root: trees.picture(root / "train/B/train_3.png", trees.rgb("x", 8)),
        "train_3.png.*is an image of 8 x 8, expected 16 x 16", {"window": 16},
    ),
    "levir with grey numbers": Broken(
        "levir_cd", lambda root: trees.pair_tree(root, "folders", values=(0, 128)),
        lambda root: None, "holds the number 128 at row .*expected one of 0, 1, 255",
    ),
    "whu without the label": Broken(
        "whu_cd", trees.whu_tree,
        lambda root: shutil.rmtree(root / "1. The two-period image data/change label"),
        "change label/change_label.tif: there is no such file, but nothing; in .*there is after/",
    ),
    "loveda cut short": Broken(
        "loveda", trees.loveda_tree,
        lambda root: cut_short(root / "Train/Rural/images_png/3.png"),
        "Train/Rural/images_png/3.png.*is no sound image",
    ),
    "loveda without an area": Broken(
        "loveda", trees.loveda_tree, lambda root: shutil.rmtree(root / "Val/Urban"),
        r"Val/Urban/images_png: expected \*.png, found nothing; in .*Val there is Rural/",
    ),
    "potsdam with a colour of its own": Broken(
        "potsdam", trees.potsdam_tree,
        lambda root: tif(
            root / "5_Labels_all/top_potsdam_2_10_label.tif", np.full((3, 16, 16), 7, np.uint8)
        ),
        r"2_10_label.tif.*holds the colour \(7, 7, 7\) at row 0, column 0, expected one of \(255",
    ),
    "potsdam without boundaries": Broken(
        "potsdam", trees.potsdam_tree, lambda root: None,
        "5_Labels_all_noBoundary/top_potsdam_2_10_label_noBoundary.tif: there is no such file, but "
        "nothing; in .* there is 2_Ortho_RGB/, 5_Labels_all/", {"boundary": False},
    ),
    "potsdam with images of two bands": Broken(
        "potsdam", trees.potsdam_tree,
        lambda root: tif(
            root / "2_Ortho_RGB/top_potsdam_2_10_RGB.tif", noise("x", (2, 16, 16), np.uint8)
        ),
        "2_10_RGB.tif.*has bands: 2, expected 3",
    ),
    "vaihingen without a tile": Broken(
        "vaihingen", trees.vaihingen_tree,
        lambda root: (root / "top/top_mosaic_09cm_area38.tif").unlink(),
        "top/top_mosaic_09cm_area38.tif: there is no such file, but top_mosaic_09cm_area1.tif",
    ),
    "folders without a mask": Broken(
        "folders", trees.folders_tree, lambda root: (root / "masks/val1.png").unlink(),
        "images/val1.jpg: there is no mask of this name in .*masks, which has test0.png", FOLDERS,
    ),
    "folders with an image in two lists": Broken(
        "folders", trees.folders_tree, lambda root: replaced(root / "test.txt", "test1", "val1"),
        "test.txt: names val1, as val.txt does", FOLDERS,
    ),
    "folders without a list": Broken(
        "folders", trees.folders_tree, lambda root: (root / "test.txt").unlink(),
        "test.txt: there is no such file, but images/, masks/, train.txt", FOLDERS,
    ),
    "folders with an unknown number": Broken(
        "folders", trees.folders_tree, lambda root: None,
        "holds the number . at row .*expected one of", FOLDERS | {"ignored": -1},
    ),
}  # fmt: skip


def relabelled(root: Path, name: str) -> None:
    path = next(root.glob("BigEarthNet-v1.0/*/*.json"))
    content = json.loads(path.read_text())
    path.write_text(json.dumps(content | {"labels": [name]}))


def rewritten(path: Path) -> None:
    with h5py.File(path, "a") as file:
        pixels = file["sen2"][:]
        del file["sen2"]
        file["sen2"] = pixels[..., :3]


def read_all(name: str, root: Path, options: dict[str, Any]) -> None:
    """Open a task and read all pixels of all splits."""
    made = task(name, options)
    splits = made.splits(root, made.offers(root), 0)
    for split in (splits.train, splits.val, splits.test):
        for modality in split.modalities:
            for i in range(len(split)):
                split.read(modality, i)


@pytest.mark.parametrize("what", BROKEN)
def test_a_broken_tree_is_refused_by_a_sentence(tmp_path: Path, what: str) -> None:
    broken = BROKEN[what]
    broken.make(tmp_path)
    broken.damage(tmp_path)
    with pytest.raises((FileNotFoundError, fastload.DataError, ValueError)) as caught:
        read_all(broken.task, tmp_path, broken.options)
    assert re.search(broken.sentence, str(caught.value)), str(caught.value)
    assert str(tmp_path) in str(caught.value)


def test_unknown_colours_can_be_ignored(tmp_path: Path) -> None:
    root = trees.potsdam_tree(tmp_path)
    path = root / "5_Labels_all/top_potsdam_2_10_label.tif"
    tif(path, np.full((3, 16, 16), 7, np.uint8))
    read_all("potsdam", root, {"unknown": "ignore", "window": 16})


def test_nothing_is_written_into_a_tree_of_pictures(tmp_path: Path) -> None:
    root = trees.pair_tree(tmp_path, "folders")
    before = sorted(tmp_path.rglob("*"))
    read_all("levir_cd", root, {"window": 8})
    assert sorted(tmp_path.rglob("*")) == before
