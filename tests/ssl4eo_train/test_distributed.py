"""Two real processes joined by gloo, against one process alone."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from ssl4eo_train import checkpoint, distributed
from ssl4eo_train.methods import Samples
from ssl4eo_train.methods.common import follow
from ssl4eo_train.methods.moco_v2 import MoCo
from tests.ssl4eo_train.processes import run_two

BATCH, STEPS = 8, 5
CPU = torch.device("cpu")


def model() -> MoCo:
    torch.manual_seed(0)
    encoder = nn.Sequential(nn.Flatten(), nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 8))
    return MoCo(encoder, queue=3 * BATCH, batch=BATCH, width=8, momentum=0.9, seed=3)


def views(step: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(step)
    return [torch.randn(BATCH, 6, generator=generator) for _ in range(2)]


def train() -> tuple[MoCo, list[float]]:
    """A few steps on this process's share; returns the module and the losses of the whole steps."""
    moco = model()
    wrapped: nn.Module = moco
    if distributed.size() > 1:
        wrapped = nn.parallel.DistributedDataParallel(moco, broadcast_buffers=False)
    optimizer = torch.optim.SGD(moco.query.parameters(), lr=0.1)
    losses = []
    for step in range(STEPS):
        follow(moco.key, moco.query, moco.momentum)
        samples = Samples(0, 0, distributed.mine(torch.arange(BATCH)).numpy())
        loss, _ = wrapped([distributed.mine(view) for view in views(step)], samples)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(distributed.mean(loss.detach()).item())
    return moco, losses


def work() -> dict[str, object]:
    """What each of two processes does."""
    rank = distributed.rank()
    step = torch.arange(BATCH)[:, None] * 10
    shuffled = distributed.shuffle(distributed.mine(step), 7, 2)
    moco, losses = train()
    torch.manual_seed(100 + rank)
    return {
        "gathered": distributed.gather(distributed.mine(step)),
        "shuffled": shuffled,
        "unshuffled": distributed.unshuffle(shuffled, 7, 2),
        "largest": [distributed.largest(rank), distributed.largest(0)],
        "queue": moco.queue,
        "pointer": moco.pointer,
        "losses": losses,
        "weight": moco.query[1].weight.detach(),
        "random": checkpoint.random_state(CPU),
    }


@pytest.fixture(scope="module")
def two() -> list[dict[str, object]]:
    return run_two(work)


@pytest.mark.timeout(120)
def test_two_processes_train_as_one(two: list[dict[str, object]]) -> None:
    moco, losses = train()
    for seen in two:
        assert seen["pointer"] == moco.pointer == STEPS * BATCH % (3 * BATCH)
        torch.testing.assert_close(seen["queue"], moco.queue)
        torch.testing.assert_close(seen["weight"], moco.query[1].weight.detach())
        assert seen["losses"] == pytest.approx(losses, rel=1e-5)
    assert torch.equal(two[0]["queue"], two[1]["queue"])


@pytest.mark.timeout(120)
def test_gather_restores_the_order_of_the_step(two: list[dict[str, object]]) -> None:
    step = torch.arange(BATCH)[:, None] * 10
    for seen in two:
        assert torch.equal(seen["gathered"], step)
        assert torch.equal(seen["unshuffled"], step)
        assert seen["largest"] == [1, 0]


@pytest.mark.timeout(120)
def test_shuffle_deals_every_sample_once_and_anew(two: list[dict[str, object]]) -> None:
    dealt = [seen["shuffled"].flatten().tolist() for seen in two]
    assert sorted(dealt[0] + dealt[1]) == [10 * i for i in range(BATCH)]
    assert set(dealt[0]) != {0, 20, 40, 60}
    order = distributed.permutation(BATCH, 7, 2)
    assert dealt == [(10 * order[r::2]).tolist() for r in range(2)]


@pytest.mark.timeout(120)
def test_random_state_of_each_process_is_kept(two: list[dict[str, object]]) -> None:
    for seen in two:
        for rank, state in enumerate(seen["random"]):
            torch.manual_seed(100 + rank)
            assert torch.equal(state["cpu"], torch.get_rng_state())


@pytest.mark.timeout(10)
def test_permutations_differ_by_seed_and_step() -> None:
    orders = {(s, t): tuple(distributed.permutation(64, s, t)) for s in range(3) for t in range(3)}
    assert len(set(orders.values())) == 9
    assert all(np.array_equal(np.sort(order), np.arange(64)) for order in orders.values())


@pytest.mark.timeout(10)
def test_alone_everything_is_left_as_it_is() -> None:
    x = torch.rand(4, 2)
    assert (distributed.rank(), distributed.size()) == (0, 1)
    for same in (
        distributed.gather(x),
        distributed.mine(x),
        distributed.shuffle(x, 0, 0),
        distributed.unshuffle(x, 0, 0),
        distributed.mean(x),
    ):
        assert torch.equal(same, x)
    assert distributed.largest(3) == 3
