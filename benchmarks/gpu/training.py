"""A MoCo-v2 training step fed by each engine, against the same step on batches that are there."""

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from itertools import cycle, islice
from typing import Any

import torch

from benchmarks.gpu import pairs
from benchmarks.gpu.bench import MODALITY, Bench, Found
from benchmarks.gpu.timing import raced
from benchmarks.results import Comparison, Figure
from ssl4eo_train.clock import Clock
from ssl4eo_train.methods import Progress, Samples, Settings, moco_v2

CACHED = 4
"""Batches that are kept on the device."""
CACHED_BATCHES = "on cached batches"
WARM_UP = 6
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
    """Steps a second, fed by each engine and on cached batches in interleaved rounds; and the wait
    for data."""
    o = bench.options
    recipe = replace(moco_v2.recipe(o.crop), channels_last=True)
    bands = bench.dataset().modalities[MODALITY].bands
    with ExitStack() as stack:
        fed = {
            engine: stack.enter_context(pairs.opened(bench, recipe, engine))
            for engine, why in pairs.engines(bench).items()
            if why is None
        }
        kept = [_copied(batch) for batch in islice(next(iter(fed.values())), CACHED)]
        contestants: dict[str, Iterator[Any]] = {
            CACHED_BATCHES: cycle(kept),
            **{f"fed by fastload, {name}": batches for name, batches in fed.items()},
        }
        trainee = Trainee(bench, bands)
        trainee.span(contestants[CACHED_BATCHES], WARM_UP)
        seconds, _ = trainee.span(contestants[CACHED_BATCHES], WARM_UP)
        steps = max(WARM_UP, round(LONGER * o.seconds * WARM_UP / seconds))
        spans: dict[str, list[tuple[float, float]]] = {name: [] for name in contestants}
        for _ in range(o.rounds):
            for name, batches in contestants.items():
                trainee.span(batches, WARM_UP)
                spans[name].append(trainee.span(batches, steps))
    title = f"MoCo-v2 step: {o.arch}, bfloat16, channels-last, {o.batch} pairs of {o.crop}"
    return summary(title, steps, spans)


def summary(title: str, steps: int, spans: dict[str, list[tuple[float, float]]]) -> Found:
    """Both comparisons, from the seconds and waits of each round's steps."""
    speed = [
        Figure(name, tuple(steps / seconds for seconds, _ in rounds))
        for name, rounds in spans.items()
    ]
    fed = [name for name in spans if name != CACHED_BATCHES]
    wait, aims = [], []
    for name in fed:
        whole, busy = f"a step {name}", f"a step {name}, without its wait for data"
        wait += [
            Figure(whole, tuple(1000 * seconds / steps for seconds, _ in spans[name])),
            Figure(busy, tuple(1000 * (seconds - w) / steps for seconds, w in spans[name])),
        ]
        aims.append(Comparison(busy, whole, HAS_DATA))
    keeps_up = [Comparison(name, CACHED_BATCHES, KEEPS_UP) for name in fed]
    return Found([
        raced(title, "steps/s", speed, keeps_up),
        raced(f"{title}: device time", "ms", wait, aims),
    ])  # fmt: skip


def _copied(batch: dict[str, Any]) -> dict[str, Any]:
    """A batch in memory of its own, so that the loader's is free."""
    return batch | {MODALITY: [view.clone() for view in batch[MODALITY]]}
