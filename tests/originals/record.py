"""Write the record anew: ``python -m tests.originals.record FOLDER [CASE...]``.

FOLDER holds clones of the originals, and the interpreter has their libraries: see `README.md`.
Each case runs in a process of its own, since the originals' packages have the same names.
"""

from __future__ import annotations

import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.originals.cases import CASES, DRAWN, SCHEDULED

TASKS = {"steps": CASES, "schedule": SCHEDULED, "drawn": DRAWN}
PLACES = {"seco": "seasonal-contrast"}
SSL4EO = "SSL4EO-S12/src/benchmark/pretrain_ssl"


def place(case: str) -> str:
    """Where a case's original lies in the folder."""
    return PLACES.get(case.split("_")[0], SSL4EO)


def run(folder: Path, task: str, case: str) -> None:
    """Run one original and write what is kept of it."""
    from tests.originals import running, trace, whole
    from tests.originals.runs import RUNS

    root = (folder / place(case)).resolve()
    sys.path.insert(0, str(root))
    if task == "schedule":
        trace.save_part("schedules", case, whole.SCHEDULES[case]())
        return
    running.on_the_cpu()
    if task == "drawn":
        with running.silent():
            trace.save_part("drawn", case, whole.drawn(case))
        return
    running.in_float64()
    with running.silent():
        found, groups = RUNS[case]()
    about = {"files": running.sources(root), "versions": versions(), "groups": groups}
    trace.save(case, found, about)


def versions() -> dict[str, str]:
    """Versions of what ran."""
    names = ("torch", "torchvision", "timm", "numpy", "pytorch_lightning", "pl_bolts")
    found: dict[str, Any] = {name: sys.modules.get(name) for name in names}
    told = {name: str(module.__version__) for name, module in found.items() if module}
    return {"python": platform.python_version(), **told}


def main() -> None:
    """See the module."""
    folder, *chosen = sys.argv[1:]
    if chosen and chosen[0] in TASKS:
        run(Path(folder), *chosen)
        return
    for task, known in TASKS.items():
        for case in known:
            if not chosen or case in chosen:
                print(task, case, flush=True)
                command = [sys.executable, "-m", "tests.originals.record", folder, task, case]
                subprocess.run(command, check=True)


if __name__ == "__main__":
    main()
