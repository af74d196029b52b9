"""Choosing samples: subset, split, filter, concat, and torch's wrappers of the same."""

import pickle
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch.utils.data import ConcatDataset, Subset, random_split

import fastload
from fastload import DataLoader, Dataset, Recipe
from fastload.datasets.source import Columns, Modality, Source
from fastload.statistics import statistics
from tests.conformance.toy import Memory
from tests.fastload.made import (
    BOTH,
    ENGINES,
    LOCATIONS,
    assert_like_torch,
    assert_same,
    dataset,
    indices,
    moco,
    root,
)
from tests.fastload.twin import OnHost

pytestmark = pytest.mark.timeout(60)
DAY = 86_400_000_000_000
CHOICES: dict[str, tuple[Any, list[int]]] = {
    "numbers": ([4, 2, 9, -1], [4, 2, 9, LOCATIONS - 1]),
    "a range": (range(3, 8), [3, 4, 5, 6, 7]),
    "a generator": ((i for i in (1, 5)), [1, 5]),
    "an array": (np.array([7, 0], np.int32), [7, 0]),
    "a tensor": (torch.tensor([7, 0]), [7, 0]),
    "a mask": (np.arange(LOCATIONS) % 5 == 0, [0, 5, 10, 15, 20]),
    "a list of bools": ([i == 3 for i in range(LOCATIONS)], [3]),
    "keys": (["0000006", "0000001"], [6, 1]),
    "keys as NumPy has them": (np.array(["0000006", "0000001"]), [6, 1]),
    "keys as bytes": ([b"0000006"], [6]),
    "twice the same": ([5, 5], [5, 5]),
}


@pytest.mark.parametrize("choice", CHOICES)
def test_a_subset_is_a_dataset(choice: str) -> None:
    which, expected = CHOICES[choice]
    data = dataset(moco(), BOTH)
    part = data.subset(which)
    assert type(part) is type(data)
    assert part.keys.tolist() == [data.keys[i] for i in expected]
    assert len(part) == len(expected)
    for i, number in enumerate(expected):
        assert_same(part[i], data[number])
        assert part.times(i).tolist() == data.times(number).tolist()


@pytest.mark.parametrize("loader", [DataLoader, OnHost], ids=["host", "device"])
@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("recipe", [None, moco()], ids=["raw", "views"])
def test_a_subset_of_a_subset_loads_fast(recipe: Any, engine: Any, loader: Any) -> None:
    data = dataset(recipe, BOTH)
    part = data.subset(range(2, 20)).subset([9, 0, 4, 4, 16])
    expected = [11, 2, 6, 6, 18]
    (batch,) = loader(part, 5, engine=engine, num_workers=2)
    assert batch["index"].tolist() == expected
    torchs = torch.utils.data.default_collate([data[i] for i in expected])
    assert_like_torch(batch, torchs, "float32" if recipe is None else recipe.dtype, BOTH)


def test_a8_keys_are_text_and_found() -> None:
    data = dataset()
    assert all(isinstance(key, str) for key in data.keys)
    assert np.isin(data.keys, ["0000003", "0000005"]).sum() == 2
    assert (data.keys == "0000003").sum() == 1
    assert data.index_of("0000003") == 3
    assert data.subset(["0000009", "0000003"]).index_of("0000003") == 1
    assert data.keys[0].decode() == "0000000"  # written when they were bytes
    with pytest.raises(KeyError, match="no sample '0000099' among 21"):
        data.index_of("0000099")


@pytest.mark.parametrize(
    ("which", "kind", "sentence"),
    [
        ([], ValueError, "no sample is chosen"),
        ([LOCATIONS], IndexError, "no sample 21, the dataset has 21"),
        ([-LOCATIONS - 1], IndexError, "no sample -22"),
        ([True, False], ValueError, "the mask has 2 entries, the dataset 21 samples"),
        ([0.5], ValueError, "expected numbers, a mask or keys, got float64"),
        ([[1, 2]], ValueError, r"one axis of samples, got shape \(1, 2\)"),
        (["0000001", "x"], KeyError, "1 of 2 keys are not there, such as x"),
    ],
)
def test_a_choice_that_does_not_fit(which: Any, kind: Any, sentence: str) -> None:
    with pytest.raises(kind, match=sentence):
        dataset().subset(which)


def test_a_split_is_disjoint_and_a_function_of_the_seed() -> None:
    data = dataset()
    parts = data.split([0.5, 0.3, 0.2], seed=4)
    assert [len(p) for p in parts] == [len(p) for p in random_split(data, [0.5, 0.3, 0.2])]
    numbers = [[data.index_of(k) for k in p.keys] for p in parts]
    assert sorted(n for some in numbers for n in some) == list(range(LOCATIONS))
    assert all(a < b for some in numbers for a, b in pairwise(some))
    again = data.split((0.5, 0.3, 0.2), seed=4)
    assert [p.keys.tolist() for p in again] == [p.keys.tolist() for p in parts]
    other = data.split((0.5, 0.3, 0.2), seed=5)
    assert [p.keys.tolist() for p in other] != [p.keys.tolist() for p in parts]
    assert [len(p) for p in data.split([20, 1])] == [20, 1]
    assert [len(p) for p in data.split([0.1, 0.1])] == [2, 2]


@pytest.mark.parametrize("fractions", [[], [-0.5, 1.0], [0.8, 0.4], [30, 2], [0.0, 1.0]])
def test_a_split_that_does_not_fit(fractions: list[float]) -> None:
    with pytest.raises(ValueError, match="split: "):
        dataset().split(fractions)


class Table(Source):
    """Samples of one pixel that say their own number, with any columns."""

    def __init__(self, time: NDArray[np.int64], cloud: Any, lon: Any, lat: Any) -> None:
        N, T = time.shape
        self.modality = Modality("table", T, 1, 1, 1, np.dtype("float32"), ("x",))
        self.columns = Columns(
            np.array([f"{i:03d}".encode() for i in range(N)]),
            np.asarray(lon, float), np.asarray(lat, float), time,
            np.asarray(cloud, np.float32), np.zeros(N, np.uint32),
        )  # fmt: skip

    def read(self, sample: int, timestamps: Any, out: Any, stages: Any) -> None:
        out[...] = sample


def table(N: int = 60, T: int = 4) -> Dataset:
    rng = np.random.default_rng(3)
    time = np.sort(rng.integers(17_000, 19_000, (N, T)), axis=1) * DAY
    time[5, 2] = np.iinfo(np.int64).min
    cloud = rng.random((N, T))
    cloud[7] = np.nan
    source = Table(time, cloud, rng.uniform(-180, 180, N), rng.uniform(-80, 80, N))
    return Dataset({"table": source}, None, statistics("v1.1-webdataset"), 0)


def test_filters_against_a_slow_loop() -> None:
    data = table()
    time, cloud = data.all_times, data.all_clouds

    def kept(**given: Any) -> list[int]:
        return [int(k) for k in data.filter(**given).keys]

    def month(t: int) -> int:
        return int(str(np.datetime64(int(t), "ns"))[5:7])

    known = time != np.iinfo(np.int64).min
    N, T = time.shape
    assert kept(bbox=(-20, -30, 60, 40)) == [
        i for i in range(N) if -20 <= data.lon[i] <= 60 and -30 <= data.lat[i] <= 40
    ]
    assert kept(bbox=(170, -80, -150, 80)) == [
        i for i in range(N) if data.lon[i] >= 170 or data.lon[i] <= -150
    ]
    for dates, every in (("any", any), ("all", all)):
        assert kept(months=[3, 4, 5, 6, 7, 8, 9], dates=dates) == [
            i for i in range(N)
            if every(known[i, t] and 3 <= month(time[i, t]) <= 9 for t in range(T))
        ]  # fmt: skip
    day = int(np.datetime64("2019-06-01", "ns").astype(np.int64))
    assert kept(since="2019-06-01", months=[6, 7]) == [
        i for i in range(N)
        if any(known[i, t] and time[i, t] >= day and month(time[i, t]) in (6, 7) for t in range(T))
    ]  # fmt: skip
    assert kept(until="2019-06-01", dates="all") == [
        i for i in range(N) if all(known[i, t] and time[i, t] < day for t in range(T))
    ]
    assert kept(max_cloud=0.8) == [i for i in range(N) if (cloud[i] <= np.float32(0.8)).all()]
    summer = kept(seasons=["summer"])
    assert summer == kept(seasons=[2])
    south = [i for i in range(N) if data.lat[i] < 0]
    assert [i for i in summer if i in south] == [
        i for i in south if any(known[i, t] and month(time[i, t]) in (12, 1, 2) for t in range(T))
    ]


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"bbox": (0, 0, 0, 0)}, "none of the 60 samples fits"),
        ({"bbox": (0, 5, 5, 0)}, r"bbox must be \(west, south, east, north\)"),
        ({"months": [0]}, "months must be from 1 to 12"),
        ({"seasons": ["monsoon"]}, "seasons must be from 0 to 3 or of"),
        ({"dates": "some"}, "dates must be 'any' or 'all'"),
    ],
)
def test_a_filter_that_does_not_fit(given: Any, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        table().filter(**given)
    data = dataset(modalities=["S1GRD"])
    assert np.isnan(data.all_clouds).all()
    with pytest.raises(ValueError, match="none is known here"):
        data.filter(max_cloud=0.5)


# --- joined ---


@pytest.mark.parametrize("loader", [DataLoader, OnHost], ids=["host", "device"])
@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("recipe", [None, moco()], ids=["raw", "views"])
def test_datasets_of_several_places_join(recipe: Any, engine: Any, loader: Any) -> None:
    """Other roots, a subset among them, and twice the same place."""
    a = dataset(recipe, BOTH)
    b = dataset(recipe, BOTH, locations=9)
    both = fastload.concat(a.subset([20, 3]), b, a.subset([3, 4]))
    assert len(both) == 2 + 9 + 2
    wanted = [20, 3, *range(21, 30), 30 + 3, 30 + 4]
    batches = list(loader(both, 13, engine=engine, num_workers=2))
    assert batches[0]["index"].tolist() == wanted
    parts = [a[20], a[3], *(b[i] for i in range(9)), a[3], a[4]]
    assert batches[0]["key"] == [p["key"] for p in parts]
    if recipe is None:
        for i, part in enumerate(parts):
            assert all(torch.equal(batches[0][m][i], part[m]) for m in BOTH)
    both.set_epoch(0)
    torchs = torch.utils.data.default_collate([both[i] for i in range(13)])
    assert_like_torch(batches[0], torchs, "float32" if recipe is None else recipe.dtype, BOTH)
    again = pickle.loads(pickle.dumps(both))
    assert again.fingerprint == both.fingerprint
    assert_same(again[5], both[5])


def test_damage_in_a_joined_dataset_names_its_file() -> None:
    from fastload import DataError

    a, b = dataset(), dataset(locations=9)
    source: Any = fastload.concat(a, b).sources["S2L1C"]
    wanted = np.ones((1, 4), bool)
    row = source.chunks(np.array([LOCATIONS + 2]), wanted).rows[1]
    error = source.error(LOCATIONS + 2, row, "bad")
    assert isinstance(error, DataError)
    assert error.shard.startswith(str(root(9)))
    assert error.member == "0000002.zarr.zip/bands/1.0.0.0"


def test_what_does_not_join() -> None:
    data = dataset(moco())
    with pytest.raises(ValueError, match="at least one"):
        fastload.concat()
    with pytest.raises(ValueError, match="modalities differ"):
        fastload.concat(data, dataset(moco(), BOTH))
    with pytest.raises(ValueError, match="recipes differ"):
        fastload.concat(data, data.with_recipe(None))
    with pytest.raises(ValueError, match=r"differs in shape: \(4, 1, 1, 1\) and \(3, 1, 1, 1\)"):
        fastload.concat(table(), table(T=3))
    other = fastload.SSL4EOS12(root(), recipe=Recipe.series(24), statistics="v1.0", progress=False)
    with pytest.raises(ValueError, match="statistics of S2L1C differ"):
        fastload.concat(dataset(Recipe.series(24)), other)


# --- torch's wrappers ---


def test_a1_torchs_wrappers_are_resolved() -> None:
    data = dataset(moco())
    first, second = random_split(data, [0.4, 0.6], torch.Generator().manual_seed(2))
    chains = {
        "subset": (Subset(data, [4, 2, 9]), data.subset([4, 2, 9])),
        "split": (first, data.subset(first.indices)),
        "subset of a split": (Subset(second, [3, 1]), data.subset(second.indices).subset([3, 1])),
        "concatenation": (
            ConcatDataset([first, Subset(second, [0])]),
            fastload.concat(data.subset(first.indices), data.subset([second.indices[0]])),
        ),
        "sum": (
            first + second,
            fastload.concat(*map(data.subset, (first.indices, second.indices))),
        ),
    }
    for name, (chain, ours) in chains.items():
        a, b = (DataLoader(d, 2, True, seed=3, num_workers=1) for d in (chain, ours))
        assert a.is_fast, name
        assert a.dataset is chain
        assert a.state_dict() == b.state_dict()
        for _ in range(2):
            assert_same(list(a), list(b))


def test_an_empty_split_goes_torchs_way() -> None:
    data = dataset()
    with pytest.warns(UserWarning, match="Subset holds a fastload dataset"):
        loader = DataLoader(Subset(data, []), 2)
    assert list(loader) == []


def test_a6_ranks_beside_a_sampler_are_refused() -> None:
    sampler = torch.utils.data.SubsetRandomSampler(range(0, 16, 2))
    with pytest.raises(ValueError, match=r"rank and world_size say nothing .* dataset\.subset"):
        DataLoader(dataset(), 2, sampler=sampler, rank=0, world_size=2)
    part = dataset().subset(range(0, 16, 2))
    ranks = [DataLoader(part, 2, True, seed=1, rank=r, world_size=2) for r in (0, 1)]
    assert sorted(n for r in ranks for batch in indices(r) for n in batch) == list(range(0, 16, 2))


def test_a_memory_toy_is_a_dataset_too() -> None:
    """What has no chunks is chosen and joined alike."""
    from tests.conformance import toys
    from tests.conformance.toy import npy

    data = npy(Memory("a", toys.arrays()))
    other = npy(Memory("b", toys.arrays()))
    both = fastload.concat(data.subset([1, 2]), other.subset([5]))
    (batch,) = DataLoader(both, 3, num_workers=1)
    expected = torch.from_numpy(toys.pixels()[[1, 2, 5]])
    assert torch.equal(batch["toy"], expected)
