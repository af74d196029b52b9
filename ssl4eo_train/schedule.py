"""How many steps a run takes, and how long its schedule is."""

import math
from dataclasses import dataclass

import fastload
from ssl4eo_train.config import Config
from ssl4eo_train.errors import SetupError


@dataclass(frozen=True)
class Schedule:
    """Steps of a run."""

    steps: int
    """Of an epoch of the schedule."""
    epochs: int
    """Of the schedule."""
    last: int
    """Steps after which the run ends."""


def schedule(config: Config, dataset: fastload.Dataset, steps: int) -> Schedule:
    """The schedule of a run whose loader has so many steps.

    Raises:
        SetupError: where the learning rate would rise for longer than that.
    """
    steps *= passes(config, dataset)
    last = config.steps or config.epochs * steps
    epochs = max(config.epochs, math.ceil(last / steps))
    warmup = getattr(config.method_options(), "warmup", 0.0)
    if not 0 <= warmup <= epochs:
        raise SetupError(
            f"warmup is {warmup:g} epochs, expected from 0 to the {epochs} of the schedule; "
            "--set warmup=N changes the one, --epochs N the other"
        )
    return Schedule(steps, epochs, last)


def passes(config: Config, dataset: fastload.Dataset) -> int:
    """How often an epoch shows every location; of uneven ones as if each had the most dates."""
    return dataset.timestamps if config.epoch_of == "dates" else 1
