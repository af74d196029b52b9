"""Whether each method learns: k-NN on frozen features, before and after a short run on the CPU.

`python -m benchmarks.learning [--methods NAME ...] [--seeds N] [--json FILE]` trains every method
on made scenes with its setting of `ssl4eo_train.made` and of `SETTINGS`, and prints a table in
Markdown. It exits with 1 where a method's gain, the mean over the seeds, is below `MARGIN`.

The labels are hidden in training: the side table is not where the run could find it. They serve for
k-NN on as many other scenes, half of which are the bank and half the queries, see
`ssl4eo_train.knn`.

The gain is over the same backbone with the same initialisation. An untrained ResNet is helped by
nothing but batch norms that know the images' mean and variance, and these are not what a method is
asked for. So its batch norms are settled first: they take their statistics from the scenes that are
looked at, the weights stay. The table has the figure without that, too.
"""

import argparse
import contextlib
import copy
import dataclasses
import io
import json
import sys
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from statistics import fmean
from time import perf_counter
from typing import Any, Protocol, TypeVar

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

import fastload
from benchmarks import machine
from fastload.cache import folder
from fastload.synth import synth
from ssl4eo_train import checkpoint, data, knn, made, weights
from ssl4eo_train.config import Config, resolve
from ssl4eo_train.distributed import World
from ssl4eo_train.methods import METHODS
from ssl4eo_train.train import train

MARGIN = 0.05
"""The least mean gain in accuracy that every method must reach."""
SEEDS = 3
SCENES = 2048
"""That runs are trained on, and as many labelled ones that none is trained on."""
OPTICAL, RADAR = "S2L1C", "S1GRD"
GENTLE: dict[str, Any] = {"drop_path": 0.0, "weight_decay": [0.04, 0.04], "split": 0.25}
"""What DINO needs in so short a run, see docs/evaluation.md."""
SETTINGS: dict[str, dict[str, Any]] = {
    "moco_v2": {"options": {**made.SETTINGS["moco_v2"]["options"], "queue": 1024}},
    "moco_v3": {},
    "seco": {},
    "dino": {
        "modality": [RADAR],
        "epochs": 20,
        "options": {**made.SETTINGS["dino"]["options"], **GENTLE},
    },
    "mae": {"epochs": 15},
    "data2vec": {"modality": [RADAR]},
}
"""What differs from `made.SETTINGS`, beside 10 epochs of more scenes.

An untrained transformer hands on the mean spectrum as it is, and in optical data that says so much
about the made scenes' labels that two methods need longer runs to find more.
"""


class OfMethod(Protocol):
    """An outcome of a run of some method."""

    @property
    def method(self) -> str:
        """Its name."""


Run = TypeVar("Run", bound=OfMethod)


@dataclasses.dataclass(frozen=True)
class Outcome:
    """One run. Accuracies are shares of the queries."""

    method: str
    modality: str
    seed: int
    untrained: float
    """As initialised."""
    settled: float
    """As initialised, with batch norms that know the images."""
    trained: float
    steps: int
    seconds: float
    """That training took."""

    @property
    def gain(self) -> float:
        """What training gave."""
        return self.trained - self.settled


def measure(method: str, seed: int, root: Path, **changes: Any) -> tuple[Outcome, knn.Probe]:
    """Train once, and probe before and after.

    Args:
        method: name.
        seed: of the run.
        root: holds the split "train" without labels, and "val" with them.
        changes: settings other than these.
    """
    with tempfile.TemporaryDirectory() as out:
        given = {
            "method": method,
            **settings_of(method),
            "loader": "threads",
            "device": "cpu",
            "data": str(root),
            "out": out,
            "seed": seed,
            **changes,
        }
        config = resolve(given, None, World())
        seconds = run(config)
        saved = checkpoint.load(Path(out))
    probe = probe_of(dataclasses.replace(config, split="val"))
    torch.manual_seed(seed)  # As the run did before it made the same model.
    model = METHODS[method].build(weights.settings_of(saved["run"]))
    untrained = probe.accuracy(model.backbone)
    settled = probe.accuracy(settle(model.backbone, probe.images(torch.device("cpu"))))
    model.load_state_dict(saved["model"])
    trained = probe.accuracy(model.backbone)
    accuracies = (untrained, settled, trained)
    return Outcome(method, config.modality[0], seed, *accuracies, saved["step"], seconds), probe


def run(config: Config) -> float:
    """Train without a word; the seconds it took. Ends the program where a signal stopped the run,
    since half a run is no figure."""
    start = perf_counter()
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        status = train(config, None, World())
    if status:
        sys.exit(status)
    return perf_counter() - start


def settings_of(method: str) -> dict[str, Any]:
    """What a method is trained with."""
    found = {**made.SETTINGS[method], "epochs": 10, "modality": [OPTICAL], **SETTINGS[method]}
    if "warmup" in found["options"]:
        found["options"] = {**found["options"], "warmup": found["epochs"] / 10}
    return found


def probe_of(config: Config) -> knn.Probe:
    """The probe of a split that has labels."""
    assert config.data is not None
    recipe = data.wanted(config, channels_last=False)
    dataset = fastload.SSL4EOS12(
        config.data, config.split or "train", config.modality, recipe, progress=False
    )
    probe = knn.probe(config, dataset)
    assert probe is not None
    return probe


def settle(backbone: nn.Module, batches: Iterable[Tensor]) -> nn.Module:
    """A copy whose batch norms hold the mean statistics of batches ``[N, C, h, w]``."""
    settled = copy.deepcopy(backbone).eval()
    for module in settled.modules():
        if isinstance(module, _BatchNorm):
            module.reset_running_stats()
            module.momentum = None  # Mean over all batches.
            module.train()
    with torch.no_grad():
        for images in batches:
            settled(images)
    return settled


def scenes(root: Path, locations: int) -> None:
    """Put made scenes below `root`: those that runs are trained on, and as many with labels.

    They are kept in the cache; `root` has links to them.
    """
    kept = folder() / f"learning-{locations}x{made.SIZE}"
    for split in ("train", "val"):
        synth(
            kept / split, locations, split=split, modalities=(OPTICAL, RADAR), size=made.SIZE,
            progress=True,
        )  # fmt: skip
    (root / "train").mkdir()
    for modality in (OPTICAL, RADAR):
        (root / "train" / modality).symlink_to((kept / "train" / "train" / modality).resolve())
    (root / "val").symlink_to((kept / "val" / "val").resolve())


def table(outcomes: Sequence[Outcome], majority: float) -> str:
    """The outcomes in Markdown: a row a method, each figure in percent, mean and range."""
    lines = [
        "| method | modality | untrained | with settled norms | trained | gain | steps | seconds |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for method, runs in by_method(outcomes).items():
        figures = [
            [getattr(r, n) for r in runs] for n in ("untrained", "settled", "trained", "gain")
        ]
        cells = [method, runs[0].modality, *(spread(f) for f in figures)]
        cells += [f"{runs[0].steps}", f"{fmean(r.seconds for r in runs):.0f}"]
        lines.append(f"| {' | '.join(cells)} |")
    seeds = len({r.seed for r in outcomes})
    lines += [
        "",
        f"k-NN accuracy in %, mean (least to greatest) of {seeds} seeds; the most frequent label "
        f"alone has {100 * majority:.1f} %. Gain: trained over untrained with settled norms.",
    ]
    return "\n".join(lines)


def spread(values: Sequence[float]) -> str:
    """Mean and range of shares, in percent."""
    mean, low, high = (100 * x for x in (fmean(values), min(values), max(values)))
    return f"{mean:.1f} ({low:.1f} to {high:.1f})"


def by_method(outcomes: Sequence[Run]) -> dict[str, list[Run]]:
    """Outcomes by method, in the order in which they came."""
    return {
        m: [r for r in outcomes if r.method == m] for m in dict.fromkeys(r.method for r in outcomes)
    }


def below(outcomes: Sequence[Outcome], margin: float = MARGIN) -> dict[str, float]:
    """The mean gains that are less than what is promised, by method."""
    gains = {m: fmean(r.gain for r in runs) for m, runs in by_method(outcomes).items()}
    return {method: gain for method, gain in gains.items() if gain < margin}


def write(path: Path, outcomes: Sequence[Outcome], majority: float) -> None:
    """Write everything that was found, by method. What a file has of other methods stays."""
    found = json.loads(path.read_text()) if path.exists() else {"methods": {}}
    about = machine.describe()
    for method, runs in by_method(outcomes).items():
        found["methods"][method] = {
            "machine": about,
            "settings": settings_of(method),
            "runs": [{**dataclasses.asdict(r), "gain": r.gain} for r in runs],
        }
    text = json.dumps({**found, "margin": MARGIN, "majority": majority}, indent=2)
    path.write_text(text + "\n", encoding="utf-8")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns 1 where a method gains less than `MARGIN`."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.learning", description="Does each method learn?"
    )
    parser.add_argument("--methods", nargs="+", choices=list(METHODS), default=list(METHODS))
    parser.add_argument("--seeds", type=int, default=SEEDS, help=f"runs a method ({SEEDS})")
    parser.add_argument("--json", type=Path, metavar="FILE", help="where all figures go, by method")
    parser.add_argument("--steps", type=int, help="end each run early, to try the command out")
    parser.add_argument(
        "--scenes", type=int, default=SCENES, help=f"in training, and with labels ({SCENES})"
    )
    args = parser.parse_args(argv)
    changes = {} if args.steps is None else {"steps": args.steps}
    outcomes = []
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        scenes(root, args.scenes)
        for method in args.methods:
            for seed in range(args.seeds):
                outcome, probe = measure(method, seed, root, **changes)
                outcomes.append(outcome)
                print(f"{method}, seed {seed}: {100 * outcome.gain:+.1f} points", file=sys.stderr)
            if args.json is not None:  # Method by method, as the whole takes half an hour.
                write(args.json, outcomes, probe.majority)
    print(table(outcomes, probe.majority))
    for method, gain in below(outcomes).items():
        print(f"{method}: gained {100 * gain:.1f} points, expected {100 * MARGIN:g}")
    return 1 if below(outcomes) else 0


if __name__ == "__main__":
    sys.exit(main())
