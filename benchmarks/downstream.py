"""What pre-training without labels gives on EuroSAT RGB: k-NN and linear probes.

`python -m benchmarks.downstream [--data DIR] [--methods NAME ...] [--seeds N] [--minutes M]
[--json FILE]` trains a small backbone by every method on EuroSAT's training chips on the CPU, with
its setting in `SETTINGS`, and evaluates it by `ssl4eo_train.evaluate` beside the same backbone
untrained. It prints a table in Markdown, and exits with 1 where a method's mean over the seeds is
not above the untrained one's in both protocols. `--full-size` takes backbones as published instead,
those of `FULL_SIZE`, on the GPU where there is one.

The split is the published one of the data (train_test_split.json), a tenth of its training chips
validating. The untrained backbone has the same initial weights; its batch norms take their
statistics from training chips first, see `benchmarks.learning.settle`. Statistics of colours alone,
probed linearly, are a baseline that knows no textures.
"""

import argparse
import contextlib
import dataclasses
import io
import json
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path
from statistics import fmean
from typing import Any

import torch

from benchmarks import machine
from benchmarks.gpu import device
from benchmarks.learning import GENTLE, by_method, run, settle, spread
from fastload.processors import processors
from ssl4eo_train import checkpoint, weights
from ssl4eo_train.config import resolve
from ssl4eo_train.distributed import World
from ssl4eo_train.evaluate.bench import Bench
from ssl4eo_train.evaluate.inputs import match
from ssl4eo_train.evaluate.numbers.figures import figure
from ssl4eo_train.evaluate.outcome import Scored
from ssl4eo_train.evaluate.pretrained import Channel, Pretrained, load
from ssl4eo_train.evaluate.protocols import protocol
from ssl4eo_train.evaluate.tasks import task
from ssl4eo_train.methods import METHODS

SEEDS = 3
TRIALS = {"cpu": (2, 12), "cuda": (20, 120)}
"""Steps of two runs by which a step's time is found, for ``--minutes``; by device."""
CHIPS = 21_600
"""That are trained on."""
PROTOCOLS = ("knn", "linear")
# Four blocks, 96 features.
_RESNET: dict[str, Any] = {"arch": "test_resnet", "image_size": 32, "batch_size": 128, "epochs": 6}
# Patches of 16 of a chip's 64 pixels; 6 blocks of width 64.
_VIT: dict[str, Any] = {"arch": "test_vit", "image_size": 64, "batch_size": 128, "epochs": 6}
SETTINGS: dict[str, dict[str, Any]] = {
    "moco_v2": {**_RESNET, "lr": 0.06, "options": {"queue": 4096, "momentum": 0.99}},
    "moco_v3": {**_RESNET, "lr": 3e-3, "options": {"hidden": 512, "width": 128}},
    "seco": {
        **_RESNET,
        "lr": 0.06,
        "options": {"data_mode": "moco", "queue": 4096, "momentum": 0.99},
    },
    "dino": {
        **_VIT,
        "lr": 1e-3,
        "options": {
            "local_views": 2,
            "outputs": 1024,
            "hidden": 256,
            "bottleneck": 64,
            "momentum": 0.99,
            "warmup": 1.0,
            **GENTLE,
        },
    },
    "mae": {
        **_VIT,
        "lr": 4e-3,
        "options": {"decoder_width": 64, "decoder_depth": 2, "decoder_heads": 4},
    },
    "data2vec": {
        **_VIT,
        "lr": 5e-4,
        "options": {"momentum": 0.999, "drop_path": 0.0, "layer_scale": 0.1},
    },
}
"""By method: a small backbone, and rates that show progress in minutes on two cores."""
# Decoded chips stay on the device.
_FULL: dict[str, Any] = {
    "image_size": 64,
    "precision": "bf16",
    "epochs": 30,
    "device_cache": 2 << 30,
}
FULL_SIZE: dict[str, dict[str, Any]] = {
    "moco_v2": {
        **_FULL,
        "arch": "resnet50",
        "batch_size": 512,
        "lr": 0.06,
        "options": {"queue": 8192, "momentum": 0.99},
    },
    "dino": {
        **_FULL,
        "arch": "vit_small_patch16_224",
        "batch_size": 256,
        "lr": 5e-4,
        "options": {"local_views": 4, "outputs": 8192, **GENTLE},
    },
    "mae": {**_FULL, "arch": "vit_small_patch16_224", "batch_size": 512, "lr": 1e-3, "options": {}},
}
"""By method: a backbone as published, in minutes on a GPU."""
WARMUP = 0.1
"""Share of the schedule over which the rate rises, where a method has a warm-up."""


@dataclasses.dataclass(frozen=True)
class Outcome:
    """One run. Accuracies are shares of the test chips, by protocol."""

    method: str
    seed: int
    untrained: dict[str, float]
    """As initialised, batch norms knowing the chips."""
    trained: dict[str, float]
    steps: int
    seconds: float
    """That training took."""

    def gain(self, name: str) -> float:
        """What training gave in a protocol."""
        return self.trained[name] - self.untrained[name]


def measure(
    method: str,
    seed: int,
    data: Path,
    minutes: float | None = None,
    chips: int | None = None,
    settings: Mapping[str, Mapping[str, Any]] = SETTINGS,
    on: str = "cpu",
    **changes: Any,
) -> Outcome:
    """Train once, and evaluate before and after.

    Args:
        method: name.
        seed: of the run, and of what is drawn in probes.
        data: EuroSAT's folder.
        minutes: that training may take, about; by default the steps of `settings`.
        chips: of each split that are looked at; all by default.
        settings: by method.
        on: "cpu" or "cuda".
        changes: settings other than these.
    """
    changes = {**settings[method], "device": on, **changes}
    if minutes is not None:
        changes["epochs"] = _epochs(method, seed, data, changes, 60 * minutes)
    with tempfile.TemporaryDirectory() as out:
        saved, seconds = _trained(method, seed, data, changes, Path(out))
        trained = load(out)
    torch.manual_seed(saved["config"]["seed"])  # As the run did before it made the same model.
    model = METHODS[method].build(weights.settings_of(saved["run"]))
    bench = bench_of(trained, data, seed, chips, on)
    settled = settle(model.backbone.to(bench.device), _images(bench))
    before = dataclasses.replace(trained, network=settled, digest="", source="untrained, settled")
    untrained = evaluated(dataclasses.replace(bench, pretrained=before), PROTOCOLS)
    return Outcome(method, seed, untrained, evaluated(bench, PROTOCOLS), saved["step"], seconds)


def _epochs(method: str, seed: int, data: Path, changes: dict[str, Any], seconds: float) -> int:
    """How many take about so long, the start left out."""
    few, more = TRIALS[changes["device"]]
    _, short = _trained(method, seed, data, {**changes, "steps": few})
    saved, long = _trained(method, seed, data, {**changes, "steps": more})
    steps = seconds / max((long - short) / (more - few), 1e-3)
    batch: int = saved["run"]["batch"]
    return max(1, round(steps * batch / CHIPS))


def _trained(
    method: str, seed: int, data: Path, changes: dict[str, Any], out: Path | None = None
) -> tuple[dict[str, Any], float]:
    """The checkpoint of a run, and its seconds."""
    with tempfile.TemporaryDirectory() as other:
        given = {
            "method": method,
            "modality": ["S2RGB"],
            "layout": "eurosat",
            "split": "train",
            "loader": "threads",
            "data": str(data),
            "out": str(out or other),
            "seed": seed,
            **changes,
        }
        options = dict(given["options"])
        if hasattr(METHODS[method].Options(), "warmup"):
            options.setdefault("warmup", WARMUP * given["epochs"])
        given["options"] = options
        config = resolve(given, None, World())
        seconds = run(config)
        return checkpoint.load(out or Path(other)), seconds


def bench_of(
    pretrained: Pretrained, data: Path, seed: int, chips: int | None = None, on: str = "cpu"
) -> Bench:
    """EuroSAT RGB before a backbone."""
    eurosat = task("eurosat_rgb")
    inputs = match(pretrained.channels, eurosat.offers(data), False, pretrained.wanted)
    splits = eurosat.splits(data, inputs.bands, seed)
    every = {"train": splits.train, "val": splits.val, "test": splits.test}
    # The chips lie class by class, so that fewer are taken at regular distances.
    steps = {n: -(-len(x) // chips) if chips else 1 for n, x in every.items()}
    return Bench(
        task=eurosat,
        pretrained=pretrained,
        inputs=inputs,
        splits={n: x.subset(range(0, len(x), steps[n])) for n, x in every.items()},  # type: ignore[misc]
        device=torch.device(on),
        workers=2 if on == "cpu" else 8,
        seed=seed,
        out=Path(tempfile.gettempdir()),
    )


def _images(bench: Bench) -> Iterator[torch.Tensor]:
    """About 2048 training chips of all classes, as the backbone is shown them."""
    train = bench.splits["train"]
    some = train.subset(range(0, len(train), -(-len(train) // 2048)))
    few = dataclasses.replace(bench, splits={**bench.splits, "train": some})
    for (images,), _, _ in few.shown("train", bench.pretrained.image_size, 64):
        yield images


def evaluated(bench: Bench, names: Sequence[str]) -> dict[str, float]:
    """Accuracy on the test chips, by protocol with its defaults; features are computed once."""
    found = {}
    with tempfile.TemporaryDirectory() as cache:
        bench = dataclasses.replace(bench, cache=Path(cache))
        for name in names:
            how = protocol(name)
            with contextlib.redirect_stdout(io.StringIO()):
                test = how.run(bench, how.Options()).test
            assert isinstance(test, Scored)
            found[name] = figure("class", test.scores, test.targets)
    return found


def table(
    outcomes: Sequence[Outcome],
    colours: float,
    settings: Mapping[str, Mapping[str, Any]] = SETTINGS,
) -> str:
    """The outcomes in Markdown: a row a method, each figure in percent, mean and range."""
    heads = [f"{name} {when}" for name in PROTOCOLS for when in ("untrained", "trained", "gain")]
    lines = [
        f"| method | backbone | {' | '.join(heads)} | steps | seconds |",
        f"|{'---|' * (len(heads) + 4)}",
    ]
    for method, runs in by_method(outcomes).items():
        cells = [method, f"{settings[method]['arch']}, {settings[method]['image_size']} px"]
        for name in PROTOCOLS:
            cells.append(spread([r.untrained[name] for r in runs]))
            cells.append(spread([r.trained[name] for r in runs]))
            cells.append(spread([r.gain(name) for r in runs]))
        cells += [f"{runs[0].steps}", f"{fmean(r.seconds for r in runs):.0f}"]
        lines.append(f"| {' | '.join(cells)} |")
    seeds = len({r.seed for r in outcomes})
    lines += [
        "",
        f"Accuracy on EuroSAT RGB's test chips in %, mean (least to greatest) of {seeds} seeds. "
        f"Statistics of colours, probed linearly: {100 * colours:.1f} %.",
    ]
    return "\n".join(lines)


def unbeaten(outcomes: Sequence[Outcome]) -> dict[str, list[str]]:
    """By method, the protocols in which its mean is not above the untrained backbone's."""
    failed = {
        method: [n for n in PROTOCOLS if fmean(r.gain(n) for r in runs) <= 0]
        for method, runs in by_method(outcomes).items()
    }
    return {method: names for method, names in failed.items() if names}


def write(
    path: Path,
    outcomes: Sequence[Outcome],
    colours: float,
    settings: Mapping[str, Mapping[str, Any]] = SETTINGS,
) -> None:
    """Write everything that was found, by method. What a file has of other methods stays."""
    found = json.loads(path.read_text()) if path.exists() else {"methods": {}}
    about = device.describe() if torch.cuda.is_available() else machine.describe()
    for method, runs in by_method(outcomes).items():
        found["methods"][method] = {
            "machine": about,
            "settings": settings[method],
            "runs": [dataclasses.asdict(r) for r in runs],
        }
    path.write_text(json.dumps({**found, "colours": colours}, indent=2) + "\n", encoding="utf-8")


def colours_of(data: Path, chips: int | None = None) -> float:
    """Accuracy of statistics of colours, probed linearly."""
    channels = tuple(Channel(modality="S2RGB", band=band) for band in "RGB")
    backbone = load("untrained", arch="test_vit", channels=channels)
    return evaluated(bench_of(backbone, data, 0, chips), ["colours"])["colours"]


def parser() -> argparse.ArgumentParser:
    """The command line."""
    p = argparse.ArgumentParser(
        prog="python -m benchmarks.downstream", description="What pre-training gives on EuroSAT."
    )
    p.add_argument("--data", type=Path, default=Path("../shared/data/eurosat_rgb"), metavar="DIR")
    p.add_argument("--methods", nargs="+", choices=list(SETTINGS), help="default: all")
    p.add_argument("--full-size", action="store_true", help="backbones as published, of a few")
    p.add_argument("--seeds", type=int, default=SEEDS, help=f"runs a method ({SEEDS})")
    p.add_argument("--minutes", type=float, help="of training a run; default: as many as it takes")
    p.add_argument("--epochs", type=int, help="of each run, in place of its setting's")
    p.add_argument("--steps", type=int, help="after which a run ends, to try the command out")
    p.add_argument("--chips", type=int, help="looked at in each split, to try the command out")
    p.add_argument("--jobs", type=int, default=processors(), help="runs at a time, a core each")
    p.add_argument("--json", type=Path, metavar="FILE", help="where all figures go, by method")
    return p


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns 1 where a method gains nothing."""
    line = parser()
    args = line.parse_args(argv)
    settings = FULL_SIZE if args.full_size else SETTINGS
    methods = args.methods or list(settings)
    if strange := [method for method in methods if method not in settings]:
        line.error(f"--full-size has no {strange[0]}, expected of {', '.join(settings)}")
    asked = {"epochs": args.epochs, "steps": args.steps}
    changes = {name: value for name, value in asked.items() if value is not None}
    changes |= {
        "minutes": args.minutes,
        "chips": args.chips,
        "settings": settings,
        "on": "cuda" if args.full_size and torch.cuda.is_available() else "cpu",
    }
    outcomes: list[Outcome] = []
    with ProcessPoolExecutor(args.jobs, get_context("spawn"), torch.set_num_threads, (1,)) as jobs:
        runs = [
            jobs.submit(measure, method, seed, args.data, **changes)
            for method in methods
            for seed in range(args.seeds)
        ]
        colours = colours_of(args.data, args.chips)
        for found in (run.result() for run in as_completed(runs)):
            outcomes.append(found)
            gains = ", ".join(f"{n} {100 * found.gain(n):+.1f}" for n in PROTOCOLS)
            print(f"{found.method}, seed {found.seed}: {gains} points", file=sys.stderr, flush=True)
            if args.json is not None:  # Run by run, as the whole takes an hour.
                write(args.json, outcomes, colours, settings)
    outcomes.sort(key=lambda found: (methods.index(found.method), found.seed))
    print(table(outcomes, colours, settings))
    failed = unbeaten(outcomes)
    for method, names in failed.items():
        print(f"{method}: nothing gained in {', '.join(names)}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
