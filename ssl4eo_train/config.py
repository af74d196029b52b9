"""What a run is asked to do: the command line, and the resolved configuration."""

import argparse
import dataclasses
import json
import os
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from ssl4eo_train import made
from ssl4eo_train.distributed import World
from ssl4eo_train.errors import SetupError
from ssl4eo_train.methods import METHODS, Method

LOADERS = ("dali", "threads", "torch")
PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True, kw_only=True)
class Config:
    """One run, with nothing left to decide but what depends on the data."""

    method: str
    loader: str
    data: str | None
    """Root folder of the dataset; None for made scenes."""
    split: str
    statistics: str
    modality: str
    arch: str
    image_size: int
    """Side of a view in pixels."""
    batch_size: int
    """Samples a step in each process."""
    epochs: int
    """Length of the schedule; a run without `steps` ends there."""
    steps: int | None
    """Optimizer steps after which the run ends."""
    device: str
    precision: str
    workers: int
    seed: int
    queue: int | None
    """Keys remembered by contrastive methods; None for the published number."""
    lr: float | None
    """Learning rate at the start of the schedule; None for the published one."""
    momentum: float | None
    """Of the key encoder's moving average; None for the published one."""
    log_every: int
    """Steps between two looks at the loss. Every step is logged all the same."""
    save_every: int | None
    """Steps between checkpoints; None for each epoch, but not more often than 100 steps."""
    out: str
    resume: bool

    def claim(self) -> None:
        """Make the output folder and see that it can be written to.

        Raises:
            SetupError: where it cannot.
        """
        try:
            Path(self.out).mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=self.out) as file:
                file.write(b"x")
        except OSError as error:
            raise SetupError(f"--out: cannot write to {self.out}: {error.strerror}") from error

    def write(self) -> None:
        """Write ``config.json`` into the output folder."""
        text = json.dumps(dataclasses.asdict(self), indent=2) + "\n"
        (Path(self.out) / "config.json").write_text(text, encoding="utf-8")


CONTINUED = (
    *("method", "data", "split", "statistics", "modality", "arch", "image_size"),
    *("epochs", "steps", "precision", "seed", "queue", "lr", "momentum"),
)
"""What a resumed run takes from its checkpoint where the command line says nothing."""


def parser() -> argparse.ArgumentParser:
    """The command line. Options that are not given are absent from the result."""
    p = argparse.ArgumentParser(
        prog="python -m ssl4eo_train",
        description="Pre-train a backbone on SSL4EO-S12 without labels.",
        argument_default=argparse.SUPPRESS,
    )
    p.add_argument("--method", choices=list(METHODS), help="default: moco_v2")
    p.add_argument(
        "--data", metavar="ROOT", help="root folder of SSL4EO-S12 v1.1; default: made scenes"
    )
    p.add_argument("--split", help="folder below the root; default: train")
    p.add_argument("--modality", help="default: S2L1C")
    p.add_argument("--statistics", help="named statistics of the data; default: v1.1-webdataset")
    p.add_argument("--loader", choices=LOADERS, help="default: dali on a GPU, threads on the CPU")
    p.add_argument(
        "--workers", type=_count(0), metavar="N", help="default: the usable cores, at most 16"
    )
    p.add_argument("--arch", help="a backbone of timm; default: as published")
    p.add_argument(
        "--image-size", type=_count(1), metavar="N", help="pixels; default: as published"
    )
    p.add_argument(
        "--batch-size", type=_count(1), metavar="N", help="samples a step in each process"
    )
    p.add_argument("--epochs", type=_count(1), metavar="N", help="length of the schedule")
    p.add_argument(
        "--steps", type=_count(1), metavar="N", help="end after this many optimizer steps"
    )
    p.add_argument("--queue", type=_count(1), metavar="N", help="keys that MoCo remembers")
    p.add_argument("--lr", type=float, metavar="X", help="learning rate at the start")
    p.add_argument("--momentum", type=float, metavar="X", help="of the key encoder, in [0, 1)")
    p.add_argument("--device", choices=("auto", "cpu", "cuda"), help="default: auto")
    p.add_argument("--precision", choices=list(PRECISIONS), help="default: fp32")
    p.add_argument("--seed", type=_count(0), metavar="N", help="default: 0")
    p.add_argument(
        "--log-every", type=_count(1), metavar="N", help="steps between looks at the loss"
    )
    p.add_argument("--save-every", type=_count(1), metavar="N", help="steps between checkpoints")
    p.add_argument("--out", metavar="DIR", help="default: runs/METHOD-TIME")
    p.add_argument("--resume", action="store_true", help="continue the run in --out")
    return p


def _count(least: int) -> Any:
    """An argparse type: whole numbers from `least` on."""

    def count(text: str) -> int:
        if (value := int(text)) < least:
            raise argparse.ArgumentTypeError(f"expected at least {least}, got {text}")
        return value

    return count


def resolve(given: Mapping[str, Any], saved: Mapping[str, Any] | None, world: World) -> Config:
    """Fill in what the command line leaves open.

    Args:
        given: the options that were given, by field name.
        saved: ``config`` and ``run`` of the checkpoint of a resumed run.
        world: the processes.

    Raises:
        SetupError: where the options do not fit together.
    """
    device = _device(given.get("device", "auto"))
    earlier = {} if saved is None else {name: saved["config"][name] for name in CONTINUED}
    if "epochs" in given and "steps" not in given:
        earlier.pop("steps", None)  # Asked to go on to another end.
    name = {**earlier, **given}.get("method", "moco_v2")
    values = {
        **_always(name, device),
        **(_published(METHODS[name], world) if {**earlier, **given}.get("data") else made.SETTING),
        **earlier,
        **({} if saved is None else {"batch_size": _share(saved["run"]["batch"], world)}),
        **given,
        "device": device,
    }
    return Config(**values)


def _always(method: str, device: str) -> dict[str, Any]:
    """Defaults of every run."""
    return {
        "method": method,
        "data": None,
        "split": "train",
        "statistics": "v1.1-webdataset",
        "modality": "S2L1C",
        "loader": "dali" if device == "cuda" else "threads",
        "workers": min(16, len(os.sched_getaffinity(0))),
        "steps": None,
        "precision": "fp32",
        "seed": 0,
        "queue": None,
        "lr": None,
        "momentum": None,
        # Reading the loss makes the CPU wait for the GPU; on the CPU it costs nothing.
        "log_every": 10 if device == "cuda" else 1,
        "save_every": None,
        "out": f"runs/{method}-{time.strftime('%Y%m%d-%H%M%S')}",
        "resume": False,
    }


def _published(method: Method, world: World) -> dict[str, Any]:
    """Defaults of a run on real data."""
    p = method.PUBLISHED
    return {
        "arch": p.arch,
        "image_size": p.image_size,
        "batch_size": _share(p.batch, world),
        "epochs": p.epochs,
    }


def _share(batch: int, world: World) -> int:
    """Samples for each process, of a step of `batch`."""
    if batch % world.size:
        raise SetupError(
            f"--batch-size: {world.size} processes cannot share a step of {batch} samples evenly"
        )
    return batch // world.size


def _device(wanted: str) -> str:
    if wanted == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if wanted == "cuda" and not torch.cuda.is_available():
        raise SetupError("--device cuda: torch finds no GPU here")
    return wanted
