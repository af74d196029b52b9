"""Hugging Face's Trainer: our loader by `get_train_dataloader`, or our dataset in its own."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.data import default_collate
from transformers import Trainer, TrainerCallback, TrainingArguments

from fastload import DataLoader
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


class Model(torch.nn.Module):
    """Writes down what it is trained with."""

    def __init__(self) -> None:
        super().__init__()
        self.net, self.seen = Net(), list[Seen]()

    def forward(self, **batch: Any) -> dict[str, torch.Tensor]:
        self.seen.append(seen(0, batch))
        return {"loss": self.net(batch["S2L1C"][0])}


class Steps(TrainerCallback):
    """Counts batches and optimizer steps."""

    def __init__(self) -> None:
        self.optimizer = self.batches = 0

    def on_optimizer_step(self, *_: Any, **__: Any) -> None:
        self.optimizer += 1
        self.batches += 1

    def on_substep_end(self, *_: Any, **__: Any) -> None:
        self.batches += 1


class Pins(TrainerCallback):
    """Tells a dataset the epoch; the lines of docs/harness.md."""

    def __init__(self, dataset: Any) -> None:
        self.dataset = dataset

    def on_epoch_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self.dataset.set_epoch(int(state.epoch or 0))


class WithOurs(Trainer):
    """The lines of docs/harness.md."""

    make: Callable[[], Any]

    def get_train_dataloader(self) -> Any:
        return self.make()


class Prepared(WithOurs):
    """As the Trainer treats its own loader."""

    def get_train_dataloader(self) -> Any:
        return self.accelerator.prepare(self.make())


def train(
    kind: type[Trainer], make: Callable[[], Any], folder: Path, resume: Path | None = None,
    accumulation: int = 1, pins: bool = False, **more: Any,
) -> tuple[list[Seen], Steps, int]:  # fmt: skip
    """Train for `max_steps` optimizer steps, by default two epochs; a checkpoint at each."""
    per_epoch = -(-STEPS // accumulation)
    arguments = TrainingArguments(
        output_dir=str(folder), use_cpu=True, report_to=[], max_steps=2 * per_epoch,
        per_device_train_batch_size=BATCH, save_steps=1, gradient_accumulation_steps=accumulation,
        remove_unused_columns=False, disable_tqdm=True, logging_strategy="no", **more,
    )  # fmt: skip
    model, counted = Model(), Steps()
    given: dict[str, Any] = {"model": model, "args": arguments, "callbacks": [counted]}
    if issubclass(kind, WithOurs):
        trainer: Trainer = kind(**given)
        trainer.make = make  # type: ignore[attr-defined]
    else:
        dataset = make()
        given["callbacks"] += [Pins(dataset)] if pins else []
        trainer = kind(**given, train_dataset=dataset, data_collator=default_collate)
    trainer.train(resume_from_checkpoint=None if resume is None else str(resume))
    return model.seen, counted, trainer.state.global_step


@pytest.mark.parametrize("kind", [WithOurs, Prepared])
@pytest.mark.parametrize("accumulation", [1, 2])
def test_a7_our_loader_goes_on_from_any_checkpoint(
    tmp_path: Path, kind: Any, accumulation: int
) -> None:
    """Keys exactly; pixels within the table in the rest of the epoch, which comes by torch's
    loader, and exactly in the epochs after it."""

    def make() -> DataLoader:
        return DataLoader(data(), BATCH, shuffle=True, seed=4)

    expected = [s._replace(epoch=0) for s in straight(make())]
    whole, counted, steps = train(kind, make, tmp_path, accumulation=accumulation)
    assert_same(whole, expected)
    theirs = train(
        WithOurs, lambda: torch.utils.data.DataLoader(Plain(), BATCH), tmp_path / "torch",
        accumulation=accumulation,
    )  # fmt: skip
    assert (steps, vars(counted)) == (theirs[2], vars(theirs[1]))
    assert [len(s.keys) for s in whole] == [len(s.keys) for s in theirs[0]]
    per_epoch = steps // 2
    for step in (1, per_epoch - 1, per_epoch, per_epoch + 1):
        rest, _, ended = train(
            kind, make, tmp_path / f"from{step}", tmp_path / f"checkpoint-{step}", accumulation
        )
        done = step // per_epoch * STEPS + step % per_epoch * accumulation
        assert_same(rest, expected[done:], exact=False)
        assert_same(rest[-STEPS:][: len(rest)], expected[done:][-STEPS:], exact=done >= STEPS)
        assert ended == steps


@pytest.mark.parametrize("pins", [False, True])
@pytest.mark.parametrize("workers", [0, 1])
def test_our_dataset_in_the_trainers_loader(tmp_path: Path, workers: int, pins: bool) -> None:
    """Its order is the Trainer's. Accelerate tells the dataset the epoch, which pins the views, but
    not in the rest of an epoch that was resumed: there they are exact with the callback alone."""
    more: dict[str, Any] = {"dataloader_num_workers": workers}
    whole, counted, steps = train(Trainer, data, tmp_path, pins=pins, **more)
    theirs = train(Trainer, Plain, tmp_path / "torch", **more)
    assert (keys(whole), steps, vars(counted)) == (keys(theirs[0]), theirs[2], vars(theirs[1]))
    first, second = (
        {k: i for s in part for k, i in zip(s.keys, s.pixels, strict=True)}
        for part in (whole[:STEPS], whole[STEPS:])
    )
    assert first.keys() == second.keys() == set(data().keys.tolist())
    assert not any(torch.equal(first[key], second[key]) for key in first)
    for step in (2, STEPS, STEPS + 2):
        rest, _, _ = train(
            Trainer, data, tmp_path / f"from{step}", tmp_path / f"checkpoint-{step}", pins=pins,
            **more,
        )  # fmt: skip
        assert keys(rest) == keys(whole[step:])
        if pins:
            assert_same(rest, whole[step:])
        else:
            exact = STEPS if step <= STEPS else 0  # the epochs after the one resumed within
            assert_same(rest[len(rest) - exact :], whole[len(whole) - exact :])
