"""What should come, computed slowly: plain loops over Python lists, one sample at a time."""

import math
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import torch

from fastload_kernels.philox import ORDER, SHARED, words


@lru_cache(100_000)
def permutation(n: int, seed: int, epoch: int, stream: int) -> tuple[int, ...]:
    """Numbers below n, sorted by 64 random bits each."""

    def bits(i: int) -> int:
        high, low = words(seed, epoch, [i], ORDER, 4 * stream, 2)[0].tolist()
        return (high << 32) | low

    return tuple(sorted(range(n), key=bits))


def dates_shown(
    ways: list[Any], seed: int, epoch: int, sample: int, dates: int
) -> list[int | None]:
    """Which date each view shows of a sample that has so many; None for all."""

    def word(view: int, at: int) -> int:
        return int(words(seed, epoch, [sample], view, at, 1)[0, 0])

    order = sorted(range(dates), key=lambda t: (word(SHARED, 4 + t), t))
    out, distinct = list[int | None](), 0
    for v, way in enumerate(ways):
        if way == "independent":
            out.append(word(v, 0) * dates >> 32)
        elif way == "same":
            out.append(word(SHARED, 0) * dates >> 32)
        elif way == "distinct":
            out.append(order[distinct])
            distinct += 1
        else:
            out.append(out[0] if way == "as_first" else None)
    return out


@dataclass
class Samples:
    """A dataset as a list: what each item is called, and which item of which toy it shows."""

    ids: list[int]
    shows: list[tuple[int, int]]
    groups: list[int]

    def __len__(self) -> int:
        return len(self.ids)

    def chosen(self, which: list[int]) -> "Samples":
        return Samples(
            *([values[i] for i in which] for values in (self.ids, self.shows, self.groups))
        )

    def followed_by(self, other: "Samples", numbers: int, groups: int) -> "Samples":
        """`numbers`: how many samples the dataset has that this was chosen from."""
        return Samples(
            self.ids + [i + numbers for i in other.ids],
            self.shows + other.shows,
            self.groups + [g + groups for g in other.groups],
        )


@dataclass
class Order:
    """The order of a loader over items 0 to n - 1."""

    n: int
    batch: int
    seed: int
    shuffle: bool
    drop_last: bool
    window: int = 0
    groups: list[int] = field(default_factory=list)
    sampler: Any = None
    """Makes the sampler's numbers of an epoch; None for the loader's own order."""

    def epoch(self, epoch: int) -> list[int]:
        if self.sampler is not None:
            return list(self.sampler(epoch))
        if not self.shuffle:
            return list(range(self.n))
        if not self.window:
            return list(permutation(self.n, self.seed, epoch, 0))
        shards = sorted(set(self.groups))
        members = [[i for i in range(self.n) if self.groups[i] == s] for s in shards]
        shuffled = permutation(len(shards), self.seed, epoch, 1)
        out = []
        for b in range(math.ceil(len(shards) / self.window)):
            block = [
                i for s in shuffled[b * self.window : (b + 1) * self.window] for i in members[s]
            ]
            out += [block[k] for k in permutation(len(block), self.seed, epoch, 2 + b)]
        return out

    def steps(self, epoch: int, ranks: int) -> list[list[list[int]]]:
        """The items of each rank at each step."""
        order, together = self.epoch(epoch), self.batch * ranks
        out = []
        for start in range(0, len(order), together):
            items = order[start : start + together]
            if len(items) < together and self.drop_last:
                break
            k = 0
            while len(items) % ranks:
                items = [*items, order[k % len(order)]]
                k += 1
            out.append([items[r::ranks] for r in range(ranks)])
        return out


@lru_cache(10_000)
def mixed(
    sizes: tuple[int, ...], counts: tuple[int, ...], seed: int, epoch: int
) -> list[tuple[int, int, int]]:
    """Dataset, sample, and turn within the epoch, of each item of a mixture's epoch."""
    owners = [k for k, count in enumerate(counts) for _ in range(count)]
    owners = [owners[i] for i in permutation(len(owners), seed, epoch, 0)]
    next_of = [epoch * count for count in counts]
    first_turn = [n // size for n, size in zip(next_of, sizes, strict=True)]
    orders: dict[tuple[int, int], tuple[int, ...]] = {}
    out = []
    for k in owners:
        turn, at = divmod(next_of[k], sizes[k])
        if (k, turn) not in orders:
            orders[k, turn] = permutation(sizes[k], seed, turn, 1 + k)
        out.append((k, orders[k, turn][at], turn - first_turn[k]))
        next_of[k] += 1
    return out


@dataclass
class Place:
    """Where a run stands, as the documentation of the state has it."""

    epoch: int = 0
    step: int = 0
    begun: bool = False
    over: int | None = None
    """An epoch that a loaded state knows to be over."""

    def begin(self) -> None:
        if self.begun:
            self.epoch, self.step = self.epoch + 1, 0
        self.begun, self.over = True, None

    def end(self) -> None:
        self.epoch, self.step, self.begun, self.over = self.epoch + 1, 0, False, None

    def set_epoch(self, epoch: int, length: int) -> None:
        if self.over == epoch:
            self.epoch, self.step, self.begun, self.over = epoch, length, False, None
        elif epoch != self.epoch or self.begun:
            self.epoch, self.step, self.begun, self.over = epoch, 0, False, None

    def loaded(self) -> None:
        """A new loader loads the state that is taken here."""
        self.over = self.epoch - 1 if self.step == 0 and self.epoch > 0 else None
        self.begun = False

    def skip(self, batches: int, length: int) -> None:
        self.begun, self.over = False, None
        for _ in range(batches):
            if self.step == length:
                self.epoch, self.step = self.epoch + 1, 0
            self.step += 1
        if batches and self.step == length:
            self.epoch, self.step = self.epoch + 1, 0


def same(a: torch.Tensor, b: torch.Tensor) -> bool:
    """Raw pixels exactly, views within the tolerance of float32."""
    if not a.is_floating_point():
        return torch.equal(a, b)
    return a.shape == b.shape and bool((a - b).abs().max() <= 1e-4)
