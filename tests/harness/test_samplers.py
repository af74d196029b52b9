"""A3: torch's samplers and a user's own, resumed anywhere, and refused where they differ."""

import io
import json
import pickle
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any

import pytest
import torch
from torch.utils.data import (
    BatchSampler,
    DistributedSampler,
    RandomSampler,
    SequentialSampler,
    SubsetRandomSampler,
    WeightedRandomSampler,
)

from fastload import DataLoader
from tests.harness.made import BATCH, SAMPLES, Plain, assert_same, data, straight

pytestmark = pytest.mark.timeout(120)
EPOCHS = 3
WEIGHTS = [1.0 + i % 3 for i in range(SAMPLES)]


class Own(torch.utils.data.Sampler[int]):
    """Walks on from where it stopped, which no generator and no epoch tells; has a state."""

    def __init__(self) -> None:
        self._at = 0

    def __iter__(self) -> Iterator[int]:
        self._at += 5
        return iter([(self._at + 7 * i) % SAMPLES for i in range(10)])

    def __len__(self) -> int:
        return 10

    def state_dict(self) -> dict[str, int]:
        return {"at": self._at}

    def load_state_dict(self, state: dict[str, int]) -> None:
        self._at = state["at"]


class Stateless(torch.utils.data.Sampler[int]):
    """Knows nothing that a state could hold."""

    def __iter__(self) -> Iterator[int]:
        return iter(torch.randperm(SAMPLES).tolist())

    def __len__(self) -> int:
        return SAMPLES


def seeded() -> torch.Generator:
    return torch.Generator().manual_seed(11)


def distributed(world: int = 2, rank: int = 0, **more: Any) -> DistributedSampler[Any]:
    return DistributedSampler(range(SAMPLES), world, rank, **({"shuffle": True} | more))


SAMPLERS: dict[str, Callable[[], Any]] = {
    "RandomSampler": lambda: RandomSampler(range(SAMPLES)),
    "RandomSampler, generator": lambda: RandomSampler(range(SAMPLES), generator=seeded()),
    "RandomSampler, replacement": lambda: RandomSampler(range(SAMPLES), True, 10),
    "WeightedRandomSampler": lambda: WeightedRandomSampler(WEIGHTS, 10),
    "WeightedRandomSampler, generator": lambda: WeightedRandomSampler(
        WEIGHTS, 10, generator=seeded()
    ),
    "SubsetRandomSampler": lambda: SubsetRandomSampler(range(3, 14)),
    "SubsetRandomSampler, generator": lambda: SubsetRandomSampler(range(3, 14), seeded()),
    "SequentialSampler": lambda: SequentialSampler(range(SAMPLES)),
    "DistributedSampler": distributed,
    "own": Own,
}


def ours(sampler: Any, batch: int = BATCH, **more: Any) -> DataLoader:
    return DataLoader(data(), batch, sampler=sampler, **more)


def order(loader: Any, epochs: int = EPOCHS) -> list[list[str]]:
    """The keys of each batch, where nobody sets an epoch."""
    return [list(batch["key"]) for _ in range(epochs) for batch in loader]


def through_files(state: dict[str, Any]) -> dict[str, Any]:
    """A state after json, pickle and torch, which must all bring it back."""
    assert json.loads(json.dumps(state)) == state
    assert pickle.loads(pickle.dumps(state)) == state
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    loaded: dict[str, Any] = torch.load(file, weights_only=True)
    assert loaded == state
    return loaded


@pytest.mark.parametrize("name", SAMPLERS)
def test_a3_the_order_is_that_of_torchs_loader(name: str) -> None:
    """Under one `torch.manual_seed`, over several epochs."""
    found = []
    for make in (
        lambda s: ours(s),
        lambda s: torch.utils.data.DataLoader(Plain(), BATCH, sampler=s),
    ):
        torch.manual_seed(6)
        sampler, shown = SAMPLERS[name](), []
        loader = make(sampler)
        for epoch in range(EPOCHS):
            if hasattr(sampler, "set_epoch"):
                sampler.set_epoch(epoch)
            shown += order(loader, 1)
        found.append(shown)
    assert found[0] == found[1]


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("name", SAMPLERS)
def test_a3_resumes_after_every_batch_of_three_epochs(name: str, workers: int) -> None:
    """Also where torch's generator is drawn from, which stands elsewhere in the run that goes on,
    and after the end of an epoch."""
    torch.manual_seed(6)
    loader = ours(SAMPLERS[name](), num_workers=workers)
    expected, states = [], []
    for _ in range(EPOCHS):
        for batch in loader:
            expected.append(list(batch["key"]))
            states.append((len(expected), through_files(loader.state_dict())))
        states.append((len(expected), through_files(loader.state_dict())))
    for n, state in states:
        torch.manual_seed(999)
        again = ours(SAMPLERS[name]())
        again.load_state_dict(state)
        assert through_files(again.state_dict())["step"] == state["step"]
        assert order(again, EPOCHS - again.epoch) == expected[n:], n


@pytest.mark.parametrize("name", SAMPLERS)
def test_a3_pixels_go_on_too(name: str) -> None:
    torch.manual_seed(6)
    expected = straight(ours(SAMPLERS[name]()))
    torch.manual_seed(6)
    loader = ours(SAMPLERS[name]())
    list(islice(loader, 2))
    state = loader.state_dict()
    torch.manual_seed(999)
    again = ours(SAMPLERS[name]())
    again.load_state_dict(state)
    assert_same(straight(again), expected[2:])


@pytest.mark.parametrize(("world", "batch"), [((2, 4), (4, 2)), ((2, 4), (4, 4)), ((2, 1), (2, 4))])
def test_a3_another_number_of_ranks(world: tuple[int, int], batch: tuple[int, int]) -> None:
    """A DistributedSampler's state fits any world of the same global batch, and no other."""
    first = ours(distributed(world[0], seed=2), batch[0])
    list(islice(first, 1))
    state = through_files(first.state_dict())
    loaders = [ours(distributed(world[1], r, seed=2), batch[1]) for r in range(world[1])]
    if world[0] * batch[0] != world[1] * batch[1]:
        with pytest.raises(ValueError, match="the state's global_batch is"):
            loaders[0].load_state_dict(state)
        return
    for loader in loaders:
        loader.load_state_dict(state)
    ranks = [list(loader) for loader in loaders]
    found = {k for rank in ranks for batch_ in rank for k in batch_["key"]}
    sampler = distributed(1, seed=2)
    every = [data().keys[i] for i in sampler]
    assert found >= set(every[world[0] * batch[0] :])
    assert found - set(every[world[0] * batch[0] :]) <= set(every[:4])  # what fills up the last


RANDOM = SAMPLERS["RandomSampler"]
CHANGES: dict[str, tuple[Callable[[], Any], Callable[[], Any], int]] = {
    "batch size": (RANDOM, RANDOM, 2),
    "batch size of a batch sampler": (
        lambda: BatchSampler(range(SAMPLES), 4, False),
        lambda: BatchSampler(range(SAMPLES), 2, False),
        0,
    ),
    "seed": (lambda: distributed(seed=0), lambda: distributed(seed=1), BATCH),
    "shuffle": (distributed, lambda: distributed(shuffle=False), BATCH),
    "drop_last": (distributed, lambda: distributed(drop_last=True), BATCH),
    "Random to Sequential": (RANDOM, SAMPLERS["SequentialSampler"], BATCH),
    "Weighted to Random": (SAMPLERS["WeightedRandomSampler"], RANDOM, BATCH),
    "weights": (
        lambda: WeightedRandomSampler(WEIGHTS, 10),
        lambda: WeightedRandomSampler(WEIGHTS[::-1], 10),
        BATCH,
    ),
    "replacement": (RANDOM, lambda: RandomSampler(range(SAMPLES), True), BATCH),
    "how many": (
        lambda: WeightedRandomSampler(WEIGHTS, 10),
        lambda: WeightedRandomSampler(WEIGHTS, 12),
        BATCH,
    ),
    "which": (
        lambda: SubsetRandomSampler(range(3, 14)),
        lambda: SubsetRandomSampler(range(4, 15)),
        BATCH,
    ),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a3_what_the_order_depends_on_is_compared(change: str) -> None:
    before, after, batch = CHANGES[change]

    def make(sampler: Any, size: int) -> DataLoader:
        if isinstance(sampler, BatchSampler):
            return DataLoader(data(), batch_sampler=sampler)
        return ours(sampler, size)

    first = make(before(), BATCH)
    list(islice(first, 2))
    state = first.state_dict()
    make(before(), BATCH).load_state_dict(state)
    with pytest.raises(ValueError, match=r"the state's (sampler|global_batch) is .*, but this"):
        make(after(), batch).load_state_dict(state)


@pytest.mark.parametrize("as_batches", [False, True])
def test_a3_a_sampler_without_a_state_is_refused_at_saving(as_batches: bool) -> None:
    sampler = Stateless()
    loader = (
        DataLoader(data(), batch_sampler=BatchSampler(sampler, BATCH, False))
        if as_batches
        else ours(sampler)
    )
    assert len(list(loader)) == len(loader)
    with pytest.raises(TypeError, match="the position of Stateless cannot be saved: give it"):
        loader.state_dict()
