"""What is kept of a run: numbers per step, and digests of tensors. Runs under Python 3.8 too."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tests.originals.rule import uniform

DATA = Path(__file__).parent / "data"
TENSORS = DATA / "tensors.npz"


class Trace:
    """Losses and other numbers by kind, in the order of the steps; digests by group and tensor."""

    def __init__(self) -> None:
        self.numbers: dict[str, list[float]] = {}
        self.tensors: dict[str, dict[str, list[np.ndarray]]] = {}
        self._projections: dict[str, np.ndarray] = {}

    def number(self, kind: str, value: Any) -> None:
        """Keep a scalar."""
        self.numbers.setdefault(kind, []).append(float(value))

    def state(self, group: str, tensors: Mapping[str, Any]) -> None:
        """Keep digests of floating-point torch tensors: the norm, and a product with a fixed draw.

        The draw has variance 1, so that the product is about as large as the norm.
        """
        digests = self.tensors.setdefault(group, {})
        for name, tensor in tensors.items():
            x = tensor.detach().numpy().astype(np.float64).ravel()
            if name not in self._projections:
                self._projections[name] = uniform("digest of " + name, x.shape) * 3**0.5
            pair = np.array([np.linalg.norm(x), x @ self._projections[name]])
            digests.setdefault(name, []).append(pair)


def save(case: str, trace: Trace, about: dict[str, Any]) -> None:
    """Write what `read` reads; other cases are left as they are."""
    names = {group: list(digests) for group, digests in trace.tensors.items()}
    kept = {"about": about, "numbers": trace.numbers, "tensors": names}
    (DATA / (case + ".json")).write_text(json.dumps(kept, indent=1) + "\n")
    arrays = {}
    if TENSORS.exists():
        with np.load(TENSORS) as file:
            arrays = {name: file[name] for name in file.files}
    for group, digests in trace.tensors.items():
        arrays[case + "/" + group] = np.array(list(digests.values()))  # [tensors, steps, 2]
    np.savez_compressed(TENSORS, **dict(sorted(arrays.items())))


def save_part(file: str, case: str, found: dict[str, list[float]]) -> None:
    """Write rows of numbers of a case into a file of several, a row a line."""
    path = DATA / (file + ".json")
    parts = json.loads(path.read_text()) if path.exists() else {}
    parts[case] = found
    lines = []
    for name, part in sorted(parts.items()):
        rows = [f"  {json.dumps(row)}: {json.dumps(numbers)}" for row, numbers in part.items()]
        lines.append(" {}: {{\n{}\n }}".format(json.dumps(name), ",\n".join(rows)))
    path.write_text("{\n" + ",\n".join(lines) + "\n}\n")


def read_part(file: str, case: str) -> dict[str, list[float]]:
    """Rows of numbers of a case, from a file of several."""
    found: dict[str, list[float]] = json.loads((DATA / (file + ".json")).read_text())[case]
    return found


def about(case: str) -> dict[str, Any]:
    """What ran: files and versions, and which tensors decay."""
    found: dict[str, Any] = json.loads((DATA / (case + ".json")).read_text())["about"]
    return found


def read(case: str) -> Trace:
    """The trace of a case's original."""
    kept = json.loads((DATA / (case + ".json")).read_text())
    trace = Trace()
    trace.numbers = kept["numbers"]
    with np.load(TENSORS) as file:
        for group, names in kept["tensors"].items():
            digests = file[case + "/" + group]
            trace.tensors[group] = {name: list(digests[i]) for i, name in enumerate(names)}
    return trace
