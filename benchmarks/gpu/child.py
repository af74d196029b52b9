"""The process that parts run in: `python -m benchmarks.gpu.child JSON`.

It appends a line of JSON to a file after each part, and ends with `BROKEN` where a part left the
GPU in error, since then nothing more can be learned in this process. A part fails where the CPU had
to decode what the GPU could not.
"""

import json
import sys
import warnings
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from benchmarks.gpu.bench import Bench
from benchmarks.gpu.options import Options
from benchmarks.gpu.parts import Result, run

BROKEN = 70


def command(options: Options, results: Path, names: Sequence[str]) -> list[str]:
    """The command line of a child that runs some parts."""
    given = {"options": asdict(options), "results": str(results), "names": list(names)}
    return [sys.executable, "-m", "benchmarks.gpu.child", json.dumps(given)]


def append(results: Path, result: Result) -> None:
    """Add a line to the file of results."""
    with results.open("a", encoding="utf-8") as file:
        file.write(json.dumps(asdict(result)) + "\n")


def main(text: str) -> int:
    """Run parts one by one."""
    warnings.filterwarnings("error", "the device could not decode")
    given = json.loads(text)
    results = Path(given["results"])
    bench = Bench.on_gpu(Options(**given["options"]))
    for name in given["names"]:
        result = run(name, bench)
        try:
            bench.synchronize()
        except RuntimeError as error:
            result.outcome = "failed"
            result.detail = result.detail or f"it left the device in error: {error}"
            append(results, result)
            return BROKEN
        append(results, result)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
