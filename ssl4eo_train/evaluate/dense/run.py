"""From a plan to an outcome."""

from dataclasses import asdict

import torch

from ssl4eo_train.evaluate.bench import Bench
from ssl4eo_train.evaluate.dense import fit, maps
from ssl4eo_train.evaluate.dense.plan import Plan
from ssl4eo_train.evaluate.outcome import Mapped, Outcome


def run(bench: Bench, plan: Plan) -> Outcome:
    """Train on the training split, choose on the validation split, and test once.

    Raises:
        SetupError: where backbone, task and plan do not fit.
    """
    fitted = fit.fit(bench, plan)
    order = 0 if plan.shuffled_test else None
    matrices, _ = maps.judged(bench, fitted.network, "test", plan, order)
    chosen: dict[str, float] = {"epoch": fitted.epoch}
    if fitted.figure is not None:
        chosen[f"val_{maps.NAMES[bench.task.kind]}"] = fitted.figure
    return Outcome(
        Mapped(matrices, plan.figures_batch or plan.judge_batch),
        chosen=chosen,
        settings=asdict(plan),
        history=fitted.history,
        told=told(bench, plan),
    )


def told(bench: Bench, plan: Plan) -> list[str]:
    """What a reader of the figures must know, in sentences."""
    found = []
    if torch.device(bench.device).type == "cuda":
        found.append("bilinear maps are not made bit for bit alike by a GPU, run after run")
    if plan.shuffled_test:
        found.append("test images are in a drawn order, which figures by batch depend on")
    return found
