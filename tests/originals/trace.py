"""What is kept of a run: numbers per step, and digests of tensors. Runs under Python 3.8 too."""

import json
from pathlib import Path
from typing import Any, Dict, List, Mapping

import numpy as np

from tests.originals.rule import uniform

DATA = Path(__file__).parent / "data"
TENSORS = DATA / "tensors.npz"


class Trace:
    """Losses and other numbers by kind, in the order of the steps; digests by group and tensor."""

    def __init__(self) -> None:
        self.numbers: Dict[str, List[float]] = {}
        self.tensors: Dict[str, Dict[str, List[np.ndarray]]] = {}
        self._projections: Dict[str, np.ndarray] = {}

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


def save(case: str, trace: Trace, about: Dict[str, Any]) -> None:
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
