"""The training loop. It reads from top to bottom."""

import dataclasses
import math
from pathlib import Path
from typing import Any

import torch
from torch.nn.parallel import DistributedDataParallel

from ssl4eo_train import checkpoint, data, distributed
from ssl4eo_train.clock import Clock
from ssl4eo_train.config import PRECISIONS, Config
from ssl4eo_train.distributed import World
from ssl4eo_train.errors import SetupError
from ssl4eo_train.interrupt import Interrupt
from ssl4eo_train.methods import METHODS, Settings
from ssl4eo_train.report import ending, opening, span
from ssl4eo_train.tracking import Tracker


def train(config: Config, saved: dict[str, Any] | None, world: World) -> int:
    """Train as configured. One long function on purpose: a run from its start to its end.

    Args:
        config: what to do.
        saved: the checkpoint to continue from, see `ssl4eo_train.checkpoint`.
        world: this process among those that train.

    Returns:
        The exit status: 0, or 130 after Ctrl-C.

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
    method = METHODS[config.method]
    channels_last = device.type == "cuda"  # The layout that its convolutions want.
    recipe = dataclasses.replace(method.recipe(config.image_size), channels_last=channels_last)
    loader, dataset = data.make(config, recipe, device, world)
    last = config.steps or config.epochs * len(loader)
    epochs = max(config.epochs, math.ceil(last / len(loader)))

    # What it trains.
    settings = Settings(
        arch=config.arch,
        bands=dataset.modalities[config.modality].bands,
        image_size=config.image_size,
        batch=config.batch_size * world.size,
        seed=config.seed,
        queue=config.queue,
        momentum=config.momentum,
    )
    layout = torch.channels_last if channels_last else torch.preserve_format
    model = method.build(settings).to(device).to(memory_format=layout)
    optimizer = method.optimizer(model, config.lr)
    half = torch.autocast(
        device.type, PRECISIONS[config.precision], enabled=config.precision != "fp32"
    )
    scaler = torch.amp.GradScaler(device.type, enabled=config.precision == "fp16")

    # Where it stands.
    run = {
        "method": config.method,
        "modality": config.modality,
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
    # Buffers are left alone: each process keeps its batch norm statistics, of which the first one's
    # are saved, and the queue is the same in all of them by construction.
    forward = DistributedDataParallel(model, broadcast_buffers=False) if world.size > 1 else model
    save_every = config.save_every or max(100, len(loader))
    if world.first:
        config.write()
        print(opening(config, world, model, dataset))
        print(span(len(loader), epochs, step, last), flush=True)

    # Train.
    tracker = Tracker(out if world.first else None, step, last)
    clock, batches = Clock(), data.forever(loader)
    with Interrupt() as interrupt:
        done = False
        while not done:
            epoch = step / len(loader)
            rate = method.schedule(optimizer, epoch, epochs)
            batch = clock.next(batches)
            views = [view.to(device, non_blocking=True) for view in batch[config.modality]]
            with half:
                loss, metrics = forward(views)
            optimizer.zero_grad(set_to_none=True)
            scaler.scale(loss).backward()
            scaler.step(optimizer)  # With fp16 a CPU-GPU sync: are the gradients finite?
            scaler.update()
            method.after_step(model, epoch, epochs)
            step += 1
            tracker.record({"step": step, "epoch": epoch, "lr": rate}, {"loss": loss, **metrics})

            stop = distributed.any_of(interrupt.asked)  # On the CPU, so no CPU-GPU sync.
            done = stop or step == last
            if done or step % config.log_every == 0 or step % save_every == 0:
                tracker.flush(clock, settings.batch)  # A CPU-GPU sync.
            if done or step % save_every == 0:
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
                clock.restart()
    batches.close()
    tracker.close()
    if world.first:
        print(ending(config, loader, clock, settings.batch, step, last), flush=True)
    return 130 if step < last else 0
