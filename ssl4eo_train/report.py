"""What a run says in words, at its start and at its end."""

from collections.abc import Mapping
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
from torch import nn

import fastload
from ssl4eo_train.clock import Clock
from ssl4eo_train.config import Config
from ssl4eo_train.data import ERRORS, Loader
from ssl4eo_train.distributed import World
from ssl4eo_train.tracking import NAME, read


def opening(config: Config, world: World, model: nn.Module, dataset: fastload.Dataset) -> str:
    """Say everything that was resolved about the run, its model and its data."""
    infos = [dataset.modalities[name] for name in config.modality]
    bands = " + ".join(f"{info.name} ({info.bands} bands)" for info in infos)
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad) / 1e6
    processes = f" x {world.size} processes" if world.size > 1 else ""
    made = "" if config.data else "made scenes, "
    drawn = ""
    if config.resample is not None:
        drawn = f" (drawn with replacement, {len(np.unique(dataset.keys))} different ones)"
    return "\n".join(
        [
            f"model  {config.method} with {config.arch}, {trained:.1f} M trained parameters, "
            f"{config.precision} on {config.device}",
            f"data   {made}{len(dataset)} locations{drawn} x {dataset.timestamps} timestamps of "
            f"{bands}, {infos[0].height} x {infos[0].width} px",
            f"views  {config.image_size} px, batches of {config.batch_size}{processes} "
            f"by the {config.loader} loader with {config.workers} workers, seed {config.seed}",
        ]
    )


def span(steps: int, epochs: int, first: int, last: int) -> str:
    """Say which steps are run: `steps` an epoch, a schedule of `epochs`, from `first` to `last`."""
    start = f"from step {first} " if first else ""
    return f"steps  {steps} an epoch; {start}to step {last}, on a schedule of {epochs} epochs"


def beginning(clock: Clock, loader: Loader) -> str:
    """Say how long the first batch took, and how much of that was compiling."""
    stats: Any = getattr(loader, "stats", None)
    compiling = 0.0 if stats is None else stats().get("compiling", 0.0)
    part = f", {compiling:.1f} s of them compiling" if compiling >= 0.05 else ""
    return f"first batch after {clock.first or 0.0:.1f} s{part}; no other figure counts these"


def ending(
    config: Config,
    loader: Loader,
    clock: Clock,
    batch: int,
    steps: tuple[int, int, int],
    counts: Mapping[str, int],
) -> str:
    """Say what came of it, how fast, what it waited for, and how to go on if it was stopped.

    Args:
        config, loader, clock: the run's.
        batch: samples in a step, over all processes.
        steps: done, in the checkpoint (0 for none), and asked for.
        counts: of unreadable samples, see `data.losses`, over all processes.
    """
    (step, kept, last), (steps_per_s, waiting) = steps, clock.overall()
    path = Path(config.out) / NAME
    losses = [row["loss"] for row in read(path)] if path.exists() else []
    tenth = -(-len(losses) // 10)
    lines = []
    if losses:
        lines.append(
            f"loss {fmean(losses[:tenth]):.3f} over the first tenth of the steps, "
            f"{fmean(losses[-tenth:]):.3f} over the last"
        )
    lines.append(f"{steps_per_s * batch:.1f} samples/s, {waiting:.1%} of the time waiting for data")
    if counts["errors"]:
        lines.append(
            f"samples that could not be read: {counts['errors']}, replaced by others: "
            f"{counts['replaced']}; see {Path(config.out) / ERRORS}"
        )
    stats: Any = getattr(loader, "stats", None)
    if stats is not None and (verdict := stats().get("verdict")):
        lines.append(f"loader: {verdict}")
    if step < last:
        of = f", the checkpoint is of step {kept}" if 0 < kept < step else ""
        go_on = f"continue with --resume --out {config.out}" if kept else "there is no checkpoint"
        lines.append(f"stopped after step {step} of {last}{of}; {go_on}")
    elif kept < step:
        lines.append(f"done after step {step}, but the checkpoint is of step {kept}")
    else:
        lines.append(f"done after step {step}; {config.out} holds the checkpoint and the metrics")
    return "\n".join(lines)
