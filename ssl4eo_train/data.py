"""The loaders that a run can use. All give the same batches in the same order."""

import dataclasses
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, default_collate

import fastload
from fastload.datasets.known import layout, recognised
from fastload.datasets.opening import open_as
from fastload.recipe import Recipe
from fastload.storage.at import at
from fastload_kernels import Scaling
from ssl4eo_train import distributed, made, sensors
from ssl4eo_train.config import Config
from ssl4eo_train.distributed import World
from ssl4eo_train.errors import SetupError
from ssl4eo_train.methods import METHODS
from ssl4eo_train.resampling import resampled

Batch = dict[str, Any]
ERRORS = "errors.jsonl"
"""In the run's folder: a line for each sample that could not be read."""


class Loader(Protocol):
    """What the loop needs of a loader: epochs one after the other, and a state."""

    def __len__(self) -> int:
        """Steps in an epoch."""

    def __iter__(self) -> Iterator[Batch]:
        """The next epoch, or what a loaded state leaves of one."""

    def state_dict(self) -> dict[str, Any]:
        """Where the loader stands, after the last batch that it gave."""

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a state."""


def forever(loader: Loader) -> Generator[Batch]:
    """The batches of one epoch after the other, without end. Close it to stop the loader.

    Where a loaded state leaves nothing of its epoch, the next one follows.
    """
    while True:
        yield from loader


class _Carried(torch.utils.data.Dataset[Any]):
    """A dataset whose errors come as samples: torch would turn them into others on their way."""

    def __init__(self, dataset: fastload.Dataset) -> None:
        self._dataset = dataset

    def __getitem__(self, index: int) -> Any:
        try:
            return self._dataset[index]
        except (fastload.DataError, OSError) as error:
            return error


def _collate(samples: list[Any]) -> Any:
    """A batch, or the first error among its samples."""
    errors = (sample for sample in samples if isinstance(sample, Exception))
    return next(errors, None) or default_collate(samples)


class TorchLoader:
    """`torch.utils.data.DataLoader` over the dataset: the plain way, to compare with.

    It reads each sample by ``dataset[index]``, in the order of `fastload.DataLoader`.

    Args:
        dataset: with a recipe.
        plan: a loader of the dataset that says its order and checks states. It is never iterated.
        workers: processes that read.
        pin: put batches into page-locked memory.
    """

    def __init__(
        self, dataset: fastload.Dataset, plan: fastload.DataLoader, workers: int, pin: bool
    ) -> None:
        self._dataset, self._plan, self._workers, self._pin = dataset, plan, workers, pin
        self._epoch = self._step = 0

    def __len__(self) -> int:
        return len(self._plan)

    def __iter__(self) -> Iterator[Batch]:
        epoch, first = self._epoch, self._step
        if first >= len(self):  # A loaded state leaves nothing of this epoch.
            self._epoch, self._step = epoch + 1, 0
            return
        self._dataset.set_epoch(epoch)  # Before the workers take their copy of the dataset.
        steps = self._plan.plan.steps(epoch)
        batches: DataLoader[Batch | Exception] = DataLoader(
            _Carried(self._dataset),
            batch_sampler=[steps[s].tolist() for s in range(first, len(self))],
            num_workers=self._workers,
            pin_memory=self._pin,
            collate_fn=_collate,
            # Its own, so that beginning an epoch, or going on in it, draws nothing from torch's.
            generator=torch.Generator().manual_seed(epoch),
        )
        for step, batch in enumerate(batches, first + 1):
            if isinstance(batch, Exception):
                raise batch
            self._epoch, self._step = (epoch, step) if step < len(self) else (epoch + 1, 0)
            yield batch

    def state_dict(self) -> dict[str, Any]:
        """See `Loader.state_dict`; the engines of fastload accept it, and this theirs."""
        return self._plan.state_dict() | {"epoch": self._epoch, "step": self._step}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """See `Loader.load_state_dict`."""
        self._plan.load_state_dict(state)
        self._epoch, self._step = state["epoch"], state["step"]


def wanted(config: Config, channels_last: bool) -> Recipe:
    """What the method wants to see, with the seasons that the run asks for."""
    method = METHODS[config.method]
    recipe = method.recipe(config.image_size, config.arch, config.method_options())
    views = recipe.views
    if config.seasons is not None:
        views = tuple(dataclasses.replace(v, timestamp=config.seasons) for v in views)
    return dataclasses.replace(recipe, views=views, channels_last=channels_last)


def dates(config: Config, dataset: fastload.Dataset) -> dict[str, int]:
    """How many dates of each modality a view shows."""
    infos = {name: dataset.modalities[name] for name in config.modality}
    return {n: m.timestamps if config.seasons == "all" else 1 for n, m in infos.items()}


def bands(config: Config, dataset: fastload.Dataset) -> int:
    """Channels of a view: the bands of all modalities, of all dates where a view shows these."""
    return sum(dataset.modalities[n].bands * d for n, d in dates(config, dataset).items())


def views(
    batch: Batch, config: Config, device: torch.device, epoch: int | None = None
) -> list[Tensor]:
    """The views of a batch on the device, ``[N, C, h, w]`` each, C as `bands` says.

    The fusion "views" and, in an epoch, "drop" put zeros for some modalities, see `sensors`.
    """
    shown = []
    for v in range(len(batch[config.modality[0]])):
        parts = [batch[name][v].to(device, non_blocking=True) for name in config.modality]
        parts = [part.flatten(1, 2) if part.ndim == 5 else part for part in parts]
        if config.fusion == "views":
            parts = sensors.alternate(parts, v)
        elif config.fusion == "drop" and epoch is not None:
            index = batch["index"].numpy()
            lacking = sensors.dropped(config.seed, epoch, index, v, len(parts))
            parts = sensors.drop(parts, lacking)
        shown.append(parts[0] if len(parts) == 1 else torch.cat(parts, dim=1))
    return shown


def split(
    batch: Batch, config: Config, device: torch.device, epoch: int
) -> Iterator[tuple[list[Tensor], NDArray[np.int64]]]:
    """The parts of a batch that are passed forward one by one: views, and the ids they show."""
    shown, index = views(batch, config, device, epoch), batch["index"].numpy()
    n = config.batch_size // config.accumulate
    for start in range(0, config.batch_size, n):
        yield [view[start : start + n] for view in shown], index[start : start + n]


def make(
    config: Config, recipe: Recipe, device: torch.device, world: World
) -> tuple[Loader, fastload.Dataset]:
    """Open the data of a run.

    Raises:
        SetupError: where it is not there, or holds less than one step, or the loader cannot be had.
    """
    try:
        dataset = _opened(config, recipe, world)
    except (OSError, ValueError, fastload.DataError) as error:
        raise SetupError(f"--data: {error}") from error
    if config.resample is not None:
        dataset = resampled(dataset, config.resample)
    if len(dataset) < config.batch_size * world.size:
        raise SetupError(
            f"--batch-size: a step takes {config.batch_size * world.size} samples, "
            f"but the data holds {len(dataset)} locations"
        )
    try:
        loader = _loader(config, dataset, device, world)
    except (ValueError, ImportError) as error:
        raise SetupError(f"--loader: {error}") from error
    if config.loader != "torch":
        return loader, dataset
    return TorchLoader(dataset, loader, config.workers, device.type == "cuda"), dataset


def _opened(config: Config, recipe: Recipe, world: World) -> fastload.Dataset:
    root = at(config.data or made_scenes(config, world))
    name = config.layout or recognised(root) or "ssl4eo_s12"  # which says what lies there instead
    given = {n: getattr(config, n) for n in ("split", "statistics", "bands")}
    asked = {n: value for n, value in given.items() if value is not None} | config.data_options
    if config.missing != "error":
        asked["missing"] = config.missing
    offered = {"recipe": recipe, "seed": config.seed, "progress": world.first}
    dataset = open_as(layout(name), root, asked, {**offered, "modalities": config.modality})
    if unknown := [n for n in config.modality if n not in dataset.modalities]:
        raise SetupError(f"--modality {unknown[0]}: the data have {', '.join(dataset.modalities)}")
    return dataset


def _loader(
    config: Config, dataset: fastload.Dataset, device: torch.device, world: World
) -> fastload.DataLoader:
    return fastload.DataLoader(
        dataset,
        batch_size=config.batch_size,
        shuffle=True,
        drop_last=True,
        num_workers=config.workers,
        pin_memory=device.type == "cuda",
        seed=config.seed,
        engine="dali" if config.loader == "dali" else "threads",
        device="cpu" if config.loader == "torch" else device,
        device_cache=config.device_cache,
        rank=world.rank,
        world_size=world.size,
        on_error=config.on_error,
        error_report=Path(config.out) / ERRORS,
    )


def numbers(scaling: Scaling) -> dict[str, list[float | None]]:
    """A radiometry by field, a number a band, as short as float32 lets it be; None for no limit."""
    return {
        name: [float(str(x)) if np.isfinite(x) else None for x in getattr(scaling, name)]
        for name in ("offset", "scale", "low", "high")
    }


def losses(loader: Loader) -> dict[str, int]:
    """How many samples could not be read so far, and how many of them were replaced, here."""
    counts: Any = getattr(loader, "profile", None)
    return {name: getattr(counts, name, 0) for name in ("errors", "replaced")}


def resume(loader: Loader, state: dict[str, Any]) -> None:
    """Send a loader to where a checkpoint left it.

    Raises:
        SetupError: where the data are not those that the checkpoint was made with.
    """
    try:
        loader.load_state_dict(state)
    except ValueError as error:
        raise SetupError(f"--resume: the checkpoint's loader does not fit: {error}") from error


def made_scenes(config: Config, world: World) -> Path:
    """The made scenes, which the first process makes before the others look."""
    if not world.first:
        distributed.wait()
        return made.folder_of(config.modality)
    root = made.scenes(config.modality)
    distributed.wait()
    return root
