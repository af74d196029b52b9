"""Samplers: the loader's own order in that shape, and a user's kept in step with the epoch."""

import hashlib
import warnings
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any

import numpy as np
import torch.utils.data

from fastload.accelerated import Prepared, Told
from fastload.datasets.draws import Draw, Drawn
from fastload.plan import Indices, Step
from fastload.position import Position


class PlanSampler(torch.utils.data.DistributedSampler[Any]):
    """The loader's own order as a sampler.

    It is a DistributedSampler on purpose: trainers that would otherwise inject one see that the
    batches are already split over ranks, and tell it the epoch. The numbers that it yields say how
    their views are drawn, see `Drawn`, for those who load the samples otherwise.
    """

    def __init__(self, position: Position) -> None:
        self.position = position
        plan = position.plan
        self.drop_last, self.shuffle, self.seed = False, plan.shuffle, plan.seed

    @property
    def rank(self) -> int:  # type: ignore[override]
        """This rank, as the loader sees it."""
        return self.position.plan.rank

    @property
    def num_replicas(self) -> int:  # type: ignore[override]
        """The number of ranks, as the loader sees it."""
        return self.position.plan.world_size

    @property
    def epoch(self) -> int:  # type: ignore[override]
        """The loader's epoch."""
        return self.position.epoch

    def batches(self) -> Iterator[list[int]]:
        """This rank's batches of the loader's epoch."""
        draw = Draw(self.seed, self.position.epoch)
        for ids in self.position.plan.steps(draw.epoch):
            yield [Drawn(item, draw) for item in ids.tolist()]

    def __iter__(self) -> Iterator[int]:
        for batch in self.batches():
            yield from batch

    def __len__(self) -> int:
        steps = self.position.plan.steps(0)
        return (len(steps) - 1) * steps.plan.batch_size + len(steps[-1]) if len(steps) else 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the loader's epoch."""
        if self.position.falls_behind(epoch):
            warnings.warn(
                f"a state of epoch {self.position.epoch} was loaded, and now the sampler is told "
                f"epoch {epoch}, which begins anew; Fabric's setup_dataloaders counts from 0, so "
                "use the loader without it",
                stacklevel=2,
            )
        self.position.set_epoch(epoch)


class PlanBatches(torch.utils.data.BatchSampler):
    """The loader's own order as a batch sampler, for a loader that others build around it.

    Accelerate's `skip_first_batches` builds such a loader, torch's, for the rest of an epoch. If it
    had prepared ours, then this stands for the loader: it tells Accelerate the end of the epoch,
    moves the loader's position, and lets the loader go on with the next epoch. All of it is said
    when a batch's numbers are asked for, which is when the batch is delivered as long as torch
    works in this process. Worker processes (`num_workers` above 0, which that loader takes from
    ours) are asked for several batches ahead; so accumulation, `gather_for_metrics` and the state
    then see the end of that one epoch too early, which a warning says. `DataLoader.skip` has no
    such limit.
    """

    sampler: PlanSampler

    def __init__(
        self,
        sampler: PlanSampler,
        batch_size: int,
        drop_last: bool = False,
        prepared: Prepared | None = None,
    ) -> None:
        super().__init__(sampler, batch_size, drop_last)
        self._prepared = Prepared() if prepared is None else prepared

    def __iter__(self) -> Iterator[list[int]]:
        if not self._prepared.by_accelerate:
            yield from self.sampler.batches()
            return
        self._prepared.warn_of_processes()
        position = self.sampler.position
        epoch, turn, last = position.epoch, position.stand_in(), len(position.plan)
        told = Told(position.plan.remainder)
        try:
            for step, batch in enumerate(self.sampler.batches(), 1):
                told.end_of_dataloader = step == last
                position.delivered(turn, step)
                yield batch
            position.ended(turn, epoch)
        finally:
            told.close()

    def __len__(self) -> int:
        return len(self.sampler.position.plan)

    def set_epoch(self, epoch: int) -> None:
        """Choose the loader's epoch. Hugging Face's Trainer calls it, where it skips batches."""
        self.sampler.set_epoch(epoch)


class UserBatches:
    """Batches of a user's sampler or batch sampler, drawn as they are needed.

    Samplers that have an epoch, such as torch's DistributedSampler, get the loader's. Where the
    user set another epoch on one of them by hand, the loader takes it over.

    A state holds what an epoch's batches were drawn from: the sampler's own state, that of its
    generator, or that of torch's, as far as the order depends on it. For torch's it also holds how
    that stood when the state was taken, so that later epochs are drawn as they would have been; it
    is put there with the first batch after a state was loaded, as a sampler's own generator is.
    """

    def __init__(self, batch_sampler: Iterable[Iterable[Any]], sampler: Any, samples: int) -> None:
        self._batches, self._samples = batch_sampler, samples
        inner = getattr(batch_sampler, "sampler", None)
        parts: tuple[Any, ...] = (sampler, batch_sampler, inner)
        self._parts = list({id(part): part for part in parts if part is not None}.values())
        self._with_epoch = [part for part in self._parts if hasattr(part, "set_epoch")]
        self._epoch = 0
        self.fingerprint = self._fingerprint()
        """A short text of the samplers' types and settings, which a state must agree with."""
        self._drawn_from: dict[str, Any] | None = None
        self._restored: dict[str, Any] | None = None

    @property
    def epoch_by_hand(self) -> int | None:
        """The epoch that was set on a sampler by someone other than `set_epoch`, if any."""
        epochs = [getattr(part, "epoch", self._epoch) for part in self._with_epoch]
        return next((e for e in epochs if isinstance(e, int) and e != self._epoch), None)

    def set_epoch(self, epoch: int) -> None:
        """Set the samplers' epoch."""
        self._epoch = epoch
        for part in self._with_epoch:
            part.set_epoch(epoch)

    @property
    def is_drawn(self) -> bool:
        """Whether its order is drawn from a state that goes on, and is no function of the epoch."""
        return bool(self._source())

    @property
    def knows_ranks(self) -> bool:
        """Whether a sampler says that it is one of several ranks'."""
        return any(getattr(part, "num_replicas", 1) > 1 for part in self._parts)

    @property
    def global_batch(self) -> int | None:
        """Samples per step on all ranks that the samplers know of; None where nobody says."""
        size = getattr(self._batches, "batch_size", None)
        ranks = [getattr(part, "num_replicas", 1) for part in self._parts]
        return size * max(ranks) if isinstance(size, int) else None

    def begin(self, epoch: int, start: int, generator: torch.Generator | None = None) -> Step:
        """The batches of an epoch from a step on, drawn anew, or as the state says that was loaded
        last; `generator` is the loader's, which torch's loader draws a seed for its workers from.
        """
        self.set_epoch(epoch)
        restored, self._restored = self._restored or {}, None
        self._restore(restored)
        self._drawn_from = self._source()
        torch.empty((), dtype=torch.int64).random_(generator=generator)
        steps = remembered(islice(iter(self), start, None))
        if "torch_now" in restored:
            steps(0)  # torch's samplers draw when they give the first number
            torch.set_rng_state(_unpacked(restored["torch_now"]))
        return steps

    # What an epoch is drawn from

    def state(self, begun: bool) -> dict[str, Any]:
        """What the batches of the present epoch (if `begun`) or the next are drawn from.

        Raises:
            TypeError: names a sampler of which nobody can know that.
        """
        if not begun:
            return dict(self._restored or self._source())
        source = dict(self._drawn_from or {})
        if "torch" in source:
            source["torch_now"] = _packed(torch.get_rng_state())
        return source

    def load(self, state: dict[str, Any]) -> None:
        """Let the next epoch be drawn from what a state holds."""
        self._restored = dict(state)

    def _source(self) -> dict[str, Any]:
        for part in self._parts:
            if hasattr(part, "state_dict") and hasattr(part, "load_state_dict"):
                return {"sampler": part.state_dict()}
        for part in self._parts:
            generator = getattr(part, "generator", None)
            if isinstance(generator, torch.Generator):
                return {"generator": _packed(generator.get_state())}
        return {"torch": _packed(torch.get_rng_state())} if self._draws_from_torch() else {}

    def _draws_from_torch(self) -> bool:
        return any(
            isinstance(part, _DRAWS) and getattr(part, "generator", None) is None
            for part in self._parts
        )

    def _restore(self, source: dict[str, Any]) -> None:
        if "torch" in source:
            torch.set_rng_state(_unpacked(source["torch"]))
        for part in self._parts:
            if "sampler" in source and hasattr(part, "load_state_dict"):
                part.load_state_dict(source["sampler"])
                return
        for part in self._parts:
            generator = getattr(part, "generator", None)
            if "generator" in source and isinstance(generator, torch.Generator):
                generator.set_state(_unpacked(source["generator"]))
                return

    def check_known(self) -> None:
        """See that the order can be drawn again.

        Raises:
            TypeError: names the sampler of which nobody can know.
        """
        for part in self._parts:
            known = (
                isinstance(part, (*_DRAWS, *_FIXED))
                or hasattr(part, "set_epoch")
                or hasattr(part, "state_dict")
                or isinstance(getattr(part, "generator", None), torch.Generator)
                or (hasattr(part, "sampler") and type(part) is torch.utils.data.BatchSampler)
            )
            if not known:
                raise TypeError(
                    f"the position of {type(part).__qualname__} cannot be saved: give it "
                    "state_dict and load_state_dict, a torch.Generator as `generator`, or "
                    "set_epoch, if its order depends on the epoch alone"
                )

    def _fingerprint(self) -> str:
        digest = hashlib.blake2b(digest_size=8)
        for part in self._parts:
            digest.update(type(part).__qualname__.encode())
            for name, value in sorted(_settings(part).items()):
                digest.update(f"{name}={value};".encode())
        return f"{type(self._parts[0]).__qualname__} {digest.hexdigest()}"

    def __iter__(self) -> Iterator[Indices]:
        for batch in self._batches:
            ids = np.asarray(list(batch), np.int64)
            ids = np.where(ids < 0, ids + self._samples, ids)
            wrong = ids[(ids < 0) | (ids >= self._samples)]
            if wrong.size:
                raise IndexError(
                    f"the sampler gave sample {wrong[0]}, but the dataset has {self._samples}"
                )
            yield ids

    def largest(self) -> int | None:
        """Most samples in a batch; None where that cannot be known without drawing for ever."""
        size = getattr(self._batches, "batch_size", None)
        if isinstance(size, int):
            return size
        if isinstance(self._batches, list | tuple):
            return max((len(batch) for batch in self._batches), default=1)
        return None


_DRAWS = (
    torch.utils.data.RandomSampler,
    torch.utils.data.WeightedRandomSampler,
    torch.utils.data.SubsetRandomSampler,
)
"""Samplers that draw when they give the first number, from a generator or from torch's."""
_FIXED = (torch.utils.data.SequentialSampler, list, tuple, range, np.ndarray, torch.Tensor)
"""What gives the same numbers each time."""
_OF_A_RANK = ("rank", "num_replicas", "num_samples", "total_size")
"""Settings of a DistributedSampler that may change with the number of ranks."""


def _settings(part: Any) -> dict[str, str]:
    """What a sampler's order depends on, as text: its plain attributes, and digests of arrays."""
    if isinstance(part, list | tuple | range | np.ndarray | torch.Tensor):
        return {"content": _digest(part)}
    found = dict(getattr(part, "__dict__", {}))
    if "num_replicas" in found and "rank" in found:
        found = {name: value for name, value in found.items() if name not in _OF_A_RANK}
    found.pop("epoch", None)
    return {
        name: _digest(value)
        for name, value in found.items()
        if name != "batch_size"  # see `global_batch`
        and (
            isinstance(value, int | float | str | list | tuple | range | np.ndarray | torch.Tensor)
            or value is None
        )
    }


def _digest(value: Any) -> str:
    if isinstance(value, int | float | str) or value is None:
        return repr(value)
    if isinstance(value, torch.Tensor):
        value = value.detach().cpu().numpy()
    try:
        rows = [np.asarray(value)]
    except ValueError:  # batches of different sizes
        rows = [np.asarray(row) for row in value]
    digest = hashlib.blake2b(digest_size=8)
    for row in rows:
        array = np.ascontiguousarray(row)
        digest.update(f"{array.dtype.kind}{array.shape}".encode() + array.tobytes())
    return digest.hexdigest()


def _packed(state: torch.Tensor) -> str:
    """A generator's state as text, which any file can hold."""
    return state.numpy().tobytes().hex()


def _unpacked(state: str) -> torch.Tensor:
    return torch.frombuffer(bytearray.fromhex(state), dtype=torch.uint8)


def remembered(batches: Iterator[Indices]) -> Step:
    """A stream of batches as a function of the step: drawn as far as asked, and kept."""
    drawn: list[Indices] = []

    def step(i: int) -> Indices | None:
        while len(drawn) <= i:
            batch = next(batches, None)
            if batch is None:
                return None
            drawn.append(batch)
        return drawn[i]

    return step
