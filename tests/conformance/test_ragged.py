"""Samples with fewer dates than their modality: sources, every engine, and what is refused."""

import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

import fastload
from fastload import DataLoader, Radiometry, Recipe, View
from fastload.cli.stats import measure
from fastload.datasets.base import Dataset
from fastload.datasets.zarrs.zarr_source import ZarrSource
from fastload.engines.dali import has_dali
from fastload.statistics import statistics
from fastload.storage.dates import NO_TIME
from tests.conformance import test_sources, toys
from tests.conformance.source import Damaged, Pixels, SourceTests
from tests.conformance.toy import Memory, Npy, Ragged, npy
from tests.fastload.made import assert_like_torch
from tests.fastload.twin import OnHost

pytestmark = pytest.mark.timeout(60)
DATES = (1, 3, 2, 3, 2, 1, 3, 3, 2)
FILL = -5.0


def filled(pixels: Pixels, dates: NDArray[np.int32], fill: float) -> Pixels:
    """Pixels ``[N, T, C, H, W]`` without the dates that are not there."""
    out = pixels.copy()
    out[np.arange(pixels.shape[1]) >= dates[:, None]] = fill
    return out


class TestRagged(SourceTests):
    """The toy, which fails where it is asked for more dates than a sample has."""

    def make(self, tmp_path: Path) -> tuple[Ragged, Pixels]:
        source = Ragged("toy", Memory("ragged", toys.arrays()), DATES, FILL)
        return source, filled(toys.pixels(), np.array(DATES, np.int32), FILL)

    def damaged(self, tmp_path: Path) -> Damaged:
        files = toys.arrays()
        source = Ragged("toy", Memory("damaged", files), DATES, None)
        files["003.npy"] = files["003.npy"][:-100]
        return Damaged(source, 3, toys.T - 1)


def cut(source: ZarrSource) -> ZarrSource:
    """A source with chunks of which samples have one date to all of them."""
    T = source.modality.timestamps
    dates = (1 + np.arange(len(source)) % T).astype(np.int32)
    time = np.where(np.arange(T) >= dates[:, None], NO_TIME, source.columns.time)
    source.columns = replace(source.columns, dates=dates, time=time)
    return source


class TestRaggedZarr(test_sources.TestZarrMixed):
    """Chunks of frames, of other codecs, and of several dates."""

    def open(self, root: Path) -> ZarrSource:
        return cut(super().open(root))

    def expected(self) -> Pixels:
        pixels = super().expected()
        dates = (1 + np.arange(len(pixels)) % pixels.shape[1]).astype(np.int32)
        return filled(pixels, dates, 0)

    def damaged(self, tmp_path: Path) -> Damaged:
        found = super().damaged(tmp_path)
        assert found.source.columns.dates is not None
        assert found.timestamp < found.source.columns.dates[found.sample]
        return found


GRAY = {"jitter": 1.0, "contrast": 0.5, "gray": 0.5, "blur": 0.5}
ALL = View(size=(20, 16), timestamp="all", hflip=0.5, **GRAY)  # type: ignore[arg-type]
ONE = View(size=12, scale=(0.3, 1.0), d4=0.5, drop=0.4)
RECIPES = {
    "raw": None,
    "one and all": Recipe((ONE, ALL), Radiometry.quantile(-9, 4000), mask=True),
    "same, index": Recipe(
        (replace(ONE, timestamp="same"), replace(ONE, timestamp=0)), Radiometry.quantile(0, 4000)
    ),
    "all, bfloat16, channels-last": Recipe(
        (ALL,), Radiometry.quantile(0, 4000), dtype="bfloat16", channels_last=True, mask=True
    ),
    "labels": Recipe((ONE, ALL), Radiometry.identity(), mask=True),
}


def ragged(recipe: Recipe | None = None, dates: Any = DATES, fill: float | None = FILL) -> Dataset:
    source = Ragged("toy", Memory("ragged", toys.arrays()), dates, fill)
    return Dataset({"toy": source}, recipe, statistics("v1.1-webdataset"), 3)


def chunked(tmp_path: Path, recipe: Recipe | None) -> Dataset:
    suite = TestRaggedZarr()
    source = suite.open(suite.write(tmp_path))
    return Dataset({"S2L1C": source}, recipe, statistics("v1.1-webdataset"), 3)


def loads(
    data: Dataset, loader: type[DataLoader], engine: Any = "threads", shuffle: bool = True,
    **more: Any,
) -> None:  # fmt: skip
    """Two epochs are what torch makes of ``dataset[i]``."""
    found = loader(data, 4, shuffle, num_workers=2, seed=data.seed, engine=engine, **more)
    dtype, pixels = ("float32", ()) if data.recipe is None else (data.recipe.dtype, data.modalities)
    for epoch in range(2):
        data.set_epoch(epoch)
        order = found.order(epoch).tolist() if shuffle else range(len(data))
        theirs = torch.utils.data.DataLoader(data, 4, sampler=order)
        for a, b in zip(found, theirs, strict=True):
            assert_like_torch(a, b, dtype, [*pixels])


@pytest.mark.filterwarnings("ignore:.*decoded on the CPU")
@pytest.mark.parametrize("loader", [DataLoader, OnHost], ids=["host", "device"])
@pytest.mark.parametrize("recipe", RECIPES)
def test_every_engine_gives_what_the_dataset_gives(
    tmp_path: Path, recipe: str, loader: type[DataLoader]
) -> None:
    """Of a source that only reads, and of one with chunks."""
    for data in (ragged(RECIPES[recipe]), chunked(tmp_path, RECIPES[recipe])):
        loads(data, loader)
        if recipe in ("raw", "one and all") and has_dali():
            loads(data, loader, "dali")


@pytest.mark.filterwarnings("ignore:.*decoded on the CPU")
def test_what_is_kept_on_a_device_lacks_the_same(tmp_path: Path) -> None:
    """Absent dates of cached samples, of which only some have a place."""
    for data in (ragged(RECIPES["one and all"]), chunked(tmp_path, RECIPES["one and all"])):
        sample = next(m.timestamps * m.plane_bytes for m in data.modalities.values())
        for room in (3, 100):
            loads(data, OnHost, "threads", device_cache=room * sample)


def test_views_are_drawn_among_a_samples_own_dates() -> None:
    """Each of its dates comes, and no other; one with all draws what it draws anyway."""
    views = tuple(View(size=8, timestamp=t) for t in ("independent", "same", "distinct"))
    recipe = Recipe(views, Radiometry.quantile(0, 1))
    data, whole = ragged(recipe), npy(Memory("whole", toys.arrays()), recipe)
    samples, seen = np.arange(len(data)), [set[int]() for _ in DATES]
    for epoch in range(40):
        drawn = data.draw(samples, 1, epoch)
        assert (drawn["timestamp"] == data.draw_timestamps(samples, 1, epoch)).all()
        full = np.array(DATES) == toys.T
        other = whole.draw(samples, 1, epoch)
        for name in ("timestamp", "top", "left", "flip_x"):
            assert (drawn[full][name] == other[full][name]).all()
        for sample, row in zip(seen, drawn["timestamp"].tolist(), strict=True):
            sample.update(row)
    assert seen == [set(range(n)) for n in DATES]


def test_present_says_which_dates_are_there() -> None:
    """Like `time`; also after choosing, where all that were chosen have all."""
    raw = ragged()
    (batch,) = DataLoader(raw, 9)
    expected = torch.arange(toys.T) < torch.tensor(DATES)[:, None]
    assert torch.equal(batch["present"], expected)
    assert torch.equal(raw[4]["present"], expected[4])
    assert (batch["time"] == NO_TIME).equal(~expected)
    assert (batch["season"] == -1)[~expected].all()
    assert (batch["toy"][~expected] == int(FILL)).all()
    views = raw.with_recipe(RECIPES["one and all"])
    (batch,) = DataLoader(views, 9)
    assert batch["present"][0].tolist() == [True] * 9
    assert torch.equal(batch["present"][1], expected)
    assert not batch["toy_mask"][1][~expected].any()
    assert batch["toy_mask"][1][expected].all()
    full = raw.filter(min_dates=toys.T)
    assert [n for n in DATES if n == toys.T] == full.all_dates.tolist()
    assert full[0]["present"].tolist() == [True] * toys.T
    assert "present" not in npy(Memory("whole", toys.arrays()))[0]


def test_without_a_fill_value_dates_that_lack_are_zero() -> None:
    assert (ragged(fill=None)[0]["toy"][1:] == 0).all()


def test_a_dataset_of_samples_with_all_dates_has_no_such_entry() -> None:
    """`Columns.dates` that say nothing."""
    data = ragged(dates=(3,) * 9)
    assert "present" not in data[0]


def test_few_dates_are_refused_and_can_be_left_out() -> None:
    """The sentence is a way that works."""
    three = Recipe((View(size=8, timestamp="distinct"),) * 3, Radiometry.quantile(0, 1))
    index = Recipe((View(size=8, timestamp=1),), Radiometry.quantile(0, 1))
    raw = ragged()
    for recipe, need, few in ((three, 3, 5), (index, 2, 2)):
        says = rf"at least {need} dates, but {few} of 9 have fewer.*filter\(min_dates={need}\)"
        with pytest.raises(ValueError, match=says):
            ragged(recipe)
        with pytest.raises(ValueError, match=says):
            raw.with_recipe(recipe)
        some = raw.filter(min_dates=need).with_recipe(recipe)
        loads(some, DataLoader)
        drawn = some.draw(np.arange(len(some)), 0, 0)["timestamp"]
        assert (drawn < some.all_dates[:, None]).all()
    for wrong in (0, 4, 1.5):
        with pytest.raises(ValueError, match="min_dates must be a whole number from 1 to 3"):
            raw.filter(min_dates=wrong)  # type: ignore[arg-type]


def two(first: Any, second: Any, recipe: Recipe | None = None) -> Dataset:
    """Two modalities, each with or without dates that lack."""

    def source(name: str, dates: Any) -> Npy:
        store = Memory(name, toys.arrays())
        return Npy(name, store) if dates is None else Ragged(name, store, dates, FILL)

    sources = {name: source(name, dates) for name, dates in (("a", first), ("b", second))}
    return Dataset(sources, recipe, statistics("v1.1-webdataset"), 3)


@pytest.mark.parametrize(("first", "second"), [(DATES, None), (None, DATES), (DATES, DATES[::-1])])
def test_modalities_with_other_dates_are_refused(first: Any, second: Any) -> None:
    """But for raw pixels, and where those are left out that differ."""
    recipe = Recipe((ONE, ALL), Radiometry.quantile(0, 4000))
    with pytest.raises(ValueError, match=r"samples have other numbers of dates in b than in a; to"):
        two(first, second, recipe)
    raw = two(first, second)
    loads(raw, DataLoader)
    item = raw[0]
    assert ("present" in item, "present_b" in item) == (first is not None, second is not None)
    loads(raw.filter(min_dates=3).with_recipe(recipe), DataLoader)


@pytest.mark.parametrize("loader", [DataLoader, OnHost], ids=["host", "device"])
def test_modalities_with_the_same_dates_share_their_draws(loader: type[DataLoader]) -> None:
    loads(two(DATES, DATES, RECIPES["one and all"]), loader)


@pytest.mark.parametrize(
    ("dates", "says"),
    [
        ([0] + [3] * 8, "from 1 to 3, got 0 to 3"),
        ([4] + [3] * 8, "from 1 to 3, got 3 to 4"),
        ([3] * 8, r"int32 \[9\], got int32 \[8\]"),
        (np.array(DATES, np.int64), r"int32 \[9\], got int64 \[9\]"),
    ],
)
def test_a_wrong_column_of_dates_is_refused(dates: Any, says: str) -> None:
    source = Npy("toy", Memory("wrong", toys.arrays()))
    given = dates if isinstance(dates, np.ndarray) else np.array(dates, np.int32)
    source.columns = replace(source.columns, dates=given)
    with pytest.raises(ValueError, match=f"toy: Columns.dates must be {says}"):
        Dataset({"toy": source}, None, statistics("v1.1-webdataset"), 0)


@pytest.mark.parametrize("fill", [float("nan"), 1e6, 0.5])
def test_a_fill_value_that_pixels_cannot_hold_is_refused(fill: float) -> None:
    with pytest.raises(ValueError, match=r"toy: dates that samples lack .* is no int16"):
        ragged(fill=fill)
    assert "present" not in ragged(dates=(3,) * 9, fill=fill)[0]


def test_a_column_of_ones_own_may_not_take_the_name() -> None:
    source = Ragged("toy", Memory("ragged", toys.arrays()), DATES, None)
    with pytest.raises(ValueError, match=r"extras\['present'\]: a batch has an entry"):
        Dataset({"toy": source}, None, statistics("v1.1-webdataset"), 0,
                extras={"present": np.arange(9)})  # fmt: skip


def test_joined_datasets_keep_their_dates() -> None:
    """`concat` of data with and without, `mix`, `subset`, and a pickled dataset."""
    recipe = RECIPES["one and all"]
    whole = npy(Memory("whole", toys.arrays()), recipe, 3)
    whole.sources["toy"].modality = replace(whole.sources["toy"].modality, fill_value=FILL)
    whole = Dataset(whole.sources, recipe, whole.statistics, 3)
    joined = fastload.concat(ragged(recipe).subset([5, 1, 0]), whole)
    assert joined.all_dates.tolist() == [1, 3, 1] + [3] * 9
    loads(joined, DataLoader)
    mixed = fastload.mix({ragged(recipe): 1.0, whole: 2.0}, seed=1)
    loads(mixed, DataLoader, shuffle=False)
    other = pickle.loads(pickle.dumps(joined))
    other.set_epoch(0)
    joined.set_epoch(0)
    assert torch.equal(other[0]["toy"][1], joined[0]["toy"][1])


def test_dates_that_lack_are_not_counted() -> None:
    """Neither by the statistics of pixels nor among those that views show as no data."""
    data = ragged()
    dates = np.array(DATES)
    found = measure(data, "toy", np.arange(9), 2, FILL)
    own = toys.pixels()[np.arange(toys.T) < dates[:, None]].astype(float)
    np.testing.assert_allclose(found.mean, own.mean(axis=(0, 2, 3)), rtol=1e-12)
    assert found.pixels.tolist() == [dates.sum() * toys.H * toys.W] * toys.C
    assert found.left_out["no_data"].tolist() == [0] * toys.C
    for loader in (DataLoader, OnHost):
        counted = loader(data.with_recipe(RECIPES["one and all"]), 4)
        list(counted)
        assert counted.stats()["pixels"]["no_data"] == 0
    shown = npy(Memory("whole", toys.arrays()))
    shown.sources["toy"].modality = replace(shown.sources["toy"].modality, fill_value=7.0)
    assert measure(shown, "toy", np.arange(9), 1, 7.0).left_out["no_data"].sum() > 0


def test_filters_know_the_dates_that_lack() -> None:
    """`dates="all"` and `max_cloud` are of a sample's own dates."""
    source = Ragged("toy", Memory("ragged", toys.arrays()), DATES, None)
    lacks = np.arange(toys.T) >= np.array(DATES)[:, None]
    cloud = np.where(lacks, np.nan, 0.1).astype(np.float32)
    cloud[1, 2] = 0.9
    source.columns = replace(source.columns, cloud=cloud)
    data = Dataset({"toy": source}, None, statistics("v1.1-webdataset"), 0)
    assert len(data.filter(months=[1], dates="all")) == 9  # of 1970
    assert data.filter(max_cloud=0.5).keys.tolist() == [k for k in data.keys if k != "001"]


@pytest.mark.parametrize("loader", [DataLoader, OnHost], ids=["host", "device"])
@pytest.mark.parametrize("recipe", ["raw", "one and all"])
def test_a_replaced_sample_has_its_own_dates(loader: type[DataLoader], recipe: str) -> None:
    """Where another takes the place, its dates and masks are its own."""
    files = toys.arrays()
    store = Memory("damaged", files)
    source = Ragged("toy", store, DATES, FILL)
    data = Dataset({"toy": source}, RECIPES[recipe], statistics("v1.1-webdataset"), 3)
    whole = ragged(RECIPES[recipe])
    for name in ("000.npy", "001.npy", "006.npy"):
        files[name] = files[name][:100]
    found = loader(data, 3, on_error="replace", seed=3)
    for batch in found:
        whole.set_epoch(0)
        rows = [whole[i] for i in batch["index"].tolist()]
        expected = torch.utils.data.default_collate(rows)
        assert_like_torch(batch, expected, "float32", ["toy"] if data.recipe else [])
    assert found.stats()["replaced"] == 3
