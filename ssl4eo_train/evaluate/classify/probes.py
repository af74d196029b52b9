"""Linear probes on features that do not change: logistic regression, and heads that are stepped."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from fastload_kernels.philox import words
from ssl4eo_train.evaluate.task import Kind

CHUNK = 65536
"""Rows whose scores are computed at once."""
_ORDER = 0xFFFE0000
"""Philox view id of the orders that heads see features in; far from the ids of views."""


@dataclass(frozen=True)
class Linear:
    """Scores ``x @ weight + bias`` of features ``[N, F]``; `weight` is ``[F, K]``, float64."""

    weight: Tensor
    bias: Tensor

    def scores(self, features: Tensor) -> Tensor:
        """Float32 ``[N, K]``."""
        parts = [part.double() @ self.weight + self.bias for part in torch.split(features, CHUNK)]
        return torch.cat(parts).float()


@dataclass(frozen=True)
class Standard:
    """Features less their mean, over their standard deviation, both of the training split."""

    mean: Tensor
    scale: Tensor

    @classmethod
    def of(cls, features: Tensor) -> "Standard":
        """By features ``[N, F]``; one that never changes is only moved."""
        variance, mean = torch.var_mean(features.double(), dim=0, correction=0)
        std = variance.sqrt()
        return cls(mean, torch.where(std > 1e-12, 1 / std, torch.ones_like(std)))

    def __call__(self, features: Tensor) -> Tensor:
        """Float32 ``[N, F]``."""
        return ((features.double() - self.mean) * self.scale).float()


def loss_of(kind: Kind, scores: Tensor, targets: Tensor) -> Tensor:
    """Sum over samples of the cross-entropy, or of the binary ones of all K labels."""
    if kind == "class":
        return F.cross_entropy(scores, targets, reduction="sum")
    return F.binary_cross_entropy_with_logits(scores, targets.to(scores.dtype), reduction="sum")


def logistic(
    features: Tensor,
    targets: Tensor,
    classes: int,
    kind: Kind,
    l2: float,
    start: Linear | None = None,
    steps: int = 300,
) -> Linear:
    """Logistic regression: multinomial, or of several labels one against the rest each.

    The least of ``mean loss + l2 / 2 |weight|^2`` by L-BFGS, float64, the bias being free. That is
    scikit-learn's `LogisticRegression` with ``C = 1 / (l2 N)``, one for each label if there are
    several.

    Args:
        features: ``[N, F]``, of comparable scale.
        targets: int64 ``[N]``, or 0 and 1 ``[N, K]``.
        classes: K.
        kind: of the task.
        l2: weight of the penalty, above 0.
        start: where to begin; zeros by default.
        steps: at most.
    """
    N, width = features.shape
    zeros = features.new_zeros((width + 1, classes), dtype=torch.float64)
    joint = zeros if start is None else torch.cat([start.weight, start.bias[None]])
    joint = joint.clone().requires_grad_()
    optimizer = torch.optim.LBFGS(
        [joint], max_iter=steps, tolerance_grad=1e-7, tolerance_change=1e-12, history_size=20,
        line_search_fn="strong_wolfe",
    )  # fmt: skip

    def closure() -> Tensor:
        optimizer.zero_grad()
        total = joint.detach().new_zeros(())
        for x, y in zip(torch.split(features, CHUNK), torch.split(targets, CHUNK), strict=True):
            part = loss_of(kind, x.double() @ joint[:-1] + joint[-1], y) / N
            part.backward()  # type: ignore[no-untyped-call]
            total += part.detach()
        penalty = l2 / 2 * joint[:-1].square().sum()
        penalty.backward()  # type: ignore[no-untyped-call]
        return total + penalty.detach()

    optimizer.step(closure)  # type: ignore[no-untyped-call]
    found = joint.detach()
    return Linear(found[:-1], found[-1])


def orders(count: int, batch: int, seed: int, epoch: int) -> Iterator[Tensor]:
    """Rows of each step of an epoch, int64 ``[batch]``: a function of (seed, epoch).

    What is less than a batch at the end is left out, unless it is all there is.
    """
    drawn = words(seed, epoch, np.arange(count), _ORDER, 0, 1)[:, 0].argsort(kind="stable")
    order = torch.from_numpy(drawn.astype(np.int64))
    size = min(batch, count)
    yield from torch.split(order[: count // size * size], size)
