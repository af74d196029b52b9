"""The command: runs the parts, writes the JSON file after each, and prints the table."""

import json
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from time import monotonic

import torch

from benchmarks.gpu import child, device, present, summary
from benchmarks.gpu.options import parse
from benchmarks.gpu.parts import PARTS, Result
from benchmarks.gpu.supervise import Supervisor

NO_CUDA = 2


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns its exit code, see `benchmarks.gpu`."""
    command = parse(list(PARTS), argv)
    deadline = monotonic() + 60 * command.minutes
    if not torch.cuda.is_available():
        print(
            "benchmarks.gpu needs a CUDA device, and torch finds none here, so nothing was run.",
            file=sys.stderr,
        )
        return NO_CUDA
    results: list[Result] = []
    machine, inactive = device.describe(), present.inactive()
    options = asdict(command.options)
    print(
        f"{machine['gpu']}, driver {machine['driver']}, CUDA {machine['cuda']}", *inactive, sep="\n"
    )

    def tell(result: Result) -> None:
        results.append(result)
        print(summary.line(result), flush=True)
        found = summary.as_json(results, inactive, machine, options)
        command.json.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")

    with tempfile.TemporaryDirectory() as folder:
        lines = Path(folder) / "results.jsonl"
        start = partial(child.command, command.options, lines)
        Supervisor(start, lines, command.patience, deadline, tell).run(command.only or tuple(PARTS))
    print(summary.text(results, inactive, machine))
    print(f"written to {command.json}")
    return summary.exit_code(results)
