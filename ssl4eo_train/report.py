"""What a run says in words, at its start and at its end."""

from pathlib import Path
from statistics import fmean
from typing import Any

from torch import nn

import fastload
from ssl4eo_train.clock import Clock
from ssl4eo_train.config import Config
from ssl4eo_train.data import Loader
from ssl4eo_train.distributed import World
from ssl4eo_train.tracking import NAME, read


def opening(config: Config, world: World, model: nn.Module, dataset: fastload.SSL4EOS12) -> str:
    """Say everything that was resolved about the run, its model and its data."""
    infos = [dataset.modalities[name] for name in config.modality]
    bands = " + ".join(f"{info.name} ({info.bands} bands)" for info in infos)
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad) / 1e6
    processes = f" x {world.size} processes" if world.size > 1 else ""
    made = "" if config.data else "made scenes, "
    return "\n".join(
        [
            f"model  {config.method} with {config.arch}, {trained:.1f} M trained parameters, "
            f"{config.precision} on {config.device}",
            f"data   {made}{len(dataset)} locations x {dataset.timestamps} timestamps of "
            f"{bands}, {infos[0].height} x {infos[0].width} px",
            f"views  {config.image_size} px, batches of {config.batch_size}{processes} "
            f"by the {config.loader} loader with {config.workers} workers, seed {config.seed}",
        ]
    )


def span(steps: int, epochs: int, first: int, last: int) -> str:
    """Say which steps are run: `steps` an epoch, a schedule of `epochs`, from `first` to `last`."""
    start = f"from step {first} " if first else ""
    return f"steps  {steps} an epoch; {start}to step {last}, on a schedule of {epochs} epochs"


def ending(config: Config, loader: Loader, clock: Clock, batch: int, step: int, last: int) -> str:
    """Say what came of it, how fast, what it waited for, and how to go on if it was stopped."""
    steps_per_s, waiting = clock.overall()
    losses = [row["loss"] for row in read(Path(config.out) / NAME)]
    tenth = -(-len(losses) // 10)
    lines = [
        f"loss {fmean(losses[:tenth]):.3f} over the first tenth of the steps, "
        f"{fmean(losses[-tenth:]):.3f} over the last",
        f"{steps_per_s * batch:.1f} samples/s, {waiting:.1%} of the time waiting for data",
    ]
    stats: Any = getattr(loader, "stats", None)
    if stats is not None and (verdict := stats().get("verdict")):
        lines.append(f"loader: {verdict}")
    if step < last:
        lines.append(
            f"stopped after step {step} of {last}; continue with --resume --out {config.out}"
        )
    else:
        lines.append(f"done after step {step}; {config.out} holds the checkpoint and the metrics")
    return "\n".join(lines)
