"""Two real processes joined by gloo."""

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
    """Call ``work(*args)`` in two processes that know each other; what each returns, by rank.

    `work` must be at the top of a module, and return tensors and plain values.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with tempfile.TemporaryDirectory() as folder:
        mp.start_processes(
            _process, args=(port, folder, work, args), nprocs=2, start_method="spawn"
        )
        return [torch.load(Path(folder) / f"{rank}.pt", weights_only=True) for rank in range(2)]


def _process(
    rank: int, port: int, folder: str, work: Callable[..., dict[str, Any]], args: tuple[Any, ...]
) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", f"tcp://127.0.0.1:{port}", rank=rank, world_size=2)
    torch.save(work(*args), Path(folder) / f"{rank}.pt")
    distributed.wait()
    distributed.stop()
