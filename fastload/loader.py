"""The face: torch's DataLoader in name, arguments and type, an engine inside."""

import warnings
from collections.abc import Callable, Iterable, Iterator
from operator import index
from pathlib import Path
from time import perf_counter
from typing import Any, Literal

import numpy as np
import torch
import torch.utils.data
from numpy.typing import NDArray

from fastload import accelerated
from fastload.agreement import compare_over_ranks
from fastload.arguments import check, check_fast, check_foreign
from fastload.cache import below
from fastload.datasets import wrapped
from fastload.datasets.base import Dataset
from fastload.delivery import can_pin, moved, resolved, sample_of
from fastload.engines import Options
from fastload.engines.engine import Engine
from fastload.engines.ring import Iteration
from fastload.plan import Plan, Step
from fastload.position import Position
from fastload.profile import Profile
from fastload.radiometry_check import warn_of_offset
from fastload.recipe import mask_of
from fastload.samplers import PlanBatches, PlanSampler, UserBatches

DEFAULT_PREFETCH = 2


class DataLoader(torch.utils.data.DataLoader[Any]):
    """Loads batches of a fastload dataset; any other dataset is loaded as torch would.

    `Subset`, `random_split` and `ConcatDataset` of fastload datasets are such datasets, too. A
    stranger around one, or a subclass with a ``__getitem__`` of its own, is loaded as torch would,
    which one warning says: then views are drawn by torch's generator, and there is no state.

    Yields dicts: for each modality a list with one tensor per view ``[B, C, h, w]`` (``[B, T, C, h,
    w]`` for a view of all timestamps), or without a recipe one raw tensor ``[B, T, C, H, W]``; and
    `key` (list of str), `index` (int64 ``[B]``), `lon`, `lat` (float64 ``[B]``, degrees), `time`
    (int64 ns since 1970) and `season` (0 winter to 3 autumn, local), per view ``[B]`` or
    ``[B, T]``; `time_NAME` of other modalities; `present` (bool, as `time`), where samples may
    lack some dates; and the dataset's `extras`. Tensors are writeable,
    contiguous (or channels-last, where the recipe says so), and belong to whoever holds them.

    The order is that of `fastload.plan`, a function of the seed and the epoch alone. Each iteration
    is the epoch after the last one begun, unless `set_epoch` or `load_state_dict` said which. It
    begins with its first batch, not with `iter()`, so that trainers may set the epoch in between.
    Several iterators may be alive at once: each is in an epoch of its own, and the newest one is
    what `epoch` and `state_dict` speak of.

    Args:
        dataset: a fastload dataset, or any other.
        batch_size, shuffle, sampler, batch_sampler, collate_fn, drop_last: as torch's. A sampler or
            batch sampler replaces the order, and then decides what this rank sees. A collate
            function gets a list of samples that look like ``dataset[i]``.
        num_workers: threads; 0 does all in the calling thread.
        pin_memory: put batches into page-locked memory; always so where `device` is a GPU.
        timeout, worker_init_fn, multiprocessing_context, generator, persistent_workers,
            pin_memory_device, in_order: as torch's for other datasets. They say nothing to threads
            and to an order that has a seed, and are ignored for fastload datasets.
        prefetch_factor: batches that are made ahead. Torch's is per worker.
        seed: 64-bit seed of the order and of every view.
        engine: what moves the compressed bytes. "threads": the package's own. "dali": DALI, which
            needs an extra. `device` says where they are decoded and rendered. "auto": "threads",
            which was faster wherever it was measured. All give the same batches.
        device: where the pixels are delivered, by default the CPU, or Accelerate's device where it
            prepares the loader. What describes them (`index`, `time`, ...) stays in
            host memory, so that looking at it never waits for a GPU. "cuda" is the GPU that
            torch was set to, or else that of torchrun's `LOCAL_RANK`.
        transform: a torch module or function that gets each finished batch, on its device, in the
            thread that iterates; what it returns is delivered.
        rank, world_size: default to torch.distributed's as soon as there is a process group, and to
            0 and 1 before.
        on_error: "raise", or "replace" an unreadable sample by a sound one.
        error_report: file that gets a JSON line per unreadable sample; in the cache by default.
        shuffle_window: number of shards that are mixed at a time, for stores where random access is
            dear; 0 is a full permutation.
        count_pixels: count how many pixels of the views show NaN, infinity or no data, and warn of
            the first sample that shows NaN or infinity without a `fill` in its radiometry. On a GPU
            it costs a part of the views' time.
        device_cache: bytes of GPU memory that may keep decoded samples, with all their dates, from
            one epoch to the next. Their views are drawn and made there, and nothing is read.

    Raises:
        ValueError: names the argument that does not fit.
        ImportError: where the engine is "dali" and DALI is not installed.
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
        *,
        prefetch_factor: int | None = DEFAULT_PREFETCH,
        persistent_workers: bool = False,
        pin_memory_device: str = "",
        in_order: bool = True,
        seed: int = 0,
        engine: Literal["auto", "threads", "dali"] = "auto",
        device: str | torch.device | None = None,
        transform: Callable[[Any], Any] | None = None,
        rank: int | None = None,
        world_size: int | None = None,
        on_error: Literal["raise", "replace"] = "raise",
        error_report: str | Path | None = None,
        shuffle_window: int = 0,
        device_cache: int = 0,
        count_pixels: bool = True,
    ) -> None:
        self.seed, self.engine = index(seed), engine
        self.device_cache, self.count_pixels = device_cache, count_pixels
        self.rank = None if rank is None else index(rank)
        self.world_size = None if world_size is None else index(world_size)
        self.on_error, self.error_report = on_error, error_report
        self.shuffle, self.shuffle_window = bool(shuffle), shuffle_window
        self.transform = transform
        data = wrapped.resolved(dataset)
        self.is_fast, self._device_given = data is not None, device is not None
        wanted = "cpu" if device is None else device
        self.device = resolved(wanted) if self.is_fast else torch.device(wanted)
        self._prepared = accelerated.Prepared()
        check(engine, on_error, rank, world_size)
        if data is None:
            given = {
                "device": self.device.type != "cpu",
                "rank": rank is not None,
                "seed": self.seed != 0,
                "on_error": on_error != "raise",
                "error_report": error_report is not None,
                "shuffle_window": shuffle_window != 0,
                "device_cache": device_cache != 0,
                "count_pixels": not count_pixels,
                "transform": transform is not None,
            }
            check_foreign(dataset, [name for name, is_given in given.items() if is_given])
            wrapped.warn_of_torchs_way(dataset)
            # Torch refuses a number without workers, so the default is none there.
            unasked = not num_workers and prefetch_factor == DEFAULT_PREFETCH
            ahead = None if unasked else prefetch_factor
            super().__init__(
                dataset, batch_size, shuffle, sampler, batch_sampler, num_workers, collate_fn,
                pin_memory, drop_last, timeout, worker_init_fn, multiprocessing_context, generator,
                prefetch_factor=ahead, persistent_workers=persistent_workers,
                pin_memory_device=pin_memory_device, in_order=in_order,
            )  # fmt: skip
            return
        own_order = sampler is None and batch_sampler is None
        batch_size = None if batch_size is None else index(batch_size)
        check_fast(batch_size, num_workers, prefetch_factor)
        if rank is not None and not own_order:
            raise ValueError(
                "rank and world_size say nothing beside a sampler, which decides what a rank sees; "
                "choose samples by dataset.subset, or give the ranks to a DistributedSampler"
            )
        if shuffle_window and data.changes:
            raise ValueError("shuffle_window is not for a mixture, which has an order of its own")
        if shuffle_window and not (shuffle and own_order):
            raise ValueError("shuffle_window needs shuffle=True and no sampler of your own")
        plan = Plan(
            len(data),
            1 if batch_size is None else batch_size,
            self.seed,
            self.shuffle and own_order,
            drop_last,
            (self.rank or 0) if own_order else 0,
            (self.world_size or 1) if own_order else 1,
            shuffle_window,
            data.group if shuffle_window else None,
        )
        self._position = Position(plan, follows_group=own_order and rank is None)
        # Threads of our own do the work, so torch is told of none.
        super().__init__(
            dataset,
            batch_size,
            None if own_order else shuffle,
            PlanSampler(self._position) if own_order else sampler,
            batch_sampler,
            0,
            collate_fn,
            drop_last=drop_last,
            generator=generator,
        )
        if own_order:
            assert isinstance(self.sampler, PlanSampler)
            own = PlanBatches(self.sampler, plan.batch_size, drop_last, self._prepared)
            # Torch takes it or a sampler, but not both, and lets nobody set it afterwards.
            vars(self)["batch_sampler"] = own
        self._resolved = data
        self._user: UserBatches | None = None
        if not own_order:
            assert self.batch_sampler is not None
            self._user = UserBatches(self.batch_sampler, self.sampler, len(data))
        self.num_workers = self._prepared.num_workers = num_workers
        self._depth = prefetch_factor or DEFAULT_PREFETCH
        self.prefetch_factor = self._depth if num_workers else None  # as torch has it
        self.pin_memory = pin_memory or self.device.type == "cuda"
        kept = below("errors", f"{data.fingerprint}.jsonl")
        self.error_report = Path(error_report) if error_report else kept
        self.profile = Profile()
        self._engine: Engine | None = None
        self.use_stateful_dataloader = True  # Accelerate keeps the state of a loader marked so.

    # Order and position

    @property
    def epoch(self) -> int:
        """The epoch that the present or next iteration is in."""
        return self._position.epoch if self.is_fast else 0

    @property
    def plan(self) -> Plan:
        """The order as this rank sees it."""
        self._need_fast("plan")
        return self._position.plan

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch of the next iteration. The epoch of a loaded state keeps its place."""
        if self.is_fast:
            self._position.set_epoch(epoch)
            return
        parts: list[Any] = [self.sampler, self.batch_sampler]
        for part in parts:
            if hasattr(part, "set_epoch"):
                part.set_epoch(epoch)

    def order(self, epoch: int) -> NDArray[np.int64]:
        """The global permutation ``[N]`` of an epoch, before it is split over ranks."""
        if not self.is_fast or self._user is not None:
            raise ValueError("order() is defined for the loader's own order, not for a sampler")
        return self._data.in_epoch(epoch, self.plan.order(epoch))

    def keys_of(self, epoch: int, step: int, all_ranks: bool = False) -> list[str]:
        """The keys of a step, in the order of its batch, without reading; such as of the step where
        a loss went wrong.

        Args:
            epoch, step: from 0.
            all_ranks: those of the global step, of which rank r has every world-th from r on (or
                the r-th part, in a last step that was filled up, once Accelerate prepared the
                loader).

        Raises:
            ValueError: for a sampler, whose order no one knows beforehand.
            IndexError: where an epoch has no such step.
        """
        if not self.is_fast or self._user is not None:
            raise ValueError("keys_of() is defined for the loader's own order, not for a sampler")
        steps = self.plan.steps(index(epoch))
        items = steps.together(index(step)) if all_ranks else steps[index(step)]
        samples = self._data.in_epoch(epoch, items)
        return list(self._data.describe(samples, None)["key"])

    def skip(self, batches: int) -> None:
        """Go past some batches without reading them. The next iteration begins behind them, in this
        epoch or a later one; one that is under way is left behind.

        Raises:
            ValueError: where it leads into an epoch that a sampler of your own has yet to draw.
        """
        self._need_fast("skip")
        length, position = self._length(), self._position
        epoch, step = position.epoch, position.step + index(batches)
        drawn = self._user is not None and self._user.is_drawn
        if batches < 0 or length is None or (drawn and step >= length):
            raise ValueError(f"skip: {batches} batches, at step {position.step} of {length}")
        while batches and step >= max(1, length):
            epoch, step = epoch + 1, step - length
        if self._user is not None:  # the epoch is drawn again, as it was
            self._user.load(self._user.state(position.started))
        position.go(epoch, step)

    def __len__(self) -> int:
        if self.is_fast and self._user is None:
            return len(self.plan)
        return super().__len__()

    def _length(self) -> int | None:
        """Steps per epoch; None where a sampler does not tell."""
        try:
            return len(self)
        except TypeError:
            return None

    def _steps(self, epoch: int, start: int) -> Step:
        """This rank's batches of an epoch from a step on, as samples."""
        if self._user is None:
            steps = self.plan.steps(epoch).since(start)
        else:
            steps = self._user.begin(epoch, start, self.generator)

        def step(i: int) -> NDArray[np.int64] | None:
            items = steps(i)
            return None if items is None else self._data.in_epoch(epoch, items)

        return step

    # State

    def state_dict(self) -> dict[str, Any]:
        """Position after the last delivered batch, and what the order depends on; plain numbers and
        text.

        After the last batch of an epoch, and before the iteration is asked for another one, nothing
        is left of the epoch: a loader that loads such a state yields nothing, and then the next
        epoch. Empty, with a warning, for what torch loads, whose position torch does not tell.

        Raises:
            TypeError: names a sampler whose order cannot be drawn again.
        """
        if not self.is_fast:
            warnings.warn(
                f"the position in {type(self.dataset).__name__}, which torch loads, is not saved: "
                "a run that goes on begins its epoch anew",
                stacklevel=2,
            )
            return {}
        state = self._position.state() | self._fingerprint()
        if self._user is not None:
            self._user.check_known()
            state["drawn_from"] = self._user.state(self._position.started)
        return state

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue with the batch after the last one that the state counts as delivered.

        Raises:
            ValueError: names the field in which the state and this loader differ.
        """
        if not self.is_fast and not state:
            return
        self._need_fast("load_state_dict")
        self._position.load(state, self._fingerprint(), self._length())
        if self._user is not None:
            self._user.load(state.get("drawn_from", {}))

    def _fingerprint(self) -> dict[str, Any]:
        own: dict[str, Any] = {"order": "plan" if self._user is None else "sampler"}
        own |= {"dataset": self._data.fingerprint} | self.plan.fingerprint()
        if self._user is not None:
            own |= {"sampler": self._user.fingerprint, "global_batch": self._user.global_batch}
        if self.shuffle_window:
            own["borders"] = self._data.borders
        return own

    @property
    def _data(self) -> Dataset:
        return self._resolved

    def _need_fast(self, what: str) -> None:
        if not self.is_fast:
            raise TypeError(
                f"{what} is for fastload datasets, not for {type(self.dataset).__name__}"
            )

    # Iteration

    def __iter__(self) -> Iterator[Any]:  # type: ignore[override]
        return LoaderIterator(self) if self.is_fast else super().__iter__()

    def _open(self) -> Engine:
        """The engine, made with the first iteration."""
        if (
            self._prepared.by_accelerate
            and not self._device_given
            and self.device != accelerated.device()
        ):
            self.device, self._engine = accelerated.device(), None
            self.pin_memory = self.pin_memory or self.device.type == "cuda"
        if self._engine is None or self._engine.profile is not self.profile:
            warn_of_offset(self._data)
            compare_over_ranks(self._data)
            options = Options(
                self.device,
                self.seed,
                self.profile,
                self.plan.batch_size if self._user is None else self._user.largest(),
                self.on_error,
                Path(self.error_report) if self.error_report else None,
                self.pin_memory and self.device.type != "cuda" and can_pin(),
                self.device_cache,
                self.count_pixels,
            )
            self._engine = self._make_engine(options)
        return self._engine

    def _make_engine(self, options: Options) -> Engine:
        return Engine.open(self._engine_name, self._data, options)

    def _delivered(self, batch: dict[str, Any]) -> Any:
        if self.device.type not in ("cpu", "cuda"):  # an engine has no part in these
            names = (n for m in self._data.modalities for n in (m, mask_of(m)) if n in batch)
            batch = moved(batch, names, self.device)
        out: Any = batch
        if self.collate_fn is not torch.utils.data.default_collate:
            out = self.collate_fn([sample_of(batch, b) for b in range(len(batch["key"]))])
        if self._prepared.by_accelerate:
            out = accelerated.on(out, self.device)
        return out if self.transform is None else self.transform(out)

    # Accelerate

    @property
    def _is_accelerate_prepared(self) -> bool:
        """Accelerate asks this when it prepares a loader, and leaves this one alone: it already
        splits its batches over ranks."""
        if self.is_fast:
            self._is_accelerate_prepared = True
        return self.is_fast

    @_is_accelerate_prepared.setter
    def _is_accelerate_prepared(self, prepared: bool) -> None:
        """Accelerate marks what it prepared."""
        self._prepared.by_accelerate = self.is_fast and prepared
        if self.is_fast:
            if self._user is not None and prepared and not self._user.knows_ranks:
                accelerated.refuse_undivided(self.sampler)
            self._position.deal_in_blocks(prepared)

    @property
    def _engine_name(self) -> str:
        return "threads" if self.engine == "auto" else self.engine

    def stats(self) -> dict[str, Any]:
        """What happened since the loader was made, as plain numbers and strings.

        - `seconds`: busy seconds summed over threads: `read` (check-sums, the first touch of the
          bytes), `decode`, `copy` (to DALI's buffers and to the device), `views`;
          `wait_for_consumer`: how long finished batches lay ready; `consumer_waiting`: how long the
          consumer waited for them.
        - `first_batch`: seconds until the very first batch was there, of which Numba compiled for
          `compiling`; no part of `consumer_waiting`, of `elapsed` and of the verdict.
        - `elapsed`: seconds from the first request to the last delivery, or to the end of the
          iteration, summed over iterations; the consumer's own time is in it.
        - `bytes_in`, `bytes_out`: compressed and decoded bytes; `samples`: how many were finished,
          those of batches made ahead among them; `batches`: how many were delivered.
        - `errors`, `replaced`: unreadable samples, and how many of them were replaced;
          `error_report`: the file that lists them; `unwritten`: what no file could keep, if any.
        - `verdict`: one line on what limits the run; `engine`, `workers`: what did the work.
        - `pixels`: how many pixels of the views, over all bands that are kept, show NaN, infinity
          or no data (`nan`, `infinite`, `no_data`), by the source pixel nearest to each; of samples
          that were finished. Not there with ``count_pixels=False``.
        - On a GPU `device_bytes`: its memory for the cache and for the largest batch in the making.
          Reading this and `pixels` waits for the GPU.
        """
        self._need_fast("stats")
        return self.profile.summary() | {
            "engine": self._engine_name,
            "workers": self.num_workers,
            "error_report": str(self.error_report or ""),
            **({} if self._engine is None else self._engine.summary()),
        }


class LoaderIterator(Iterator[Any]):
    """Batches of one epoch, from where the loader stands; begins with the first `next`."""

    def __init__(self, loader: DataLoader) -> None:
        self._loader = loader
        self._batches: Iteration | None = None
        self._told: accelerated.Told | None = None
        self._turn = self._epoch = self._step = 0
        self._since = 0.0
        self._closed = False

    def _begin(self) -> "Iteration":
        loader = self._loader
        position, user = loader._position, loader._user
        by_hand = None if user is None else user.epoch_by_hand
        if by_hand is not None:
            position.set_epoch(by_hand)
        self._turn = position.begin()
        self._epoch, self._step = position.epoch, position.step
        self._steps, self._first = loader._steps(self._epoch, self._step), self._step
        remainder = loader.plan.remainder if user is None else -1
        self._told = loader._prepared.begin(remainder)
        engine, depth = loader._open(), loader._depth
        return engine.iterate(loader.num_workers, depth, self._epoch, self._steps)

    def __next__(self) -> Any:
        if self._closed:
            raise StopIteration
        asked = perf_counter()
        self._since = self._since or asked
        loader = self._loader
        try:
            if self._batches is None:
                self._batches = self._begin()
            made = next(self._batches, None)
            batch = None if made is None else loader._delivered(made)
        except StopIteration as error:  # of a sampler or a collate function: no end of the epoch
            self.close()
            raise RuntimeError("StopIteration in the making of a batch") from error
        except BaseException:
            self.close()
            raise
        if made is None:
            loader._position.ended(self._turn, self._epoch)
            self.close()
            raise StopIteration
        del made  # so that the consumer alone holds it
        self._step += 1
        if self._told is not None:
            self._told.end_of_dataloader = self._steps(self._step - self._first) is None
        loader._position.delivered(self._turn, self._step)
        now = perf_counter()
        loader.profile.delivered(now - asked, now - self._since)
        self._since = now
        return batch

    def close(self) -> None:
        """End the iteration; all of its threads have ended on return."""
        if self._closed:
            return
        self._closed = True
        if self._batches is not None:
            self._batches.close()
        if self._told is not None:
            self._told.close()
        if self._since:
            self._loader.profile.elapsed += perf_counter() - self._since
