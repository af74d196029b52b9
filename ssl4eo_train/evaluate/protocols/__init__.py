"""The protocols by name. Each is one file: what is done with a backbone on a task."""

from importlib import import_module
from typing import Any, Protocol

from ssl4eo_train.evaluate.bench import Bench
from ssl4eo_train.evaluate.outcome import Outcome
from ssl4eo_train.evaluate.task import Kind

PROTOCOLS = {
    "knn": "knn",
    "colours": "colours",
    "linear": "linear",
    "finetune": "finetune",
    "published": "published",
    "segment": "segment",
    "change": "change",
}
"""By name, the module in this package."""


class Module(Protocol):
    """What a protocol's file has."""

    @property
    def KINDS(self) -> tuple[Kind, ...]:  # noqa: N802, a constant of the file
        """Tasks that it is for."""

    @property
    def Options(self) -> type[Any]:  # noqa: N802, a class of the file
        """Frozen dataclass of numbers, flags and names, all with defaults; set by ``--set``."""

    def run(self, bench: Bench, options: Any) -> Outcome:
        """Do it. Progress is printed, a line an epoch.

        Raises:
            SetupError: where options, backbone and task do not fit together.
        """


def protocol(name: str) -> Module:
    """A protocol by its name in `PROTOCOLS`."""
    module: Any = import_module(f"{__name__}.{PROTOCOLS[name]}")
    return module  # type: ignore[no-any-return]
