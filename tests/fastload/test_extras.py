"""Columns of one's own in samples and batches, and the dates of every modality (D: these)."""

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from fastload import DataLoader, Dataset, Radiometry, Recipe, View
from fastload.datasets.entries import checked
from fastload.storage.scan import NO_TIME
from tests.fastload import shardmaker as make
from tests.fastload.conftest import Open
from tests.fastload.made import BOTH, assert_like_torch, assert_same
from tests.fastload.made import dataset as made_dataset
from tests.fastload.twin import OnHost

pytestmark = pytest.mark.timeout(120)
N, T = 21, 4
RNG = np.random.default_rng(0)
EXTRAS = {
    "label": RNG.integers(0, 9, N).astype(np.uint8),
    "share": RNG.random(N, np.float32),
    "urban": RNG.random(N) < 0.5,
    "crs": np.array([f"EPSG:{32600 + i}" for i in range(N)]),
    "region": np.array([text.encode() for text in ("Zürich", "Oslo", "Λάρισα")] * 7),
    "cloud": RNG.random((N, T), np.float32),
    "orbit": RNG.integers(-5, 5, (N, T)).astype(">i2"),
    "seen": RNG.random((N, T)) < 0.5,
    "file_id": np.array([[f"S2A_{i}_{t}" for t in range(T)] for i in range(N)]),
    "classes": (RNG.random((N, 1, 7)) < 0.3).astype(np.uint8),
    "like_dates": RNG.random((N, 1, T)),
}
VIEWS = Recipe(
    (View(size=8, timestamp="distinct"), View(size=8, timestamp="distinct"),
     View(size=8, timestamp="all")),
    Radiometry.quantile(0.0, 5000.0),
)  # fmt: skip
RECIPES = {"raw": None, "views": VIEWS}


def with_extras(recipe: Recipe | None = None, seed: int = 0, extras: Any = EXTRAS) -> Dataset:
    made = made_dataset(recipe, BOTH, seed)
    found = Dataset(made.sources, recipe, made.statistics, seed, made.rows, extras=extras)
    found.set_epoch(0)
    return found


def test_an_item_has_them() -> None:
    item = with_extras()[7]
    assert item["label"] == EXTRAS["label"][7]
    assert type(item["label"]) is int
    assert item["share"] == pytest.approx(float(EXTRAS["share"][7]))
    assert item["urban"] is bool(EXTRAS["urban"][7])
    assert item["crs"] == "EPSG:32607"
    assert item["region"] == "Oslo"
    assert item["file_id"] == [f"S2A_7_{t}" for t in range(T)]
    for name in ("cloud", "orbit", "seen"):
        assert item[name].tolist() == EXTRAS[name][7].tolist()


def test_a_views_entries_are_of_its_date() -> None:
    ds = with_extras(VIEWS, seed=5)
    for i in range(N):
        item, times = ds[i], ds.times(i).tolist()
        shown = [times.index(int(t)) for t in item["time"][:2]]
        assert len(set(shown)) == 2
        for name in ("cloud", "orbit", "seen", "file_id"):
            values = [v if isinstance(v, str) else v.item() for v in item[name][:2]]
            assert values == [EXTRAS[name][i, t].item() for t in shown]
        assert item["orbit"][2].tolist() == EXTRAS["orbit"][i].tolist()
        assert item["classes"].tolist() == EXTRAS["classes"][i, 0].tolist()
        assert item["like_dates"].tolist() == EXTRAS["like_dates"][i, 0].tolist()
        assert item["file_id"][2] == EXTRAS["file_id"][i].tolist()


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_batch_has_them(recipe: str) -> None:
    """Shapes and kinds as documented."""
    batch = next(iter(DataLoader(with_extras(RECIPES[recipe]), 5)))
    assert batch["label"].tolist() == EXTRAS["label"][:5].tolist()
    assert (batch["label"].dtype, batch["share"].dtype) == (torch.int64, torch.float64)
    assert batch["urban"].dtype == torch.bool
    assert batch["classes"].tolist() == EXTRAS["classes"][:5, 0].tolist()
    assert (batch["classes"].dtype, batch["classes"].shape) == (torch.int64, (5, 7))
    assert (batch["like_dates"].dtype, batch["like_dates"].shape) == (torch.float64, (5, T))
    assert batch["crs"] == EXTRAS["crs"][:5].tolist()
    assert batch["region"] == ["Zürich", "Oslo", "Λάρισα", "Zürich", "Oslo"]
    if recipe == "raw":
        assert batch["orbit"].tolist() == EXTRAS["orbit"][:5].tolist()
        assert batch["file_id"] == EXTRAS["file_id"][:5].T.tolist()
        return
    assert [tuple(v.shape) for v in batch["orbit"]] == [(5,), (5,), (5, T)]
    assert batch["file_id"][2] == EXTRAS["file_id"][:5].T.tolist()
    assert all(len(view) == 5 and isinstance(view[0], str) for view in batch["file_id"][:2])


@pytest.mark.parametrize("loader", [DataLoader, OnHost], ids=["host", "device"])
@pytest.mark.parametrize("recipe", RECIPES)
def test_batches_are_those_that_torch_collates(
    engine: Any, loader: type[DataLoader], recipe: str
) -> None:
    ds = with_extras(RECIPES[recipe], seed=2)
    found = loader(ds, 4, shuffle=True, seed=2, num_workers=2, engine=engine)
    expected = torch.utils.data.DataLoader(ds, 4, sampler=found.order(0).tolist())
    for mine, theirs in zip(found, expected, strict=True):
        assert_like_torch(mine, theirs, "float32", BOTH)


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_collate_function_gets_them_as_items(recipe: str) -> None:
    ds = with_extras(RECIPES[recipe])
    seen: list[Any] = []
    list(DataLoader(ds, 4, collate_fn=seen.extend))
    for i, sample in enumerate(seen):
        item = ds[i]
        for name in set(item) - set(BOTH):
            assert_same(sample[name], item[name])
        assert list(sample)[-len(EXTRAS) :] == list(EXTRAS)


def test_they_belong_to_who_holds_them() -> None:
    ds = with_extras()
    batch = next(iter(DataLoader(ds, 4)))
    for name in ("label", "orbit", "classes"):
        batch[name].fill_(-9)
    assert ds[0]["label"] == EXTRAS["label"][0]
    assert ds[0]["orbit"].tolist() == EXTRAS["orbit"][0].tolist()


def test_another_recipe_keeps_them() -> None:
    assert with_extras().with_recipe(VIEWS)[3]["crs"] == "EPSG:32603"


@pytest.mark.parametrize(
    ("name", "values", "words"),
    [
        ("time", np.zeros(N), "has an entry of this name already"),
        ("S1GRD", np.zeros(N), "has an entry of this name already"),
        ("time_S1GRD", np.zeros(N), "has an entry of this name already"),
        ("x", np.zeros(N - 1), r"must be \[N\] or \[N, T\] of 21 samples and 4 timestamps, got"),
        ("x", np.zeros((N, 3)), r"must be \[N\] or \[N, T\]"),
        ("x", np.zeros((N, T, 1)), r"must be \[N\] or \[N, T\].*; vectors are \[N, 1, K\]"),
        ("x", np.zeros((N, 1, 2), "U3"), "vectors must be numbers or bool, got text"),
        ("x", np.zeros(N, complex), "must be numbers, bool or text, got dtype complex128"),
        ("x", np.array([None] * N), "must be numbers, bool or text, got dtype object"),
        ("x", np.zeros(N, "datetime64[ns]"), "must be numbers, bool or text"),
        ("x", np.full(N, 2**63, np.uint64), "9223372036854775808 is beyond int64"),
    ],
)
def test_columns_that_do_not_fit(name: str, values: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words) as caught:
        with_extras(extras={name: values})
    assert f"extras[{name!r}]" in str(caught.value)


def test_lists_will_do() -> None:
    """Whatever NumPy makes an array of."""
    found = checked({"x": list(range(3))}, 3, 4, set())  # type: ignore[dict-item]
    assert found["x"].tolist() == [0, 1, 2]


# --- dates of every modality ---


def shifted(root: Path, days: int, steps: int = 4) -> Path:
    """S2L1C, and S1GRD of `steps` dates some days later."""
    make.write(root)

    def later(number: int, modality: str) -> bytes:
        image = make.pixels(f"{modality} {number}", (steps, 2, 24, 24))
        return make.zipped(make.group(image, number=number + days))

    return make.write(root, ["S1GRD"], make.KEYS[::-1], 2, later)


@pytest.mark.parametrize("recipe", RECIPES)
@pytest.mark.parametrize("steps", [4, 1])
def test_dates_of_the_other_modalities(
    tmp_path: Path, reopen: Open, recipe: str, steps: int
) -> None:
    """Of the sample's own row there, and for a view the date that it shows."""
    root = shifted(tmp_path, 3, steps)
    ds = reopen(root, modalities=BOTH, recipe=RECIPES[recipe], seed=1)
    (batch,) = DataLoader(ds, 6)
    assert "time_S2L1C" not in batch
    for i in range(6):
        item, dates = ds[i], make.dates(i + 3, steps)
        if recipe == "raw":
            assert item["time_S1GRD"].tolist() == dates.tolist()
            assert batch["time_S1GRD"][i].tolist() == dates.tolist()
            continue
        for v in range(2):
            t = ds.times(i).tolist().index(int(item["time"][v])) if steps > 1 else 0
            assert item["time_S1GRD"][v].item() == dates[t]
        assert item["time_S1GRD"][2].tolist() == dates.tolist()
    if recipe == "views":
        assert [tuple(v.shape) for v in batch["time_S1GRD"]] == [(6,), (6,), (6, steps)]


def test_other_numbers_of_dates_have_none(tmp_path: Path, reopen: Open) -> None:
    """What a view shows of them is not defined; raw pixels come without their dates."""
    item = reopen(shifted(tmp_path, 3, 3), modalities=BOTH)[0]
    assert item["S1GRD"].shape[0] == 3
    assert "time_S1GRD" not in item


def test_an_unknown_date_stays_unknown() -> None:
    """A9: NaT is the least int64, in every entry of dates."""
    made = made_dataset(VIEWS, BOTH)
    for source in made.sources.values():
        unknown = np.full_like(source.columns.time, NO_TIME)
        object.__setattr__(source.columns, "time", unknown)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        batch = next(iter(DataLoader(made, 4)))
    for name in ("time", "time_S1GRD"):
        for view in batch[name]:
            assert (view == np.iinfo(np.int64).min).all()
