"""torchdata's StatefulDataLoader around our dataset."""

from typing import Any

import pytest
import torch
from torchdata.stateful_dataloader import StatefulDataLoader

from tests.harness.made import BATCH, STEPS, Plain, assert_same, data, keys, seen

pytestmark = pytest.mark.timeout(300)


def loader(dataset: Any, workers: int) -> Any:
    generator = torch.Generator().manual_seed(5)
    return StatefulDataLoader(
        dataset, BATCH, shuffle=True, num_workers=workers, generator=generator
    )


def run(dataset: Any, workers: int, pinned: bool, state: Any = None, start: int = 0) -> Any:
    """Two epochs; what was seen, and the state after each batch."""
    stateful, shown, states = loader(dataset, workers), [], []
    if state is not None:
        stateful.load_state_dict(state)
    for epoch in range(start, 2):
        if pinned:
            dataset.set_epoch(epoch)
        for batch in stateful:
            shown.append(seen(epoch, batch))
            states.append(stateful.state_dict())
    return shown, states


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize("pinned", [False, True])
def test_a_state_in_mid_epoch(workers: int, pinned: bool) -> None:
    """The rest of the epoch is what would have come: its keys, and its views if the dataset is told
    the epoch. All keys are those of torch's data under the same loader, also in the epochs after
    the one resumed within, which torchdata without workers shuffles otherwise than it would have.
    """
    whole, states = run(data(), workers, pinned)
    theirs, their_states = run(Plain(), workers, False)
    assert keys(whole) == keys(theirs)
    first, second = (
        {k: i for s in part for k, i in zip(s.keys, s.pixels, strict=True)}
        for part in (whole[:STEPS], whole[STEPS:])
    )
    assert not any(torch.equal(first[key], second[key]) for key in first)
    for n in (2, STEPS + 3):
        epoch, left = n // STEPS, STEPS - n % STEPS
        rest, _ = run(data(), workers, pinned, states[n - 1], epoch)
        again, _ = run(Plain(), workers, False, their_states[n - 1], epoch)
        assert keys(again) == keys(rest)
        assert keys(rest[:left]) == keys(whole[n : n + left])
        if pinned:
            assert_same(rest[:left], whole[n : n + left])
