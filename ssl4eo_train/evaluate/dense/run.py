"""From a plan to an outcome."""

import dataclasses
from dataclasses import asdict

import numpy as np
import torch
from torch import Tensor

from ssl4eo_train.evaluate.bench import Bench
from ssl4eo_train.evaluate.dense import fit, maps
from ssl4eo_train.evaluate.dense.network import DenseNetwork
from ssl4eo_train.evaluate.dense.plan import Plan
from ssl4eo_train.evaluate.outcome import Example, Mapped, Outcome
from ssl4eo_train.evaluate.pages import examples


def run(bench: Bench, plan: Plan) -> Outcome:
    """Train on the training split, choose on the validation split, and test once.

    Raises:
        SetupError: where backbone, task and plan do not fit.
    """
    fitted = fit.fit(bench, plan)
    order = 0 if plan.shuffled_test else None
    matrices, samples = maps.judged(bench, fitted.network, "test", plan, order)
    chosen: dict[str, float] = {"epoch": fitted.epoch}
    if fitted.figure is not None:
        chosen[f"val_{maps.NAMES[bench.task.kind]}"] = fitted.figure
    return Outcome(
        Mapped(matrices, plan.figures_batch or plan.judge_batch),
        chosen=chosen,
        settings=asdict(plan),
        history=fitted.history,
        examples=_examples(bench, fitted.network, plan, matrices, samples),
        told=told(bench, plan),
    )


def _examples(
    bench: Bench, network: DenseNetwork, plan: Plan, matrices: Tensor, samples: list[int]
) -> list[Example]:
    """Some test images, and those with the greatest share of wrong pixels, which are shown to the
    network again."""
    test = bench.splits["test"]
    row = {int(number): i for i, number in enumerate(test.ids_of(np.arange(len(test))))}
    seen = matrices.sum(dim=(1, 2)).clamp(min=1)
    wrong = torch.zeros(len(test), dtype=torch.float64)
    right = matrices.diagonal(dim1=1, dim2=2).sum(dim=1)
    wrong[[row[number] for number in samples]] = 1 - right.double() / seen
    rows = list(dict.fromkeys([*examples.by_digest(bench), *examples.wrongest(bench, wrong)]))
    few = dataclasses.replace(bench, splits={**bench.splits, "test": test.subset(rows)})
    found = []
    for said, truth, index in maps.said_of(few, network, "test", plan):
        for i, number in enumerate(index):
            pictures = examples.pictures(bench, row[number])
            pair = (examples.classes_of(classes[i]) for classes in (truth, said))
            found.append(Example(str(test.keys[row[number]]), pictures, *pair))
    return found


def told(bench: Bench, plan: Plan) -> list[str]:
    """What a reader of the figures must know, in sentences."""
    found = []
    if torch.device(bench.device).type == "cuda":
        found.append("bilinear maps are not made bit for bit alike by a GPU, run after run")
    if plan.shuffled_test:
        found.append("test images are in a drawn order, which figures by batch depend on")
    return found
