"""Processes that train together, started by torchrun; one process alone is a world of size 1.

Samples are dealt as `fastload` deals them: rank r holds samples r, r + world, ... of a step.
`gather` puts them back into the step's order, so that every world size sees the same sequence.
"""

import gc
import os
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from fastload_kernels.philox import words

SHUFFLE_KEYS = 0xFFFF0000
"""Philox view id of the draws that shuffle keys; far from the ids of views."""


@dataclass(frozen=True)
class World:
    """Where this process stands."""

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    """Rank on this machine, which is the index of its GPU."""

    @property
    def first(self) -> bool:
        """Whether this process prints and writes for all."""
        return self.rank == 0


def environment() -> World:
    """Read what torchrun says of this process."""
    names = ("RANK", "WORLD_SIZE", "LOCAL_RANK")
    if "WORLD_SIZE" not in os.environ:
        return World()
    return World(*(int(os.environ.get(name, "0")) for name in names))


def start(world: World, device: torch.device) -> None:
    """Join the other processes, where there are any. Numbers on the CPU always go by gloo."""
    if world.size > 1:
        backend = "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo"
        dist.init_process_group(backend, rank=world.rank, world_size=world.size)


def stop() -> None:
    """Leave the other processes."""
    if dist.is_initialized():
        # What is left of a model may hold the group, whose threads must end before Python does.
        gc.collect()
        dist.destroy_process_group()


def no_sync(module: nn.Module) -> AbstractContextManager[None]:
    """Within this context gradients are summed up in each process, and not exchanged."""
    if isinstance(module, DistributedDataParallel):
        return module.no_sync()
    return nullcontext()


def rank() -> int:
    """Rank of this process; 0 when alone."""
    return dist.get_rank() if dist.is_initialized() else 0


def size() -> int:
    """How many processes there are; 1 when alone."""
    return dist.get_world_size() if dist.is_initialized() else 1


def wait() -> None:
    """Wait until every process is here."""
    if size() > 1:
        largest(0)  # A barrier of NCCL would claim a GPU; this one is on the CPU.


def largest(number: int) -> int:
    """The largest of the processes' numbers. Collective; costs no CPU-GPU sync."""
    if size() == 1:
        return number
    numbers = torch.tensor(number)
    dist.all_reduce(numbers, op=dist.ReduceOp.MAX)
    return int(numbers.item())


def mean(x: Tensor) -> Tensor:
    """Mean over the processes. Collective."""
    if size() == 1:
        return x
    total = x.clone()
    dist.all_reduce(total)
    return total / size()


def gather(x: Tensor) -> Tensor:
    """Put the step together: ``[N, ...]`` from each process to ``[N x world, ...]`` in its order.

    Collective; every process must hold as many. No gradient flows.
    """
    if size() == 1:
        return x
    x = x.contiguous()
    parts = [torch.empty_like(x) for _ in range(size())]
    dist.all_gather(parts, x)
    return torch.stack(parts, dim=1).flatten(0, 1)


def mine(x: Tensor) -> Tensor:
    """The rows of a step ``[N x world, ...]`` that this process holds: ``[N, ...]``."""
    return x[rank() :: size()]


def permutation(count: int, seed: int, step: int) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """Order of a step's samples while keys are made; a function of (seed, step), ``[count]``."""
    word = words(seed, step, np.arange(count), SHUFFLE_KEYS, 0, 1)[:, 0]
    return word.argsort(kind="stable").astype(np.int64)


def shuffle(x: Tensor, seed: int, step: int) -> Tensor:
    """Deal a step's samples anew: ``[N, ...]`` to another ``[N, ...]``.

    Batch norm sees which samples share a process, and would give the positive pair away (He et
    al., arXiv:1911.05722, section 3.3). Alone there is nothing to hide. Collective.
    """
    if size() == 1:
        return x
    order = permutation(len(x) * size(), seed, step)
    return gather(x)[torch.from_numpy(order[rank() :: size()]).to(x.device)]


def unshuffle(x: Tensor, seed: int, step: int) -> Tensor:
    """Undo `shuffle` and gather: ``[N, ...]`` to ``[N x world, ...]`` in the step's order."""
    if size() == 1:
        return x
    order = permutation(len(x) * size(), seed, step)
    return gather(x)[torch.from_numpy(order.argsort(kind="stable")).to(x.device)]
