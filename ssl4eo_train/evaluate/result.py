"""``result.json``: what an evaluation found, and all that it depended on.

Two evaluations of the same files, settings and seed on the same machine give the same text, but for
`seconds`.
"""

import dataclasses
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fastload.storage.whole import write_whole
from ssl4eo_train import __version__
from ssl4eo_train.errors import SetupError
from ssl4eo_train.evaluate import surroundings
from ssl4eo_train.evaluate.bench import Bench
from ssl4eo_train.evaluate.numbers.bootstrap import PERCENTILES, RESAMPLES
from ssl4eo_train.evaluate.numbers.metrics import Measured
from ssl4eo_train.evaluate.outcome import Outcome

NAME = "result.json"
FORMAT = 1
FIELDS: dict[str, tuple[type | tuple[type, ...], str]] = {
    "format": (int, "of this file, 1"),
    "version": (str, "of this package"),
    "task": (str, "its name"),
    "task_options": (dict, "of the task, all resolved"),
    "kind": (str, "class, labels, segment or change"),
    "protocol": (str, "its name"),
    "metric": (str, "the number that the literature quotes, a name in `numbers`"),
    "numbers": (dict, "by name, each in [0, 1]: `value`, and `low` and `high` of its interval"),
    "images": (int, "tested; of tasks of pixels, tiles or windows"),
    "by_batch": (dict, "the papers' numbers, by name, see Metrics"),
    "bootstrap": (dict, "of the intervals: `resamples` of `of`, `percentiles`, `seed`"),
    "classes": (list, "names of the K classes"),
    "support": (list, "of each class, test images or pixels that are of it"),
    "per_class": (list, "of each class, numbers by name, as in `numbers`"),
    "confusion": (list, "K x K, rows being what is true; empty for several labels an image"),
    "splits": (dict, "samples in train, val and test, after `fraction`"),
    "splits_told": (str, "how they were made"),
    "fraction": ((int, float), "of the training samples, that was used"),
    "seed": (int, "of the evaluation"),
    "chosen": (dict, "what was chosen on the validation split, and its figure there"),
    "settings": (dict, "of the protocol, all resolved"),
    "history": (list, "figures by name, of each epoch or of each setting that was tried"),
    "told": (list, "oddities, in sentences"),
    "checkpoint": (dict, "`source`, `sha256`, `method`, `arch`, `channels`, `wanted`"),
    "bands": (dict, "that were read of the task, by modality"),
    "config": (dict, "the command line, all resolved"),
    "versions": (dict, "of the libraries that numbers depend on"),
    "device": (str, "that computed"),
    "commit": ((str, type(None)), "of this package's repository, if it ran from one"),
    "seconds": ((int, float), "from start to end"),
}
"""All fields: their types in JSON, and what they are."""


def record(
    bench: Bench,
    outcome: Outcome,
    measured: Measured,
    asked: Mapping[str, Any],
    told: str,
    seconds: float,
) -> dict[str, Any]:
    """What is written, see `FIELDS`.

    Args:
        bench, outcome, measured: of the evaluation.
        asked: the command line, everything resolved.
        told: how the splits were made.
        seconds: wall time.
    """
    p, task = bench.pretrained, bench.task
    content = {
        "format": FORMAT,
        "version": __version__,
        "task": asked["task"],
        "task_options": dataclasses.asdict(task.options),
        "kind": task.kind,
        "protocol": asked["protocol"],
        "metric": task.metric,
        **dataclasses.asdict(measured),
        "images": outcome.test.images,
        "bootstrap": {
            "resamples": RESAMPLES, "of": "images", "percentiles": PERCENTILES,
            "seed": bench.seed,
        },
        "classes": task.classes,
        "splits": {name: len(dataset) for name, dataset in bench.splits.items()},
        "splits_told": told,
        "fraction": asked.get("fraction", 1.0),
        "seed": bench.seed,
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
        "bands": bench.inputs.bands,
        "config": dict(asked),
        "versions": surroundings.versions(),
        "device": surroundings.device(bench.device),
        "commit": surroundings.commit(),
        "seconds": round(seconds, 3),
    }  # fmt: skip
    return {name: _plain(content[name]) for name in FIELDS}


def _plain(value: Any) -> Any:
    """A value as JSON has it; numbers that are not finite are null."""
    if hasattr(value, "item"):  # NumPy's and torch's numbers.
        value = value.item()
    if isinstance(value, Mapping):
        return {str(name): _plain(one) for name, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(one) for one in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if isinstance(value, (str, int, type(None))) else str(value)


def claim(folder: Path, overwrite: bool) -> None:
    """Make the folder of an evaluation.

    Raises:
        SetupError: where another one's result lies there, unless it may be overwritten.
    """
    if (folder / NAME).exists() and not overwrite:
        raise SetupError(
            f"--out {folder}: another evaluation's {NAME} lies there; name another folder, or say "
            "--overwrite"
        )
    if folder.exists() and not folder.is_dir():
        raise SetupError(f"--out {folder}: is a file, expected a folder or nothing")
    folder.mkdir(parents=True, exist_ok=True)


def write(folder: Path, content: dict[str, Any]) -> None:
    """Put ``result.json`` into a folder, as a whole or not at all."""
    folder.mkdir(parents=True, exist_ok=True)
    write_whole(folder / NAME, json.dumps(content, indent=2, allow_nan=False) + "\n")


def read(place: Path) -> dict[str, Any]:
    """What an evaluation found, of its folder or file.

    Raises:
        SetupError: names the file, the field and what was expected.
    """
    path = place / NAME if place.is_dir() else place
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise SetupError(f"{path}: there is no such file; an evaluation writes it") from error
    except (OSError, ValueError) as error:
        raise SetupError(f"{path}: cannot be read as JSON: {error}") from error
    if not isinstance(content, dict):
        raise SetupError(f"{path}: expected an object, found {type(content).__name__}")
    _check(path, content)
    return content


def _check(path: Path, content: Mapping[str, Any]) -> None:
    if content.get("format") != FORMAT:
        found = repr(content.get("format"))
        raise SetupError(f"{path}: format: expected {FORMAT}, found {found}")
    for name, (types, what) in FIELDS.items():
        if name not in content:
            raise SetupError(f"{path}: {name}: there is none; expected {what}")
        value = content[name]
        if not isinstance(value, types) or (isinstance(value, bool) and types is not bool):
            raise SetupError(f"{path}: {name}: expected {what}, found {value!r:.60}")
    for name, number in content["numbers"].items():
        _check_number(path, f"numbers.{name}", number)
    if content["metric"] not in content["numbers"]:
        there = ", ".join(content["numbers"])
        raise SetupError(f"{path}: metric: expected one of {there}, found {content['metric']!r}")


def _check_number(path: Path, name: str, number: Any) -> None:
    keys = ("value", "low", "high")
    good = isinstance(number, dict) and all(
        key in number and (number[key] is None or _is_share(number[key])) for key in keys
    )
    if not good:
        expected = "value, low and high, each in [0, 1] or null"
        raise SetupError(f"{path}: {name}: expected {expected}, found {number!r:.60}")


def _is_share(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value <= 1
