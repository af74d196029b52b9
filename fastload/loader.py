"""The face: torch's DataLoader in name, arguments and type, an engine inside."""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from time import perf_counter
from typing import Any, Literal

import numpy as np
import torch
import torch.distributed
import torch.utils.data
from numpy.typing import NDArray

from fastload.cache import folder
from fastload.datasets.base import Dataset
from fastload.engines import Assembler, Engine
from fastload.plan import Plan
from fastload.profile import Profile
from fastload.radiometry_check import warn_of_offset

STATE_VERSION = 1


class DataLoader(torch.utils.data.DataLoader[Any]):
    """Loads batches of a fastload dataset; any other dataset is loaded as torch would.

    Yields dicts: for each modality a list with one tensor per view ``[B, C, h, w]`` (``[B, T, C, h,
    w]`` for a view of all timestamps), or without a recipe one raw tensor ``[B, T, C, H, W]``; and
    `key` (list of str), `index` (int64 ``[B]``), `lon`, `lat` (float64 ``[B]``, degrees), `time`
    (int64 ns since 1970) and `season` (0 winter to 3 autumn, local), per view ``[B]`` or ``[B, T]``.

    The order is that of `fastload.plan`, a function of the seed and the epoch alone. Each `iter()`
    starts the epoch after the last one started, unless `set_epoch` or `load_state_dict` said which.

    Args:
        dataset: a fastload dataset, or any other.
        batch_size, shuffle, sampler, batch_sampler, collate_fn, pin_memory, drop_last: as torch's.
            A sampler or batch sampler replaces the order, and then decides what this rank sees.
        num_workers: threads; 0 does all in the calling thread.
        prefetch_factor: batches that are made ahead.
        seed: 64-bit seed of the order and of every view.
        engine: "threads", "dali", or "auto".
        device: where the tensors are delivered.
        rank, world_size: default to torch.distributed's, or 0 and 1.
        on_error: "raise", or "replace" an unreadable sample by a sound one.
        error_report: file that gets a JSON line per unreadable sample; in the cache by default.
        shuffle_window: number of shards that are mixed at a time, for stores where random access is
            dear; 0 is a full permutation.

    Raises:
        ValueError: names the argument that does not fit.
    """

    def __init__(
        self,
        dataset: torch.utils.data.Dataset[Any],
        batch_size: int | None = 1,
        shuffle: bool | None = False,
        sampler: torch.utils.data.Sampler[Any] | Iterable[Any] | None = None,
        batch_sampler: torch.utils.data.Sampler[list[Any]] | Iterable[list[Any]] | None = None,
        num_workers: int = 0,
        collate_fn: Callable[[list[Any]], Any] | None = None,
        pin_memory: bool = False,
        drop_last: bool = False,
        timeout: float = 0,
        worker_init_fn: Callable[[int], None] | None = None,
        multiprocessing_context: Any = None,
        generator: torch.Generator | None = None,
        prefetch_factor: int | None = 2,
        persistent_workers: bool = False,
        pin_memory_device: str = "",
        in_order: bool = True,
        *,
        seed: int = 0,
        engine: Literal["auto", "threads", "dali"] = "auto",
        device: str | torch.device = "cpu",
        rank: int | None = None,
        world_size: int | None = None,
        on_error: Literal["raise", "replace"] = "raise",
        error_report: str | Path | None = None,
        shuffle_window: int = 0,
    ) -> None:
        self.seed = seed
        self.engine = engine
        self.device = torch.device(device)
        self.on_error = on_error
        self.shuffle_window = shuffle_window
        self.shuffle = bool(shuffle)
        self.rank, self.world_size = _place(rank, world_size)
        self.is_fast = isinstance(dataset, Dataset)
        if not self.is_fast:
            super().__init__(
                dataset, batch_size, shuffle, sampler, batch_sampler, num_workers, collate_fn,
                pin_memory, drop_last, timeout, worker_init_fn, multiprocessing_context, generator,
                prefetch_factor=prefetch_factor if num_workers else None,
                persistent_workers=persistent_workers, pin_memory_device=pin_memory_device,
                in_order=in_order,
            )  # fmt: skip
            return
        self._own_order = sampler is None and batch_sampler is None
        _check(batch_size, num_workers, prefetch_factor, engine, on_error)
        if shuffle_window and not (shuffle and self._own_order):
            raise ValueError("shuffle_window needs shuffle=True and no sampler of your own")
        self._epoch, self._step, self._started = 0, 0, False
        plan = Plan(
            len(dataset),  # type: ignore[arg-type]
            batch_size or 1,
            seed,
            self.shuffle and self._own_order,
            drop_last,
            self.rank if self._own_order else 0,
            self.world_size if self._own_order else 1,
            shuffle_window,
            dataset.shard_of if shuffle_window else None,  # type: ignore[attr-defined]
        )
        self.plan = plan
        if self._own_order:
            sampler = PlanSampler(self)
        # Threads of our own do the work, so torch is told of none.
        super().__init__(
            dataset,
            1 if batch_sampler is not None else batch_size,
            False if batch_sampler is not None or sampler is not None else shuffle,
            sampler if batch_sampler is None else None,
            batch_sampler,
            0,
            collate_fn,
            pin_memory=False,
            drop_last=drop_last if batch_sampler is None else False,
            generator=generator,
        )
        self._custom_collate = collate_fn
        self.num_workers, self.prefetch_factor = num_workers, prefetch_factor
        self.pin_memory = pin_memory or self.device.type == "cuda"
        self.error_report = Path(
            error_report or folder() / "errors" / f"{dataset.fingerprint}.jsonl"  # type: ignore[attr-defined]
        )
        self.profile = Profile()
        # Accelerate leaves a loader alone that is marked so: this one already splits its batches
        # over ranks and delivers them on the device.
        self._is_accelerate_prepared = True

    # Order and position

    @property
    def epoch(self) -> int:
        """The epoch that the present or next iteration is in."""
        return self._epoch

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch of the next `iter()`. The epoch that a loaded state is in keeps its place."""
        if not self.is_fast:
            if hasattr(self.sampler, "set_epoch"):
                self.sampler.set_epoch(epoch)
            return
        if epoch != self._epoch or self._started:
            self._epoch, self._step, self._started = epoch, 0, False

    def order(self, epoch: int) -> NDArray[np.int64]:
        """The global permutation ``[N]`` of an epoch, before it is split over ranks."""
        if not self.is_fast or not self._own_order:
            raise ValueError("order() is defined for the loader's own order, not for a sampler")
        return self.plan.order(epoch)

    def __len__(self) -> int:
        if self.is_fast and self._own_order:
            return len(self.plan)
        return super().__len__()

    def _steps(self, epoch: int) -> Sequence[NDArray[np.int64]]:
        """This rank's batches of an epoch as sample ids."""
        if self._own_order:
            return self.plan.steps(epoch)
        for part in (self.sampler, self.batch_sampler):
            if hasattr(part, "set_epoch"):
                part.set_epoch(epoch)
        assert self.batch_sampler is not None
        return [np.asarray(ids, np.int64) for ids in self.batch_sampler]

    # State

    def state_dict(self) -> dict[str, Any]:
        """Position after the last delivered batch, and what the order depends on; plain numbers.

        After the last batch of an epoch the position is the start of the next one.
        """
        self._need_fast("state_dict")
        epoch, step = self._epoch, self._step
        if self._started and step >= len(self):
            epoch, step = epoch + 1, 0
        return {"version": STATE_VERSION, "epoch": epoch, "step": step} | self._fingerprint()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue with the batch after the last one that the state counts as delivered.

        Raises:
            ValueError: names the field in which the state and this loader differ.
        """
        self._need_fast("load_state_dict")
        for name, mine in ({"version": STATE_VERSION} | self._fingerprint()).items():
            if state.get(name) != mine:
                raise ValueError(
                    f"the state's {name} is {state.get(name)!r}, but this loader's is {mine!r}"
                )
        epoch, step = state.get("epoch"), state.get("step")
        if not isinstance(epoch, int) or not isinstance(step, int) or epoch < 0:
            raise ValueError(f"the state's epoch and step must be whole numbers, got {epoch}, {step}")
        if not 0 <= step <= len(self):
            raise ValueError(f"the state's step is {step}, but an epoch has {len(self)} steps")
        self._epoch, self._step, self._started = epoch, step, False

    def _fingerprint(self) -> dict[str, Any]:
        dataset: Dataset = self.dataset  # type: ignore[assignment]
        own = {"order": "plan" if self._own_order else "sampler", "dataset": dataset.fingerprint}
        return own | self.plan.fingerprint()

    def _need_fast(self, what: str) -> None:
        if not self.is_fast:
            raise TypeError(f"{what} is for fastload datasets, not for {type(self.dataset).__name__}")

    # Iteration

    def __iter__(self) -> Iterator[Any]:  # type: ignore[override]
        if not self.is_fast:
            return super().__iter__()
        if self._started:
            self._epoch, self._step = self._epoch + 1, 0
        self._started = True
        return self._iterate(self._epoch, self._step)

    def _iterate(self, epoch: int, start: int) -> Iterator[Any]:
        dataset: Dataset = self.dataset  # type: ignore[assignment]
        warn_of_offset(dataset)
        assembler = Assembler(
            dataset, self.seed, self.profile, self.on_error, self.error_report, self.pin_memory
        )
        batches = self._engine().run(assembler, epoch, self._steps(epoch), start)
        began = perf_counter()
        try:
            for step, batch in enumerate(batches, start):
                delivered = self._delivered(batch)
                self._advance(epoch, step + 1)
                self.profile.elapsed += perf_counter() - began
                began = perf_counter()
                yield delivered
        finally:
            batches.close()  # type: ignore[attr-defined]
            self.profile.elapsed += perf_counter() - began

    def _advance(self, epoch: int, step: int) -> None:
        """Count a batch as delivered, unless the loader has since been sent elsewhere."""
        if self._started and epoch == self._epoch:
            self._step = step
        self.profile.batches += 1

    def _delivered(self, batch: dict[str, Any]) -> Any:
        start = perf_counter()
        if self.device.type != "cpu":
            batch = {name: _to(value, self.device) for name, value in batch.items()}
        self.profile.stages().copy += perf_counter() - start
        if self._custom_collate is None:
            return batch
        return self._custom_collate([_sample(batch, b) for b in range(len(batch["key"]))])

    def _engine(self) -> Engine:
        depth = max(1, self.prefetch_factor or 1)
        if self.engine == "dali":
            from fastload.engines.dali import DaliEngine

            return DaliEngine(self.num_workers, depth)
        from fastload.engines.threads import ThreadEngine

        return ThreadEngine(self.num_workers, depth)

    def stats(self) -> dict[str, Any]:
        """Seconds per stage, bytes, samples, errors and a verdict, since the loader was made."""
        self._need_fast("stats")
        return self.profile.summary() | {
            "engine": "dali" if self.engine == "dali" else "threads",
            "workers": self.num_workers,
            "error_report": str(self.error_report),
        }


class PlanSampler(torch.utils.data.DistributedSampler[Any]):
    """The loader's own order as a sampler.

    It is a DistributedSampler on purpose: trainers that would otherwise inject one see that the
    batches are already split over ranks, and tell it the epoch.
    """

    def __init__(self, loader: DataLoader) -> None:
        self._loader = loader
        self.rank, self.num_replicas = loader.rank, loader.world_size
        self.drop_last, self.shuffle, self.seed = False, loader.shuffle, loader.seed
        self.epoch = 0

    def __iter__(self) -> Iterator[int]:
        steps = self._loader.plan.steps(self._loader.epoch)
        return iter([int(i) for step in range(len(steps)) for i in steps[step]])

    def __len__(self) -> int:
        steps = self._loader.plan.steps(0)
        if not len(steps):
            return 0
        return (len(steps) - 1) * self._loader.plan.batch_size + len(steps[-1])

    def set_epoch(self, epoch: int) -> None:
        """Pass the epoch on to the loader."""
        self._loader.set_epoch(epoch)


def _check(
    batch_size: int | None, num_workers: int, prefetch_factor: int | None, engine: str, on_error: str
) -> None:
    if batch_size is None:
        raise ValueError("batch_size=None (no batching) is not supported for fastload datasets")
    if num_workers < 0:
        raise ValueError(f"num_workers must not be negative, got {num_workers}")
    if prefetch_factor is not None and prefetch_factor < 1:
        raise ValueError(f"prefetch_factor must be at least 1, got {prefetch_factor}")
    if engine not in ("auto", "threads", "dali"):
        raise ValueError(f"engine must be 'auto', 'threads' or 'dali', got {engine!r}")
    if on_error not in ("raise", "replace"):
        raise ValueError(f"on_error must be 'raise' or 'replace', got {on_error!r}")


def _place(rank: int | None, world_size: int | None) -> tuple[int, int]:
    """Rank and world size: as given, else torch.distributed's, else alone."""
    if (rank is None) != (world_size is None):
        raise ValueError(f"rank and world_size go together, got {rank=} and {world_size=}")
    if rank is not None and world_size is not None:
        return rank, world_size
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        return torch.distributed.get_rank(), torch.distributed.get_world_size()
    return 0, 1


def _to(value: Any, device: torch.device) -> Any:
    if isinstance(value, torch.Tensor):
        return value.to(device, non_blocking=True)
    return [_to(v, device) for v in value] if isinstance(value, list) else value


def _sample(batch: Any, b: int) -> dict[str, Any]:
    """Sample `b` of a batch, as `dataset[i]` would give it, without a copy of pixels."""

    def pick(value: Any) -> Any:
        if isinstance(value, torch.Tensor):
            return value[b] if value[b].ndim else value[b].item()
        if value and isinstance(value[0], str):
            return value[b]
        return [v[b] for v in value]

    return {name: pick(value) for name, value in batch.items()}


def default_workers() -> int:
    """As many as the processors that this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
