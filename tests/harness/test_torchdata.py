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
def test_a_state_in_mid_epoch(workers: int) -> None:
    """Keys are those of torch's data under the same loader, and go on; so do the views, if the
    dataset is told the epoch."""
    whole, states = run(data(), workers, True)
    theirs, their_states = run(Plain(), workers, False)
    assert keys(whole) == keys(theirs)
    for n in (2, STEPS + 3):
        epoch = n // STEPS
        rest, _ = run(data(), workers, True, states[n - 1], epoch)
        assert_same(rest, whole[n:])
        again, _ = run(Plain(), workers, False, their_states[n - 1], epoch)
        assert keys(again) == keys(rest)


@pytest.mark.parametrize("workers", [0, 1])
def test_unpinned_views_are_new_in_each_epoch_and_keys_go_on(workers: int) -> None:
    whole, states = run(data(), workers, False)
    first, second = ({k: i for s in part for k, i in zip(s.keys, s.pixels, strict=True)} for part in
                     (whole[:STEPS], whole[STEPS:]))  # fmt: skip
    assert not any(torch.equal(first[key], second[key]) for key in first)
    rest, _ = run(data(), workers, False, states[2])
    assert keys(rest) == keys(whole[3:])
