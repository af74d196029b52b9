"""Write the record anew: ``python -m tests.recorded.record [FOLDER OF OTHER CODE]``.

The record says which batches the loader gave before its inside was rewritten; a test compares the
running code with it. It was made with the code of commit 94598d0. To make it again with that code,
check it out somewhere and name the folder; without one the code of this tree is recorded. Only do
so when batches are meant to change.

The data were made once with `fastload.synth`, as `data/train/synth.json` says, and are not made
again: they are what the digests are of.
"""

import json
import os
import platform
import subprocess
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

FOLDER = Path(__file__).parent
RECORD, PIXELS = FOLDER / "recorded.json", FOLDER / "recorded.npz"


def read() -> tuple[dict[str, Any], dict[str, Any]]:
    """The record, and the pixels by case and place in the batch."""
    with np.load(PIXELS) as file:
        pixels = {name: file[name] for name in file.files}
    return json.loads(RECORD.read_text()), pixels


def record(folder: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Run all cases in all ways, which must agree, in a folder for copies of the data."""
    from tests.recorded import cases

    runs = cases.Runs(folder)
    found: dict[str, Any] = {"processor": cases.processor(), "cases": {}, "states": {}}
    pixels = {}
    for name in cases.CASES:
        first, *others = (runs.run(name, *way) for way in cases.WAYS)
        found["cases"][name] = agreed(name, first[0], [other[0] for other in others])
        if name in cases.RECIPES and cases.CASES[name].recipe is not None:
            pixels |= {f"{name}: {path}": value for path, value in first[1].items()}
    for name, (_, _, heirs) in cases.STATES.items():
        state, *states = (runs.state(name, *way) for way in cases.WAYS)
        agreed(name, state, states)
        found["states"][name] = {"state": state, "resumed": {}}
        for heir in heirs:
            first, *others = (runs.resumed(heir, state, *way) for way in cases.WAYS)
            found["states"][name]["resumed"][heir] = agreed(name, first, others)
    return found, pixels


def agreed(name: str, first: Any, others: list[Any]) -> Any:
    """What all engines gave alike."""
    assert all(other == first for other in others), f"{name}: engines differ"
    return first


def main(code: str = "") -> None:
    """Write the record of this tree's code, or of that in the folder `code`."""
    if code:
        sys.path.insert(0, str(Path(code).resolve()))
    import fastload

    home = Path(fastload.__file__).parents[1]
    assert not code or home == Path(code).resolve()
    commit = subprocess.run(
        ["git", "describe", "--always", "--dirty", "--exclude=*"],
        cwd=home,
        capture_output=True,
        text=True,
    ).stdout.strip()
    libraries = {name: version(name) for name in ("numba", "llvmlite", "numpy", "torch")}
    made_with = {"commit": commit, "python": platform.python_version(), **libraries}
    with tempfile.TemporaryDirectory() as folder:
        os.environ["FASTLOAD_CACHE"] = str(Path(folder) / "cache")
        found, pixels = record(Path(folder))
    RECORD.write_text(json.dumps({"made with": made_with, **found}, indent=1) + "\n")
    np.savez_compressed(PIXELS, **pixels)
    print(f"recorded {len(found['cases'])} cases and {len(found['states'])} states of {commit}")


if __name__ == "__main__":
    main(*sys.argv[1:])
