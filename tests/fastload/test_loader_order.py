from typing import Any

import numpy as np
import pytest
import torch

from fastload import DataLoader, Recipe
from tests.fastload.made import (
    BOTH,
    ENGINES,
    LOCATIONS,
    assert_like_torch,
    assert_same,
    dataset,
    flat,
    global_batches,
    indices,
    moco,
)

pytestmark = pytest.mark.timeout(60)


@pytest.mark.parametrize("batch_size", [1, 4, LOCATIONS, 50])
@pytest.mark.parametrize("drop_last", [False, True])
@pytest.mark.parametrize("workers", [0, 2])
def test_batches_follow_the_order(batch_size: int, drop_last: bool, workers: int) -> None:
    loader = DataLoader(
        dataset(), batch_size, shuffle=True, drop_last=drop_last, num_workers=workers, seed=5
    )
    for epoch in range(2):
        found = indices(loader)
        assert len(found) == len(loader)
        seen = flat(found)
        assert seen == loader.order(epoch).tolist()[: len(seen)]
        assert all(len(ids) == batch_size for ids in found[:-1])
        left = LOCATIONS % batch_size
        assert len(seen) == LOCATIONS - (left if drop_last else 0)


def test_order_is_what_dataset_and_loader_say() -> None:
    data = dataset()
    loader = DataLoader(data, 4, shuffle=True, seed=1)
    keys = [key for batch in loader for key in batch["key"]]
    assert keys == [data.keys[i] for i in loader.order(0)]
    again = DataLoader(dataset(), 7, shuffle=True, seed=1, num_workers=3)
    np.testing.assert_array_equal(loader.order(3), again.order(3))
    assert loader.order(0).tolist() != loader.order(1).tolist()
    other = DataLoader(data, 4, shuffle=True, seed=2)
    assert other.order(0).tolist() != loader.order(0).tolist()


def test_without_shuffle_each_epoch_is_in_the_order_of_the_data() -> None:
    loader = DataLoader(dataset(), 4)
    for _ in range(2):
        assert flat(indices(loader)) == list(range(LOCATIONS))
    assert loader.order(9).tolist() == list(range(LOCATIONS))


@pytest.mark.parametrize("drop_last", [False, True])
@pytest.mark.parametrize("locations", [LOCATIONS, 3])
def test_any_world_sees_the_same_global_batches(drop_last: bool, locations: int) -> None:
    data = dataset(locations=locations)
    order = DataLoader(data, 8, shuffle=True, seed=4).order(0).tolist()
    for world_size in (1, 2, 4, 8):
        steps = global_batches(
            data, world_size, 8 // world_size, shuffle=True, seed=4, drop_last=drop_last
        )
        assert len(steps) == (locations // 8 if drop_last else -(-locations // 8))
        for s, step in enumerate(steps):
            wanted = order[8 * s : 8 * s + 8]
            filled = -len(wanted) % world_size
            assert step == wanted + np.resize(order, filled).tolist()


def test_views_depend_on_neither_rank_nor_batch() -> None:
    """A sample's views are the same for every world, batch size, number of workers and order."""
    data = dataset(moco(), BOTH)
    alone = {}
    for batch in DataLoader(data, 1, seed=3):
        alone[int(batch["index"])] = [batch[name][v][0] for name in BOTH for v in (0, 1)]
    for rank in range(2):
        loader = DataLoader(data, 3, shuffle=True, seed=3, rank=rank, world_size=2, num_workers=2)
        for batch in loader:
            for b, sample in enumerate(batch["index"].tolist()):
                views = [batch[name][v][b] for name in BOTH for v in (0, 1)]
                assert_same(views, alone[sample])


def test_views_differ_by_seed_epoch_and_view() -> None:
    data = dataset(moco())

    def pixels(seed: int, epoch: int) -> list[torch.Tensor]:
        loader = DataLoader(data, LOCATIONS, seed=seed)
        loader.set_epoch(epoch)
        (batch,) = loader
        return list(batch["S2L1C"])

    views = [view for seed in (0, 1) for epoch in (0, 1) for view in pixels(seed, epoch)]
    for i, a in enumerate(views):
        for b in views[:i]:
            assert not torch.equal(a, b)


@pytest.mark.parametrize("engine", ENGINES)
def test_every_epoch_is_torchs_over_the_same_order(engine: Any) -> None:
    data = dataset(moco(), seed=8)
    loader = DataLoader(data, 5, shuffle=True, num_workers=2, seed=8, engine=engine)
    for epoch in range(3):
        data.set_epoch(epoch)
        order = loader.order(epoch).tolist()
        for mine, theirs in zip(
            loader, torch.utils.data.DataLoader(data, 5, sampler=order), strict=True
        ):
            assert_like_torch(mine, theirs, "float32", ["S2L1C"])


# --- block shuffle ---


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("window", [1, 2, 100])
def test_block_shuffle(engine: Any, window: int) -> None:
    data = dataset()
    loader = DataLoader(
        data, 4, shuffle=True, shuffle_window=window, num_workers=2, seed=2, engine=engine
    )
    for epoch in range(2):
        seen = flat(indices(loader))
        assert seen == loader.order(epoch).tolist()
        assert sorted(seen) == list(range(LOCATIONS))
        # At no time are more shards in use than the window says.
        shards = data.group[seen].tolist()
        first = [shards.index(s) for s in shards]
        last = [len(shards) - 1 - shards[::-1].index(s) for s in shards]
        for at in range(LOCATIONS):
            opened = {s for s, a, b in zip(shards, first, last, strict=True) if a <= at <= b}
            assert len(opened) <= window


def test_block_shuffle_needs_shuffle_and_the_loaders_own_order() -> None:
    for wrong in ({}, {"shuffle": False}, {"sampler": [0, 1]}, {"batch_sampler": [[0]]}):
        with pytest.raises(ValueError, match="shuffle_window needs shuffle=True"):
            DataLoader(dataset(), shuffle_window=2, **wrong)


# --- epochs ---


def test_each_iteration_is_the_next_epoch() -> None:
    loader = DataLoader(dataset(), 4, shuffle=True)
    assert loader.epoch == 0
    for epoch in range(3):
        for batch in loader:
            assert loader.epoch == epoch
            last = batch
        assert loader.epoch == epoch + 1
        assert last["index"].tolist() == loader.order(epoch)[-1:].tolist()


def test_set_epoch_chooses_the_next_one() -> None:
    loader = DataLoader(dataset(), 4, shuffle=True)
    for epoch in (5, 5, 2, 0):
        loader.set_epoch(epoch)
        assert loader.epoch == epoch
        assert flat(indices(loader)) == loader.order(epoch).tolist()
    assert flat(indices(loader)) == loader.order(1).tolist()
    for _ in loader:
        break
    loader.set_epoch(2)  # the one that was left: from its start
    assert flat(indices(loader)) == loader.order(2).tolist()


def test_an_iteration_begins_with_its_first_batch() -> None:
    """Trainers make the iterator first and set the epoch then, as torch's samplers allow."""
    loader = DataLoader(dataset(), 4, shuffle=True)
    iterator = iter(loader)
    loader.set_epoch(3)
    assert flat(indices(iterator)) == loader.order(3).tolist()
    unused = iter(loader)
    assert flat(indices(loader)) == loader.order(4).tolist()
    assert flat(indices(unused)) == loader.order(5).tolist()


def test_trainers_may_set_the_epoch_through_the_sampler() -> None:
    loader = DataLoader(dataset(), 4, shuffle=True, rank=1, world_size=2)
    loader.sampler.set_epoch(6)
    assert loader.epoch == loader.sampler.epoch == 6
    assert (loader.sampler.rank, loader.sampler.num_replicas) == (1, 2)
    assert len(loader.sampler) == len(list(loader.sampler))
    assert list(loader.sampler) == flat(indices(loader))


@pytest.mark.parametrize("workers", [0, 2])
def test_iterators_may_be_alive_together(workers: int) -> None:
    loader = DataLoader(dataset(moco()), 4, shuffle=True, num_workers=workers)
    apart = [list(loader), list(loader)]
    fresh = DataLoader(dataset(moco()), 4, shuffle=True, num_workers=workers)
    for step, (a, b) in enumerate(zip(fresh, fresh, strict=True)):
        assert_same([a, b], [apart[0][step], apart[1][step]])
    assert fresh.state_dict() == loader.state_dict()


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"batch_size": None}, "batch_size=None"),
        ({"batch_size": 0}, "batch_size must be at least 1, got 0"),
        ({"num_workers": -1}, "num_workers must not be negative, got -1"),
        ({"prefetch_factor": 0}, "prefetch_factor must be at least 1, got 0"),
        ({"engine": "gpu"}, "engine must be 'auto', 'threads' or 'dali', got 'gpu'"),
        ({"on_error": "skip"}, "on_error must be 'raise' or 'replace', got 'skip'"),
        ({"rank": 1}, "rank and world_size go together, got rank=1 and world_size=None"),
        ({"rank": 2, "world_size": 2}, "rank 2 is not in a world of 2"),
        ({"seed": -1}, "seed must be in"),
    ],
)
def test_bad_arguments_get_sentences(wrong: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        DataLoader(dataset(Recipe.series(24)), **wrong)
