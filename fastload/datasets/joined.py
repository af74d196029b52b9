"""Datasets one after the other (`concat`), and in a given proportion (`mix`)."""

import hashlib
from collections.abc import Mapping, Sequence
from functools import cached_property
from operator import index
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastload.datasets.base import Dataset
from fastload.datasets.union_source import union
from fastload.plan import permutation

Indices = NDArray[np.int64]


def concat(*datasets: Dataset) -> Dataset:
    """The samples of datasets, one dataset after the other.

    They share modalities, recipe, and radiometry. A sample's `index` is its index in its own
    dataset plus the samples of those that were opened before, so that it stays unique.

    Raises:
        ValueError: says what they differ in.
    """
    if not datasets:
        raise ValueError("concat: expected at least one dataset")
    return Concatenation(datasets)


class Concatenation(Dataset):
    """See `concat`."""

    def __init__(self, datasets: Sequence[Dataset]) -> None:
        first = datasets[0]
        _agree(datasets)
        sources, rows = {}, {}
        for name in first.sources:
            unique = list({id(d.sources[name]): d.sources[name] for d in datasets}.values())
            start = dict(zip(map(id, unique), _starts(map(len, unique)), strict=True))
            sources[name] = unique[0] if len(unique) == 1 else union(unique)
            rows[name] = np.concatenate(
                [d.rows_of(name, _all(d)) + start[id(d.sources[name])] for d in datasets]
            )
        extras = {name: np.concatenate([d.extras[name] for d in datasets]) for name in first.extras}
        same = all(d.same_ground for d in datasets)
        super().__init__(sources, first.recipe, first.statistics, first.seed, rows, extras, same)
        self.parts = tuple(datasets)
        starts = _starts(d.numbers for d in datasets)
        self.ids = np.concatenate(
            [d.ids_of(_all(d)) + n for d, n in zip(datasets, starts, strict=True)]
        )
        self.numbers = sum(d.numbers for d in datasets)


class Mixture(Concatenation):
    """See `mix`. Sample ``v`` is place ``v % L`` of the L joined ones, on turn ``v // L``."""

    changes = True

    def __init__(
        self, datasets: Sequence[Dataset], weights: Sequence[float], seed: int, samples: int | None
    ) -> None:
        super().__init__(datasets)
        self._sizes, self._seed = [len(d) for d in datasets], index(seed)
        self._samples = sum(self._sizes) if samples is None else index(samples)
        self.counts = _shares(weights, self._samples)
        self._order: tuple[int, Indices] = (-1, np.empty(0, np.int64))

    def __len__(self) -> int:
        return self._samples

    def places_of(self, samples: Indices) -> Indices:
        """See `Dataset.places_of`."""
        return samples % len(self._keys)

    def ids_of(self, samples: Indices) -> Indices:
        """See `Dataset.ids_of`."""
        return super().ids_of(self.places_of(samples))

    def draw_ids(self, samples: Indices) -> Indices:
        """See `Dataset.draw_ids`; a sample that comes again in an epoch is drawn anew."""
        return self.ids_of(samples) + samples // len(self._keys) * self.numbers

    def in_epoch(self, epoch: int, items: Indices) -> Indices:
        """See `Dataset.in_epoch`."""
        known, order = self._order
        if known != epoch:
            order = self.order(epoch)
            self._order = epoch, order
        return order[items]

    def order(self, epoch: int) -> Indices:
        """The samples of an epoch in their order ``[len(self)]``.

        Each dataset is gone through in a permutation, turn after turn and on into the next epochs;
        a second permutation interleaves them.
        """
        out = np.empty(self._samples, np.int64)
        owner = np.repeat(np.arange(len(self.counts)), self.counts)
        owner = owner[permutation(self._samples, self._seed, epoch, 0)]
        for k, (count, start) in enumerate(zip(self.counts, _starts(self._sizes), strict=True)):
            out[owner == k] = self._turns(k, epoch * count, count) + start
        return out

    def _turns(self, k: int, first: int, count: int) -> Indices:
        """Places of dataset k from number `first` of its endless stream on; turn t of this call is
        added as t times all."""
        size = self._sizes[k]
        turns = range(first // size, (first + count - 1) // size + 1)
        orders = [
            permutation(size, self._seed, turn, 1 + k) + i * len(self._keys)
            for i, turn in enumerate(turns)
        ]
        at = first - turns[0] * size
        return np.concatenate(orders)[at : at + count]

    @cached_property
    def fingerprint(self) -> str:
        """Digest of the parts and of what their order depends on."""
        parts = [part.fingerprint for part in self.parts]
        text = repr((parts, self.counts, self._seed, self._samples))
        return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()

    def subset(self, which: Any) -> Any:
        """Refused: choose the samples of the parts, and mix these."""
        raise ValueError("a mixture has other samples in each epoch; choose before you mix")


def mix(datasets: Mapping[Dataset, float], seed: int = 0, samples: int | None = None) -> Mixture:
    """Datasets interleaved in a given proportion.

    An epoch has `samples` samples (by default as many as the datasets together), of which each
    dataset has its share, in every epoch alike. Each is gone through without repetition, turn after
    turn, and goes on in the next epoch where it stopped. All is a function of (seed, epoch), so a
    `DataLoader` resumes within it on any number of ranks. A sample that comes twice in an epoch is
    seen in other views.

    Args:
        datasets: weights above 0, in any scale.
        seed: 64 bits.
        samples: of an epoch.

    Raises:
        ValueError: where a dataset would have no share, or they differ.
    """
    if not datasets:
        raise ValueError("mix: expected at least one dataset")
    return Mixture(list(datasets), list(datasets.values()), seed, samples)


def _all(dataset: Dataset) -> Indices:
    if isinstance(dataset, Mixture):
        raise ValueError("a mixture cannot be joined to others: mix all of them at once")
    return np.arange(len(dataset))


def _starts(lengths: Any) -> list[int]:
    """Where each of some runs begins, one after the other."""
    return list(np.cumsum([0, *lengths])[:-1].tolist())


def _agree(datasets: Sequence[Dataset]) -> None:
    first = datasets[0]
    for other in datasets[1:]:
        if list(other.modalities) != list(first.modalities):
            raise ValueError(
                f"concat: modalities differ: {list(first.modalities)} and {list(other.modalities)}"
            )
        if set(other.extras) != set(first.extras):
            raise ValueError(f"concat: columns differ: {[*first.extras]} and {[*other.extras]}")
        if other.recipe != first.recipe:
            raise ValueError("concat: the recipes differ; use with_recipe to give all the same")
        for name in first.scalings:
            mine, theirs = vars(first.scalings[name]), vars(other.scalings[name])
            if not all(np.array_equal(mine[field], theirs[field]) for field in mine):
                raise ValueError(f"concat: the statistics of {name} differ, under one recipe")


def _shares(weights: Sequence[float], samples: int) -> list[int]:
    """Samples of each dataset in an epoch: proportional, the largest remainders rounded up."""
    if not weights or min(weights) <= 0:
        raise ValueError(f"mix: weights must be above 0, got {list(weights)}")
    exact = np.array(weights, np.float64) / sum(weights) * samples
    counts = np.floor(exact).astype(np.int64)
    for k in np.argsort(counts - exact, kind="stable")[: samples - int(counts.sum())]:
        counts[k] += 1
    if counts.min() < 1:
        raise ValueError(
            f"mix: of {samples} samples the weights {list(weights)} leave one with none"
        )
    return list(counts.tolist())


__all__ = ["Concatenation", "Mixture", "concat", "mix"]
