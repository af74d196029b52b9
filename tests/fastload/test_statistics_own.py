"""Statistics of one's own: objects, files and numbers (D: own mean and std; NDVI, DEM)."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fastload import DataLoader, Radiometry, Recipe, View
from fastload.bands import Shown
from fastload.statistics import STATISTICS, Statistics, statistics
from tests.fastload import shardmaker as make
from tests.fastload.conftest import Open
from tests.tolerances import assert_close

MINE = Statistics("mine", 0.0, {"S2L1C": (300.0, 310.0, 290.0)}, {"S2L1C": (50.0, 40.0, 30.0)})
WHOLE = View(size=24, center=True, timestamp=0)
STANDARD = Recipe((WHOLE,), Radiometry.standardise())


def standardised(number: int, mean: Any, std: Any, modality: str = "S2L1C") -> np.ndarray:
    image = make.pixels(f"{modality} {number}")[0].astype(np.float64)
    return (image - np.reshape(mean, (-1, 1, 1))) / np.reshape(std, (-1, 1, 1))


def test_statistics_may_be_an_object_or_a_file(tmp_path: Path, tiny: Path, reopen: Open) -> None:
    path = tmp_path / "mine.json"
    MINE.save(path)
    for what in (MINE, path, str(path)):
        ds = reopen(tiny, recipe=STANDARD, statistics=what)
        assert ds.statistics == MINE
        expected = standardised(4, MINE.mean["S2L1C"], MINE.std["S2L1C"])
        assert_close(ds[4]["S2L1C"][0], expected, "float32")
        batch = next(iter(DataLoader(ds, batch_size=6)))
        assert_close(batch["S2L1C"][0][4], expected, "float32")


@pytest.mark.parametrize(
    "own",
    [
        MINE,
        STATISTICS["v1.1-zarr"],
        Statistics("eight bits", 0.0, {}, {}, dn_scale=255.0),
        Statistics(
            "more", 1000.0, {"DEM": (1 / 3,)}, {"DEM": (math.pi,)}, {"DEM": ("height",)},
            {"DEM": {"min": [-3.0], "quantiles": {"0.5": [7.25]}, "pixels": [100]}},
        ),
    ],
    ids=lambda own: own.name,
)  # fmt: skip
def test_a_file_gives_what_was_saved(tmp_path: Path, own: Statistics) -> None:
    """To the bit, and nothing else is left beside it."""
    own.save(tmp_path / "own.json")
    assert Statistics.load(tmp_path / "own.json") == own
    own.save(tmp_path / "own.json")  # over what is there
    assert [p.name for p in tmp_path.iterdir()] == ["own.json"]


SOUND = {
    "format": "fastload statistics 1",
    "name": "x",
    "dn_offset": 0,
    "modalities": {"A": {"mean": [1, 2], "std": [3, 4]}},
}


def with_field(*path: str, value: Any) -> dict[str, Any]:
    """A sound file's content with one field changed; None takes it away."""
    content = json.loads(json.dumps(SOUND))
    at = content
    for name in path[:-1]:
        at = at[name]
    at[path[-1]] = value
    if value is None:
        del at[path[-1]]
    return content


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("{", "is not JSON"),
        ([], "the file must be an object"),
        (with_field("name", value=None), r"the file lacks \['name'\]; expected \['format', 'name'"),
        (with_field("more", value=1), r"the file has unknown fields \['more'\]"),
        (with_field("format", value="x"), "format must be 'fastload statistics 1', got 'x'"),
        (with_field("name", value=3), "name must be a text, got 3"),
        (with_field("dn_scale", value=0), "dn_scale must be positive, got 0"),
        (with_field("dn_offset", value="0"), "dn_offset must be finite numbers, got '0'"),
        (with_field("modalities", value=[1]), "modalities must be an object"),
        (with_field("modalities", "A", value=[1]), "modality A must be an object"),
        (with_field("modalities", "A", "std", value=None), r"modality A lacks \['std'\]"),
        (with_field("modalities", "A", "sdt", value=[1]), r"A has unknown fields \['sdt'\]"),
        (with_field("modalities", "A", "mean", value=1), "mean of A must be a list of numbers"),
        (with_field("modalities", "A", "mean", value=["1", 2]), "mean of A must be finite numbers"),
        (with_field("modalities", "A", "std", value=[1, math.nan]), "std of A must be finite"),
        (with_field("modalities", "A", "std", value=[1, -1]), "std of A must not be negative"),
        (with_field("modalities", "A", "std", value=[1]), "A has 2 mean and 1 std"),
        (with_field("modalities", "A", "bands", value=["B1"]), "bands of A must be 2 different"),
        (with_field("modalities", "A", "bands", value=["B1", "B1"]), "bands of A must be 2 diff"),
    ],
)
def test_files_that_do_not_fit(tmp_path: Path, content: Any, words: str) -> None:
    path = tmp_path / "own.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    with pytest.raises(ValueError, match=words) as caught:
        Statistics.load(path)
    assert str(caught.value).startswith(str(path))


def test_the_sound_file_is_sound(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text(json.dumps(SOUND))
    assert Statistics.load(tmp_path / "x.json").mean == {"A": (1, 2)}


def test_neither_a_name_nor_a_file(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"nothing\.json"):
        statistics(tmp_path / "nothing.json")
    with pytest.raises(FileNotFoundError, match=r"nothing\.json"):
        statistics(str(tmp_path / "nothing.json"))
    with pytest.raises(ValueError, match=r"unknown statistics 'v9'.*path of a JSON file"):
        statistics("v9")
    with pytest.raises(ValueError, match="must be a name, a Statistics, or the path"):
        statistics(3)  # type: ignore[arg-type]


def test_mean_and_std_must_be_of_the_same() -> None:
    with pytest.raises(ValueError, match=r"mean is of \['A'\], std of \['B'\]"):
        Statistics("x", 0.0, {"A": (1.0,)}, {"B": (1.0,)})


def test_what_is_missing_comes_with_what_to_do(tiny: Path, reopen: Open) -> None:
    own = Statistics("x", 0.0, {"S2L2A": (1.0,)}, {"S2L2A": (1.0,)})
    for match in ("have no modality 'S2L1C'", r"standardise\(mean=.*python -m fastload stats"):
        with pytest.raises(ValueError, match=match):
            reopen(tiny, recipe=STANDARD, statistics=own)
    with pytest.raises(ValueError, match=r"have 13 bands for S2L1C, the data has 3; give numbers"):
        reopen(tiny, recipe=STANDARD)


def test_a_constant_band_is_not_divided_by() -> None:
    flat = Statistics("flat", 0.0, {"A": (1.0, 2.0)}, {"A": (1.0, 0.0)})
    with pytest.raises(ValueError, match="a standard deviation of A is 0"):
        flat.of("A", 2)


def test_bands_are_looked_up_by_their_names() -> None:
    named = Statistics(
        "n", 0.0, {"A": (1.0, 2.0, 3.0)}, {"A": (1.0,) * 3}, {"A": ("B2", "B4", "VV")}
    )
    assert named.of("A", Shown(2, ("B04", "B02"), (3, 1), 12))[0].tolist() == [2.0, 1.0]
    assert named.of("A", Shown(3, ("vv", "B02", "B04")))[0].tolist() == [3.0, 1.0, 2.0]
    with pytest.raises(ValueError, match=r"A in statistics 'n': expected names of .* \['B3'\]"):
        named.of("A", Shown(1, ("B3",), (2,), 12))
    nameless = Statistics("m", 0.0, {"A": (1.0, 2.0, 3.0)}, {"A": (1.0,) * 3})
    assert nameless.of("A", Shown(2, ("x", "y"), (2, 0), 3))[0].tolist() == [3.0, 1.0]
    with pytest.raises(ValueError, match="have 3 bands for A, the data has 12"):
        nameless.of("A", Shown(3, ("x", "y", "z"), (2, 0, 1), 12))


# --- numbers ---


@pytest.mark.parametrize("modality", ["S2L1C", "NEVERHEARD"])
@pytest.mark.parametrize(
    ("mean", "std"),
    [((300.0, 310.0, 290.0), (50.0, 40.0, 30.0)), (300, 50), (np.array([1, 2, 3]), 7.0)],
    ids=["per band", "one for all", "mixed"],
)
def test_standardising_with_numbers(
    tmp_path: Path, reopen: Open, modality: str, mean: Any, std: Any
) -> None:
    """Without a set that knows the modality; alike in `dataset[i]` and in a loader."""
    root = make.write(tmp_path, [modality])
    recipe = Recipe((WHOLE,), Radiometry.standardise(mean=mean, std=std))
    ds = reopen(root, modalities=[modality], recipe=recipe)
    expected = standardised(2, mean, std, modality)
    assert_close(ds[2][modality][0], expected, "float32")
    batch = next(iter(DataLoader(ds, batch_size=6)))
    assert_close(batch[modality][0][2], expected, "float32")
    assert not recipe.radiometry_of(modality).unit_range
    assert hash(recipe) == hash(Recipe((WHOLE,), Radiometry.standardise(mean=mean, std=std)))


@pytest.mark.parametrize(
    ("mean", "std", "words"),
    [
        (1.0, None, "mean and std go together"),
        (None, 1.0, "mean and std go together"),
        (1.0, 0.0, "std must be above 0"),
        (1.0, (1.0, -2.0), "std must be above 0"),
        (math.nan, 1.0, "mean must be one finite number or one a band"),
        (1.0, [[1.0, 2.0]], "std must be one finite number or one a band"),
        ((), 1.0, "mean must be one finite number or one a band"),
    ],
)
def test_numbers_that_make_no_sense(mean: Any, std: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Radiometry.standardise(mean, std)


def test_as_many_numbers_as_bands(tiny: Path, reopen: Open) -> None:
    recipe = Recipe((WHOLE,), Radiometry.standardise((1.0, 2.0), 1.0))
    with pytest.raises(ValueError, match="of S2L1C: expected 1 or 3 numbers, got 2 mean and 1 std"):
        reopen(tiny, recipe=recipe)


@pytest.mark.parametrize(
    ("modality", "mean", "std"), [("NDVI", 0.327, 0.322), ("DEM", 435.726, 560.326)]
)
def test_published_numbers_of_single_bands(modality: str, mean: float, std: float) -> None:
    """As the reading code of the WebDataset release has them."""
    found = statistics("v1.1-webdataset").of(modality, 1)
    assert [x.tolist() for x in found] == [[mean], [std]]


def test_reflectance_is_by_offset_and_scale(tiny: Path, reopen: Open) -> None:
    low = Statistics("low", 100.0, {}, {}, dn_scale=400.0)
    ds = reopen(tiny, recipe=Recipe((WHOLE,), Radiometry.reflectance()), statistics=low)
    expected = np.clip((make.pixels("S2L1C 4")[0].astype(np.float64) - 100) / 400, 0, 1)
    assert_close(ds[4]["S2L1C"][0], expected, "float32")
