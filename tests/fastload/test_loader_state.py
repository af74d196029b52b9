import json
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from fastload import DataLoader, Recipe
from tests.fastload.made import (
    BOTH,
    ENGINES,
    LOCATIONS,
    assert_same,
    chunks,
    dataset,
    flat,
    global_batches,
    indices,
    moco,
)

pytestmark = pytest.mark.timeout(60)

BATCH = 4
STEPS = -(-LOCATIONS // BATCH)


def make(engine: Any = "threads", workers: int = 0, **more: Any) -> DataLoader:
    arguments = {"batch_size": BATCH, "shuffle": True, "seed": 5} | more
    return DataLoader(dataset(moco()), num_workers=workers, engine=engine, **arguments)


def place(delivered: int) -> tuple[int, int]:
    """Epoch and step after so many batches, of which the last may end its epoch."""
    epoch, step = divmod(max(0, delivered - 1), STEPS)
    return epoch, step + (delivered > 0)


def through_json(loader: DataLoader) -> dict[str, Any]:
    """The state as a file would bring it back."""
    text = json.dumps(loader.state_dict())
    assert len(text) < 1000
    return json.loads(text)


WAYS = [(engine, workers) for engine in ENGINES for workers in (0, 2)]


@pytest.mark.parametrize(("engine", "workers"), WAYS)
def test_resume_anywhere(engine: str, workers: int) -> None:
    straight = make()
    expected = [list(straight), list(straight)]
    for stopped in (0, 1, 3, STEPS - 1, STEPS, STEPS + 1, 2 * STEPS):
        first = make(engine, workers)
        done = list(islice(first, stopped))
        if stopped > STEPS:
            done += list(islice(first, stopped - STEPS))
        state = through_json(first)
        assert (state["epoch"], state["step"]) == place(stopped)
        second = make(engine, workers)
        second.load_state_dict(state)
        assert second.epoch == place(stopped)[0]
        for _ in range(second.epoch, 2):
            done += list(second)
        assert_same(done, expected[0] + expected[1])


@pytest.mark.parametrize(("engine", "workers"), WAYS)
def test_a_state_taken_while_iterating_is_of_delivered_batches(engine: str, workers: int) -> None:
    loader = make(engine, workers, prefetch_factor=4)
    expected = indices(make())
    for step, batch in enumerate(loader, 1):
        state = through_json(loader)
        assert (state["epoch"], state["step"]) == (0, step)
        fresh = make()
        fresh.load_state_dict(state)
        assert [batch["index"].tolist(), *indices(fresh)] == expected[step - 1 :]


def test_resume_right_after_a_resume() -> None:
    first = make()
    list(islice(first, 2))
    state = through_json(first)
    for _ in range(3):
        loader = make(workers=2)
        loader.load_state_dict(state)
        assert through_json(loader) == state
        iterator = iter(loader)
        assert through_json(loader) == state
        del iterator
        state = through_json(loader)
    loader.load_state_dict(state)
    next(iter(loader))
    assert through_json(loader) == state | {"step": 3}
    again = make()
    again.load_state_dict(through_json(loader))
    assert indices(again) == indices(make())[3:]


def test_the_same_loader_may_go_back() -> None:
    loader = make(workers=2)
    first = indices(islice(loader, 3))
    state = loader.state_dict()
    rest = indices(loader)
    loader.load_state_dict(state)
    assert first + indices(loader) == indices(make())
    assert rest[0] == loader.order(1)[:BATCH].tolist()


def test_after_break_the_live_loader_goes_on_with_the_next_epoch() -> None:
    loader = make()
    for _ in loader:
        break
    assert indices(loader) == [
        loader.order(1)[s * BATCH : (s + 1) * BATCH].tolist() for s in range(STEPS)
    ]
    assert (loader.epoch, loader.state_dict()["step"]) == (2, 0)


@pytest.mark.parametrize("step", [0, 2])
def test_set_epoch_keeps_the_place_in_the_epoch_of_the_state(step: int) -> None:
    loader = make()
    list(loader)
    list(islice(loader, step))
    state = loader.state_dict()
    fresh = make()
    fresh.load_state_dict(state)
    fresh.set_epoch(1)
    fresh.sampler.set_epoch(1)
    expected = [loader.order(1)[s * BATCH : (s + 1) * BATCH].tolist() for s in range(step, STEPS)]
    assert indices(fresh) == expected
    fresh.load_state_dict(state)
    fresh.set_epoch(4)
    assert flat(indices(fresh)) == loader.order(4).tolist()


def test_a_training_loop_with_set_epoch_goes_on_exactly() -> None:
    def train(loader: DataLoader, epochs: int, stop_after: int) -> list[list[int]]:
        seen: list[list[int]] = []
        for epoch in range(loader.epoch, epochs):
            loader.set_epoch(epoch)
            for batch in loader:
                seen.append(batch["index"].tolist())
                if len(seen) == stop_after:
                    return seen
        return seen

    expected = train(make(), 3, 10**6)
    assert len(expected) == 3 * STEPS
    for stop_after in range(1, 3 * STEPS):
        first = make(workers=1)
        seen = train(first, 3, stop_after)
        second = make(workers=1)
        second.load_state_dict(first.state_dict())
        assert seen + train(second, 3, 10**6) == expected


def test_the_newest_iterator_moves_the_position() -> None:
    loader = make()
    old = iter(loader)
    next(old)
    new = iter(loader)
    next(new)
    assert (loader.epoch, loader.state_dict()["step"]) == (1, 1)
    next(old)
    assert (loader.epoch, loader.state_dict()["step"]) == (1, 1)
    loader.set_epoch(1)
    next(new)
    assert (loader.epoch, loader.state_dict()["step"]) == (1, 0)
    loader.set_epoch(1)
    newest = iter(loader)
    next(newest)
    assert len(list(old)) == STEPS - 2
    assert len(list(new)) == STEPS - 2
    assert (loader.epoch, loader.state_dict()["step"]) == (1, 1)


# --- what it costs ---


def stored(data: Any, samples: list[int]) -> int:
    return sum(
        int(chunks(data, sample, name)["stored"].sum())
        for name in data.modalities
        for sample in samples
    )


@pytest.mark.parametrize(("engine", "workers"), WAYS)
@pytest.mark.parametrize("step", [0, 2, STEPS - 1])
def test_resuming_decodes_nothing_that_it_skips(engine: Any, workers: int, step: int) -> None:
    data = dataset(None, BOTH)
    first = DataLoader(data, BATCH, True, seed=2)
    list(islice(first, step))
    second = DataLoader(data, BATCH, True, num_workers=workers, engine=engine, seed=2)
    second.load_state_dict(first.state_dict())
    left = flat(indices(second))
    assert left == first.order(0).tolist()[step * BATCH :]
    stats = second.stats()
    assert stats["samples"] == len(left)
    assert stats["bytes_in"] == stored(data, left)


def test_a_state_is_free() -> None:
    loader = make()
    for _ in islice(loader, 3):
        before = loader.stats()
        loader.state_dict()
        loader.load_state_dict(loader.state_dict())
        after = loader.stats()
        for count in ("bytes_in", "bytes_out", "samples", "batches"):
            assert before[count] == after[count]
    assert before["samples"] == 3 * BATCH


# --- other worlds ---


@pytest.mark.parametrize("world", [(1, 8), (2, 4), (4, 2), (8, 1)])
@pytest.mark.parametrize("more", [{}, {"drop_last": True}, {"shuffle_window": 2}])
def test_a_state_fits_any_world_of_the_same_global_batch(
    world: tuple[int, int], more: dict[str, Any]
) -> None:
    data = dataset(locations=37)
    arguments = {"shuffle": True, "seed": 9} | more
    saved = []
    for rank in range(4):
        loader = DataLoader(data, 2, rank=rank, world_size=4, **arguments)
        list(loader)
        list(islice(loader, 2))
        saved.append(loader.state_dict())
    assert all(state == saved[0] for state in saved)
    order = loader.order(1).tolist()
    expected = [order[s : s + 8] for s in range(16, 37, 8)]
    if more.get("drop_last"):
        expected = expected[:-1]
    steps = global_batches(data, *world, state=saved[0], **arguments)
    assert [step[: len(want)] for step, want in zip(steps, expected, strict=True)] == expected


# --- what does not fit ---


@pytest.mark.parametrize(
    ("field", "change"),
    [
        ("seed", {"seed": 6}),
        ("shuffle", {"shuffle": False}),
        ("drop_last", {"drop_last": True}),
        ("window", {"shuffle_window": 2}),
        ("global_batch", {"batch_size": 8}),
        ("global_batch", {"rank": 0, "world_size": 2}),
    ],
)
def test_a_state_of_another_order_is_refused(field: str, change: dict[str, Any]) -> None:
    state = make().state_dict()
    other = make(**change)
    mine = other.state_dict()[field]
    sentence = f"the state's {field} is {state[field]!r}, but this loader's is {mine!r}"
    with pytest.raises(ValueError, match=f"^{sentence}$"):
        other.load_state_dict(state)
    assert (
        indices(other)[0]
        == other.order(0)[: other.plan.global_batch : other.plan.world_size].tolist()
    )


def test_a_state_of_another_dataset_is_refused() -> None:
    state = make().state_dict()
    fewer = DataLoader(dataset(moco(), locations=20), BATCH, True, seed=5)
    with pytest.raises(ValueError, match="the state's dataset is "):
        fewer.load_state_dict(state)
    with pytest.raises(ValueError, match="the state's samples is 21, but this loader's is 20"):
        fewer.load_state_dict(state | {"dataset": fewer.state_dict()["dataset"]})
    # Another recipe or other modalities have the same order, so they may go on.
    other = DataLoader(dataset(Recipe.series(24), BOTH), BATCH, True, seed=5)
    other.load_state_dict(state | {"step": 2})
    assert indices(other) == indices(make())[2:]


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"version": 2}, "the state's version is 2, but this loader's is 1"),
        ({"order": "sampler"}, "the state's order is 'sampler', but this loader's is 'plan'"),
        ({"step": STEPS + 1}, f"the state's step is {STEPS + 1}, but an epoch has {STEPS} steps"),
        ({"step": -1}, "the state's step is -1, but an epoch has"),
        ({"step": 1.5}, "epoch and step must be whole numbers, got 0 and 1.5"),
        ({"epoch": None}, "epoch and step must be whole numbers, got None and 0"),
        ({"epoch": -1}, "epoch and step must be whole numbers, got -1 and 0"),
    ],
)
def test_a_damaged_state_is_refused(change: dict[str, Any], sentence: str) -> None:
    loader = make()
    list(islice(loader, 2))
    before = loader.state_dict()
    with pytest.raises(ValueError, match=sentence):
        loader.load_state_dict(make().state_dict() | change)
    assert loader.state_dict() == before


@pytest.mark.parametrize("field", make().state_dict())
def test_a_missing_field_is_named(field: str) -> None:
    state = make().state_dict()
    del state[field]
    with pytest.raises(ValueError, match=field):
        make().load_state_dict(state)


@pytest.mark.parametrize("ended", [False, True])
@pytest.mark.parametrize("own_count", [False, True])
def test_a5_of_an_epoch_that_is_over_nothing_is_left(ended: bool, own_count: bool) -> None:
    """A state after the last batch, before or after the iteration was asked for one more; under
    loops that go by the loader's epoch, or count their own."""
    first = make()
    list(islice(first, STEPS + ended))
    state = through_json(first)
    assert (state["epoch"], state["step"]) == ((1, 0) if ended else (0, STEPS))
    second = make()
    second.load_state_dict(state)
    if own_count:
        second.set_epoch(0)
    if own_count or not ended:
        assert list(second) == []
    if own_count:
        second.set_epoch(1)
    assert flat(indices(second)) == second.order(1).tolist()
    second.load_state_dict(state)
    second.set_epoch(5)
    assert flat(indices(second)) == second.order(5).tolist()
    second.set_epoch(0)
    assert flat(indices(second)) == second.order(0).tolist()


def test_a4_other_shard_borders_are_another_order(tmp_path: Path) -> None:
    """The same samples in other shards: block shuffle would lose some and repeat others."""
    data = dataset()
    packed = dataset()
    packed.group = (np.arange(LOCATIONS) // 6).astype(np.uint32)
    options: dict[str, Any] = {"shuffle": True, "seed": 5, "shuffle_window": 2}
    first = DataLoader(data, BATCH, **options)
    list(islice(first, 2))
    state = json.loads(json.dumps(first.state_dict()))
    with pytest.raises(ValueError, match="the state's borders is "):
        DataLoader(packed, BATCH, **options).load_state_dict(state)
    renamed = dataset()
    renamed.group = data.group + np.uint32(7)  # other numbers, the same borders
    again = DataLoader(renamed, BATCH, **options)
    again.load_state_dict(state)
    assert flat(indices(again)) == first.order(0).tolist()[2 * BATCH :]


def test_which_samples_were_in_a_step() -> None:
    loader = make()
    for epoch in range(2):
        for step, batch in enumerate(loader):
            assert loader.keys_of(epoch, step) == batch["key"]
    ranks = [make(rank=r, world_size=2) for r in range(2)]
    alone = make(batch_size=2 * BATCH)
    for step in range(len(alone)):
        together = ranks[0].keys_of(1, step, all_ranks=True)
        assert [r.keys_of(1, step) for r in ranks] == [together[0::2], together[1::2]]
        assert together[: len(alone.keys_of(1, step))] == alone.keys_of(1, step)
    before = loader.stats()["bytes_in"]
    loader.keys_of(5, 0)
    assert loader.stats()["bytes_in"] == before
    with pytest.raises(IndexError):
        loader.keys_of(0, STEPS)
    with pytest.raises(ValueError, match="not for a sampler"):
        DataLoader(dataset(), BATCH, sampler=[0, 1]).keys_of(0, 0)


@pytest.mark.parametrize("skipped", [0, 1, STEPS - 2, STEPS - 1, STEPS, 2 * STEPS + 1])
def test_batches_are_skipped_without_reading(skipped: int) -> None:
    straight = make()
    expected = [ids for _ in range(4) for ids in indices(straight)]
    loader = make(workers=1)
    list(islice(loader, 1))
    state = loader.state_dict()
    loader = make(workers=1)
    loader.load_state_dict(state)
    loader.skip(skipped)
    assert (loader.epoch, loader.state_dict()["step"]) == divmod(1 + skipped, STEPS)
    found = [ids for _ in range(loader.epoch, 4) for ids in indices(loader)]
    assert found == expected[1 + skipped :]
    assert loader.stats()["samples"] == sum(map(len, found))
    with pytest.raises(ValueError, match="skip: -1 batches"):
        loader.skip(-1)


def test_skipping_with_a_sampler_of_ones_own() -> None:
    def make_with(**more: Any) -> DataLoader:
        generator = torch.Generator().manual_seed(3)
        sampler = torch.utils.data.RandomSampler(range(LOCATIONS), generator=generator)
        return DataLoader(dataset(), BATCH, sampler=sampler, **more)

    expected = indices(make_with())
    loader = make_with(num_workers=1)
    assert indices(islice(loader, 1)) == expected[:1]
    loader.skip(2)
    assert indices(loader) == expected[3:]
    with pytest.raises(ValueError, match="skip: 6 batches, at step 0 of 6"):
        loader.skip(STEPS)
