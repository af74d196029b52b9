"""Hugging Face Accelerate, as a user runs it; torch's loader stands beside ours throughout."""

import warnings
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState, GradientState

from fastload import DataLoader
from tests.harness import processes
from tests.harness.made import (
    BATCH,
    SAMPLES,
    STEPS,
    Net,
    Plain,
    Seen,
    assert_same,
    data,
    keys,
    seen,
    straight,
)

pytestmark = [pytest.mark.timeout(300), pytest.mark.filterwarnings("ignore:.*is deprecated")]
LENGTHS = (5, 8, 11, 13, SAMPLES)
"""Of datasets: in batches of 2 on 4 ranks their last steps lack 3, 0, 1 and 3 samples, and 2."""


def ours(samples: int = SAMPLES, batch: int = BATCH, workers: int = 0, **more: Any) -> DataLoader:
    return DataLoader(data(samples), batch, num_workers=workers, seed=3, **more)


def torchs(samples: int = SAMPLES, batch: int = BATCH, **more: Any) -> Any:
    return torch.utils.data.DataLoader(Plain(samples), batch, **more)


class Run:
    """A script of a user's: a fresh Accelerator, a model, and a loader that it prepares."""

    def __init__(self, loader: Any, accumulation: int = 2) -> None:
        GradientState._reset_state()
        AcceleratorState._reset_state(True)
        self.accelerator = Accelerator(cpu=True, gradient_accumulation_steps=accumulation)
        torch.manual_seed(0)
        net = Net()
        self.net, self.optimizer, self.loader = self.accelerator.prepare(
            net, torch.optim.SGD(net.parameters(), 1e-3), loader
        )
        self.seen: list[Seen] = []

    def epoch(self, epoch: int, loader: Any = None) -> Iterator[int]:
        """Train; after each batch how many optimizer steps the epoch has had."""
        steps = 0
        for batch in self.loader if loader is None else loader:
            self.seen.append(seen(epoch, batch))
            with self.accelerator.accumulate(self.net):
                self.accelerator.backward(self.net(batch["S2L1C"][0]))
                self.optimizer.step()
                self.optimizer.zero_grad()
            steps += self.accelerator.sync_gradients
            yield steps

    def steps(self, epoch: int, loader: Any = None) -> int:
        """Optimizer steps of a whole epoch."""
        return [*self.epoch(epoch, loader)][-1]

    def skipping(self, batches: int) -> Any:
        """The rest of the epoch, as Accelerate gives it."""
        return self.accelerator.skip_first_batches(self.loader, batches)

    def save(self, folder: Path) -> Path:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self.accelerator.save_state(str(folder))
        return folder

    def load(self, folder: Path) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self.accelerator.load_state(str(folder))


@pytest.mark.parametrize("workers", [0, 2])
def test_a7_accumulation_ends_with_the_epoch(workers: int) -> None:
    """Two batches a step, five batches: three steps in each epoch, as torch's loader has it."""
    mine, theirs = Run(ours(workers=workers)), Run(torchs())
    assert [theirs.steps(e) for e in range(2)] == [3, 3]
    assert [mine.steps(e) for e in range(2)] == [3, 3]
    assert keys(mine.seen) == keys(theirs.seen)
    assert_same(mine.seen, straight(ours()))
    assert not mine.accelerator.gradient_state.in_dataloader


@pytest.mark.parametrize("samples", [SAMPLES, 20])
@pytest.mark.parametrize("skipped", [1, 2, STEPS - 1])
def test_a7_skip_first_batches_is_the_rest_of_the_epoch(samples: int, skipped: int) -> None:
    """The last step is short, or is not. Keys are exact, pixels within the table: the rest of the
    epoch comes by torch's loader. Then the prepared loader goes on with the next epoch."""
    expected = straight(ours(samples, shuffle=True))
    mine, theirs = Run(ours(samples, shuffle=True)), Run(torchs(samples))
    wanted = [-(-(STEPS - skipped) // 2), 3]
    for run in (theirs, mine):
        rest = run.skipping(skipped)
        assert [run.steps(0, rest), run.steps(1)] == wanted
        assert not run.accelerator.gradient_state.end_of_dataloader
    assert_same(mine.seen, expected[skipped:], exact=False)
    assert [len(s.keys) for s in mine.seen] == [len(s.keys) for s in theirs.seen]


def test_a7_an_epoch_that_is_skipped_into_later() -> None:
    """As scripts do after a resume: the epoch is set, then its first batches are left out."""
    run = Run(ours(shuffle=True))
    run.loader.set_epoch(1)
    run.steps(1, run.skipping(3))
    run.steps(2)
    assert_same(run.seen, straight(ours(shuffle=True), 3)[STEPS + 3 :], exact=False)


def test_a7_a_state_saved_in_a_skipped_epoch(tmp_path: Path) -> None:
    expected = straight(ours(shuffle=True))
    for stop in range(1, STEPS - 1):
        first = Run(ours(shuffle=True))
        [*islice(first.epoch(0, first.skipping(1)), stop)]
        first.save(tmp_path / str(stop))
        second = Run(ours(shuffle=True))
        second.load(tmp_path / str(stop))
        [*second.epoch(0), *second.epoch(1)]
        assert_same(second.seen, expected[1 + stop :])


def test_a7_worker_processes_of_a_skipped_epoch_are_warned_of() -> None:
    run = Run(ours(workers=1))
    with pytest.warns(UserWarning, match=r"worker processes that run ahead \(num_workers=1\)"):
        run.steps(0, run.skipping(4))
    run.steps(1)
    assert_same(run.seen, straight(ours())[4:], exact=False)


@pytest.mark.parametrize("workers", [0, 2])
def test_a7_a5_load_state_goes_on_after_any_batch(tmp_path: Path, workers: int) -> None:
    """Also after the last one, under a loop that counts its own epochs."""
    expected = straight(ours(shuffle=True))
    first, saved = Run(ours(shuffle=True, workers=workers)), []
    for epoch in range(2):
        for _ in first.epoch(epoch):
            saved.append(first.save(tmp_path / str(len(saved))))
    assert_same(first.seen, expected)
    for n, folder in enumerate(saved, 1):
        second = Run(ours(shuffle=True, workers=workers))
        second.load(folder)
        for epoch in range((n - 1) // STEPS, 2):
            second.loader.set_epoch(epoch)
            [*second.epoch(epoch)]
        assert_same(second.seen, expected[n:])


def test_a7_load_state_then_skip_as_accelerates_examples_do(tmp_path: Path) -> None:
    first = Run(ours(shuffle=True))
    [*islice(first.epoch(0), 2)]
    first.save(tmp_path)
    second = Run(ours(shuffle=True))
    second.load(tmp_path)
    assert second.steps(0, second.skipping(2)) == 2
    assert second.steps(1) == 3
    assert_same(second.seen, straight(ours(shuffle=True))[2:], exact=False)


@pytest.mark.parametrize("samples", LENGTHS)
def test_a7_gather_for_metrics_in_one_process(samples: int) -> None:
    for loader in (ours(samples), torchs(samples)):
        run, found = Run(loader), []
        for batch in run.loader:
            found += run.accelerator.gather_for_metrics(batch["index"]).tolist()
        assert found == list(range(samples))


# --- ranks ---


def gathered(loader: Any) -> list[list[int]]:
    """What `gather_for_metrics` gives over two epochs."""
    run, out = Run(loader), []
    for _ in range(2):
        out.append([])
        for batch in run.loader:
            out[-1] += run.accelerator.gather_for_metrics(batch["index"]).tolist()
    return out


def of_a_rank(folder: Path) -> dict[str, Any]:
    out: dict[str, Any] = {"ours": [], "torchs": []}
    for n in LENGTHS:
        out["ours"].append(gathered(ours(n, 2, shuffle=True)))
        out["torchs"].append(gathered(torchs(n, 2)))
    for name, loader in (("steps", ours(13, 2)), ("torchs_steps", torchs(13, 2))):
        run = Run(loader)
        out[name] = [run.steps(epoch) for epoch in range(2)]
    first = Run(ours(13, 2, shuffle=True))
    for i, _ in enumerate(first.epoch(0)):
        first.save(folder / f"state{i}")
    [*first.epoch(1)]
    out["seen"], out["resumed"] = first.seen, []
    for i in range(len(first.loader)):
        second = Run(ours(13, 2, shuffle=True))
        second.load(folder / f"state{i}")
        [*second.epoch(0), *second.epoch(1)]
        out["resumed"].append(second.seen)
    second = Run(ours(13, 2, shuffle=True))
    [*second.epoch(0, second.skipping(1)), *second.epoch(1)]
    out["skipped"] = second.seen
    try:
        Run(DataLoader(data(), 2, sampler=list(range(8))))
    except ValueError as error:
        out["undivided"] = str(error)
    return out


@pytest.mark.slow
@pytest.mark.parametrize("world", [2, 4])
def test_a7_ranks(tmp_path: Path, world: int) -> None:
    ranks = processes.run(of_a_rank, world, tmp_path, tmp_path)
    for out in ranks:
        for which in ("ours", "torchs"):
            for n, epochs in zip(LENGTHS, out[which], strict=True):
                assert [sorted(found) for found in epochs] == [list(range(n))] * 2, (which, n)
        assert out["ours"] == ranks[0]["ours"]
        assert out["steps"] == out["torchs_steps"]
        for i, again in enumerate(out["resumed"], 1):
            assert_same(again, out["seen"][i:])
        assert_same(out["skipped"], out["seen"][1:], exact=False)
        assert f"does not know of Accelerate's {world} processes" in out["undivided"]
    alone = straight(ours(13, 2 * world, shuffle=True))
    for s, step in enumerate(alone):
        together = [key for out in ranks for key in out["seen"][s][1]]
        assert set(together) >= set(step.keys)
        cut = together[: len(step.keys)] if len(step.keys) % world else together
        assert sorted(cut) == sorted(step.keys)
