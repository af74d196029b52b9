"""What a run leaves to look at: `metrics.jsonl`, TensorBoard events and a progress bar."""

import json
import math
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import TextIO

import torch
from torch import Tensor
from tqdm.auto import tqdm

from fastload.storage.whole import write_whole
from ssl4eo_train import distributed
from ssl4eo_train.clock import Clock
from ssl4eo_train.events import Events

NAME = "metrics.jsonl"


class Tracker:
    """Keeps the numbers of each step where they are, and writes them when asked to.

    Args:
        folder: where the files go; None for a process that writes nothing.
        step: steps that are done already. Rows past it are cut from the files.
        total: steps of the run.
    """

    def __init__(self, folder: Path | None, step: int, total: int) -> None:
        self._pending: list[tuple[dict[str, float], dict[str, Tensor]]] = []
        self._parts: list[dict[str, Tensor]] = []
        self._bar = tqdm(total=total, initial=step, unit="step", disable=folder is None)
        self._lines: TextIO | None = None
        self.events: Events | None = None
        if folder is not None:
            cut(folder / NAME, step)
            self._lines = (folder / NAME).open("a", encoding="utf-8")
            # Events past the step stay in their file, and TensorBoard leaves them out.
            self.events = Events(folder, step + 1)

    def add(self, scalars: dict[str, Tensor]) -> None:
        """Keep the scalars of one forward pass, ``loss`` among them.

        They stay on their device, so that nothing waits for it.
        """
        self._parts.append({name: x.detach() for name, x in scalars.items()})

    def record(self, row: dict[str, float]) -> None:
        """End a step: its numbers, with ``step`` (from 1), beside the mean of what was added."""
        scalars = self._parts[0]
        if len(self._parts) > 1:
            scalars = {n: torch.stack([p[n] for p in self._parts]).mean() for n in scalars}
        self._pending.append((row, scalars))
        self._parts = []
        self._bar.update()

    def flush(self, clock: Clock, samples: int, counts: Mapping[str, int] | None = None) -> None:
        """Write all steps since the last flush, and close the clock's window. Collective.

        Args:
            clock: the loop's.
            samples: samples in a step, over all processes.
            counts: further numbers that hold by now, over all processes.

        Raises:
            FloatingPointError: where a loss is not finite.
            OSError: where they cannot be written.
        """
        kept, self._pending = self._pending, []
        if not kept:
            return
        clock.forget(len(kept))
        names = list(kept[0][1])
        table = torch.stack([torch.stack([x[name].float() for name in names]) for _, x in kept])
        values = distributed.mean(table).tolist()  # The CPU-GPU sync.
        for (row, _), numbers, times in zip(kept, values, clock.window(), strict=True):
            seconds, waiting = times
            speed = {"samples_per_s": samples / seconds, "waiting": waiting}
            self._write(
                {**row, **dict(zip(names, numbers, strict=True)), **speed, **(counts or {})}
            )
        if self._lines is not None and self.events is not None:
            self._lines.flush()
            self.events.flush()

    def _write(self, row: dict[str, float]) -> None:
        if not math.isfinite(row["loss"]):
            raise FloatingPointError(f"the loss of step {row['step']} is {row['loss']}")
        if self._lines is None or self.events is None:
            return
        self._lines.write(json.dumps(row) + "\n")
        for name in row.keys() - {"step"}:
            self.events.add_scalar(name, row[name], int(row["step"]))
        self._bar.set_postfix_str(
            f"loss {row['loss']:.3f}, {row['samples_per_s']:.0f} samples/s, "
            f"{row['waiting']:.0%} waiting for data"
        )

    def say(self, line: str) -> None:
        """Print a line above the bar."""
        if self._lines is not None:
            self._bar.write(line)

    def close(self) -> None:
        """End the files and the bar.

        Raises:
            OSError: where something could still not be written.
        """
        with ExitStack() as ends:
            for part in (self._lines, self.events, self._bar):
                if part is not None:
                    ends.callback(part.close)


def read(path: Path) -> Iterator[dict[str, float]]:
    """Rows of a metrics file, up to the first line that is torn."""
    with path.open(encoding="utf-8") as lines:
        for line in lines:
            try:
                row = json.loads(line)
            except json.JSONDecodeError:
                return
            yield row


def cut(path: Path, step: int) -> None:
    """Drop the rows past a step, and what a crash tore."""
    if not path.exists():
        return
    kept = [row for row in read(path) if row["step"] <= step]
    write_whole(path, "".join(json.dumps(row) + "\n" for row in kept))
