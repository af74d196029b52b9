from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import torch

from fastload.synth import synth
from ssl4eo_train import data
from ssl4eo_train.command import parser
from ssl4eo_train.config import resolve
from ssl4eo_train.data import Batch, Loader
from ssl4eo_train.distributed import World
from ssl4eo_train.errors import SetupError
from ssl4eo_train.methods import moco_v2

pytestmark = pytest.mark.timeout(60)

LOCATIONS = 11


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("scenes")
    return synth(root, LOCATIONS, modalities=["S2L1C"], size=24, samples_per_shard=8)


def loader(scenes: Path, name: str, batch: int = 4, world: World | None = None) -> Loader:
    world = world or World()
    line = ["--data", str(scenes), "--loader", name, "--batch-size", str(batch), "--workers", "1"]
    config = resolve(
        vars(parser().parse_args([*line, "--device", "cpu", "--seed", "6"])), None, world
    )
    return data.make(config, moco_v2.recipe(20), torch.device("cpu"), world)[0]


def take(source: Loader, count: int) -> list[Batch]:
    batches = data.forever(source)
    taken = list(islice(batches, count))
    batches.close()
    return taken


def assert_same(one: list[Batch], two: list[Batch]) -> None:
    for a, b in zip(one, two, strict=True):
        assert a["key"] == b["key"]
        assert torch.equal(torch.as_tensor(a["index"]), torch.as_tensor(b["index"]))
        for x, y in zip(a["S2L1C"], b["S2L1C"], strict=True):
            torch.testing.assert_close(x, y, rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", ["dali", "torch"])
def test_loaders_give_the_same_batches(scenes: Path, name: str) -> None:
    """Two epochs and a half, so that order and views follow the epoch."""
    if name == "dali":
        pytest.importorskip("nvidia.dali", reason="DALI is not installed")
    one, two = loader(scenes, "threads"), loader(scenes, name)
    assert len(one) == len(two) == LOCATIONS // 4
    first = take(one, 5)
    assert_same(first, take(two, 5))
    assert {k for b in first[:2] for k in b["key"]} != {k for b in first[2:4] for k in b["key"]}


@pytest.mark.parametrize("name", ["threads", "torch"])
@pytest.mark.parametrize("stop", [0, 1, 2, 3])
def test_state_continues_in_either_loader(scenes: Path, name: str, stop: int) -> None:
    whole = take(loader(scenes, "threads"), 5)
    before = loader(scenes, name)
    take(before, stop)
    state = before.state_dict()
    assert state["epoch"] * len(before) + state["step"] == stop
    for other in ("threads", "torch"):
        after = loader(scenes, other)
        after.load_state_dict(state)
        assert_same(take(after, 5 - stop), whole[stop:])


class Ended:
    """A loader whose state after an epoch's last batch is that epoch, with nothing left."""

    def __init__(self, steps: int, epoch: int, step: int) -> None:
        self.steps, self.epoch, self.step = steps, epoch, step

    def __len__(self) -> int:
        return self.steps

    def __iter__(self) -> Iterator[Batch]:
        while self.step < self.steps:
            self.step += 1
            yield {"key": [f"{self.epoch}/{self.step}"]}
        self.epoch, self.step = self.epoch + 1, 0

    def state_dict(self) -> dict[str, Any]:
        return {"epoch": self.epoch, "step": self.step}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.epoch, self.step = state["epoch"], state["step"]


def test_a5_an_epoch_with_nothing_left_is_followed_by_the_next() -> None:
    keys = [batch["key"] for batch in take(Ended(2, 4, 2), 3)]
    assert keys == [["5/1"], ["5/2"], ["6/1"]]


@pytest.mark.parametrize("name", ["threads", "torch"])
def test_a5_both_ways_to_say_the_end_of_an_epoch_go_on_alike(scenes: Path, name: str) -> None:
    """The last step of epoch 0, or the start of epoch 1: what is trained on is the same."""
    whole = take(loader(scenes, "threads"), 5)
    state = loader(scenes, name).state_dict()
    for place in ({"epoch": 0, "step": 2}, {"epoch": 1, "step": 0}):
        after = loader(scenes, name)
        after.load_state_dict(state | place)
        assert_same(take(after, 3), whole[2:])


@pytest.mark.parametrize("name", ["threads", "torch"])
def test_two_processes_split_the_steps_of_one(scenes: Path, name: str) -> None:
    alone = [b["key"] for b in take(loader(scenes, "threads", batch=4), 3)]
    ranks = [take(loader(scenes, name, 2, World(rank, 2, rank)), 3) for rank in range(2)]
    for step, keys in enumerate(alone):
        assert [keys[r::2] for r in range(2)] == [ranks[r][step]["key"] for r in range(2)]


def test_less_than_a_step_is_refused(scenes: Path) -> None:
    with pytest.raises(
        SetupError, match=f"a step takes 12 samples, but the data holds {LOCATIONS}"
    ):
        loader(scenes, "threads", batch=12)
    with pytest.raises(SetupError, match="a step takes 12 samples"):
        loader(scenes, "torch", batch=6, world=World(0, 2, 0))
