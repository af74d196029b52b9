"""Samplers: the loader's own order in that shape, and a user's kept in step with the epoch."""

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import torch.utils.data

from fastload.plan import Indices, Step
from fastload.position import Position


class PlanSampler(torch.utils.data.DistributedSampler[Any]):
    """The loader's own order as a sampler.

    It is a DistributedSampler on purpose: trainers that would otherwise inject one see that the
    batches are already split over ranks, and tell it the epoch.
    """

    def __init__(self, position: Position) -> None:
        self._position = position
        plan = position.plan
        self.drop_last, self.shuffle, self.seed = False, plan.shuffle, plan.seed

    @property
    def rank(self) -> int:  # type: ignore[override]
        """This rank, as the loader sees it."""
        return self._position.plan.rank

    @property
    def num_replicas(self) -> int:  # type: ignore[override]
        """The number of ranks, as the loader sees it."""
        return self._position.plan.world_size

    @property
    def epoch(self) -> int:  # type: ignore[override]
        """The loader's epoch."""
        return self._position.epoch

    def __iter__(self) -> Iterator[int]:
        for ids in self._position.plan.steps(self._position.epoch):
            yield from ids.tolist()

    def __len__(self) -> int:
        steps = self._position.plan.steps(0)
        return (len(steps) - 1) * steps.plan.batch_size + len(steps[-1]) if len(steps) else 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the loader's epoch."""
        self._position.set_epoch(epoch)


class UserBatches:
    """Batches of a user's sampler or batch sampler, drawn as they are needed.

    Samplers that have an epoch, such as torch's DistributedSampler, get the loader's. Where the
    user set another epoch on one of them by hand, the loader takes it over.
    """

    def __init__(self, batch_sampler: Iterable[Iterable[Any]], sampler: Any, samples: int) -> None:
        self._batches, self._samples = batch_sampler, samples
        parts: tuple[Any, ...] = (sampler, batch_sampler, getattr(batch_sampler, "sampler", None))
        self._parts = [part for part in parts if hasattr(part, "set_epoch")]
        self._epoch = 0

    @property
    def epoch_by_hand(self) -> int | None:
        """The epoch that was set on a sampler by someone other than `set_epoch`, if any."""
        epochs = [getattr(part, "epoch", self._epoch) for part in self._parts]
        return next((e for e in epochs if isinstance(e, int) and e != self._epoch), None)

    def set_epoch(self, epoch: int) -> None:
        """Set the samplers' epoch."""
        self._epoch = epoch
        for part in self._parts:
            part.set_epoch(epoch)

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
