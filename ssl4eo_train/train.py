"""The training loop. It reads from top to bottom."""

import contextlib
import dataclasses
import math
from pathlib import Path
from typing import Any

import torch
from torch.nn.parallel import DistributedDataParallel

from ssl4eo_train import checkpoint, data, distributed, sync_norm, weights
from ssl4eo_train.clock import Clock
from ssl4eo_train.config import PRECISIONS, Config
from ssl4eo_train.distributed import World
from ssl4eo_train.errors import SetupError
from ssl4eo_train.interrupt import Interrupt
from ssl4eo_train.methods import METHODS, Progress, Samples, Settings
from ssl4eo_train.report import ending, opening, span
from ssl4eo_train.tracking import Tracker
from ssl4eo_train.watching import Watcher


def train(config: Config, saved: dict[str, Any] | None, world: World) -> int:
    """Train as configured. One long function on purpose: a run from its start to its end.

    Args:
        config: what to do.
        saved: the checkpoint to continue from, see `ssl4eo_train.checkpoint`.
        world: this process among those that train.

    Returns:
        The exit status: 0, or 128 and the signal's number after Ctrl-C or SIGTERM.

    Raises:
        SetupError: where the run cannot start.
    """
    # Where.
    out = Path(config.out)
    if saved is None and (out / checkpoint.NAME).exists():
        raise SetupError(f"--out: {out} holds a run; continue it with --resume or name another")
    if world.first:
        config.claim()
    device = torch.device(config.device)
    if device.type == "cuda":
        device = torch.device("cuda", world.local_rank)
        torch.cuda.set_device(device)
    distributed.start(world, device)
    torch.manual_seed(config.seed)

    # What the method sees.
    channels_last = device.type == "cuda"  # The layout that its convolutions want.
    loader, dataset = data.make(config, data.wanted(config, channels_last), device, world)
    last = config.steps or config.epochs * len(loader)
    epochs = max(config.epochs, math.ceil(last / len(loader)))

    # What it trains.
    batch_size = config.batch_size * world.size
    settings = Settings(
        arch=config.arch,
        bands=data.bands(config, dataset),
        image_size=config.image_size,
        batch=batch_size,
        accumulate=config.accumulate,
        seed=config.seed,
        options=config.method_options(),
        checkpointing=config.checkpointing,
    )
    model = METHODS[config.method].build(settings)
    if config.init is not None and saved is None:
        told = weights.init(model.backbone, Path(config.init))
        if world.first:
            print(told, flush=True)
    layout = torch.channels_last if channels_last else torch.preserve_format
    model = model.to(device).to(memory_format=layout)
    if model.step_norm:
        sync_norm.synchronise(model)
    optimizer = model.optimizer(config.lr)
    half = torch.autocast(
        device.type, PRECISIONS[config.precision], enabled=config.precision != "fp32"
    )
    scaler = torch.amp.GradScaler(device.type, enabled=config.precision == "fp16")

    # Where it stands.
    run = {
        "method": config.method,
        "modality": config.modality,
        "band_names": {n: list(dataset.modalities[n].band_names) for n in config.modality},
        "fusion": config.fusion,
        "seasons": config.seasons,
        "lr": config.lr,
        **dataclasses.asdict(settings),
    }
    step = 0
    if saved is not None:
        checkpoint.agree(saved["run"], run)
        step = saved["step"]
        if step >= last:
            raise SetupError(
                f"--resume: the run is at step {step} of {last}, so nothing is left to do"
            )
        model.load_state_dict(saved["model"])
        optimizer.load_state_dict(saved["optimizer"])
        scaler.load_state_dict(saved["scaler"])
        data.resume(loader, saved["loader"])
        checkpoint.set_random_state(saved["random"], device)
    if config.compile:
        for network in model.children():
            network.compile()
    # Buffers are left alone: each process keeps its batch norm statistics, of which the first one's
    # are saved, and the queue is the same in all of them by construction.
    forward = DistributedDataParallel(model, broadcast_buffers=False) if world.size > 1 else model
    save_every = config.save_every or max(100, len(loader))
    if world.first:
        checkpoint.need_room(out, model)
        config.write()
        print(opening(config, world, model, dataset))
        print(span(len(loader), epochs, step, last), flush=True)

    # Train.
    tracker = Tracker(out if world.first else None, step, last)
    watcher = Watcher(config, dataset, tracker)
    clock, batches = Clock(device), data.forever(loader)
    with Interrupt() as interrupt:
        done = False
        while not done:
            progress = Progress(step, len(loader), epochs)
            rate = model.before_step(optimizer, progress)
            batch = clock.next(batches)
            optimizer.zero_grad(set_to_none=True)
            for part, parts in enumerate(data.split(batch, config, device)):
                views, index = parts
                samples = Samples(config.seed, step // len(loader), index)
                is_last = part == config.accumulate - 1
                with contextlib.nullcontext() if is_last else distributed.no_sync(forward):
                    with half:
                        loss, metrics = forward(views, samples)
                    scaler.scale(loss / config.accumulate).backward()
                tracker.add({"loss": loss, **metrics})
            scaler.unscale_(optimizer)
            model.after_backward(progress)
            scaler.step(optimizer)  # With fp16 a CPU-GPU sync: are the gradients finite?
            scaler.update()
            model.after_step(progress)
            step += 1
            tracker.record({"step": step, "epoch": progress.epoch, "lr": rate})

            stop = distributed.largest(interrupt.asked or 0)  # On the CPU, so no CPU-GPU sync.
            done = bool(stop) or step == last
            ends, saves = step % len(loader) == 0, step % save_every == 0
            if done or ends or saves or step % config.log_every == 0:
                tracker.flush(clock, batch_size)  # A CPU-GPU sync.
            if ends or step == last:
                watcher.look(model, views, step)  # A CPU-GPU sync, once an epoch.
            if done or saves:
                state = {
                    "config": dataclasses.asdict(config),
                    "run": run,
                    "step": step,
                    "model": model.state_dict(),
                    "optimizer": optimizer.state_dict(),
                    "scaler": scaler.state_dict(),
                    "loader": loader.state_dict(),
                    "random": checkpoint.random_state(device),
                }
                if world.first:
                    checkpoint.save(out, state)  # A CPU-GPU sync.
    batches.close()
    tracker.close()
    if world.first:
        print(ending(config, loader, clock, batch_size, step, last), flush=True)
    return 128 + stop if step < last else 0
