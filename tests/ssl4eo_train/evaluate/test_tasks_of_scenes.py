"""Tasks of scenes: pixels, masks, bands by name, windows and splits, in fabricated trees."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import fastload
from benchmarks.archives.trees import noise
from fastload.bands import PUBLISHED
from ssl4eo_train.evaluate.task import MASK
from ssl4eo_train.evaluate.tasks import dfc2020, oscd, potsdam, vaihingen
from ssl4eo_train.evaluate.trees.isprs import COLOURS
from ssl4eo_train.evaluate.trees.scenes import IGNORED
from tests.ssl4eo_train.evaluate import trees
from tests.ssl4eo_train.evaluate.test_tasks import keys, opened

pytestmark = pytest.mark.timeout(120)


def read(dataset: fastload.Dataset, key: str, modality: str) -> Any:
    return dataset.read(modality, dataset.index_of(key))


def mask(dataset: fastload.Dataset, key: str) -> Any:
    found = read(dataset, key, MASK)
    assert (found.shape[:2], found.dtype) == ((1, 1), np.uint8)
    return found[0, 0]


def whole(split: fastload.Dataset) -> set[str]:
    """Scenes that windows are of."""
    return {str(key).rsplit("_", 2)[0] for key in split.keys}


@pytest.fixture(scope="module")
def onera(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tree of OSCD. Do not write there."""
    return trees.oscd_tree(tmp_path_factory.mktemp("oscd"))


def test_oscd_has_its_cities_bands_and_windows(onera: Path) -> None:
    """Windows of 16 pixels of 20: four a city, padded at the border, where nothing counts."""
    bands = {"S2L1C": ("B8A", "B02")}
    made, found = opened("oscd", onera, bands, window=16)
    keys(found)
    assert whole(found.test) == set(oscd.TEST)
    assert whole(found.train) | whole(found.val) == set(oscd.TRAIN)
    assert not whole(found.train) & whole(found.val)
    assert [len(found.test), len(found.val)] == [40, 4]
    for date in (1, 2):
        expected = [trees.oscd_band("rio", date, band) for band in ("B8A", "B02")]
        at_0 = read(found.test, "rio_0_0", "S2L1C")[date - 1]
        assert np.array_equal(at_0, [band[:16, :16] for band in expected])
        at_16 = read(found.test, "rio_16_16", "S2L1C")[date - 1]
        assert np.array_equal(at_16[:, :4, :4], [band[16:, 16:] for band in expected])
        assert not at_16[:, 4:].any()
    truth = trees.classes("rio", (0, 255), 20) // 255
    assert np.array_equal(mask(found.test, "rio_0_0"), truth[:16, :16])
    assert np.array_equal(mask(found.test, "rio_16_16")[:4, :4], truth[16:, 16:])
    assert (mask(found.test, "rio_16_16")[4:] == IGNORED).all()
    assert (made.kind, made.ignored, found.test.statistics.dn_scale) == ("change", IGNORED, 10000)
    assert made.offers(onera) == {"S2L1C": PUBLISHED["S2L1C"]}


def test_published_windows_of_oscd_are_whole_and_all_cities_train(onera: Path) -> None:
    options = {"border": "drop", "val_trains": True, "window": 8}
    _, found = opened("oscd", onera, {"S2L1C": ("B02",)}, **options)
    assert (len(found.train), len(found.test)) == (14 * 4, 10 * 4)
    assert set(found.val.keys) < set(found.train.keys)
    assert "and train, too" in found.told


def test_oscd_as_esa_ships_it_has_dates_of_other_sizes(tmp_path: Path) -> None:
    """The label's size counts; the second date is one pixel larger, and cut."""
    root = trees.oscd_tree(tmp_path, zips=False, native=True)
    made, found = opened("oscd", root, {"S2L1C": ("B04", "B03")}, images="native", window=16)
    assert made.offers(root) == {"S2L1C": oscd.NATIVE}
    image = read(found.test, "rio_16_0", "S2L1C")
    for date in (1, 2):
        band = trees.oscd_band("rio", date, "B04", 20 + date)[16:32, :16]
        assert np.array_equal(image[date - 1, 0, : len(band)], band)
    truth = trees.classes("rio", (0, 255), 20)[16:, :16] // 255
    assert np.array_equal(mask(found.test, "rio_16_0")[:4], truth)
    assert (mask(found.test, "rio_16_0")[4:] == IGNORED).all()


def test_masks_of_oscd_may_be_pictures(tmp_path: Path) -> None:
    root = trees.oscd_tree(tmp_path, size=8, native=True)
    path = root / f"{trees.ONERA}Test Labels/rio/cm/cm.png"
    Image.open(path).convert("RGBA").save(path)
    _, found = opened("oscd", root, {"S2L1C": ("B02",)}, window=8, images="native")
    assert np.array_equal(mask(found.test, "rio_0_0"), trees.classes("rio", (0, 255), 8) // 255)


@pytest.mark.parametrize("top", [True, False])
def test_dfc2020_has_the_classes_of_the_contest(tmp_path: Path, top: bool) -> None:
    root = trees.dfc_tree(tmp_path, top)
    made, found = opened("dfc2020", root, {"S1GRD": ("VH",), "S2L1C": ("B8A",)}, val_share=0.25)
    assert [len(getattr(found, n)) for n in ("train", "val", "test")] == [3, 1, 2]
    keys(found)
    key = "ROIs0000_validation_dfc_p1"
    assert np.array_equal(
        read(found.test, key, "S2L1C")[0, 0], trees.dfc_pixels("validation", "s2", 1)[8]
    )
    assert np.array_equal(
        read(found.test, key, "S1GRD")[0, 0], trees.dfc_pixels("validation", "s1", 1)[1]
    )
    names = {1: "Forest", 2: "Shrubland", 4: "Grassland", 5: "Wetland", 6: "Cropland", 7: "Urban",
             9: "Barren", 10: "Water"}  # fmt: skip
    for number, said in zip(
        trees.dfc_pixels("validation", "dfc", 1)[0].ravel(),
        mask(found.test, key).ravel(),
        strict=True,
    ):
        assert said == (made.classes.index(names[number]) if number in names else IGNORED)


def test_dfc2020_as_published_has_the_classes_of_modis(tmp_path: Path) -> None:
    """IGBP: 1 to 5 forest, 6 and 7 shrubs, 8 and 9 savanna, 10 grass, 11 wetland, 12 and 14 crops,
    13 urban, 15 snow, 16 barren, 17 water."""
    root = trees.dfc_tree(tmp_path, sensors=["s2"])
    made, found = opened("dfc2020", root, labels="lc", val_trains=True)
    assert list(made.offers(root)) == ["S2L1C"]
    igbp = [None, *["Forest"] * 5, *["Shrubland"] * 2, None, None, "Grassland", "Wetland",
            "Cropland", "Urban", "Cropland", None, "Barren", "Water"]  # fmt: skip
    table = np.array([IGNORED if n is None else dfc2020.CLASSES.index(n) for n in igbp])
    said = mask(found.test, "ROIs0000_validation_lc_p0")
    assert np.array_equal(said, table[trees.dfc_pixels("validation", "lc", 0)[0]])
    assert len(found.train) == 4
    assert len(opened("dfc2020", root, train="validation")[1].test) == 4


@pytest.mark.parametrize("layout", ["folders", "flat", "list"])
@pytest.mark.parametrize(("name", "label"), [("levir_cd", "label"), ("whu_cd", "OUT")])
def test_pairs_are_read_in_all_layouts(tmp_path: Path, layout: str, name: str, label: str) -> None:
    root = trees.pair_tree(tmp_path, layout, label)
    _, found = opened(name, root, window=8)
    assert [len(getattr(found, n)) for n in ("train", "val", "test")] == [20, 8, 12]
    keys(found)
    key = f"{'test_' if layout == 'folders' else ''}test_2_8_0"
    for date, side in enumerate("AB"):
        expected = trees.rgb(f"{side}test_2.png")[8:, :8].transpose(2, 0, 1)
        assert np.array_equal(read(found.test, key, "RGB")[date], expected)
    assert np.array_equal(
        mask(found.test, key), trees.classes("test_2.png", (0, 255))[8:, :8] // 255
    )


def test_training_windows_may_overlap(tmp_path: Path) -> None:
    root = trees.pair_tree(tmp_path, "folders")
    _, found = opened("levir_cd", root, window=8, stride=4)
    assert [len(found.train), len(found.test)] == [5 * 9, 3 * 4]


def test_the_whole_image_of_whu_is_divided_by_windows(tmp_path: Path) -> None:
    root = trees.whu_tree(tmp_path)
    _, found = opened("whu_cd", root, window=8, test_share=0.25)
    assert [len(getattr(found, n)) for n in ("train", "val", "test")] == [27, 3, 10]
    by = keys(found)
    assert not by["train"] & by["val"]
    key = min(by["test"])
    row, column = map(int, key.split("_")[1:])
    before = noise("before/before", (3, *trees.WHU), np.uint8)[
        :, row : row + 8, column : column + 8
    ]
    assert np.array_equal(read(found.test, key, "RGB")[0], before)
    changed = noise("label", trees.WHU, np.uint8)[row : row + 8, column : column + 8] % 2
    assert np.array_equal(mask(found.test, key), changed)


def test_the_official_halves_of_whu_train_and_are_tested(tmp_path: Path) -> None:
    root = trees.whu_tree(tmp_path, divided=True, top="")
    _, found = opened("whu_cd", root, window=8)
    assert [len(getattr(found, n)) for n in ("train", "val", "test")] == [36, 4, 40]
    after = noise("2016/whole_image/test/image/2016_test", (3, *trees.WHU), np.uint8)
    assert np.array_equal(read(found.test, "test_8_16", "RGB")[1], after[:, 8:16, 16:24])


def test_loveda_is_tested_on_val(tmp_path: Path) -> None:
    root = trees.loveda_tree(tmp_path)
    made, found = opened("loveda", root, window=8, val_share=0.2)
    assert [len(getattr(found, n)) for n in ("train", "val", "test")] == [32, 8, 16]
    keys(found)
    assert "masks of Test are not public" in found.told
    truth = trees.classes("Val/Urban/{}/1.png", range(8))[:8, 8:]
    assert np.array_equal(mask(found.test, "Val_Urban_1_0_8"), np.where(truth, truth - 1, IGNORED))
    assert made.classes[4] == "barren"
    _, rural = opened("loveda", root, window=16, scene="rural")
    assert {key.split("_")[1] for key in rural.test.keys} == {"Rural"}


@pytest.mark.parametrize(
    ("kind", "labels", "options"),
    [
        ("RGB", "5_Labels_all", {}),
        ("RGBIR", "", {}),
        ("IRRG", "5_Labels_for_participants", {"clutter": True}),
        ("RGB", "5_Labels_all_noBoundary", {"boundary": False}),
    ],
)
def test_potsdam_has_colours_as_classes(
    tmp_path: Path, kind: str, labels: str, options: dict[str, Any]
) -> None:
    root = trees.potsdam_tree(tmp_path, kind, labels)
    made, found = opened("potsdam", root, {"RGB": ("R", "G")}, window=16, **options)
    assert set(found.test.keys) == set(potsdam.Potsdam.test)
    assert keys(found)["train"] | keys(found)["val"] == set(potsdam.Potsdam.train)
    names = potsdam.IMAGES[kind][1]
    image = noise(f"7_13{kind}", (len(names), 16, 16), np.uint8)
    assert np.array_equal(
        read(found.test, "7_13", "RGB")[0], image[[names.index("R"), names.index("G")]]
    )
    colours = trees.coloured("7_13", [] if options.get("boundary", True) else [(0, 0, 0)])
    expect_classes(mask(found.test, "7_13"), colours, made.classes)
    assert ("clutter" in made.classes) == bool(options.get("clutter"))


def expect_classes(said: Any, colours: Any, classes: tuple[str, ...]) -> None:
    names = {colour: name for name, colour in COLOURS.items()}
    for row in range(len(said)):
        for column in range(len(said)):
            name = names.get(tuple(colours[:, row, column].tolist()), "boundary")
            assert said[row, column] == (classes.index(name) if name in classes else IGNORED)


@pytest.mark.parametrize(
    ("above", "labels", "options"),
    [
        ("", vaihingen.LABELS[True][1][0], {}),
        ("ISPRS_semantic_labeling_Vaihingen", "gts_for_participants", {"as_rgb": True}),
        ("", vaihingen.LABELS[False][1][0], {"boundary": False}),
        ("", "", {}),
    ],
)
def test_vaihingen_has_no_blue(
    tmp_path: Path, above: str, labels: str, options: dict[str, Any]
) -> None:
    root = trees.vaihingen_tree(tmp_path, above, labels)
    made, found = opened("vaihingen", root, window=0, **options)
    as_rgb = bool(options.get("as_rgb"))
    assert made.offers(root) == {"RGB": ("R", "G", "B") if as_rgb else ("NIR", "R", "G")}
    assert ("shown as red, green and blue" in found.told) == as_rgb
    assert set(found.test.keys) == set(vaihingen.Vaihingen.test)
    assert np.array_equal(read(found.test, "38", "RGB")[0], noise("38", (3, 16, 16), np.uint8))
    colours = trees.coloured("38", [] if options.get("boundary", True) else [(0, 0, 0)])
    expect_classes(mask(found.test, "38"), colours, made.classes)


@pytest.mark.parametrize("layout", ["lists", "inside", "above"])
def test_folders_of_ones_own(tmp_path: Path, layout: str) -> None:
    root = trees.folders_tree(tmp_path, layout)
    options = {"classes": ["wood", "lake", "moor"], "first": 1, "ignored": 9}
    made, found = opened("folders", root, {"RGB": ("B",)}, window=8, **options)
    assert [len(getattr(found, n)) for n in ("train", "val", "test")] == [16, 8, 8]
    keys(found)
    key = ("" if layout == "lists" else "test_") + "test1_8_8"
    truth = trees.classes("test1", (1, 2, 3, 9))[8:, 8:]
    assert np.array_equal(mask(found.test, key), np.where(truth == 9, IGNORED, truth - 1))
    path = next(root.rglob("test1.jpg"))
    assert np.array_equal(
        read(found.test, key, "RGB")[0, 0], np.asarray(Image.open(path))[8:, 8:, 2]
    )
    assert made.classes == ("wood", "lake", "moor")


def test_splits_are_the_same_each_time(tmp_path: Path) -> None:
    root = trees.loveda_tree(tmp_path)
    first, second = (keys(opened("loveda", root, window=8)[1]) for _ in range(2))
    assert first == second
