"""``result.json``: what an evaluation found, and all that it depended on."""

import dataclasses
import json
from pathlib import Path
from typing import Any

from ssl4eo_train import __version__
from ssl4eo_train.evaluate.bench import Bench
from ssl4eo_train.evaluate.outcome import Outcome
from ssl4eo_train.files import replaced

NAME = "result.json"


def record(
    bench: Bench,
    outcome: Outcome,
    numbers: dict[str, Any],
    asked: dict[str, Any],
    told: str,
) -> dict[str, Any]:
    """What is written.

    Args:
        bench, outcome: of the evaluation.
        numbers: see `metrics.metrics`.
        asked: the command line, everything resolved.
        told: how the splits were made.
    """
    p = bench.pretrained
    return {
        "format": 1,
        "version": __version__,
        "task": asked["task"],
        "protocol": asked["protocol"],
        "metric": bench.task.metric,
        "numbers": numbers,
        "classes": list(bench.task.classes),
        "splits": {name: len(dataset) for name, dataset in bench.splits.items()},
        "splits_told": told,
        "chosen": outcome.chosen,
        "settings": outcome.settings,
        "history": outcome.history,
        "told": outcome.told,
        "checkpoint": {
            "source": p.source,
            "sha256": p.digest,
            "method": p.method,
            "arch": p.arch,
            "channels": [dataclasses.asdict(c) for c in p.channels],
            "wanted": p.wanted,
        },
        "bands": {name: list(bands) for name, bands in bench.inputs.bands.items()},
        "config": asked,
    }


def write(folder: Path, content: dict[str, Any]) -> None:
    """Put ``result.json`` into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    replaced(folder / NAME, json.dumps(content, indent=2) + "\n")
