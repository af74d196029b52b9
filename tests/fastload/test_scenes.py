"""Windows of scenes as datasets: every engine, shared geometry, borders, and what is refused."""

import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from fastload import DataError, DataLoader, Radiometry, Recipe, View
from fastload.datasets.scenes import pictures
from fastload.datasets.scenes.cut import cut
from fastload.datasets.scenes.kept import Kept
from fastload.datasets.scenes.tables import Classes
from fastload.datasets.scenes.window_source import Layer
from fastload.datasets.scenes.windowed import windowed
from fastload.storage.store import Local
from tests.conformance.test_windows import noise, png, tif
from tests.fastload.made import assert_like_torch

pytestmark = [
    pytest.mark.timeout(300),
    pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning"),
]
SIZE = 32
NUMBER: dict[Any, int] = {0: 0, 255: 1}


def pairs(root: Path) -> Any:
    """Three scenes of two dates whose images say what the mask is: 255 where it is 1, else 0."""
    images, masks, keys = [], [], [f"s{i}" for i in range(3)]
    for key in keys:
        truth = noise(key, (1, SIZE, SIZE), np.uint8) // 128 * 255
        masks.append([[png(root / f"{key}_mask.png", truth)]])
        names = [f"{key}_{t}.png" for t in "ab"]
        for name in names:
            png(root / name, truth.repeat(3, 0))
        images.append([[name] for name in names])
    layers = {
        "RGB": Layer(files=images, names=("R", "G", "B")),
        "mask": Layer(files=masks, names=("class",), classes=Classes(NUMBER)),
    }
    return windowed(Local(root), keys, layers, 16)


def recipe(**view: Any) -> Recipe:
    """A view of all dates; the mask's numbers are left as they are."""
    shown = View(**{"size": 12, "timestamp": "all", "d4": 1.0, "hflip": 0.5, **view})
    radiometry = {"RGB": Radiometry.quantile(0, 255), "mask": Radiometry.identity()}
    return Recipe((shown,), radiometry)


def test_every_engine_shows_what_the_dataset_shows(tmp_path: Path, engine: Any) -> None:
    data = pairs(tmp_path)
    for how in (None, recipe(scale=(0.3, 1.0))):
        seen = data.with_recipe(how)
        loader = DataLoader(seen, 4, seed=3, engine=engine, num_workers=2)
        loader.set_epoch(1)
        seen.seed = 3
        seen.set_epoch(1)
        for batch in loader:
            items = [seen[seen.index_of(key)] for key in batch["key"]]
            expected = torch.utils.data.default_collate(items)
            for name in ("lon", "lat"):  # unknown, and NaN is not equal to itself
                assert batch.pop(name).isnan().all()
                del expected[name]
            assert_like_torch(batch, expected, "float32", ("RGB", "mask"))


def test_a_mask_has_the_geometry_of_its_images(tmp_path: Path) -> None:
    data = pairs(tmp_path).with_recipe(recipe(brightness=0.0))
    turned = 0
    for batch in DataLoader(data, 4, shuffle=True, engine="threads", num_workers=2):
        [images], [masks] = batch["RGB"], batch["mask"]
        assert images.shape[1:] == (2, 3, 12, 12)
        assert masks.shape[1:] == (1, 1, 12, 12)
        assert set(masks.unique().tolist()) == {0.0, 1.0}
        assert torch.equal(images, masks.expand_as(images))
        turned += len(images)
    assert turned == len(data) == 12


def test_windows_are_named_after_their_scenes(tmp_path: Path) -> None:
    data = pairs(tmp_path)
    assert data.keys[:5].tolist() == ["s0_0_0", "s0_0_16", "s0_16_0", "s0_16_16", "s1_0_0"]
    assert data.group.tolist() == [0] * 4 + [1] * 4 + [2] * 4
    whole = windowed(Local(tmp_path), ["s0", "s1"], {"RGB": _rgb("s0_a", "s1_a")})
    assert whole.keys.tolist() == ["s0", "s1"]
    assert whole.read("RGB", 1).shape == (1, 3, SIZE, SIZE)


def _rgb(*names: str, **options: Any) -> Layer:
    return Layer(files=[[[f"{n}.png"]] for n in names], names=("R", "G", "B"), **options)


def test_columns_of_scenes_are_those_of_their_windows(tmp_path: Path) -> None:
    pairs(tmp_path)
    layers = {"RGB": _rgb("s0_a", "s1_a")}
    extras = {"city": np.array(["abu", "rio"])}
    data = windowed(Local(tmp_path), ["s0", "s1"], layers, 16, extras=extras)
    assert data.extras["city"].tolist() == ["abu"] * 4 + ["rio"] * 4


@pytest.mark.parametrize(
    ("border", "rows", "columns"),
    [
        ("drop", [0, 10], [0, 10, 20]),
        ("pad", [0, 10, 20], [0, 10, 20]),
        ("shift", [0, 10, 14], [0, 10, 20]),
    ],
)
def test_borders(border: Any, rows: list[int], columns: list[int]) -> None:
    """Windows of 10 in 24 x 30: the last rows hang over, the columns fit."""
    found = cut([(24, 30)], 10, None, border)
    expected = [(row, column) for row in rows for column in columns]
    assert list(zip(found.top.tolist(), found.left.tolist(), strict=True)) == expected


@pytest.mark.parametrize("border", ["drop", "pad", "shift"])
@pytest.mark.parametrize("length", [8, 9, 11, 16])
@pytest.mark.parametrize("stride", [3, 8])
def test_every_pixel_is_in_a_window(border: Any, length: int, stride: int) -> None:
    """But for those that `drop` leaves out; and none lies wholly outside."""
    found = cut([(length, 8)], 8, (stride, 8), border)
    seen = {row for top in found.top.tolist() for row in range(top, top + 8)}
    assert found.top.max() < length
    assert set(range(length)) <= seen or border == "drop"
    assert max(seen) < length or border == "pad"


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: cut([(16, 16), (8, 17)], 8), "scene 1 of 8 x 17: windows of 8 pixels, 8 apart"),
        (lambda: cut([(4, 9)], 8, border="shift"), "scene 0 of 4 x 9"),
        (lambda: cut([(4, 4)], 8, border="drop"), "no window of 8 x 8 is in 1 scenes"),
        (lambda: cut([(4, 4)], 2, border="fold"), "border must be one of"),  # type: ignore[arg-type]
        (lambda: cut([(4, 4)], 2, 0), "must be positive"),
        (lambda: Classes({}), "expected numbers, or colours"),
        (lambda: Classes({1: 300}), "class numbers must be in"),
        (lambda: Classes({1: 0, (0, 0, 0): 1}), "expected numbers, or colours"),  # type: ignore[dict-item]
    ],
)
def test_what_does_not_fit_is_refused(call: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"keys": ["a", "a"]}, "'a' is there twice"),
        ({"keys": ["a"]}, "expected files of 1 scenes, got 2"),
        ({"files": [[["s0_a.png"]], [["s0_a.png"], ["s0_a.png"]]]}, "as many dates each"),
        ({"files": [[["s0_a.png"] * 2]] * 2}, "expected one file a date or 3, one a band"),
        ({"bands": ("N",)}, "expected names of"),
        ({"pad": -1.0}, "pad must be a number of uint8, got -1"),
        ({"pad": 0.5}, "pad must be a number of uint8"),
    ],
)
def test_lists_that_do_not_fit(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    pairs(tmp_path)
    files = [[["s0_a.png"]], [["s1_a.png"]]]
    given = {"files": files, "names": ("R", "G", "B"), "keys": ["a", "b"], **change}
    keys = given.pop("keys")
    with pytest.raises(ValueError, match=message):
        windowed(Local(tmp_path), keys, {"RGB": Layer(**given)}, 16)


def _odd_size(root: Path) -> None:
    png(root / "s1_mask.png", np.zeros((1, 32, 40), np.uint8))


def _odd_number(root: Path) -> None:
    mask = np.zeros((1, 32, 32), np.uint8)
    mask[0, 20, 3] = 9
    png(root / "s1_mask.png", mask)


def _colours(root: Path) -> None:
    pixels = np.zeros((3, 32, 32), np.uint8)
    pixels[0] = 255
    png(root / "s1_mask.png", pixels)


def _floats(root: Path) -> None:
    Image.fromarray(np.zeros((32, 32), np.float32)).save(root / "s1_mask.png", "TIFF")


def _gone(root: Path) -> None:
    (root / "s1_mask.png").unlink()


def _text(root: Path) -> None:
    (root / "s1_mask.png").write_text("see elsewhere")


def _empty(root: Path) -> None:
    (root / "s1_mask.png").write_bytes(b"")


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (_odd_size, "is an image of 32 x 40, expected 32 x 32 as its scene has"),
        (_odd_number, "holds the number 9 at row 20, column 3, expected one of 0, 255"),
        (_colours, "holds colours, expected the numbers of classes"),
        (_floats, "is no sound image"),
        (_gone, "there is no such file"),
        (_text, "is no sound image"),
        (_empty, "is no sound image"),
    ],
)
def test_damage_names_the_file(tmp_path: Path, harm: Any, message: str) -> None:
    pairs(tmp_path)
    harm(tmp_path)
    data = pairs_again(tmp_path)
    with pytest.raises(DataError, match=message) as caught:
        read_all(data, range(4, 8))
    assert caught.value.shard == str(tmp_path / "s1_mask.png")
    data.read("mask", 0)


def read_all(data: Any, samples: range) -> None:
    """The masks of some samples."""
    for sample in samples:
        data.read("mask", sample)


def pairs_again(root: Path) -> Any:
    """The masks of the tree that there is."""
    keys = [f"s{i}" for i in range(3)]
    layers = {
        "RGB": _rgb(*(f"{key}_a" for key in keys)),
        "mask": Layer(
            files=[[[f"{key}_mask.png"]] for key in keys],
            names=("class",),
            classes=Classes(NUMBER),
        ),
    }
    return windowed(Local(root), keys, layers, 16)


def test_scenes_smaller_than_a_window_are_padded_or_refused(tmp_path: Path) -> None:
    tif(tmp_path / "a.tif", noise("a", (3, 20, 9)))
    layer: dict[str, Any] = {"files": [[["a.tif"]]], "names": ("R", "G", "B")}
    padded = windowed(Local(tmp_path), ["a"], {"RGB": Layer(**layer, pad=5)}, 16, border="pad")
    assert len(padded) == 2
    assert (padded.read("RGB", 1)[..., 4:, :] == 5).all()
    assert (padded.read("RGB", 1)[..., 9:] == 5).all()
    bare = windowed(Local(tmp_path), ["a"], {"RGB": Layer(**layer)}, 16, border="pad")
    with pytest.raises(DataError, match=r"20 x 9, too small for the window of 16 x 16 at row 16"):
        bare.read("RGB", 1)


def test_dates_of_other_sizes_are_padded_where_they_need_not_be_alike(tmp_path: Path) -> None:
    """As the unregistered images of OSCD."""
    for name, size in (("a", (16, 16)), ("b", (16, 12))):
        tif(tmp_path / f"{name}.tif", noise(name, (1, *size)))
    layer = Layer(files=[[["a.tif"], ["b.tif"]]], names=("B04",), pad=0, alike=False)
    pixels = windowed(Local(tmp_path), ["x"], {"S2L1C": layer}).read("S2L1C", 0)
    np.testing.assert_array_equal(pixels[1, 0, :, :12], noise("b", (1, 16, 12))[0])
    assert not pixels[1, 0, :, 12:].any()


def test_a_large_tiff_is_read_by_its_windows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Far fewer bytes than the file has are asked of the store."""
    monkeypatch.setattr(pictures, "_WHOLE", 0)
    pixels = noise("large", (1, 1024, 1024))
    tif(tmp_path / "a.tif", pixels, tiled=True, blockxsize=128, blockysize=128)
    asked: list[int] = []

    class Counting(Local):
        def bytes(self, name: str, offset: int, size: int) -> bytes:
            asked.append(size)
            return super().bytes(name, offset, size)

    layer = Layer(files=[[["a.tif"]]], names=("B1",))
    data = windowed(Counting(tmp_path), ["a"], {"X": layer}, 64)
    np.testing.assert_array_equal(data.read("X", 200)[0], pixels[:, 768:832, 512:576])
    assert 64 * 64 * 2 < sum(asked) < pixels.nbytes / 4


def test_colours_as_a_slow_loop_finds_them() -> None:
    colours = {(255, 255, 255): 0, (0, 0, 255): 1, (0, 255, 0): 3}
    rng = np.random.default_rng(0)
    pixels = rng.choice(np.array([0, 255], np.uint8), (3, 12, 9))
    found = Classes(colours, other=9)(pixels)
    for row in range(12):
        for column in range(9):
            colour = tuple(pixels[:, row, column].tolist())
            assert found[0, row, column] == colours.get(colour, 9)  # type: ignore[call-overload]


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.uint16, np.int32])
def test_numbers_of_any_whole_dtype(dtype: Any) -> None:
    numbers = np.array([[[1, 2, 17, 2]]], dtype)
    assert Classes({1: 4, 2: 0, 17: 255})(numbers).tolist() == [[[4, 0, 255, 0]]]
    with pytest.raises(ValueError, match="whole numbers"):
        Classes({1: 1})(numbers.astype(np.float32))


def test_what_is_kept_is_bounded_and_made_once() -> None:
    kept, made = Kept(100), []

    def make(name: str) -> NDArray[np.uint8]:
        made.append(name)
        return np.zeros(40, np.uint8)

    for name in "aabbaab":
        kept.get(name, lambda name=name: make(name))  # type: ignore[misc]
    assert made == ["a", "b"]
    kept.get("c", lambda: make("c"))
    kept.get("b", lambda: make("b"))
    kept.get("a", lambda: make("a"))
    assert made == ["a", "b", "c", "a"], "the one that was not used for the longest time is gone"
    kept.get("large", lambda: np.zeros(1000, np.uint8))
    kept.get("b", lambda: make("b"))
    assert made[-1] == "b"


def test_threads_that_want_the_same_file_share_one_decoding() -> None:
    kept, gate, made = Kept(100), threading.Event(), []

    def slow() -> NDArray[np.uint8]:
        made.append(1)
        assert gate.wait(20)
        return np.zeros(4, np.uint8)

    threads = [threading.Thread(target=lambda: kept.get("a", slow)) for _ in range(4)]
    for thread in threads:
        thread.start()
    gate.set()
    for thread in threads:
        thread.join(20)
    assert made == [1]


def test_what_failed_is_tried_again() -> None:
    kept = Kept(100)

    def fail() -> NDArray[np.uint8]:
        raise DataError("a", "", 0, "is odd")

    for _ in range(2):
        with pytest.raises(DataError, match="is odd"):
            kept.get("a", fail)
    assert kept.get("a", lambda: np.ones(1, np.uint8)) == 1
