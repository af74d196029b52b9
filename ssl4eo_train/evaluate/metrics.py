"""Metrics over the whole test split."""

from torch import Tensor

from ssl4eo_train.evaluate.outcome import Outcome, Scored
from ssl4eo_train.evaluate.task import Task


def metrics(task: Task, outcome: Outcome) -> dict[str, dict[str, float]]:
    """Figures by name, in [0, 1]: each its `value`, and `low` and `high` of its 95 % interval."""
    assert isinstance(outcome.test, Scored)
    right = (outcome.test.scores.argmax(dim=1) == outcome.test.targets).double()
    return {"accuracy": _interval(right)}


def _interval(right: Tensor) -> dict[str, float]:
    return {"value": right.mean().item()}
