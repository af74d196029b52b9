"""Write the record anew: ``python -m tests.originals.record FOLDER [CASE...]``.

FOLDER holds clones of the originals, and the interpreter has their libraries: see `README.md`.
Each case runs in a process of its own, since the originals' packages have the same names.
"""

import platform
import subprocess
import sys
from pathlib import Path
from typing import Any, Dict

from tests.originals.trace import save

PLACES = {"seco": "seasonal-contrast"}
SSL4EO = "SSL4EO-S12/src/benchmark/pretrain_ssl"


def place(case: str) -> str:
    """Where a case's original lies in the folder."""
    return PLACES.get(case.split("_")[0], SSL4EO)


def run(folder: Path, case: str) -> None:
    """Run one original and write its trace."""
    from tests.originals import running
    from tests.originals.runs import RUNS

    root = (folder / place(case)).resolve()
    sys.path.insert(0, str(root))
    running.everything_on_the_cpu_in_float64()
    with running.silent():
        trace, groups = RUNS[case]()
    about = {"files": running.sources(root), "versions": versions(), "groups": groups}
    save(case, trace, about)


def versions() -> Dict[str, str]:
    """Versions of what ran."""
    names = ("torch", "torchvision", "timm", "numpy", "pytorch_lightning", "pl_bolts")
    found: Dict[str, Any] = {name: sys.modules.get(name) for name in names}
    told = {name: str(module.__version__) for name, module in found.items() if module}
    return {"python": platform.python_version(), **told}


def main() -> None:
    """See the module."""
    folder, *chosen = sys.argv[1:]
    from tests.originals.cases import CASES

    if chosen and chosen[0] == "--one":
        run(Path(folder), chosen[1])
        return
    for case in chosen or CASES:
        print(case, flush=True)
        command = [sys.executable, "-m", "tests.originals.record", folder, "--one", case]
        subprocess.run(command, check=True)


if __name__ == "__main__":
    main()
