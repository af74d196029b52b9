"""The smallest rooms pass the suites, and load: each is one file, and no other one is edited."""

import errno
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from fastload import DataError, DataLoader, Radiometry, Recipe, View
from fastload.datasets.base import Dataset
from fastload.datasets.zarrs.zarr_source import ZarrSource
from fastload.engines import MOVERS, Mover
from fastload.engines.dali import has_dali
from fastload.profile import Profile
from fastload.storage.index import open_index
from fastload.storage.store import Store
from tests.conformance import toys
from tests.conformance.mover import MoverTests, in_memory
from tests.conformance.source import (
    ChunkedSourceTests,
    Damaged,
    Pixels,
    SourceTests,
)
from tests.conformance.source import dataset as of_source
from tests.conformance.store import StoreTests
from tests.conformance.toy import Memory, Npy, Whole, npy
from tests.fastload import shardmaker
from tests.fastload.made import assert_like_torch, assert_same
from tests.fastload.made import dataset as made_dataset
from tests.fastload.twin import OnHost

pytestmark = pytest.mark.timeout(60)
ENGINES = ("threads", "dali")
RECIPES = {
    "raw": None,
    "two views": Recipe(
        (
            View(size=12, scale=(0.3, 1.0), d4=0.5, blur=0.5, drop=0.4),
            View(size=(20, 16), timestamp="all"),
        ),
        Radiometry.quantile(0, 4000),
    ),
    "bfloat16, channels-last": Recipe(
        (View(size=16, timestamp="distinct"), View(size=16, timestamp="distinct")),
        Radiometry.quantile(0, 4000),
        dtype="bfloat16",
        channels_last=True,
    ),
}


class TestMemory(StoreTests):
    def make(self, tmp_path: Path, files: dict[str, bytes]) -> Memory:
        return Memory("made", dict(files))

    def missing(self, tmp_path: Path) -> Memory:
        return Memory("nowhere", None)

    def put(self, store: Store, name: str, data: bytes | None) -> None:
        assert isinstance(store, Memory)
        assert store.files is not None
        store.files.pop(name)
        if data is not None:
            store.files[name] = data

    def fail(
        self, monkeypatch: pytest.MonkeyPatch, store: Store, error: OSError, times: int
    ) -> None:
        assert isinstance(store, Memory)
        store.fails = [error] * times


class TestNpy(SourceTests):
    def make(self, tmp_path: Path) -> tuple[Npy, Pixels]:
        return Npy("toy", Memory("arrays", toys.arrays())), toys.pixels()

    def damaged(self, tmp_path: Path) -> Damaged:
        files = toys.arrays()
        source = Npy("toy", Memory("damaged", files))
        files["004.npy"] = files["004.npy"][:-100]
        return Damaged(source, 4, toys.T - 1)


class TestZarrInMemory(ChunkedSourceTests):
    """The published layout where there is no folder: the index goes to the cache."""

    frames = 1

    def open(self, files: dict[str, bytes]) -> ZarrSource:
        store = Memory("tars", files)
        return ZarrSource("S2L1C", store, open_index(store), check_crc=True)

    def make(self, tmp_path: Path) -> tuple[ZarrSource, Pixels]:
        pixels = [shardmaker.pixels(f"S2L1C {int(key)}") for key in shardmaker.KEYS]
        return self.open(toys.tars()), np.stack(pixels)

    def damaged(self, tmp_path: Path) -> Damaged:
        files = toys.tars()
        source = self.open(files)
        row = source.chunks(np.array([3]), np.ones((1, shardmaker.T), bool)).rows[2]
        name = source.files[row["file"]]
        content = bytearray(files[name])
        content[row["offset"] + 30] ^= 1
        files[name] = bytes(content)
        return Damaged(source, 3, 2)

    def test_the_index_is_kept_in_the_cache(self, cache: Path) -> None:
        """`Store.folder` is None; an index is found again, and made anew where bytes change."""
        assert len(self.open(toys.tars())) == len(shardmaker.KEYS)
        (index,) = (cache / "index").glob("*.index")
        before = index.stat().st_mtime_ns
        self.open(toys.tars())
        assert index.stat().st_mtime_ns == before
        files = toys.tars()
        del files[min(files)]
        assert len(self.open(files)) == len(shardmaker.KEYS) - 3


class TestWhole(MoverTests):
    uses_again = False  # for the sake of brevity

    def make(self, data: Dataset, profile: Profile, queue: Any, largest: int | None) -> Mover:
        return Whole(data, profile, queue, largest)


def loads(data: Dataset, recipe: Recipe | None, loader: type[DataLoader], engine: Any) -> None:
    """A loader's batches are those that torch makes of ``dataset[i]``, in two epochs."""
    found = loader(data, 4, shuffle=True, num_workers=2, seed=data.seed, engine=engine)
    for epoch in range(2):
        data.set_epoch(epoch)
        order = found.order(epoch).tolist()
        expected = torch.utils.data.DataLoader(data, 4, sampler=order)
        dtype, pixels = ("float32", ()) if recipe is None else (recipe.dtype, [*data.modalities])
        for mine, theirs in zip(found, expected, strict=True):
            assert_like_torch(mine, theirs, dtype, pixels)


@pytest.fixture(params=ENGINES)
def engine(request: pytest.FixtureRequest) -> str:
    if request.param == "dali" and not has_dali():
        pytest.skip("needs nvidia-dali")
    return str(request.param)


@pytest.mark.parametrize("loader", [DataLoader, OnHost], ids=["host", "device"])
@pytest.mark.parametrize("recipe", RECIPES)
def test_a_toy_layout_loads(recipe: str, loader: type[DataLoader], engine: str) -> None:
    """A source that can only `read`, on every engine and target."""
    data = npy(Memory("arrays", toys.arrays()), RECIPES[recipe], seed=3)
    loads(data, RECIPES[recipe], loader, engine)


@pytest.mark.parametrize("loader", [DataLoader, OnHost], ids=["host", "device"])
@pytest.mark.parametrize("recipe", RECIPES)
def test_a_toy_store_carries_the_published_layout(
    recipe: str, loader: type[DataLoader], engine: str
) -> None:
    """A `ZarrSource` of a store without a folder, on every engine and target."""
    source = in_memory(Memory("tars", toys.tars())).sources["S2L1C"]
    data = of_source(source, RECIPES[recipe])
    loads(data, RECIPES[recipe], loader, engine)


def test_what_a_toy_lacks_is_replaced(engine: str) -> None:
    """Damage in a toy's file, and trouble of its storage, are told apart and replaced."""
    files = toys.arrays()
    data = npy(Memory("damaged", files))
    whole = {i: data[i]["toy"] for i in range(len(data))}
    files["004.npy"] = files["004.npy"][:-100]
    for loader in (DataLoader, OnHost):
        found = loader(data, 3, engine=engine, on_error="replace", num_workers=2)
        for batch in found:
            for sample, pixels in zip(batch["index"].tolist(), batch["toy"], strict=True):
                assert torch.equal(pixels, whole[sample])
                assert sample != 4
        assert (found.stats()["errors"], found.stats()["replaced"]) == (1, 1)
        with pytest.raises(DataError, match=r"memory://damaged/004\.npy"):
            list(loader(data, 3, engine=engine))


@pytest.mark.parametrize("workers", [0, 2])
def test_a_toy_mover_is_an_engine(monkeypatch: pytest.MonkeyPatch, workers: int) -> None:
    """One line in the table, and the loader takes its name."""
    with pytest.raises(ValueError, match="engine must be"):
        DataLoader(made_dataset(), engine="toy")  # type: ignore[arg-type]
    monkeypatch.setitem(MOVERS, "toy", "tests.conformance.toy:Whole")
    data = made_dataset(RECIPES["two views"])
    mine = DataLoader(data, 4, True, num_workers=workers, engine="toy")  # type: ignore[arg-type]
    assert_same(list(mine), list(DataLoader(data, 4, True)))
    assert mine.stats()["engine"] == "toy"


def test_a_store_may_fail_for_a_while(monkeypatch: pytest.MonkeyPatch, engine: str) -> None:
    """Storage trouble that passes is not seen by the loader at all."""
    monkeypatch.setattr("fastload.storage.store.RETRIES_S", (0.0, 0.0, 0.0))
    store = Memory("arrays", toys.arrays())
    data = npy(store)
    expected = list(DataLoader(data, 3))
    store.fails = [OSError(errno.EIO, "input/output error")] * 3
    loader = DataLoader(data, 3, engine=engine)
    assert_same(list(loader), expected)
    assert store.fails == []
    assert loader.stats()["errors"] == 0


def test_the_toys_are_small() -> None:
    """A layout is about 40 lines."""
    text = Path(toys.__file__).with_name("toy.py").read_text()
    layout = text[text.index("class Npy") : text.index("class Ragged")]
    assert len([line for line in layout.splitlines() if line.strip()]) < 50
