"""The command line."""

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fastload import DataError
from fastload.datasets import LAYOUTS
from ssl4eo_train import __version__, checkpoint, distributed, help_method
from ssl4eo_train.config import (
    EPOCHS,
    FUSIONS,
    LOADERS,
    MISSING,
    ON_ERROR,
    PRECISIONS,
    SEASONS,
    resolve,
)
from ssl4eo_train.distributed import World
from ssl4eo_train.errors import PeerError, SetupError
from ssl4eo_train.methods import METHODS
from ssl4eo_train.train import train


def run(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status.

    That is 0; 1 after data that cannot be read, a machine without handles or memory, a full disk,
    another process of the run that ended, or a loss that is not finite; 2 where the run cannot
    start; 130 after Ctrl-C, 143 after SIGTERM, 138 and 140 after SIGUSR1 and SIGUSR2.
    """
    given = vars(parser().parse_args(argv))
    try:
        world = distributed.environment()
        if world.told:
            print(world.told, flush=True)
        saved = _saved(given, world)
        return train(resolve(given, saved, world), saved, world)
    except SetupError as error:
        print(f"ssl4eo_train: {error}", file=sys.stderr)
        return 2
    except (DataError, OSError, PeerError, FloatingPointError) as error:
        print(f"ssl4eo_train: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("ssl4eo_train: stopped at once; nothing more was saved", file=sys.stderr)
        return 130
    finally:
        distributed.stop()


def _saved(given: Mapping[str, Any], world: World) -> dict[str, Any] | None:
    """The checkpoint to go on from; None where the run starts.

    A job that is started again and again always says --resume, also before its first checkpoint.
    """
    if not given.get("resume"):
        return None
    if "out" not in given:
        raise SetupError("--resume: --out must name the folder of the run to continue")
    folder = Path(given["out"])
    if checkpoint.exists(folder):
        return checkpoint.load(folder)
    if world.first:
        print(f"--resume: {folder} holds no checkpoint yet, so the run starts from the beginning",
              flush=True)  # fmt: skip
    return None


def parser() -> argparse.ArgumentParser:
    """The command line. Options that are not given are absent from the result."""
    script = Path(sys.argv[0]).stem == "ssl4eo-train"
    p = argparse.ArgumentParser(
        prog="ssl4eo-train" if script else "python -m ssl4eo_train",
        description="Pre-train a backbone on SSL4EO-S12 without labels.",
        argument_default=argparse.SUPPRESS,
    )
    p.add_argument("--version", action="version", version=f"ssl4eo-train {__version__}")
    p.add_argument(
        "--config", metavar="NAME", help="settings of a published run by name, or any YAML file"
    )
    p.add_argument("--method", choices=list(METHODS), help="default: moco_v2")
    p.add_argument(
        "--set", nargs="+", metavar="NAME=VALUE", help="options of the method, see --help-method"
    )
    p.add_argument(
        "--help-method", choices=list(METHODS), action=_HelpMethod, help="list its options and exit"
    )
    p.add_argument(
        "--data", metavar="ROOT", help="root folder or URL of the data; default: made scenes"
    )
    p.add_argument(
        "--layout", choices=list(LAYOUTS), help="of the data; default: what lies there tells"
    )
    p.add_argument("--split", help="of the data, where it has splits; default: the layout's")
    p.add_argument(
        "--data-options",
        nargs="+",
        metavar="NAME=VALUE",
        help="further arguments of the layout's class, see fastload/datasets",
    )
    p.add_argument("--modality", nargs="+", metavar="NAME", help="one or more; default: S2L1C")
    p.add_argument(
        "--bands",
        nargs="+",
        metavar="NAME",
        help="bands to read, or of several modalities MODALITY=NAME,NAME ...; default: all",
    )
    p.add_argument(
        "--missing",
        choices=MISSING,
        help="locations that some modality lacks: refuse them, or leave them out; default: error",
    )
    p.add_argument(
        "--resample",
        type=_count(0),
        metavar="SEED",
        help="draw the locations with replacement, as many as there are, as the published MAE",
    )
    p.add_argument(
        "--on-error",
        choices=ON_ERROR,
        help="a sample that cannot be read: save a checkpoint and end, or show another one in its "
        "place; listed in errors.jsonl; default: raise",
    )
    p.add_argument(
        "--fusion",
        choices=FUSIONS,
        help="of several modalities: stack them; do so, but drop one at random in half of the "
        "views; show one in each view, in turn; default: early",
    )
    p.add_argument("--seasons", choices=SEASONS, help="of the views; default: as the method has it")
    p.add_argument("--statistics", help="of the data, a name or JSON file; default: the layout's")
    p.add_argument("--loader", choices=LOADERS, help="default: threads")
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
        "--epoch-of",
        choices=EPOCHS,
        help="what an epoch has as many samples as; with dates, as SeCo counts, it is several "
        "passes; default: locations",
    )
    p.add_argument(
        "--steps", type=_count(1), metavar="N", help="end after this many optimizer steps"
    )
    p.add_argument(
        "--accumulate", type=_count(1), metavar="N", help="forward passes that a step is split into"
    )
    p.add_argument("--init", metavar="FILE", help="weights that the backbone starts from")
    p.add_argument("--lr", type=float, metavar="X", help="learning rate at the start")
    p.add_argument("--device", choices=("auto", "cpu", "cuda"), help="default: auto")
    p.add_argument("--precision", choices=list(PRECISIONS), help="default: fp32")
    p.add_argument("--compile", action="store_true", help="compile the networks with torch.compile")
    p.add_argument(
        "--checkpointing", action="store_true", help="recompute activations to save memory"
    )
    p.add_argument(
        "--device-cache", type=_count(0), metavar="BYTES", help="GPU memory for decoded samples"
    )
    p.add_argument("--seed", type=_count(0), metavar="N", help="default: 0")
    p.add_argument(
        "--log-every", type=_count(1), metavar="N", help="steps between looks at the loss"
    )
    p.add_argument("--save-every", type=_count(1), metavar="N", help="steps between checkpoints")
    p.add_argument("--out", metavar="DIR", help="default: runs/METHOD-TIME")
    p.add_argument(
        "--resume",
        action="store_true",
        help="continue the run in --out, or start it where it has no checkpoint yet",
    )
    return p


class _HelpMethod(argparse.Action):
    """Prints the options of a method, and exits."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Any,
        option_string: str | None = None,
    ) -> None:
        print(help_method.text(values))
        parser.exit()


def _count(least: int) -> Any:
    """An argparse type: whole numbers from `least` on."""

    def count(text: str) -> int:
        if (value := int(text)) < least:
            raise argparse.ArgumentTypeError(f"expected at least {least}, got {text}")
        return value

    return count
