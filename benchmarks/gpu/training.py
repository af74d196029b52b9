"""A MoCo-v2 training step fed by the loader, against the same step on batches that are there."""

from collections.abc import Iterator
from dataclasses import replace
from itertools import cycle, islice
from typing import Any

import torch
from torch.utils.data import RandomSampler

from benchmarks.gpu.bench import MODALITY, Bench, Found
from benchmarks.gpu.timing import raced
from benchmarks.results import Comparison, Figure
from ssl4eo_train.clock import Clock
from ssl4eo_train.methods import Progress, Samples, Settings, moco_v2

CACHED = 4
"""Batches that are kept on the device."""
WARM_UP = 6
STEPS = 1 << 14
LONGER = 4
"""A span of steps takes so many times longer than the options ask of a call."""
KEEPS_UP, HAS_DATA = 0.98, 0.99
"""Of the speed on cached batches; of the device's time. What is aimed at."""


class Trainee:
    """What `ssl4eo_train.train` does in a step: bfloat16 by autocast, channels-last."""

    def __init__(self, bench: Bench, bands: int) -> None:
        o = bench.options
        self.device = bench.device
        torch.manual_seed(0)
        settings = Settings(
            arch=o.arch,
            bands=bands,
            image_size=o.crop,
            batch=o.batch,
            seed=0,
            options=moco_v2.Options(queue=max(1, 65536 // o.batch) * o.batch),
        )
        model = moco_v2.build(settings).to(bench.device)
        self.model = model.to(memory_format=torch.channels_last)
        self.optimizer = self.model.optimizer()
        self.steps = 0

    def step(self, batch: dict[str, Any]) -> None:
        """Train on a batch."""
        progress = Progress(self.steps, 1000, 100)
        self.model.before_step(self.optimizer, progress)
        self.optimizer.zero_grad(set_to_none=True)
        with torch.autocast(self.device.type, torch.bfloat16):
            loss, _ = self.model(batch[MODALITY], Samples(0, 0, batch["index"].numpy()))
        loss.backward()
        self.model.after_backward(progress)
        self.optimizer.step()
        self.model.after_step(progress)
        self.last = loss.detach()
        self.steps += 1

    def span(self, batches: Iterator[Any], steps: int) -> tuple[float, float]:
        """Seconds on the device that a number of steps take, and those spent waiting for data."""
        clock = Clock(self.device)
        for _ in range(steps):
            self.step(clock.next(batches))
        found = clock.window()
        assert torch.isfinite(self.last), f"the loss is {float(self.last)}"
        return sum(s for s, _ in found), sum(s * share for s, share in found)


def training(bench: Bench) -> Found:
    """Steps a second, fed and on cached batches in interleaved rounds; and the wait for data."""
    o = bench.options
    recipe = replace(moco_v2.recipe(o.crop), channels_last=True)
    dataset = bench.dataset(recipe)
    picks = torch.Generator().manual_seed(0)
    order = RandomSampler(dataset, num_samples=STEPS * o.batch, generator=picks)
    loader = bench.open(dataset, o.batch, sampler=order, num_workers=o.workers, drop_last=True)
    engine = str(loader.stats()["engine"])
    batches: Any = iter(loader)
    try:
        cached = cycle([_copied(batch) for batch in islice(batches, CACHED)])
        trainee = Trainee(bench, dataset.modalities[MODALITY].bands)
        trainee.span(cached, WARM_UP)
        seconds, _ = trainee.span(cached, WARM_UP)
        steps = max(WARM_UP, round(LONGER * o.seconds * WARM_UP / seconds))
        fed, still = list[tuple[float, float]](), list[tuple[float, float]]()
        for _ in range(o.rounds):
            still.append(trainee.span(cached, steps))
            trainee.span(batches, WARM_UP)
            fed.append(trainee.span(batches, steps))
    finally:
        batches.close()
    title = f"MoCo-v2 step: {o.arch}, bfloat16, channels-last, {o.batch} pairs of {o.crop}"
    return summary(title, engine, steps, fed, still)


def summary(
    title: str,
    engine: str,
    steps: int,
    fed: list[tuple[float, float]],
    still: list[tuple[float, float]],
) -> Found:
    """Both comparisons, from the seconds and waits of each round's steps."""
    ours, theirs = f"fed by fastload, {engine}", "on cached batches"
    speed = [
        Figure(ours, tuple(steps / seconds for seconds, _ in fed)),
        Figure(theirs, tuple(steps / seconds for seconds, _ in still)),
    ]
    whole, busy = "a step", "a step without its wait for data"
    wait = [
        Figure(whole, tuple(1000 * seconds / steps for seconds, _ in fed)),
        Figure(busy, tuple(1000 * (seconds - waited) / steps for seconds, waited in fed)),
    ]
    return Found([
        raced(title, "steps/s", speed, [Comparison(ours, theirs, KEEPS_UP)]),
        raced(f"{title}: device time", "ms", wait, [Comparison(busy, whole, HAS_DATA)]),
    ])  # fmt: skip


def _copied(batch: dict[str, Any]) -> dict[str, Any]:
    """A batch in memory of its own, so that the loader's is free."""
    return batch | {MODALITY: [view.clone() for view in batch[MODALITY]]}
