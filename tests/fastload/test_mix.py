"""`fastload.mix`: shares, turns, resume, ranks, and draws."""

from collections import Counter
from itertools import islice
from typing import Any

import numpy as np
import pytest
import torch

import fastload
from fastload import DataLoader, Dataset
from fastload.datasets.joined import Mixture
from tests.fastload.made import assert_like_torch, assert_same, dataset, global_batches, moco

pytestmark = pytest.mark.timeout(60)


def parts(recipe: Any = None) -> tuple[Dataset, Dataset]:
    return dataset(recipe), dataset(recipe, locations=9)


def mixture(recipe: Any = None, **more: Any) -> Mixture:
    a, b = parts(recipe)
    return fastload.mix({a: 0.7, b: 0.3}, **{"seed": 5} | more)


def owners(mixed: Mixture, epoch: int) -> list[tuple[int, int]]:
    """Which dataset and which of its samples each item of an epoch is."""
    places = mixed.places_of(mixed.order(epoch)).tolist()
    return [(0, p) if p < 21 else (1, p - 21) for p in places]


def test_every_epoch_has_the_shares() -> None:
    mixed = mixture(samples=20)
    for epoch in range(6):
        assert Counter(k for k, _ in owners(mixed, epoch)) == {0: 14, 1: 6}
    assert len(mixture()) == 30
    assert mixture().counts == [21, 9]
    assert mixture(samples=101).counts == [71, 30]


def test_each_dataset_is_gone_through_turn_after_turn() -> None:
    mixed = mixture(samples=50)
    stream: dict[int, list[int]] = {0: [], 1: []}
    for epoch in range(12):
        for k, sample in owners(mixed, epoch):
            stream[k].append(sample)
    for k, size in ((0, 21), (1, 9)):
        turns = [stream[k][i : i + size] for i in range(0, len(stream[k]) - size, size)]
        # Within an epoch the interleaving keeps a dataset's own order.
        assert all(sorted(turn) == list(range(size)) for turn in turns)
        assert len({tuple(turn) for turn in turns}) == len(turns)


def test_the_order_is_a_function_of_seed_and_epoch() -> None:
    a, b = mixture(), mixture()
    assert [a.order(e).tolist() for e in (3, 0)] == [b.order(e).tolist() for e in (3, 0)]
    assert a.order(0).tolist() != mixture(seed=6).order(0).tolist()
    assert a.order(0).tolist() != a.order(1).tolist()


@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize("recipe", [None, moco()], ids=["raw", "views"])
def test_a_mixture_loads_and_resumes(recipe: Any, shuffle: bool) -> None:
    def make(workers: int = 2) -> DataLoader:
        mixed = mixture(recipe, samples=40)
        return DataLoader(mixed, 4, shuffle, num_workers=workers, seed=2)

    straight = make()
    expected = [list(straight) for _ in range(3)]
    mixed = mixture(recipe, samples=40)
    assert [b["index"].tolist() for b in expected[1]] == (
        mixed.ids_of(straight.order(1)).reshape(10, 4).tolist()
    )
    for stopped in (0, 3, 10, 13, 25):
        first = make(0)
        seen = []
        for epoch in range(3):
            seen += list(islice(first, max(0, min(10, stopped - 10 * epoch))))
            if len(seen) == stopped:
                break
        second = make()
        second.load_state_dict(first.state_dict())
        for _ in range(second.epoch, 3):
            seen += list(second)
        assert_same(seen, [batch for epoch in expected for batch in epoch])


@pytest.mark.parametrize("world", [(1, 8), (2, 4), (4, 2), (8, 1)])
def test_a_mixture_is_elastic(world: tuple[int, int]) -> None:
    mixed = mixture(samples=43)
    alone = DataLoader(mixed, 8, True, seed=9)
    list(islice(alone, 2))
    state = alone.state_dict()
    alone.load_state_dict(state)
    expected = [b["index"].tolist() for b in alone]
    steps = global_batches(mixed, *world, state=state, shuffle=True, seed=9)
    ids = [step[: len(want)] for step, want in zip(steps, expected, strict=True)]
    assert ids == expected


def test_what_comes_again_in_an_epoch_is_drawn_anew() -> None:
    mixed = mixture(moco(), samples=60)  # 18 of the 9
    loader = DataLoader(mixed, 60, seed=4)
    (batch,) = loader
    mixed.set_epoch(0)
    mixed.seed = 4
    torchs = torch.utils.data.default_collate([mixed[i] for i in range(60)])
    assert_like_torch(batch, torchs, moco().dtype, ["S2L1C"])
    at: dict[int, list[int]] = {}
    for slot, number in enumerate(batch["index"].tolist()):
        at.setdefault(number, []).append(slot)
    twice = [slots for slots in at.values() if len(slots) > 1]
    assert len(twice) >= 9
    same = [torch.equal(*(batch["S2L1C"][0][s] for s in slots[:2])) for slots in twice]
    assert not any(same)


def test_another_mixture_has_another_state() -> None:
    state = DataLoader(mixture(), 4).state_dict()
    a, b = parts()
    for other in (mixture(seed=6), fastload.mix({a: 0.6, b: 0.4}, seed=5), mixture(samples=31)):
        with pytest.raises(ValueError, match="the state's dataset is "):
            DataLoader(other, 4).load_state_dict(state)
    again = fastload.mix({a: 7, b: 3}, seed=5)  # weights have any scale
    DataLoader(again, 4).load_state_dict(state)


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda a, b: fastload.mix({}), "at least one dataset"),
        (lambda a, b: fastload.mix({a: 1, b: 0}), "weights must be above 0"),
        (lambda a, b: fastload.mix({a: 1, b: 0.001}), "leave one with none"),
        (lambda a, b: fastload.mix({a: 1, b: 1}).subset([0]), "choose before you mix"),
        (lambda a, b: fastload.concat(fastload.mix({a: 1}), b), "cannot be joined"),
        (
            lambda a, b: DataLoader(fastload.mix({a: 1, b: 1}), 2, True, shuffle_window=2),
            "shuffle_window is not for a mixture",
        ),
    ],
)
def test_what_does_not_mix(call: Any, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        call(*parts())


def test_mixing_with_torchs_loader() -> None:
    """Item i of a pinned epoch is what the loader gives; unpinned, of epoch 0."""
    mixed = mixture()
    mixed.set_epoch(2)
    theirs = torch.utils.data.DataLoader(mixed, 6)
    order = mixed.ids_of(mixed.order(2))
    assert np.concatenate([b["index"].numpy() for b in theirs]).tolist() == order.tolist()
