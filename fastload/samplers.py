"""Samplers: the loader's own order in that shape, and a user's kept in step with the epoch."""

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import torch.utils.data

from fastload.plan import Indices, Step

if TYPE_CHECKING:
    from fastload.loader import DataLoader


class PlanSampler(torch.utils.data.DistributedSampler[Any]):
    """The loader's own order as a sampler.

    It is a DistributedSampler on purpose: trainers that would otherwise inject one see that the
    batches are already split over ranks, and tell it the epoch.
    """

    def __init__(self, loader: "DataLoader") -> None:
        self._loader = loader
        self.drop_last, self.shuffle, self.seed = False, loader.shuffle, loader.seed

    @property
    def rank(self) -> int:  # type: ignore[override]
        """This rank, as the loader sees it."""
        return self._loader.plan.rank

    @property
    def num_replicas(self) -> int:  # type: ignore[override]
        """The number of ranks, as the loader sees it."""
        return self._loader.plan.world_size

    @property
    def epoch(self) -> int:  # type: ignore[override]
        """The loader's epoch."""
        return self._loader.epoch

    def __iter__(self) -> Iterator[int]:
        for ids in self._loader.plan.steps(self._loader.epoch):
            yield from ids.tolist()

    def __len__(self) -> int:
        steps = self._loader.plan.steps(0)
        return (len(steps) - 1) * steps.plan.batch_size + len(steps[-1]) if len(steps) else 0

    def set_epoch(self, epoch: int) -> None:
        """Pass the epoch on to the loader."""
        self._loader.set_epoch(epoch)


class Chosen:
    """Batches that a user's sampler or batch sampler chooses, drawn as they are needed.

    Samplers that have an epoch, such as torch's DistributedSampler, are told the loader's. Where
    the user told one of them another epoch by hand, the loader takes it over.
    """

    def __init__(self, batch_sampler: Iterable[Iterable[Any]], sampler: Any, samples: int) -> None:
        self._batches, self._samples = batch_sampler, samples
        parts: tuple[Any, ...] = (sampler, batch_sampler, getattr(batch_sampler, "sampler", None))
        self._parts = [part for part in parts if hasattr(part, "set_epoch")]
        self._told = 0

    def told(self) -> int | None:
        """The epoch that a sampler was told by someone other than `tell`, if any."""
        epochs = [getattr(part, "epoch", self._told) for part in self._parts]
        return next((e for e in epochs if isinstance(e, int) and e != self._told), None)

    def tell(self, epoch: int) -> None:
        """Tell the samplers their epoch."""
        self._told = epoch
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

    def largest(self) -> int:
        """Most samples in a batch.

        Raises:
            ValueError: where that cannot be known without drawing for ever.
        """
        size = getattr(self._batches, "batch_size", None)
        if isinstance(size, int):
            return size
        if isinstance(self._batches, list | tuple):
            return max((len(batch) for batch in self._batches), default=1)
        raise ValueError(
            "engine='dali' must know the largest batch: give the batch_sampler a batch_size"
        )


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
