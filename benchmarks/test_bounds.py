"""(e) The two bounds of a training step: a loader without a model, a model without a loader."""

from functools import partial
from itertools import cycle, islice
from typing import Any

import torch

from benchmarks import check, ours
from benchmarks.conftest import RunRace, Setup
from benchmarks.data import Shards
from benchmarks.measure import Contestant, Stream
from benchmarks.results import Comparison
from ssl4eo_train.methods import Progress, Samples, Settings, moco_v2

ARCH = "resnet10t"
SIZE = 224
CACHED = 4
"""Batches that the model alone sees over and over."""


def trained(batches: Stream, modality: str, batch: int, bands: int) -> Stream:
    """Losses of MoCo-v2 steps over a stream of batches."""
    torch.manual_seed(0)
    options = moco_v2.Options(queue=64 * batch)
    settings = Settings(
        arch=ARCH, bands=bands, image_size=SIZE, batch=batch, seed=0, options=options
    )
    model = moco_v2.build(settings)
    optimizer = model.optimizer()
    for step, data in enumerate(batches):
        model.before_step(optimizer, Progress(step, step + 1, 1))
        loss, _ = model(data[modality], Samples(0, 0, data["index"].numpy()))
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        yield loss.detach()
    batches.close()


def test_bounds(run_race: RunRace, setup: Setup, shards: Shards) -> None:
    B, (_, C, *_) = setup.small_batch, shards.shape
    loading = partial(ours.stream, shards, moco_v2.recipe(SIZE), B, setup.workers)

    def cached() -> Stream:
        loader = loading()
        batches = list(islice(loader, CACHED))
        loader.close()
        yield from cycle(batches)

    def training(batches: Any) -> Stream:
        return trained(batches(), shards.modality, B, C)

    def check_batch(batch: Any) -> None:
        for view in batch[shards.modality]:
            check.reflectance("loader", view, (B, C, SIZE, SIZE), torch.float32)

    def check_loss(loss: Any) -> None:
        assert torch.isfinite(loss), f"training: expected a finite loss, got {float(loss)}"

    run_race(
        f"(e) bounds: MoCo-v2 with {ARCH} on the CPU, batch {B}",
        [
            Contestant(
                "fastload, feeding the model",
                partial(training, loading),
                check_loss,
                B,
                ahead=3,
                note="loader and model share the cores",
            ),
            Contestant("fastload, no-op model", loading, check_batch, B, note="the loader's bound"),
            Contestant(
                "model on cached batches",
                partial(training, cached),
                check_loss,
                B,
                ahead=3,
                note="the model's bound",
            ),
        ],
        [
            Comparison("fastload, feeding the model", "model on cached batches"),
            Comparison("fastload, feeding the model", "fastload, no-op model"),
        ],
    )
