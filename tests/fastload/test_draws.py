"""What ``dataset[i]`` draws: torch's generator until an epoch is pinned; and whose __getitem__."""

import warnings
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import ConcatDataset, Subset, random_split

import fastload
from fastload import SSL4EOS12, DataLoader
from tests.fastload.made import assert_like_torch, assert_same, dataset, indices, moco, root

pytestmark = pytest.mark.timeout(120)


def unpinned() -> SSL4EOS12:
    return SSL4EOS12(root(), recipe=moco(), progress=False)


def views(batches: Any) -> dict[int, torch.Tensor]:
    return {int(i): b["S2L1C"][0][j] for b in batches for j, i in enumerate(b["index"])}


class Wrapper(torch.utils.data.Dataset[Any]):
    """What a user puts around ours."""

    def __init__(self, inner: Any) -> None:
        self.inner = inner

    def __len__(self) -> int:
        return len(self.inner)

    def __getitem__(self, i: int) -> Any:
        return self.inner[i]


WRAPPERS = {
    "itself": lambda d: d,
    "Subset": lambda d: Subset(d, range(10)),
    "random_split": lambda d: random_split(d, [10, 11])[0],
    "ConcatDataset": lambda d: ConcatDataset([Subset(d, range(4)), Subset(d, range(4, 9))]),
    "a stranger": Wrapper,
    "a stranger around a Subset": lambda d: Wrapper(Subset(d, range(10))),
}
TORCHS = {
    "in the process": {},
    "workers": {"num_workers": 1},
    "persistent workers": {"num_workers": 1, "persistent_workers": True},
}


@pytest.mark.parametrize("wrapper", WRAPPERS)
@pytest.mark.parametrize("way", TORCHS)
def test_a1_every_epoch_of_torchs_loader_shows_new_views(wrapper: str, way: str) -> None:
    loader = torch.utils.data.DataLoader(WRAPPERS[wrapper](unpinned()), 4, **TORCHS[way])
    first, second = views(loader), views(loader)
    assert first.keys() == second.keys()
    assert not any(torch.equal(first[i], second[i]) for i in first)


@pytest.mark.parametrize("wrapper", WRAPPERS)
@pytest.mark.parametrize("tell", [False, True])
@pytest.mark.filterwarnings("ignore")
def test_a1_every_epoch_of_ours_shows_new_views(wrapper: str, tell: bool) -> None:
    loader = DataLoader(WRAPPERS[wrapper](unpinned()), 4, shuffle=True)
    seen = []
    for epoch in range(2):
        if tell:
            loader.set_epoch(epoch)
        seen.append(views(loader))
    assert seen[0].keys() == seen[1].keys()
    assert not any(torch.equal(seen[0][i], seen[1][i]) for i in seen[0])


def test_manual_seed_makes_the_draws_again() -> None:
    data = unpinned()
    torch.manual_seed(3)
    first = [data[i] for i in (0, 0, 1)]
    assert not torch.equal(first[0]["S2L1C"][0], first[1]["S2L1C"][0])
    torch.manual_seed(3)
    assert_same([data[i] for i in (0, 0, 1)], first)
    for workers in (0, 2):
        loader = torch.utils.data.DataLoader(data, 4, num_workers=workers)
        torch.manual_seed(4)
        a = list(loader)
        torch.manual_seed(4)
        assert_same(list(loader), a)


def test_raw_pixels_draw_nothing() -> None:
    before = torch.get_rng_state()
    dataset()[3]
    assert torch.equal(torch.get_rng_state(), before)


def test_set_epoch_pins_and_unpins() -> None:
    data = unpinned()
    loader = DataLoader(data, 21, seed=0)
    for epoch in (0, 3):
        data.set_epoch(np.int64(epoch))  # type: ignore[arg-type]
        loader.set_epoch(epoch)
        (ours,) = loader
        theirs = torch.utils.data.default_collate([data[i] for i in range(21)])
        assert_like_torch(ours, theirs, moco().dtype, ["S2L1C"])
    data.set_epoch(None)
    assert not torch.equal(data[0]["S2L1C"][0], data[0]["S2L1C"][0])


def test_the_loaders_sampler_says_what_is_drawn() -> None:
    """Its numbers, in torch's loader, give the batches of the epoch, in other processes too."""
    ours = DataLoader(unpinned(), 4, True, seed=7)
    for epoch in range(2):
        for workers in (0, 1):
            ours.set_epoch(epoch)
            theirs = list(
                torch.utils.data.DataLoader(
                    ours.dataset, batch_sampler=ours.batch_sampler, num_workers=workers
                )
            )
            ours.set_epoch(epoch)
            for a, b in zip(ours, theirs, strict=True):
                assert_like_torch(a, b, moco().dtype, ["S2L1C"])


# --- subclasses and strangers ---


class Labelled(SSL4EOS12):
    """The habit of torchgeo."""

    def __getitem__(self, i: int) -> dict[str, Any]:
        sample = super().__getitem__(i)
        sample["label"] = i % 2
        sample["S2L1C"] = [view[[3, 2, 1]] for view in sample["S2L1C"]]
        return sample


@pytest.mark.parametrize(
    "collate", [None, lambda samples: torch.utils.data.default_collate(samples)]
)
def test_a2_a_subclass_s_getitem_is_used(collate: Any) -> None:
    data = Labelled(root(), recipe=moco(), progress=False)
    for loader_class in (DataLoader, torch.utils.data.DataLoader):
        for whole in (data, Subset(data, range(6)), random_split(data, [6, 15])[0]):
            with warnings.catch_warnings(record=True) as told:
                warnings.simplefilter("always")
                loader = loader_class(whole, 3, collate_fn=collate)
            batch = next(iter(loader))
            assert batch["label"].tolist() == [i % 2 for i in batch["index"].tolist()]
            assert batch["S2L1C"][0].shape[1] == 3
            expected = 1 if loader_class is DataLoader else 0
            assert len([w for w in told if "torch's loader" in str(w.message)]) == expected
    with pytest.raises(ValueError, match="device_cache: for fastload datasets only, and Labelled"):
        DataLoader(data, 3, device_cache=1)


def test_a_subclass_without_one_is_fast() -> None:
    class Named(SSL4EOS12):
        def __init__(self) -> None:
            super().__init__(root(), progress=False)

        def name(self) -> str:
            return "mine"

    loader = DataLoader(Named(), 4)
    assert loader.is_fast
    assert len(indices(loader)) == 6


base = dataset()


class Global(torch.utils.data.Dataset[Any]):
    """A stranger that names ours only in its code."""

    def __len__(self) -> int:
        return 6

    def __getitem__(self, i: int) -> Any:
        return base[i]["key"], i


@pytest.mark.parametrize("stranger", ["attribute", "global", "closure", "list"])
def test_a_stranger_around_ours_is_told_once(stranger: str) -> None:
    data = dataset(moco())

    class Closure(Global):
        def __getitem__(self, i: int) -> Any:
            return data[i]["key"], i

    held = Wrapper([data])
    held.inner = [data]
    around = {
        "attribute": Wrapper(data), "global": Global(), "closure": Closure(), "list": held,
    }[stranger]  # fmt: skip
    with pytest.warns(UserWarning, match="holds a fastload dataset, so torch's loader") as told:
        loader = DataLoader(around, 3)
    assert len(told) == 1
    with pytest.warns(UserWarning, match="position in .* is not saved"):
        assert loader.state_dict() == {}
    with pytest.raises(ValueError, match="seed: for fastload datasets only"):
        DataLoader(Wrapper(list(range(5))), seed=3)


def test_a_stranger_without_ours_hears_nothing() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        list(DataLoader(Wrapper(list(range(5))), 2))


def test_c8_numbers_of_numpy_are_numbers() -> None:
    import json

    data = SSL4EOS12(root(), progress=False, seed=np.int64(3))  # type: ignore[arg-type]
    loader = DataLoader(
        data, np.int64(4), True, seed=np.int64(2), rank=np.int32(0), world_size=np.int32(1)
    )  # type: ignore[arg-type]
    loader.set_epoch(np.int64(3))  # type: ignore[arg-type]
    state = loader.state_dict()
    assert json.loads(json.dumps(state)) == state
    other = fastload.DataLoader(data, 4, True, seed=2)
    other.load_state_dict(state)
    assert other.epoch == 3
