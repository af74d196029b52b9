"""Real processes joined by gloo, forked from one server that has imported what they need."""

import multiprocessing
import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

# Imported here so that the server has them: each process then starts at once.
import tests.harness.made

PRELOAD = ["tests.harness.processes", "accelerate", "lightning.pytorch"]


def run(work: Callable[..., Any], count: int, folder: Path, *args: Any, slurm: bool = False) -> Any:
    """Call ``work(*args)`` in processes with the variables that torchrun sets (or Slurm's srun);
    what each returns, by rank. `work` must be at the top of a module."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOAD)
    port, root = free_port(), tests.harness.made.root()
    each = [
        context.Process(
            target=_process, args=(rank, count, port, slurm, folder, root, work, args), daemon=True
        )
        for rank in range(count)
    ]
    for process in each:
        process.start()
    try:
        for process in each:
            process.join(200)
    finally:
        codes = [process.exitcode for process in each]
        for process in each:
            process.kill()
    assert codes == [0] * count
    return [torch.load(folder / f"{rank}.pt", weights_only=False) for rank in range(count)]


def variables(rank: int, count: int, port: int, slurm: bool) -> dict[str, str]:
    """What a launcher sets for a process."""
    if slurm:  # `srun --ntasks-per-node=N` on one node
        return {
            "SLURM_PROCID": str(rank), "SLURM_LOCALID": str(rank), "SLURM_NTASKS": str(count),
            "SLURM_NODEID": "0", "SLURM_NNODES": "1", "SLURM_JOB_ID": str(10000 + port),
            "SLURM_STEP_NODELIST": "localhost", "SLURM_NTASKS_PER_NODE": str(count),
            "MASTER_PORT": str(port),
        }  # fmt: skip
    return {
        "RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(count),
        "LOCAL_WORLD_SIZE": str(count), "GROUP_RANK": "0", "TORCHELASTIC_RUN_ID": str(port),
        "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port),
    }  # fmt: skip


def free_port() -> int:
    """A port of this machine that nobody listens at."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])


def _process(
    rank: int,
    count: int,
    port: int,
    slurm: bool,
    folder: Path,
    root: Path,
    work: Callable[..., Any],
    args: tuple[Any, ...],
) -> None:
    os.environ.update(variables(rank, count, port, slurm))
    tests.harness.made.root = lambda *_: root  # made once, by the test's process
    torch.set_num_threads(1)
    out = work(*args)
    torch.save(out, folder / f"{rank}.pt")
    if torch.distributed.is_initialized():
        torch.distributed.barrier()
        torch.distributed.destroy_process_group()


def world() -> int:
    """How many processes were started beside this one, itself among them."""
    return int(os.environ.get("WORLD_SIZE") or os.environ["SLURM_NTASKS"])
