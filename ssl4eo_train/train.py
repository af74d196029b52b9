"""The training loop. It reads from top to bottom."""

import contextlib
import dataclasses
from pathlib import Path
from typing import Any

import torch
from torch.nn.parallel import DistributedDataParallel

from ssl4eo_train import checkpoint, data, distributed, expected, sync_norm, weights
from ssl4eo_train.clock import Clock
from ssl4eo_train.config import PRECISIONS, Config
from ssl4eo_train.distributed import World
from ssl4eo_train.errors import SetupError
from ssl4eo_train.folder import RunFolder
from ssl4eo_train.interrupt import Interrupt
from ssl4eo_train.methods import METHODS, Progress, Samples, Settings
from ssl4eo_train.report import beginning, ending, opening, span
from ssl4eo_train.schedule import schedule
from ssl4eo_train.tracking import Tracker
from ssl4eo_train.trouble import WRITING, Trouble
from ssl4eo_train.watching import Watcher


def train(config: Config, saved: dict[str, Any] | None, world: World) -> int:
    """Train as configured, in a folder that no other run may use meanwhile.

    Args:
        config: what to do.
        saved: the checkpoint to continue from, see `ssl4eo_train.checkpoint`.
        world: this process among those that train.

    Returns:
        The exit status: 0, or 128 and the signal's number after Ctrl-C, SIGTERM or a notice.

    Raises:
        SetupError: where the run cannot start.
        DataError: where data cannot be read; what was trained until then is saved.
        OSError: as well, where the machine has no handles or memory left, or the disk no room.
        PeerError: where another process of the run met such an error, or is gone.
    """
    device = distributed.device_of(config.device, world)
    distributed.start(world, device)
    config = dataclasses.replace(config, out=distributed.text_of_first(config.out))
    with RunFolder(Path(config.out), world.first, saved is not None):
        return _train(config, saved, world, device)


def _train(config: Config, saved: dict[str, Any] | None, world: World, device: torch.device) -> int:
    """One long function on purpose: a run from its start to its end."""
    out, trouble = Path(config.out), Trouble(Path(config.out))
    torch.manual_seed(config.seed)

    # What the method sees.
    channels_last = device.type == "cuda"  # The layout that its convolutions want.
    loader, dataset = data.make(config, data.wanted(config, channels_last), device, world)
    plan = schedule(config, dataset, len(loader))
    last = plan.last

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
        told = weights.init(model.backbone, Path(config.init), expected.of_data(config, dataset))
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
    step = 0 if saved is None else saved["step"]
    if not distributed.is_same(step):
        raise SetupError(f"--resume: the processes see different checkpoints in --out {out}")
    if saved is not None:
        checkpoint.agree(saved["run"], run)
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
        print(span(plan.steps, plan.epochs, step, last), flush=True)

    # Train.
    tracker = Tracker(out if world.first else None, step, last)
    watcher = Watcher(config, dataset, tracker)
    clock, batches = Clock(device), data.forever(loader)
    position, first, stop = loader.state_dict(), step, 0
    kept = step  # The step that the checkpoint is of.

    def counts() -> dict[str, int]:
        """Unreadable samples so far. Collective."""
        return {name: distributed.total(n) for name, n in data.losses(loader).items()}

    def save() -> None:
        """Save the state after the last finished step. Collective."""
        state = {
            "config": dataclasses.asdict(config),
            "run": run,
            "dates": data.dates(config, dataset),
            "statistics": dataclasses.asdict(dataset.statistics),
            "radiometry": {n: data.numbers(s) for n, s in dataset.scalings.items()},
            "step": step,
            "model": model.state_dict(),
            "optimizer": optimizer.state_dict(),
            "scaler": scaler.state_dict(),
            "loader": position,
            "random": checkpoint.random_state(device),
        }
        nonlocal kept
        with trouble.noted():
            if world.first:
                checkpoint.save(out, state)  # A CPU-GPU sync.
            kept = step

    with Interrupt() as interrupt:
        done = False
        while not done:
            with trouble.noted():
                batch = clock.next(batches)
            if trouble.anywhere():  # On the CPU, so no CPU-GPU sync.
                break
            if step == first:
                tracker.say(beginning(clock, loader))
            progress, epoch = Progress(step, plan.steps, plan.epochs), step // len(loader)
            rate = model.before_step(optimizer, progress)
            optimizer.zero_grad(set_to_none=True)
            for part, parts in enumerate(data.split(batch, config, device, epoch)):
                views, index = parts
                samples = Samples(config.seed, epoch, index)
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
            step, position = step + 1, loader.state_dict()
            tracker.record({"step": step, "epoch": progress.epoch, "lr": rate})

            stop = distributed.largest(interrupt.asked or 0)  # On the CPU as well.
            done = bool(stop) or step == last
            ends, saves = step % len(loader) == 0, step % save_every == 0
            if done or ends or saves or step % config.log_every == 0:
                lost = counts() if config.on_error == "replace" else {}
                with trouble.noted():
                    tracker.flush(clock, batch_size, lost)  # A CPU-GPU sync.
            if ends or step == last:
                with trouble.noted():
                    watcher.look(model, views, step)  # A CPU-GPU sync, once an epoch.
            if done or saves:
                save()
        # What could not be saved, or not yet, is tried once more.
        met = trouble.anywhere()
        if met:
            with trouble.noted():
                tracker.flush(clock, batch_size)
            if met == WRITING or kept < step:
                save()
    batches.close()
    with trouble.noted():
        tracker.close()
    lost = counts()
    if world.first:
        print(ending(config, loader, clock, batch_size, (step, kept, last), lost), flush=True)
    if trouble.anywhere():
        trouble.end()
    return 128 + stop if step < last else 0
