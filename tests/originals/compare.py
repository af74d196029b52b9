"""How far our runs lie from the originals'."""

import numpy as np

from tests.originals.trace import Trace

TOLERANCE = {
    "moco_v2": 1e-11,
    "moco_v3": 1e-8,
    "dino_resnet": 1e-11,
    "dino_vit": 1e-10,
    "dino_vit_local": 1e-10,
    "mae": 1e-10,
    "data2vec": 1e-11,
    "seco": 1e-11,
    "seco_moco": 1e-11,
}
"""By case: the largest difference that is rounding; see `worst`.

In float64 a step rounds by 1e-16. Batch norm over few numbers, and temperatures, amplify that to
between 1e-17 and 1e-12 after four steps, on the processor that the record was made on; a hundred
times that and more is left for other processors' order of summation. In MoCo-v3 the last norm's
bias has a gradient of 0, since a batch norm follows, so that AdamW divides rounding by rounding:
3e-10 there, after four steps. So it does to biases of keys, less, in the other transformers.
"""


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
