import numpy as np
import pytest

from fastload.plan import Plan
from fastload_kernels.philox import ORDER, words

pytestmark = pytest.mark.timeout(60)

SIZES = [1, 2, 7, 8, 16, 24, 37, 64]
WORLDS = [1, 2, 4, 8]


def ranks(samples: int, batch_size: int, world_size: int, **more: object) -> list[Plan]:
    return [
        Plan(samples, batch_size, rank=rank, world_size=world_size, **more)
        for rank in range(world_size)
    ]


def together(plans: list[Plan], epoch: int) -> list[list[int]]:
    steps = [list(plan.steps(epoch)) for plan in plans]
    return [np.array(parts).T.ravel().tolist() for parts in zip(*steps, strict=True)]


@pytest.mark.parametrize("samples", SIZES)
@pytest.mark.parametrize("world_size", WORLDS)
@pytest.mark.parametrize("drop_last", [False, True])
def test_a_step_is_a_slice_of_the_permutation(
    samples: int, world_size: int, drop_last: bool
) -> None:
    global_batch = 8
    plans = ranks(
        samples, global_batch // world_size, world_size, seed=3, shuffle=True, drop_last=drop_last
    )
    order = plans[0].order(2)
    steps = together(plans, 2)
    expected = samples // global_batch if drop_last else -(-samples // global_batch)
    assert [len(plan) for plan in plans] == [expected] * world_size
    assert len(steps) == expected
    for s, step in enumerate(steps):
        wanted = order[s * global_batch : (s + 1) * global_batch].tolist()
        assert step[: len(wanted)] == wanted
        # A short last slice is filled from the start of the order, to a multiple of the world size.
        filled = step[len(wanted) :]
        assert len(step) == -(-len(wanted) // world_size) * world_size
        assert filled == np.resize(order, len(filled)).tolist()
        assert not filled or s == len(steps) - 1


@pytest.mark.parametrize("samples", SIZES)
def test_global_batches_do_not_depend_on_the_world(samples: int) -> None:
    alone = together(ranks(samples, 8, 1, shuffle=True, drop_last=True), 0)
    for world_size in WORLDS[1:]:
        plans = ranks(samples, 8 // world_size, world_size, shuffle=True, drop_last=True)
        assert together(plans, 0) == alone


def test_fewer_samples_than_ranks_gives_each_rank_one() -> None:
    plans = ranks(3, 2, 8, shuffle=True)
    order = plans[0].order(0).tolist()
    assert [len(plan) for plan in plans] == [1] * 8
    assert together(plans, 0) == [order + order + order[:2]]


@pytest.mark.parametrize("samples", [1, 2, 100, 1000])
def test_order_is_a_permutation_of_its_own(samples: int) -> None:
    orders = [Plan(samples, 4, seed, True).order(epoch) for seed in range(4) for epoch in range(4)]
    for order in orders:
        assert order.dtype == np.int64
        np.testing.assert_array_equal(np.sort(order), np.arange(samples))
    if samples >= 100:
        assert len({order.tobytes() for order in orders}) == len(orders)
        # (seed, epoch) = (0, 1) must not be (1, 0), nor a step of a shared sequence.
        for a in orders:
            for b in orders:
                assert a is b or (a == b).mean() < 0.1


def test_order_repeats() -> None:
    for epoch in (0, 1, 5):
        one, other = Plan(500, 4, 7, True), Plan(500, 16, 7, True, rank=1, world_size=2)
        np.testing.assert_array_equal(one.order(epoch), other.order(epoch))
        np.testing.assert_array_equal(one.order(epoch), one.order(epoch))


def test_order_is_the_documented_one() -> None:
    for seed, epoch in ((0, 0), (2**64 - 1, 2**32 - 1)):
        bits = words(seed, epoch, np.arange(300), ORDER, 0, 2).tolist()
        by_bits = sorted(range(300), key=lambda i: bits[i][0] << 32 | bits[i][1])
        assert Plan(300, 1, seed, True).order(epoch).tolist() == by_bits
    # Written down once: a change would break every state that was ever saved.
    assert Plan(10, 1, 0, True).order(0).tolist() == [2, 6, 7, 4, 3, 1, 0, 5, 8, 9]


def test_positions_are_even() -> None:
    """Each sample comes first about equally often: chi-square with 9 degrees of freedom."""
    epochs, samples = 2000, 10
    first = np.bincount(
        [Plan(samples, 1, 11, True).order(epoch)[0] for epoch in range(epochs)], minlength=samples
    )
    expected = epochs / samples
    assert ((first - expected) ** 2 / expected).sum() < 33.7  # one in 10,000 seeds exceeds it


def test_without_shuffle_order_is_that_of_the_data() -> None:
    for epoch in range(3):
        np.testing.assert_array_equal(Plan(9, 2, 5).order(epoch), np.arange(9))


def test_steps_is_a_sequence() -> None:
    steps = Plan(10, 4, shuffle=True).steps(0)
    assert [len(s) for s in steps] == [4, 4, 2]
    np.testing.assert_array_equal(steps[-1], steps[2])
    with pytest.raises(IndexError):
        steps[3]


# --- block shuffle ---


def block(window: int, epoch: int = 0, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    shards = np.repeat(np.arange(12, dtype=np.uint32), 10)[:-3]
    return Plan(117, 4, seed, True, window=window, shards=shards).order(epoch), shards


@pytest.mark.parametrize("window", [1, 2, 5, 12, 50])
def test_block_shuffle_is_a_permutation_with_locality(window: int) -> None:
    order, shards = block(window)
    np.testing.assert_array_equal(np.sort(order), np.arange(len(shards)))
    seen = shards[order]
    groups = -(-12 // window)
    at = 0
    used: set[int] = set()
    for g in range(groups):
        # A block holds whole shards: as many as the window says, each only here.
        here: set[int] = set()
        while len(here) < min(window, 12 - g * window) or (at < len(seen) and seen[at] in here):
            here.add(int(seen[at]))
            at += 1
        assert not here & used
        used |= here
    assert at == len(seen)
    assert used == set(range(12))


def test_block_shuffle_mixes_shards_and_samples() -> None:
    order, shards = block(3)
    first = order[np.isin(shards[order], np.unique(shards[order][:25]))]
    assert len(np.unique(shards[order][:25])) == 3
    assert (np.diff(first) < 0).mean() > 0.3  # samples inside a block are in no order of the disk
    assert any(
        not np.array_equal(np.unique(shards[block(3, e)[0]][:25]), np.unique(shards[order][:25]))
        for e in range(1, 4)
    )


def test_block_shuffle_depends_on_seed_and_epoch_alone() -> None:
    orders = {block(3, epoch, seed)[0].tobytes() for epoch in range(3) for seed in range(3)}
    assert len(orders) == 9
    np.testing.assert_array_equal(block(3, 1, 2)[0], block(3, 1, 2)[0])


def test_block_shuffle_takes_shards_that_lie_anywhere() -> None:
    shards = np.array([5, 2, 5, 2, 9, 5], np.uint32)
    order = Plan(6, 1, 0, True, window=1, shards=shards).order(0)
    assert sorted(order.tolist()) == list(range(6))
    assert (np.diff(shards[order].astype(int)) != 0).sum() == 2


@pytest.mark.parametrize("world_size", WORLDS)
def test_block_shuffle_is_split_over_ranks_like_any_order(world_size: int) -> None:
    order, shards = block(2)
    plans = ranks(117, 8 // world_size, world_size, shuffle=True, window=2, shards=shards)
    steps = together(plans, 0)
    assert [i for step in steps for i in step][:117] == order.tolist()


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"batch_size": 0}, "batch_size must be at least 1, got 0"),
        ({"rank": 2, "world_size": 2}, "rank 2 is not in a world of 2"),
        ({"rank": -1}, "rank -1 is not in a world of 1"),
        ({"window": 2}, "window must be a number of shards"),
        ({"window": -1}, "window must be a number of shards"),
        ({"seed": -1}, r"seed must be in \[0, 2\*\*64\), got -1"),
        ({"seed": 2**64}, "seed must be in"),
    ],
)
def test_bad_arguments_get_sentences(wrong: dict[str, int], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        Plan(**{"samples": 10, "batch_size": 2} | wrong)


@pytest.mark.parametrize("drop_last", [False, True])
def test_a7_blocks_put_what_fills_a_step_up_at_the_end_of_the_ranks(drop_last: bool) -> None:
    """Only there; all other steps are dealt as without."""
    for world in (1, 2, 3, 4, 7):
        for samples in range(1, 30):
            ranks = [
                Plan(samples, 2, 3, True, drop_last, rank, world, blocks=True)
                for rank in range(world)
            ]
            order = ranks[0].order(5)
            for s in range(len(ranks[0])):
                dealt = [plan.steps(5)[s] for plan in ranks]
                together = np.concatenate(dealt)
                wanted = order[s * 2 * world : (s + 1) * 2 * world]
                if len(wanted) % world:
                    assert together[: len(wanted)].tolist() == wanted.tolist()
                else:
                    assert np.stack(dealt, 1).ravel().tolist() == wanted.tolist()
                assert len({len(part) for part in dealt}) == 1
