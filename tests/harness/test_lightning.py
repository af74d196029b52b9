"""Lightning's Trainer: fit with a validation inside the epoch, a checkpoint anywhere, ranks."""

from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import pytest
import torch

from fastload import DataLoader
from tests.harness import processes
from tests.harness.made import (
    BATCH,
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

pytestmark = [pytest.mark.timeout(300), pytest.mark.filterwarnings("ignore")]
VALIDATED = 7
EVERY = 2
"""Batches of training between two validations."""


class Module(pl.LightningModule):
    """Writes down what it is trained and validated with, and saves where it is told to."""

    def __init__(self, save: Path | None = None) -> None:
        super().__init__()
        self.net, self.save_in = Net(), save
        self.trained: list[Seen] = []
        self.validated: list[list[Seen]] = []
        self.places: list[tuple[Path, int, int]] = []

    def training_step(self, batch: Any, step: int) -> torch.Tensor:
        self.trained.append(seen(self.current_epoch, batch))
        return self.net(batch["S2L1C"][0])

    def on_train_batch_end(self, *_: Any) -> None:
        self._save("trained")

    def on_validation_start(self) -> None:
        self.validated.append([])

    def validation_step(self, batch: Any, step: int) -> None:
        self.validated[-1].append(seen(0, batch))

    def on_validation_batch_end(self, *_: Any) -> None:
        self._save("inside validation")

    def on_validation_end(self) -> None:
        self._save("validated")

    def _save(self, what: str) -> None:
        if self.save_in is not None and not self.trainer.sanity_checking:
            path = self.save_in / f"{len(self.places)} {what}.ckpt"
            self.trainer.save_checkpoint(path)
            self.places.append((path, len(self.trained), self.trainer.global_step))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), 1e-3)


def trainer(folder: Path, **more: Any) -> pl.Trainer:
    arguments: dict[str, Any] = {
        "accelerator": "cpu", "max_epochs": 2, "logger": False, "enable_checkpointing": False,
        "enable_progress_bar": False, "enable_model_summary": False, "num_sanity_val_steps": 0,
        "default_root_dir": folder, "val_check_interval": EVERY,
    }  # fmt: skip
    return pl.Trainer(**arguments | more)


def ours(batch: int = BATCH, workers: int = 1, **more: Any) -> DataLoader:
    return DataLoader(data(), batch, shuffle=True, num_workers=workers, seed=1, **more)


def to_validate(batch: int = BATCH) -> DataLoader:
    return DataLoader(data(VALIDATED), batch, seed=2)


def test_a_checkpoint_anywhere_and_a_validation_inside_the_epoch(tmp_path: Path) -> None:
    """Each batch of training and of validation, and after each validation: a run that goes on from
    there shows the rest of an uninterrupted run, and takes as many optimizer steps."""
    first = Module(tmp_path)
    trainer(tmp_path).fit(first, ours(), to_validate())
    expected = straight(ours())
    assert_same(first.trained, expected)
    assert [len(v) for v in first.validated] == [2] * 4
    whole = to_validate()
    for turn, shown in enumerate(first.validated):
        whole.set_epoch(turn // 2)  # Lightning tells it the epoch of the training
        assert_same(shown, straight(whole, 1))
    assert {p.stem.split(" ", 1)[1] for p, *_ in first.places} == {
        "trained", "inside validation", "validated",
    }  # fmt: skip
    for path, trained, _ in first.places:
        again, run = Module(), trainer(tmp_path)
        run.fit(again, ours(workers=0), to_validate(), ckpt_path=path)
        assert_same(again.trained, expected[trained:])
        assert run.global_step == len(expected), path
        for shown in again.validated[-1:]:
            assert_same(shown, first.validated[-1][-len(shown) :])


def test_optimizer_steps_and_samples_are_those_of_torchs_loader(tmp_path: Path) -> None:
    """With accumulation, an epoch whose steps it does not divide, and a resume in its midst."""
    found = []
    for loader in (
        lambda: DataLoader(data(), BATCH),
        lambda: torch.utils.data.DataLoader(Plain(), BATCH),
    ):
        folder = tmp_path / str(len(found))
        first = Module(folder)
        run = trainer(folder, accumulate_grad_batches=2, val_check_interval=None)
        run.fit(first, loader())
        place = first.places[1]
        again = Module()
        second = trainer(folder, accumulate_grad_batches=2, val_check_interval=None)
        second.fit(again, loader(), ckpt_path=place[0])
        steps = [step for _, _, step in first.places]
        found.append((steps, run.global_step, second.global_step, keys(first.trained)))
        assert len(first.trained) == 2 * STEPS
        if len(found) == 1:
            assert_same(again.trained, first.trained[place[1] :])
    assert found[0] == found[1]


def of_a_rank(folder: Path) -> dict[str, Any]:
    more: dict[str, Any] = {"strategy": "ddp", "devices": processes.world()}
    module, run = Module(folder), trainer(folder, **more)
    run.fit(module, ours(2), to_validate(2))
    place = next(path for path, trained, _ in module.places if trained == 7)
    again = Module()
    trainer(folder, **more).fit(again, ours(2), to_validate(2), ckpt_path=place)
    return {
        "trained": module.trained, "validated": module.validated[0], "again": again.trained,
        "sampler": type(run.train_dataloader.sampler).__name__, "rank": run.global_rank,
    }  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("slurm", [False, True])
def test_two_processes(tmp_path: Path, slurm: bool) -> None:
    """As torchrun starts them, and as Slurm's srun does."""
    ranks = processes.run(of_a_rank, 2, tmp_path, tmp_path, slurm=slurm)
    alone = straight(ours())
    assert [out["rank"] for out in ranks] == [0, 1]
    for rank, out in enumerate(ranks):
        assert out["sampler"] == "PlanSampler"
        mine = [Seen(s.epoch, s.keys[rank::2], s.pixels[rank::2]) for s in alone]
        assert_same(out["trained"], mine)
        assert_same(out["again"], out["trained"][7:])
    validated = {key for out in ranks for step in out["validated"] for key in step.keys}
    assert validated == set(data(VALIDATED).keys.tolist())
