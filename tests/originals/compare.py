"""How far our runs lie from the originals'."""

import numpy as np

from tests.originals.trace import Trace


def worst(ours: Trace, theirs: Trace) -> dict[str, float]:
    """Largest differences by what differs.

    Numbers differ absolutely. Digests of a tensor differ relative to its norm, where that is above
    1; those of gradients relative to the largest gradient's norm.

    Raises:
        AssertionError: where they are not of the same things.
    """
    assert ours.numbers.keys() == theirs.numbers.keys()
    found = {
        kind: float(np.abs(np.subtract(ours.numbers[kind], values)).max())
        for kind, values in theirs.numbers.items()
    }
    assert ours.tensors.keys() == theirs.tensors.keys()
    for group, tensors in theirs.tensors.items():
        mine = ours.tensors[group]
        assert mine.keys() <= tensors.keys(), mine.keys() - tensors.keys()
        a = np.array([mine[name] for name in mine])  # [tensors, steps, 2]
        b = np.array([tensors[name] for name in mine])
        norms = np.abs(b[..., :1])
        size = norms.max() if group == "gradient" else np.maximum(norms, 1)
        found[group] = float((np.abs(a - b) / size).max())
    return found
