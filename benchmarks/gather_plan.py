"""``python -m benchmarks.gather_plan``: how long a plan takes, and how much memory.

The command runs in a process of its own, as a user runs it; its time is the clock's, and its memory
the most that was resident.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
from pathlib import Path
from time import perf_counter

from benchmarks import machine


def measure(arguments: list[str]) -> dict[str, object]:
    """Run ``fastload gather plan`` with such arguments."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "plan.parquet"
        start = perf_counter()
        done = subprocess.run(
            [sys.executable, "-m", "fastload", "gather", "plan", str(path), *arguments],
            check=True, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        seconds = perf_counter() - start
        peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024
        return {
            "arguments": " ".join(arguments),
            "seconds": round(seconds, 1),
            "peak_bytes": peak,
            "file_bytes": path.stat().st_size,
            "said": done.stdout.replace(folder, ""),
            **machine.describe(),
        }


def main() -> None:
    """Measure one plan and print it as JSON."""
    parser = argparse.ArgumentParser(description="Further arguments are those of the plan.")
    parser.add_argument("--locations", default="250000")
    args, further = parser.parse_known_args()
    print(json.dumps(measure(["--locations", args.locations, "--quiet", *further]), indent=2))


if __name__ == "__main__":
    main()
