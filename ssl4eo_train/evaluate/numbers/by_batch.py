"""Figures as the papers take them: by batch, then the mean over batches.

They are no figures of the test split, but of its order and of the size of batches, and are here to
stand beside published ones. Two ways are found in SSL4EO-S12's and SeCo's code:

- ``NAME_by_batch``: the mean over full batches, the last one being dropped where it is not full:
  linear_BE_moco.py, linear_EU_moco.py and linear_EU_moco_v3.py of SSL4EO-S12, SeCo's programs;
- ``NAME_by_batch_all``: all batches, each by its number of images: linear_BE_moco_v3.py,
  linear_BE_dino.py and the other MetricLogger programs; OSCD by SSL4EO-S12, which shows all tiles
  in one batch of 274. Of accuracy this is the figure of the whole split.
"""

import warnings
from collections.abc import Callable, Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ssl4eo_train.evaluate.numbers import confusion
from ssl4eo_train.evaluate.outcome import Mapped, Scored
from ssl4eo_train.evaluate.task import Kind

MAPPED = {name: confusion.CHANGE[name] for name in ("f1", "precision", "recall")}
Figure = Callable[[slice], float]


def by_batch(kind: Kind, test: Scored | Mapped) -> dict[str, float]:
    """The figures by name, in [0, 1]; without those of full batches where there is none."""
    if kind == "segment":
        return {}
    figures = _mapped(test) if isinstance(test, Mapped) else _scored(test)
    N = test.images
    return {name: value for n, f in figures.items() for name, value in _means(n, f, N, test.batch)}


def _means(name: str, figure: Figure, N: int, batch: int) -> list[tuple[str, float]]:
    starts = range(0, N, batch)
    every = [figure(slice(i, i + batch)) for i in starts]
    sizes = [min(batch, N - i) for i in starts]
    found = [(f"{name}_by_batch_all", float(np.average(every, weights=sizes)))]
    if full := every[: N // batch]:
        found.insert(0, (f"{name}_by_batch", float(np.mean(full))))
    return found


def _scored(test: Scored) -> Mapping[str, Figure]:
    scores, targets = test.scores, test.targets
    if targets.ndim == 1:
        right = (scores.argmax(dim=1) == targets).double()
        return {"accuracy": lambda of: right[of].mean().item()}
    # float32, as they do: where the logistic function reaches 1 scores are tied.
    probabilities = scores.sigmoid() if test.logits else scores
    return {"map_micro": lambda of: micro(probabilities[of], targets[of])}


def micro(probabilities: Tensor, targets: Tensor) -> float:
    """Average precision over all entries ``[n, K]`` of a batch; 0 where none is positive, as
    torchmetrics and scikit-learn have it."""
    from torchmetrics.functional.classification import binary_average_precision

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "No positive samples", UserWarning)
        found = binary_average_precision(probabilities.flatten(), targets.long().flatten())
    return abs(float(torch.nan_to_num(found)))  # It may be -0.


def _mapped(test: Mapped) -> Mapping[str, Figure]:
    matrices: NDArray[np.float64] = test.confusion.double().numpy()

    def figure(name: str) -> Figure:
        return lambda of: float(MAPPED[name](matrices[of].sum(axis=0)))

    return {name: figure(name) for name in MAPPED}
