"""The papers' programs for maps, setting by setting; what is odd in them is kept, and said.

Settings are data: ``ssl4eo_train/evaluate/published/{task}.yaml``, by the method that made the
backbone, fields being those of `Plan`.
"""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ssl4eo_train.evaluate import published_settings
from ssl4eo_train.evaluate.bench import Bench
from ssl4eo_train.evaluate.dense import run as dense
from ssl4eo_train.evaluate.dense.plan import Plan
from ssl4eo_train.evaluate.dense.stated import Divided, Stretched
from ssl4eo_train.evaluate.inputs import Inputs
from ssl4eo_train.evaluate.outcome import Outcome


@dataclass(frozen=True)
class Published:
    """A run of the papers.

    Attributes:
        plan: its settings.
        inputs: how images are shown: `wanted`, see `pretrained.Wanted`, or `stretch`, limits by
            band, or `divide`, a number.
        task: options of the task.
        told: what is odd in it, or different here, in sentences.
    """

    plan: Plan
    inputs: Mapping[str, Any]
    task: Mapping[str, Any]
    told: list[str]


def find(task: str, method: str | None) -> Published:
    """The settings of a task and a method.

    Raises:
        SetupError: where the papers have no such run.
    """
    content = published_settings.of_task(task)
    common, run = content["common"], published_settings.of_method(content, task, method)
    fields = {**common.get("plan", {}), **run.get("plan", {})}
    if "zoom" in fields:
        fields["zoom"] = tuple(fields["zoom"])
    return Published(
        Plan(judge=False, **fields),
        run.get("inputs") or common["inputs"],
        {**common.get("task", {}), **run.get("task", {})},
        [*content.get("told", []), *run.get("told", [])],
    )


def run(bench: Bench, method: str, epochs: int, batch: int, size: int) -> Outcome:
    """Train and test as published.

    Args:
        bench: see there.
        method: whose settings are taken; "" for those of the method that made the backbone.
        epochs, batch, size: in place of the published ones, where they are not 0.

    Raises:
        SetupError: where the papers have no such run, or the backbone does not fit it.
    """
    taken = method or bench.pretrained.method
    found = find(bench.name, taken)
    plan = changed(found.plan, epochs, batch, size)
    bench = dataclasses.replace(bench, inputs=shown(bench.inputs, found.inputs))
    outcome = dense.run(bench, plan)
    first = f"as {taken} was published on {bench.name}; the last epoch counts, nothing is chosen"
    odd = differences(dataclasses.asdict(found.plan), dataclasses.asdict(plan))
    odd += task_differences(bench, found.task)
    return dataclasses.replace(
        outcome,
        settings={**outcome.settings, "method": taken},
        told=[first, *found.told, *outcome.told, *odd],
    )


def changed(plan: Plan, epochs: int, batch: int, size: int) -> Plan:
    """The plan with what the user asked for otherwise."""
    changes: dict[str, Any] = {}
    if epochs:
        changes |= {"epochs": epochs, "steps": 0, "warmup": 0}
    if batch:
        changes["batch"] = batch
    if size:
        changes["size"] = size
    return dataclasses.replace(plan, **changes)


def shown(inputs: Inputs, how: Mapping[str, Any]) -> Inputs:
    """Inputs in the radiometry that a paper states."""
    if "stretch" in how:
        return Stretched(inputs.bands, inputs.places, inputs.wanted, how["stretch"])
    if "divide" in how:
        return Divided(inputs.bands, inputs.places, inputs.wanted, float(how["divide"]))
    return dataclasses.replace(inputs, wanted=how["wanted"])


def differences(published: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """What is otherwise than published, in sentences."""
    return [f"{n} is {now[n]}, published {was}" for n, was in published.items() if now[n] != was]


def task_differences(bench: Bench, published: Mapping[str, Any]) -> list[str]:
    """As `differences`, of the task's options."""
    options = getattr(bench.task, "options", None)
    now = {name: getattr(options, name, None) for name in published}
    return [f"the task's option {text}" for text in differences(published, now)]
