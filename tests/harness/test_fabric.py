"""Lightning Fabric: a loop of the user's, whose loader and state Fabric sets up."""

from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.fabric import Fabric

from fastload import DataLoader
from tests.harness import processes
from tests.harness.made import BATCH, STEPS, Net, Plain, Seen, assert_same, data, seen, straight

pytestmark = [pytest.mark.timeout(300), pytest.mark.filterwarnings("ignore")]


def ours(batch: int = BATCH, **more: Any) -> DataLoader:
    return DataLoader(data(), batch, shuffle=True, num_workers=1, seed=1, **more)


def train(fabric: Fabric, given: Any, stop: int = 2 * STEPS, state: Path | None = None) -> Any:
    """Two epochs, or up to a batch; what was seen, and where the state was saved after it."""
    net = Net()
    net, optimizer = fabric.setup(net, torch.optim.SGD(net.parameters(), 1e-3))
    # The lines of docs/harness.md: torch's loader is set up by Fabric, ours needs no setting up.
    loader = given if isinstance(given, DataLoader) else fabric.setup_dataloaders(given)
    first = 0
    if state is not None:
        given.load_state_dict(fabric.load(state)["loader"])
        first = given.epoch
    shown: list[Seen] = []
    for epoch in range(first, 2):
        if isinstance(given, DataLoader):
            given.set_epoch(epoch)
        for batch in islice(loader, stop - len(shown)):
            shown.append(seen(epoch, batch))
            optimizer.zero_grad()
            fabric.backward(net(batch["S2L1C"][0]))
            optimizer.step()
        if len(shown) == stop:
            break
    return shown


def test_fit_and_resume(tmp_path: Path) -> None:
    fabric, expected = Fabric(accelerator="cpu"), straight(ours())
    assert_same(train(fabric, ours()), expected)
    theirs = train(fabric, torch.utils.data.DataLoader(Plain(), BATCH))
    assert [len(s.keys) for s in theirs] == [len(s.keys) for s in expected]
    for stop in (2, STEPS, STEPS + 1):
        loader = ours()
        shown = train(fabric, loader, stop)
        fabric.save(tmp_path / "state", {"loader": loader.state_dict()})
        assert_same(shown + train(fabric, ours(), state=tmp_path / "state"), expected)


def test_a_loader_that_fabric_set_up() -> None:
    """Whole runs are right. Its count starts at 0 in each process, so a state of a later epoch
    would be lost; that is said."""
    fabric, expected = Fabric(accelerator="cpu"), straight(ours())
    assert_same(straight(fabric.setup_dataloaders(ours())), expected)
    first = ours()
    assert len(straight(first, 1)) == STEPS
    list(islice(first, 2))
    state = first.state_dict()
    again = ours()
    again.load_state_dict(state)
    with pytest.warns(UserWarning, match="a state of epoch 1 was loaded, and now the sampler is"):
        list(fabric.setup_dataloaders(again))
    silent = ours()
    silent.load_state_dict(state)
    silent.sampler.set_epoch(1)
    assert_same(straight(silent, 1), [s._replace(epoch=0) for s in expected[STEPS + 2 :]])


def of_a_rank(folder: Path) -> Any:
    fabric = Fabric(accelerator="cpu", strategy="ddp", devices=processes.world())
    fabric.launch()
    whole, loader = train(fabric, ours(2)), ours(2)
    shown = train(fabric, loader, 3)
    fabric.save(folder / "state", {"loader": loader.state_dict()})
    return whole, shown + train(fabric, ours(2), state=folder / "state")


@pytest.mark.slow
def test_two_processes(tmp_path: Path) -> None:
    for rank, parts in enumerate(processes.run(of_a_rank, 2, tmp_path, tmp_path)):
        mine = [Seen(s.epoch, s.keys[rank::2], s.pixels[rank::2]) for s in straight(ours())]
        for shown in parts:
            assert_same(shown, mine)
