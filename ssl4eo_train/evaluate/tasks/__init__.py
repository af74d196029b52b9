"""The tasks by name. Each is one file: where a distributor's files lie, and their splits."""

from importlib import import_module

from ssl4eo_train.evaluate.task import Task

TASKS = {
    "eurosat": "eurosat:multispectral",
    "eurosat_rgb": "eurosat:rgb",
}
"""By name, as ``module:function`` in this package. The function makes the task."""


def task(name: str) -> Task:
    """Make a task by its name in `TASKS`."""
    module, _, function = TASKS[name].partition(":")
    made: Task = getattr(import_module(f"{__name__}.{module}"), function)()
    return made
