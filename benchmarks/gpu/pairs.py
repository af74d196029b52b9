"""End to end: from shards in the page cache to finished pairs of views on the device."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch.utils.data import RandomSampler

from benchmarks import check
from benchmarks.gpu import present
from benchmarks.gpu.bench import MODALITY, Bench, Found
from benchmarks.gpu.timing import sentence
from benchmarks.measure import Contestant, Stream, once, race
from benchmarks.results import Comparison, Missing
from fastload import Recipe
from ssl4eo_train.methods import moco_v2

STEPS = 1 << 14
"""Batches of a stream: more than are ever taken."""
ENGINES = {"dali": ("CuPy", "nvCOMP", "DALI"), "threads": ("CuPy", "nvCOMP")}
"""By name, with what each needs."""
PUBLISHED = ("webdataset", "zarr", "fsspec", "OpenCV")
PUBLISHED_BATCH = 4
"""The published path's workers make batches that are so many times smaller, one each at a time, so
that a round is not long. Its rate is samples a second either way."""


def engines(bench: Bench) -> dict[str, str | None]:
    """The loader's engines, with what keeps each from running here."""
    return {
        engine: present.lacking(needs) if bench.is_cuda else None
        for engine, needs in ENGINES.items()
    }


@contextmanager
def opened(bench: Bench, recipe: Recipe, engine: str) -> Iterator[Iterator[Any]]:
    """Batches of the loader, shuffled, more than are ever taken."""
    o, dataset = bench.options, bench.dataset(recipe)
    picks = torch.Generator().manual_seed(0)
    order = RandomSampler(dataset, num_samples=STEPS * o.batch, generator=picks)
    loader = bench.open(
        dataset, o.batch, sampler=order, num_workers=o.workers, engine=engine, drop_last=True
    )
    batches: Any = iter(loader)
    try:
        yield batches
    finally:
        batches.close()


def stream(bench: Bench, engine: str) -> Stream:
    """Batches of pairs, each waited for until it is on the device."""
    with opened(bench, moco_v2.recipe(bench.options.crop), engine) as batches:
        for batch in batches:
            bench.arrived()
            yield batch[MODALITY]


def published(bench: Bench, batch: int) -> Stream:
    """The common stack of the published code, copied to the device as a user would."""
    from benchmarks.data import Shards
    from benchmarks.peers import moco_stack

    o = bench.options
    shards = Shards.find(bench.scenes, "train", MODALITY, "made")
    for views in moco_stack.stream(shards, batch, o.workers, o.crop):
        moved = [view.to(bench.device, non_blocking=True) for view in views]
        bench.arrived()
        yield moved


def pairs(bench: Bench) -> Found:
    """Pairs a second of both engines and of the published path."""
    o = bench.options
    C = bench.dataset().modalities[MODALITY].bands

    def contestant(
        name: str, batches: Callable[[], Stream], batch: int, burst: int, note: str
    ) -> Contestant:
        def right(views: Any) -> None:
            assert len(views) == 2, f"{name}: expected two views, got {len(views)}"
            for view in views:
                check.reflectance(name, view, (batch, C, o.crop, o.crop), torch.float32)
                assert view.device.type == bench.device.type, f"{name}: not on the device"

        return Contestant(name, batches, right, batch, burst, max(6, 2 * burst), note)

    entered: list[Contestant] = []
    missing = []
    for engine, why in engines(bench).items():
        if why is not None:
            missing.append(Missing(f"pairs: fastload, {engine}", "skipped", why))
            continue
        who = "DALI" if engine == "dali" else "torch"
        note = f"{who} copies, nvCOMP decodes, float32, checksums verified"
        entered.append(
            contestant(f"fastload, {engine}", partial(stream, bench, engine), o.batch, 1, note)
        )
    if why := present.lacking(PUBLISHED):
        missing.append(Missing("pairs: published path", "skipped", why))
    else:
        small = max(1, o.batch // PUBLISHED_BATCH)
        note = f"webdataset, zarr, OpenCV in {o.workers} processes; batches of {small}"
        entered.append(
            contestant("published path", partial(published, bench, small), small, o.workers, note)
        )
    return raced(bench, entered, missing)


def raced(bench: Bench, entered: Sequence[Contestant], missing: list[Missing]) -> Found:
    """The race of those that give a first batch."""
    good = []
    for contestant in entered:
        try:
            once(contestant, 1)
            good.append(contestant)
        except Exception as error:
            missing.append(Missing(f"pairs: {contestant.name}", "failed", sentence(error)))
    if not good:
        return Found(missing=missing)
    o = bench.options
    names = [contestant.name for contestant in good]
    ratios = [Comparison(a, b) for a, b in RATIOS if {a, b} <= set(names)]
    title = f"shard to batch on the device: MoCo-v2 pairs of {o.crop}, batches of {o.batch}"
    found = race(
        title, good, ratios, rounds=o.rounds, seconds=2 * o.seconds, pedantic=_rounds
    )  # fmt: skip
    return Found([found], missing)


RATIOS = (
    ("fastload, dali", "published path"),
    ("fastload, dali", "fastload, threads"),
    ("fastload, threads", "published path"),
)


def _rounds(
    target: Callable[..., Any],
    setup: Callable[[], Any],
    teardown: Callable[..., Any],
    rounds: int,
    iterations: int,
) -> None:
    """What `benchmark.pedantic` does, without its table."""
    for _ in range(rounds * iterations):
        args, kwargs = setup()
        target(*args, **kwargs)
        teardown(*args, **kwargs)
