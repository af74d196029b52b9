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
    "dfc2020": "dfc2020:DFC2020",
    "eurosat": "eurosat:Multispectral",
    "eurosat_rgb": "eurosat:RGB",
    "folders": "folders:Folders",
    "levir_cd": "levir_cd:LEVIRCD",
    "loveda": "loveda:LoveDA",
    "oscd": "oscd:OSCD",
    "potsdam": "potsdam:Potsdam",
    "so2sat": "so2sat:So2Sat",
    "vaihingen": "vaihingen:Vaihingen",
    "whu_cd": "whu_cd:WHUCD",
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
        options: some of its `settable` ones; see `presets.made`.

    Raises:
        SetupError: names the option that does not exist or does not fit.
    """
    made = kind(name)
    return made(presets.made(made.settable, options or {}, "--task-options"))
