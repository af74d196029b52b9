"""``python -m benchmarks.loop``: what the training loop itself costs, and each method's memory.

The loop is run with a learner of a few numbers, so that what remains of a step, but for waiting for
data, is its own. Without workers its thread makes the data, too, and nothing runs beside it; with
them it shares the cores, and Python's lock, with the loader's threads. Both are shown.

Each method is then run for a few steps in a process of its own, on made scenes.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from types import SimpleNamespace
from typing import Any

from torch import Tensor, nn
from torch.optim import SGD, Optimizer

from benchmarks import machine
from fastload import Radiometry, Recipe, View
from ssl4eo_train.__main__ import main as train
from ssl4eo_train.methods import METHODS, Learner, Progress, Published, Samples, Settings
from ssl4eo_train.tracking import NAME, read

BATCH = 32
WORKERS = 2


class Nothing(Learner):
    """Learns a few numbers, and looks at no pixel."""

    def __init__(self, bands: int) -> None:
        super().__init__()
        self.numbers = nn.Linear(bands, 1)
        self.pool = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), self.numbers)

    @property
    def backbone(self) -> nn.Module:
        """See `Learner.backbone`."""
        return self.pool

    def forward(self, views: list[Tensor], samples: Samples) -> tuple[Tensor, dict[str, Tensor]]:
        """See `Learner.forward`."""
        loss: Tensor = self.numbers.weight.square().sum()
        return loss, {"spread": loss.detach()}

    def optimizer(self, lr: float | None) -> Optimizer:
        """See `Learner.optimizer`."""
        return SGD(self.parameters(), lr=1e-3)

    def before_step(self, optimizer: Optimizer, progress: Progress) -> float:
        """See `Learner.before_step`."""
        return 1e-3


@dataclass(frozen=True)
class Options:
    """There are none."""


def _recipe(image_size: int, arch: str, options: Options) -> Recipe:
    return Recipe((View(size=image_size),), Radiometry.standardise())


def _build(settings: Settings) -> Nothing:
    return Nothing(settings.bands)


def overhead(steps: int, workers: int) -> list[float]:
    """Milliseconds of each step of a run of `Nothing` that were not spent waiting for data."""
    published = Published(arch="none", image_size=8, batch=BATCH, epochs=1)
    method: Any = SimpleNamespace(
        PUBLISHED=published, Options=Options, recipe=_recipe, build=_build
    )
    METHODS["nothing"] = method
    try:
        with tempfile.TemporaryDirectory() as folder:
            line = ["--method", "nothing", "--data", str(_scenes()), "--out", folder]
            line += ["--device", "cpu", "--steps", str(steps), "--batch-size", str(BATCH)]
            line += ["--workers", str(workers)]
            if train(line) != 0:
                raise RuntimeError("the run did not end well")
            rows = list(read(Path(folder) / NAME))
    finally:
        del METHODS["nothing"]
    return [1e3 * BATCH / row["samples_per_s"] * (1 - row["waiting"]) for row in rows[10:]]


def _scenes() -> Path:
    from ssl4eo_train import made

    return made.scenes(["S2L1C"])


def peak(method: str, steps: int) -> float:
    """MiB of resident memory that a short run of a method on made scenes takes at most."""
    with tempfile.TemporaryDirectory() as folder:
        line = [sys.executable, "-m", "ssl4eo_train", "--method", method, "--device", "cpu"]
        line += ["--steps", str(steps), "--out", folder]
        process = subprocess.Popen(line, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        _, status, usage = os.wait4(process.pid, 0)
        if status != 0:
            raise RuntimeError(f"{method}: the run ended with status {status}")
    return usage.ru_maxrss / 1024


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, and print a table."""
    p = argparse.ArgumentParser(prog="python -m benchmarks.loop", description=__doc__)
    p.add_argument("--steps", type=int, default=400, help="of the run without a model")
    p.add_argument("--json", type=Path, metavar="FILE")
    args = p.parse_args(argv)
    costs = {workers: sorted(overhead(args.steps, workers)) for workers in (0, WORKERS)}
    memory = {name: peak(name, 3) for name in METHODS}
    for workers, found in costs.items():
        quarter = len(found) // 4
        print(
            f"the loop itself, {workers} workers: {median(found):.2f} ms a step (quartiles "
            f"{found[quarter]:.2f} to {found[-quarter]:.2f}), aim below 1 ms: "
            f"{'met' if median(found) < 1 else 'above'}"
        )
    for name, mib in memory.items():
        print(f"{name:<10} {mib:6.0f} MiB at most, on made scenes on the CPU")
    if args.json is not None:
        out = {"machine": machine.describe(), "milliseconds": costs, "peak_mib": memory}
        args.json.write_text(json.dumps(out, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
