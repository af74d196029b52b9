"""Real processes joined by gloo, forked from one server that has imported what they need."""

import multiprocessing
import socket
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from ssl4eo_train import distributed


def run_two(work: Callable[..., dict[str, Any]], *args: Any) -> list[dict[str, Any]]:
    """`run` in two processes."""
    return run(2, work, *args)


def run(count: int, work: Callable[..., dict[str, Any]], *args: Any) -> list[dict[str, Any]]:
    """Call ``work(*args)`` in processes that know each other; what each returns, by rank.

    `work` must be at the top of a module, and return tensors and plain values.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with tempfile.TemporaryDirectory() as folder:
        multiprocessing.set_forkserver_preload(["tests.ssl4eo_train.processes", "timm"])
        mp.start_processes(
            _process, (count, port, folder, work, args), count, start_method="forkserver"
        )
        kept = [Path(folder) / f"{rank}.pt" for rank in range(count)]
        return [torch.load(path, weights_only=True) for path in kept]


def _process(
    rank: int,
    count: int,
    port: int,
    folder: str,
    work: Callable[..., dict[str, Any]],
    args: tuple[Any, ...],
) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", f"tcp://127.0.0.1:{port}", rank=rank, world_size=count)
    torch.save(work(*args), Path(folder) / f"{rank}.pt")
    distributed.wait()
    distributed.stop()
