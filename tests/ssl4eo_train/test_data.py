from itertools import islice
from pathlib import Path

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
    assert (state["epoch"], state["step"]) == divmod(stop, len(before))
    for other in ("threads", "torch"):
        after = loader(scenes, other)
        after.load_state_dict(state)
        assert_same(take(after, 5 - stop), whole[stop:])


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
