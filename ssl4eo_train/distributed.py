"""Processes that train together, started by torchrun or srun; one alone is a world of size 1.

Samples are dealt as `fastload` deals them: rank r holds samples r, r + world, ... of a step.
`gather` puts them back into the step's order, so that every world size sees the same sequence.
"""

import gc
import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from fastload_kernels.philox import words
from ssl4eo_train import slurm
from ssl4eo_train.errors import PeerError, SetupError

SHUFFLE_KEYS = 0xFFFF0000
"""Philox view id of the draws that shuffle keys; far from the ids of views."""


@dataclass(frozen=True)
class World:
    """Where this process stands."""

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    """Rank on this machine, which is the index of its GPU."""
    told: str = ""
    """Who formed the world, as a line for the user; empty where that is nothing to tell."""

    @property
    def first(self) -> bool:
        """Whether this process prints and writes for all."""
        return self.rank == 0


def environment() -> World:
    """Read what torchrun says of this process, or else what Slurm does.

    Raises:
        SetupError: where Slurm's variables cannot be understood.
    """
    if "WORLD_SIZE" in os.environ:
        names = ("RANK", "WORLD_SIZE", "LOCAL_RANK")
        rank, size, local_rank = (int(os.environ.get(name, "0")) for name in names)
        return World(rank, size, local_rank)
    task = slurm.task(os.environ)
    if task is None:
        return World(told=slurm.note(os.environ) or "")
    # torch looks for these two.
    os.environ |= {"MASTER_ADDR": task.address, "MASTER_PORT": str(task.port)}
    return World(task.rank, task.size, task.local_rank, str(task))


def device_of(name: str, world: World) -> torch.device:
    """The device of this process, which torch is set to where it is a GPU.

    Raises:
        SetupError: where there are fewer GPUs here than processes.
    """
    if name != "cuda":
        return torch.device(name)
    count = torch.cuda.device_count()
    # Slurm may show each task no GPU but its own.
    index = 0 if world.told and count == 1 else world.local_rank
    if index >= count:
        raise SetupError(f"--device cuda: process {index + 1} of this machine finds {count} GPUs")
    torch.cuda.set_device(index)
    return torch.device("cuda", index)


def start(world: World, device: torch.device) -> None:
    """Join the other processes, where there are any. Numbers on the CPU always go by gloo.

    Raises:
        SetupError: where they cannot be found.
    """
    if world.size == 1:
        return
    backend = "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo"
    try:
        dist.init_process_group(backend, rank=world.rank, world_size=world.size)
    except (RuntimeError, ValueError) as error:  # dist.DistNetworkError among others
        where = f"{os.environ.get('MASTER_ADDR')}:{os.environ.get('MASTER_PORT')}"
        why = str(error).splitlines()[0]
        raise SetupError(f"the {world.size} processes cannot meet at {where}: {why}") from error


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


@contextmanager
def _peers() -> Iterator[None]:
    """Within this context an error of the exchange is a `PeerError`."""
    try:
        yield
    except RuntimeError as error:
        raise PeerError(
            "another process of this run has ended, and its output says why "
            f"({str(error).splitlines()[0]})"
        ) from error


@contextmanager
def together() -> Iterator[None]:
    """What cannot be in one process ends all of them. Collective at the end of the context.

    Raises:
        SetupError: the one that was met, or else one that speaks of another process.
    """
    mine = None
    try:
        yield
    except SetupError as error:
        mine = error
    if largest(int(mine is not None)):
        raise mine or SetupError("another process of this run cannot start; its output says why")


def largest(number: int) -> int:
    """The largest of the processes' numbers. Collective; costs no CPU-GPU sync.

    Raises:
        PeerError: where another process is no longer there.
    """
    return _reduced(number, dist.ReduceOp.MAX) if size() > 1 else number


def total(number: int) -> int:
    """The sum of the processes' numbers; see `largest`."""
    return _reduced(number, dist.ReduceOp.SUM) if size() > 1 else number


def _reduced(number: int, how: dist.ReduceOp.RedOpType) -> int:
    numbers = torch.tensor(number)
    with _peers():
        dist.all_reduce(numbers, op=how)
    return int(numbers.item())


def is_same(number: int) -> bool:
    """Whether all processes have the same number. Collective."""
    return largest(number) == -largest(-number)


def text_of_first(text: str) -> str:
    """The text of the first process. Collective."""
    if size() == 1:
        return text
    texts = [text]
    with _peers():
        dist.broadcast_object_list(texts, src=0, device=torch.device("cpu"))
    return texts[0]


def mean(x: Tensor) -> Tensor:
    """Mean over the processes. Collective."""
    if size() == 1:
        return x
    summed = x.clone()
    with _peers():
        dist.all_reduce(summed)
    return summed / size()


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


def shuffle(x: Tensor, seed: int, step: int, parts: int = 1) -> Tensor:
    """Deal a step's samples anew: ``[N, ...]`` to another ``[N, ...]``. Collective.

    Batch norm sees which samples share its statistics, and would give the positive pair away (He et
    al., arXiv:1911.05722, section 3.3).

    Args:
        x: what this process holds.
        seed, step: what the order is a function of.
        parts: of each process, whose batch norms are apart (`split_norm`). One process of one part
            has the same statistics in any order, so that nothing is moved.
    """
    if size() * parts == 1:
        return x
    order = permutation(len(x) * size(), seed, step)
    return gather(x)[torch.from_numpy(order[rank() :: size()]).to(x.device)]


def unshuffle(x: Tensor, seed: int, step: int, parts: int = 1) -> Tensor:
    """Undo `shuffle` and gather: ``[N, ...]`` to ``[N x world, ...]`` in the step's order."""
    if size() * parts == 1:
        return x
    order = permutation(len(x) * size(), seed, step)
    return gather(x)[torch.from_numpy(order.argsort(kind="stable")).to(x.device)]
