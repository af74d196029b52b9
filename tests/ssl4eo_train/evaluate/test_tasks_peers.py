"""Tasks see what torchgeo's readers see, pixels and labels, in trees that both read."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fastload
from fastload.bands import PUBLISHED
from fastload.statistics_numbers import SO2SAT_BANDS
from ssl4eo_train.evaluate.task import MASK
from ssl4eo_train.evaluate.tasks import oscd, potsdam, vaihingen
from ssl4eo_train.evaluate.trees.isprs import COLOURS
from ssl4eo_train.evaluate.trees.scenes import IGNORED
from tests.ssl4eo_train.evaluate import trees
from tests.ssl4eo_train.evaluate.test_tasks import opened

pytestmark = [pytest.mark.timeout(300), pytest.mark.slow]


@pytest.fixture(scope="module")
def torchgeo() -> Any:
    return pytest.importorskip("torchgeo.datasets", reason="torchgeo is not installed")


def same(ours: fastload.Dataset, key: str, image: Any, truth: Any, modality: str = "RGB") -> None:
    """Ours of one scene, and theirs ``[C, H, W]`` or ``[T, C, H, W]``, and ``[H, W]``."""
    i, pixels = ours.index_of(key), np.asarray(image)
    found = ours.read(modality, i)
    assert np.array_equal(found, pixels.reshape(found.shape))
    mask = ours.read(MASK, i)[0, 0]
    assert np.array_equal(mask, np.asarray(truth).reshape(mask.shape))


def test_oscd(tmp_path: Path, torchgeo: Any) -> None:
    root = trees.oscd_tree(tmp_path)
    for city in (*oscd.TRAIN, *oscd.TEST):
        (root / f"{trees.ONERA}Images/{city}/dates.txt").write_text("a 20150101\nb 20180101\n")
    _, found = opened("oscd", root, window=0)
    theirs = torchgeo.OSCD(str(root), "test")
    assert len(theirs) == len(found.test) == 10
    for number, files in enumerate(theirs.files):
        sample = theirs[number]
        same(found.test, files["region"], sample["image"], sample["mask"], "S2L1C")


def test_levir_cd(tmp_path: Path, torchgeo: Any) -> None:
    root = trees.pair_tree(tmp_path, "flat")
    _, found = opened("levir_cd", root, window=0)
    for split in ("train", "val", "test"):
        theirs = torchgeo.LEVIRCD(str(root), split)
        assert len(theirs) == len(getattr(found, split))
        for number, files in enumerate(theirs.files):
            sample = theirs[number]
            key = Path(files["mask"]).stem
            same(getattr(found, split), key, sample["image"], sample["mask"])


def test_loveda(tmp_path: Path, torchgeo: Any) -> None:
    root = trees.loveda_tree(tmp_path)
    _, found = opened("loveda", root, window=0)
    theirs = torchgeo.LoveDA(str(root), "val")
    assert len(theirs) == len(found.test)
    for number, files in enumerate(theirs.files):
        sample, path = theirs[number], Path(files["image"])
        truth = np.where(sample["mask"] == 0, IGNORED, sample["mask"] - 1)
        same(found.test, f"Val_{path.parts[-3]}_{path.stem}", sample["image"], truth)


@pytest.mark.parametrize("name", ["potsdam", "vaihingen"])
def test_isprs(tmp_path: Path, torchgeo: Any, name: str) -> None:
    """Their clutter is 0, ours last; the other classes have one order."""
    if name == "potsdam":
        root = trees.potsdam_tree(tmp_path, "RGBIR", "")
        kind, tiles = torchgeo.Potsdam2D, potsdam.Potsdam
        before, after = "top_potsdam_", "_RGBIR"
    else:
        root = trees.vaihingen_tree(tmp_path, "", "")
        kind, tiles = torchgeo.Vaihingen2D, vaihingen.Vaihingen
        before, after = "top_mosaic_09cm_area", ""
    _, found = opened(name, root, window=0, clutter=True, val_trains=True)
    for split, names in (("train", tiles.train), ("test", tiles.test)):
        theirs, ours = kind(str(root), split), getattr(found, split)
        assert len(theirs) == len(ours) == len(names)
        for number, files in enumerate(theirs.files):
            sample = theirs[number]
            truth = (sample["mask"] - 1) % len(COLOURS)
            key = Path(files["image"]).stem.removeprefix(before).removesuffix(after)
            same(ours, key, sample["image"], truth)


def test_so2sat(tmp_path: Path, torchgeo: Any) -> None:
    root = trees.so2sat_tree(tmp_path)
    _, found = opened("so2sat", root)
    for split, name in (("train", "train"), ("val", "validation"), ("test", "test")):
        theirs, ours = torchgeo.So2Sat(str(root), "2", name), getattr(found, split)
        assert len(theirs) == len(ours)
        for number in range(len(theirs)):
            sample = theirs[number]
            s1, s2 = (ours.read(m, number)[0] for m in ("S1linear", "S2L1C"))
            assert np.array_equal(np.concatenate([s1, s2]), sample["image"])
            assert ours.extras["label"][number] == sample["label"]
    assert [b.removeprefix("S2_") for b in theirs.all_s2_band_names] == list(SO2SAT_BANDS["S2L1C"])


def test_their_bands_of_oscd_are_ours(torchgeo: Any) -> None:
    assert torchgeo.OSCD.all_bands == PUBLISHED["S2L1C"]
    assert set(torchgeo.Vaihingen2D.splits["test"]) == {
        f"top_mosaic_09cm_area{name}.tif" for name in vaihingen.Vaihingen.test
    }
    assert set(torchgeo.Potsdam2D.splits["train"]) == {
        f"top_potsdam_{name}" for name in potsdam.Potsdam.train
    }
