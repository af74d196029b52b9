"""``python -m benchmarks.before CHECKOUT``: the loader beside that of another checkout.

Processes of the two take turns over the same pixels, each with an index of its own, so that noise
of the machine meets both alike. Both are used through what is public.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from statistics import median

from benchmarks import machine
from benchmarks.machine import REPOSITORY
from fastload.synth import synth

MODALITY = "S2L1C"
CASES = {
    "(a) reading four timestamps, crop 224, D4, standardise": ("series", "threads"),
    "(b) MoCo-v2 pair of views": ("moco", "threads"),
    "(b) the same by the DALI engine": ("moco", "dali"),
    "(d) decoding alone": ("raw", "threads"),
}
CHILD = """
import sys, time
root, recipe, engine = sys.argv[1:4]
batch, epochs = map(int, sys.argv[4:6])
from fastload import SSL4EOS12, DataLoader, Recipe
from ssl4eo_train.methods import moco_v2
recipes = {"series": Recipe.series, "moco": moco_v2.recipe}
seen = recipes[recipe](224) if recipe in recipes else None
data = SSL4EOS12(root, modalities=["S2L1C"], recipe=seen, progress=False)
loader = DataLoader(data, batch, shuffle=True, num_workers=2, engine=engine, drop_last=True)
for _ in loader:
    pass
start = time.perf_counter()
for _ in range(epochs):
    for _ in loader:
        pass
print(epochs * len(loader) * batch / (time.perf_counter() - start))
"""


def rate(checkout: Path, root: Path, case: tuple[str, str], batch: int, epochs: int) -> float:
    """Samples a second of one run of a checkout."""
    paths = os.pathsep.join([str(checkout), str(checkout / "kernels")])
    line = [sys.executable, "-c", CHILD, str(root), *case, str(batch), str(epochs)]
    environment = os.environ | {"PYTHONPATH": paths}
    done = subprocess.run(
        line, cwd=checkout, env=environment, check=True, stdout=subprocess.PIPE, text=True
    )
    return float(done.stdout.splitlines()[-1])


def two_roots(folder: Path, samples: int) -> dict[str, Path]:
    """The same shards under two roots, which take the room of one."""
    now = folder / "now"
    synth(now, samples, modalities=[MODALITY], seed=1)
    before = folder / "before" / "train" / MODALITY
    before.mkdir(parents=True)
    for tar in (now / "train" / MODALITY).glob("*.tar"):
        os.link(tar, before / tar.name)
    return {"now": now, "before": folder / "before"}


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, and print a table."""
    p = argparse.ArgumentParser(prog="python -m benchmarks.before", description=__doc__)
    p.add_argument("checkout", type=Path, help="folder of the other checkout")
    p.add_argument("--rounds", type=int, default=5)
    p.add_argument("--samples", type=int, default=256)
    p.add_argument("--batch", type=int, default=32)
    p.add_argument("--epochs", type=int, default=3)
    p.add_argument("--json", type=Path, metavar="FILE")
    args = p.parse_args(argv)
    described = machine.describe()
    checkouts = {"now": REPOSITORY, "before": args.checkout.resolve()}
    rates: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    with tempfile.TemporaryDirectory() as folder:
        roots = two_roots(Path(folder), args.samples)
        for turn in range(args.rounds):
            for name, case in CASES.items():
                for which in sorted(checkouts, reverse=bool(turn % 2)):
                    run = rate(checkouts[which], roots[which], case, args.batch, args.epochs)
                    rates[name][which].append(run)
    for name, found in rates.items():
        now, before = (median(found[which]) for which in ("now", "before"))
        ratios = sorted(a / b for a, b in zip(found["now"], found["before"], strict=True))
        print(
            f"{name:<56} {now:7.0f}/s now {before:7.0f}/s before, ratio of rounds "
            f"{median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f})"
        )
    if args.json is not None:
        out = {"machine": described, "samples_a_second": rates}
        args.json.write_text(json.dumps(out, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
