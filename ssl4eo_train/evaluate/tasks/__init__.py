"""The tasks by name. Each is one file: where a distributor's files lie, and their splits."""

from collections.abc import Mapping
from importlib import import_module
from typing import Any

from ssl4eo_train import presets
from ssl4eo_train.evaluate.task import Task

TASKS = {
    "aid": "aid:AID",
    "bigearthnet": "bigearthnet:BigEarthNetTask",
    "csv": "csv_file:CSV",
    "eurosat": "eurosat:Multispectral",
    "eurosat_rgb": "eurosat:RGB",
    "so2sat": "so2sat:So2Sat",
}
"""By name, as ``module:class`` in this package."""


def kind(name: str) -> type[Task]:
    """The class of a task by its name in `TASKS`."""
    module, _, attribute = TASKS[name].partition(":")
    found: type[Task] = getattr(import_module(f"{__name__}.{module}"), attribute)
    return found


def task(name: str, options: Mapping[str, Any] | None = None) -> Task:
    """Make a task by its name in `TASKS`.

    Args:
        name: see there.
        options: some of its `Options`; see `presets.made`.

    Raises:
        SetupError: names the option that does not exist or does not fit.
    """
    made = kind(name)
    return made(presets.made(made.Options, options or {}, "--task-options"))
