"""Who sees what, when: pure functions of a few integers.

Order. With `shuffle` an epoch is one permutation of all samples, a function of (seed, epoch). Step
s is the slice ``[s*G, (s+1)*G)`` of it, where G = batch size x world size; rank r takes every
world-th of that slice, starting at r. So any number of ranks sees the same global batches.

The last slice may be short. Then it is dropped (`drop_last`), or filled up to a multiple of the
world size from the start of the epoch's order, so that all ranks get equally many. A slice that was
filled up may be dealt otherwise (`blocks`): rank r gets the r-th of world-size equal parts, so that
what fills it up stands at the end of the ranks' batches one after the other, where Accelerate cuts
it off. The ranks together see the same samples either way.

Block shuffle (`window` shards): shards are permuted, `window` of them at a time are joined, and the
samples inside each such block are permuted. Neighbours in the order are then near on disk.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastload_kernels.philox import ORDER, words

Indices = NDArray[np.int64]


@dataclass(frozen=True)
class Plan:
    """The order of a run, seen from one rank.

    Attributes:
        samples: how many samples the dataset has.
        batch_size: samples per step on each rank.
        shards: shard of each sample ``[N]``; only block shuffle needs it.
        window: how many shards a block joins; 0 is a full permutation.
        blocks: deal a last step that was filled up in parts, one after the other.
    """

    samples: int
    batch_size: int
    seed: int = 0
    shuffle: bool = False
    drop_last: bool = False
    rank: int = 0
    world_size: int = 1
    window: int = 0
    shards: NDArray[np.uint32] | None = None
    blocks: bool = False

    def __post_init__(self) -> None:
        if self.batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, got {self.batch_size}")
        if not 0 <= self.rank < self.world_size:
            raise ValueError(f"rank {self.rank} is not in a world of {self.world_size}")
        if self.window < 0 or (self.window and self.shards is None):
            raise ValueError(f"window must be a number of shards of the dataset, got {self.window}")
        if not 0 <= self.seed < 2**64:
            raise ValueError(f"seed must be in [0, 2**64), got {self.seed}")

    @property
    def global_batch(self) -> int:
        """Samples per step on all ranks together."""
        return self.batch_size * self.world_size

    @property
    def remainder(self) -> int:
        """Samples in the last, short step of all ranks; 0 for none, -1 where it is dropped."""
        return -1 if self.drop_last else self.samples % self.global_batch

    def __len__(self) -> int:
        """Steps per epoch, the same on every rank."""
        full, rest = divmod(self.samples, self.global_batch)
        return full + (rest > 0 and not self.drop_last)

    def order(self, epoch: int) -> Indices:
        """The global order ``[N]`` of an epoch."""
        if not self.shuffle:
            return np.arange(self.samples, dtype=np.int64)
        if self.window:
            return self._block_order(epoch)
        return permutation(self.samples, self.seed, epoch, 0)

    def _block_order(self, epoch: int) -> Indices:
        assert self.shards is not None
        by_shard = np.argsort(self.shards, kind="stable")
        _, starts = np.unique(self.shards[by_shard], return_index=True)
        groups = np.split(by_shard, starts[1:])
        shuffled = permutation(len(groups), self.seed, epoch, 1)
        blocks = []
        for b, at in enumerate(range(0, len(groups), self.window)):
            block = np.concatenate([groups[g] for g in shuffled[at : at + self.window]])
            blocks.append(block[permutation(len(block), self.seed, epoch, 2 + b)])
        return np.concatenate(blocks).astype(np.int64)

    def steps(self, epoch: int) -> "Steps":
        """This rank's batches of an epoch."""
        return Steps(self, self.order(epoch))

    def fingerprint(self) -> dict[str, Any]:
        """What the order depends on, apart from the dataset."""
        return {
            "samples": self.samples,
            "seed": self.seed,
            "global_batch": self.global_batch,
            "shuffle": self.shuffle,
            "drop_last": self.drop_last,
            "window": self.window,
        }


Step = Callable[[int], Indices | None]
"""The batch of an epoch's remaining step i as sample ids; None past the end. Pure: it may be asked
in any order and more than once."""


class Steps(Sequence[Indices]):
    """The batches of one rank and epoch: item s is the sample ids of step s."""

    def __init__(self, plan: Plan, order: Indices) -> None:
        self.plan, self.order = plan, order

    def __len__(self) -> int:
        return len(self.plan)

    def since(self, start: int) -> Step:
        """The steps from `start` on."""
        return lambda i: self[start + i] if start + i < len(self) else None

    def __getitem__(self, step: int) -> Indices:  # type: ignore[override]
        p, together = self.plan, self.together(step)
        filled_up = not p.drop_last and p.samples % p.world_size > 0
        if p.blocks and filled_up and range(len(self))[step] == len(self) - 1:
            return np.split(together, p.world_size)[p.rank]
        return together[p.rank :: p.world_size]

    def together(self, step: int) -> Indices:
        """The samples of a step on all ranks."""
        p = self.plan
        step = range(len(self))[step]
        chosen = self.order[step * p.global_batch : (step + 1) * p.global_batch]
        missing = -len(chosen) % p.world_size
        if missing:
            chosen = np.concatenate([chosen, np.resize(self.order, missing)])
        return chosen


def permutation(n: int, seed: int, epoch: int, stream: int) -> Indices:
    """Permutation of ``range(n)``: 64 random bits each, sorted; `stream` tells several apart."""
    bits = words(seed, epoch, np.arange(n), ORDER, 4 * stream, 2)
    return np.argsort((bits[:, 0] << np.uint64(32)) | bits[:, 1], kind="stable")
