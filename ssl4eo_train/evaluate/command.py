"""The command line of the evaluation."""

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_args

import torch

from fastload import DataError
from fastload.processors import processors
from ssl4eo_train import presets
from ssl4eo_train.errors import SetupError
from ssl4eo_train.evaluate import result, subsets, tasks
from ssl4eo_train.evaluate.bench import Bench
from ssl4eo_train.evaluate.inputs import match
from ssl4eo_train.evaluate.numbers import metrics
from ssl4eo_train.evaluate.numbers.number import percent
from ssl4eo_train.evaluate.pages import examples, report
from ssl4eo_train.evaluate.pretrained import UNTRAINED, Channel, Wanted, load
from ssl4eo_train.evaluate.protocols import PROTOCOLS, Module, protocol
from ssl4eo_train.evaluate.published_settings import task_options
from ssl4eo_train.evaluate.task import Task


def run(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status.

    That is 0; 1 after data that cannot be read; 2 where the evaluation cannot start; 130 after
    Ctrl-C.
    """
    args = parser().parse_args(argv)
    try:
        evaluate(args)
    except SetupError as error:
        print(f"ssl4eo_train.evaluate: {error}", file=sys.stderr)
        return 2
    except (DataError, OSError, ValueError) as error:
        print(f"ssl4eo_train.evaluate: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("ssl4eo_train.evaluate: stopped; no result was written", file=sys.stderr)
        return 130
    return 0


def evaluate(args: argparse.Namespace) -> dict[str, Any]:
    """Do what the command line says; returns what is in ``result.json``."""
    began = time.monotonic()
    how = protocol(args.protocol)
    asked_of_task = presets.assignments(args.task_options, "--task-options")
    task = tasks.task(args.task, asked_of_task)
    options = _options(args, task, how)
    result.claim(args.out, args.overwrite)
    backbone = load(
        args.checkpoint,
        arch=args.arch,
        channels=_channels(args.modality, args.bands),
        wanted=args.radiometry,
        image_size=args.image_size,
        seed=args.seed,
    )
    if args.protocol == "published":
        method = options.method or backbone.method
        task = tasks.task(args.task, {**task_options(args.task, method), **asked_of_task})
    offered = task.offers(args.data)
    # The papers show zeros for B10 of L2A, and for what So2Sat lacks.
    zeros = args.missing_bands == "zero" or args.protocol == "published"
    inputs = match(backbone.channels, offered, zeros, backbone.wanted)
    splits = task.splits(args.data, inputs.bands, args.seed)
    draws = getattr(how, "DRAWS", False)
    few = splits.train if draws else subsets.part(splits.train, args.fraction, task)
    bench = Bench(
        task=task,
        pretrained=backbone,
        inputs=inputs,
        splits={"train": few, "val": splits.val, "test": splits.test},
        device=torch.device(_device(args.device)),
        workers=args.workers,
        seed=args.seed,
        out=args.out,
        engine=args.loader,
        cache=args.cache,
        origin=f"{args.task} {args.data} {task.options}",
        name=args.task,
        fraction=args.fraction,
    )
    torch.manual_seed(args.seed)
    outcome = how.run(bench, options)
    measured = metrics.measure(task, outcome, args.seed)
    shown = outcome.examples or examples.of_scores(bench, outcome.test)
    seconds = time.monotonic() - began
    content = result.record(bench, outcome, measured, vars(args), splits.told, seconds)
    result.write(args.out, content)
    report.write(args.out, content, shown, task.ignored)
    print(f"{args.task} {args.protocol} {task.metric} {percent(measured.numbers[task.metric])}")
    return content


def _options(args: argparse.Namespace, task: Task, how: Module) -> Any:
    """The protocol's options.

    Raises:
        SetupError: where there is no such option, or the protocol is not for the task.
    """
    if task.kind not in how.KINDS:
        raise SetupError(
            f"--protocol {args.protocol} is for tasks of {', '.join(how.KINDS)}; "
            f"{args.task} is one of {task.kind}"
        )
    return presets.made(how.Options, presets.assignments(args.set), "--set")


def _channels(modality: str | None, bands: list[str] | None) -> tuple[Channel, ...] | None:
    if bands is None:
        return None
    return tuple(Channel(modality=modality or "S2L1C", band=band) for band in bands)


def _device(wanted: str) -> str:
    if wanted == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    return wanted


def parser() -> argparse.ArgumentParser:
    """The command line."""
    p = argparse.ArgumentParser(
        prog="python -m ssl4eo_train.evaluate",
        description="Downstream numbers of a checkpoint, as result.json and report.html.",
    )
    p.add_argument("--task", choices=list(tasks.TASKS), required=True)
    p.add_argument("--protocol", choices=list(PROTOCOLS), required=True)
    p.add_argument(
        "--checkpoint",
        required=True,
        metavar="FILE",
        help=f"a run's folder, an export, a published file, or {UNTRAINED!r}",
    )
    p.add_argument("--data", required=True, metavar="ROOT", help="the task's files, as distributed")
    p.add_argument("--out", type=Path, required=True, metavar="DIR")
    p.add_argument("--overwrite", action="store_true", help="what lies in --out of another one")
    p.add_argument("--arch", help="of a file that does not say it")
    p.add_argument("--modality", help="of a file that does not say it")
    p.add_argument("--bands", nargs="+", metavar="NAME", help="of a file that does not say them")
    p.add_argument("--radiometry", choices=get_args(Wanted), help="default: as the file's kind")
    p.add_argument("--image-size", type=int, metavar="N", help="default: that of training")
    p.add_argument(
        "--missing-bands",
        choices=("error", "zero"),
        default="error",
        help="bands of the backbone that the task lacks: refuse them, or show zeros",
    )
    p.add_argument("--set", nargs="+", default=[], metavar="NAME=VALUE", help="of the protocol")
    p.add_argument(
        "--fraction",
        type=float,
        default=1.0,
        metavar="SHARE",
        help="of the training samples: a frozen share, 0.01 being in 0.1",
    )
    p.add_argument("--cache", type=Path, metavar="DIR", help="keep features of frozen backbones")
    p.add_argument(
        "--task-options", nargs="+", default=[], metavar="NAME=VALUE", help="of the task"
    )
    p.add_argument("--loader", choices=("threads", "dali"), default="threads")
    p.add_argument("--workers", type=int, default=min(16, processors()), metavar="N")
    p.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    p.add_argument("--seed", type=int, default=0, metavar="N")
    return p
