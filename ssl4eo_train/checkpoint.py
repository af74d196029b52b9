"""Checkpoints: one file, replaced as a whole, holding nothing but tensors and plain values."""

import errno
import os
import shutil
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ssl4eo_train import distributed, older
from ssl4eo_train.errors import SetupError

NAME = "checkpoint.pt"
PART = ".part"
FORMAT, READ = 2, (1, 2)
"""The format that is written, and those that are read, see `ssl4eo_train.older`."""


def save(folder: Path, content: Mapping[str, Any]) -> None:
    """Replace the checkpoint of a folder.

    Whoever reads it, whenever and after whatever crash, finds the old file or the new one, whole.

    Args:
        folder: where the file lives.
        content: tensors, numbers, strings, None, and dicts and lists of those.

    Raises:
        OSError: where it cannot be written; the old file is then untouched.
    """
    # A name of its own, so that two runs would not write into one file where locks are missing.
    part = folder / f".{NAME}.{socket.gethostname()}-{os.getpid()}{PART}"
    try:
        with part.open("wb") as file:
            torch.save({"format": FORMAT, **content}, file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, folder / NAME)
    except RuntimeError as error:
        part.unlink(missing_ok=True)
        raise _of_disk(error, folder / NAME) from error
    except BaseException:
        part.unlink(missing_ok=True)
        raise
    _sync(folder)


def _of_disk(error: RuntimeError, path: Path) -> OSError:
    """What the disk said, of which torch's writer tells only that it wrote too little."""
    said = error.__context__
    if isinstance(said, OSError):
        return OSError(said.errno, said.strerror, str(path))
    return OSError(errno.EIO, str(error).splitlines()[0], str(path))


def sweep(folder: Path) -> None:
    """Remove what saves left that were killed. Only for who holds the folder."""
    for part in folder.glob(f".{NAME}.*{PART}"):
        part.unlink(missing_ok=True)


def _sync(folder: Path) -> None:
    """Make a rename last through a power cut."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def need_room(folder: Path, model: nn.Module) -> None:
    """See that a checkpoint fits on the disk, beside the one that it will replace.

    Raises:
        SetupError: says how much room there is, and how much is needed.
    """
    # The optimizer keeps at most two numbers beside each that is trained.
    kept = sum(x.nbytes for x in (*model.parameters(), *model.buffers()))
    needed = kept + sum(2 * p.nbytes for p in model.parameters() if p.requires_grad)
    existing = (folder / NAME).stat().st_size if (folder / NAME).exists() else 0
    free = shutil.disk_usage(folder).free
    if free + existing < 2 * needed:
        raise SetupError(
            f"--out: {folder} has {free / 1e9:.2f} GB free, but two checkpoints of up to "
            f"{needed / 1e9:.2f} GB must fit, the old one and the one that replaces it"
        )


def exists(folder: Path) -> bool:
    """Whether a folder holds a checkpoint."""
    return (folder / NAME).is_file()


def load(folder: Path) -> dict[str, Any]:
    """Read the checkpoint of a folder, on the CPU. Runs no code from the file.

    Raises:
        SetupError: where there is none, or it is not one of ours.
    """
    path = folder / NAME
    if not path.is_file():
        raise SetupError(f"--resume: there is no checkpoint {path}; leave --resume out to start")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises whatever its reader met.
        raise SetupError(f"--resume: {path} cannot be read as a checkpoint: {error}") from error
    if not isinstance(content, dict) or content.get("format") not in READ:
        raise SetupError(f"--resume: {path} is not a checkpoint of format 1 to {FORMAT}")
    return older.updated(content)


def agree(saved: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Check that a checkpoint belongs to this run.

    Raises:
        SetupError: naming the first field that differs.
    """
    for field, value in now.items():
        if saved.get(field) != value:
            raise SetupError(
                f"--resume: the checkpoint was made with {field} {saved.get(field)!r}, "
                f"this run has {value!r}"
            )


def random_state(device: torch.device) -> list[dict[str, Tensor]]:
    """State of torch's generators in every process, by rank. Collective."""
    state = {"cpu": torch.get_rng_state()}
    if device.type == "cuda":
        state["cuda"] = torch.cuda.get_rng_state(device)
    rows = {name: distributed.gather(x[None]) for name, x in state.items()}
    return [
        {name: x[rank].clone() for name, x in rows.items()} for rank in range(distributed.size())
    ]


def set_random_state(states: list[dict[str, Tensor]], device: torch.device) -> None:
    """Undo `random_state`; a process that was not there then keeps its fresh seed."""
    if distributed.rank() >= len(states):
        return
    state = states[distributed.rank()]
    torch.set_rng_state(state["cpu"])
    if device.type == "cuda" and "cuda" in state:
        torch.cuda.set_rng_state(state["cuda"], device)
