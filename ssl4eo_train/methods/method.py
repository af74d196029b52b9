"""What a training method is, as the loop sees it.

A method is one file, and the file itself is the `Method`: its functions are the protocol's. A new
one is written beside `moco_v2` and put into `ssl4eo_train.methods.METHODS`.
"""

from dataclasses import dataclass
from typing import Protocol

from torch import nn
from torch.optim import Optimizer

from fastload.recipe import Recipe


@dataclass(frozen=True, kw_only=True)
class Published:
    """The setting that a method was published with; the defaults of a run on real data."""

    arch: str
    """Backbone, by its name in timm."""
    image_size: int
    """Side of a view in pixels."""
    batch: int
    """Samples a step, over all processes."""
    epochs: int


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What a method may know of a run when it builds its module."""

    arch: str
    bands: int
    image_size: int
    batch: int
    """Samples a step, over all processes."""
    seed: int
    queue: int | None = None
    """Keys that a contrastive method remembers; None for as many as it was published with."""
    momentum: float | None = None
    """Of the encoder that follows the trained one; None for the published one."""


class Method(Protocol):
    """One training method."""

    @property
    def PUBLISHED(self) -> Published:  # noqa: N802, a constant of the method's file
        """Defaults of a run on real data."""

    def recipe(self, image_size: int) -> Recipe:
        """What the method wants to see, for views of `image_size` pixels a side."""

    def build(self, settings: Settings) -> nn.Module:
        """Make the module that is trained.

        Its ``forward(views)`` takes a list with one float tensor ``[B, C, h, w]`` per view of the
        recipe, and returns the loss (scalar, float32) and a dict of further scalars to log, all
        detached and on the device of the views.

        Raises:
            SetupError: where the settings do not fit together.
        """

    def optimizer(self, model: nn.Module, lr: float | None) -> Optimizer:
        """Make the optimizer of the module's trained parameters.

        `lr` is the base learning rate, None for the published one.
        """

    def schedule(self, optimizer: Optimizer, epoch: float, epochs: int) -> float:
        """Set the optimizer for the step at `epoch` (a fraction counts its steps) of `epochs`.

        Returns the learning rate, for the log. Called before each step. The base rate is each
        group's ``base_lr``, which `optimizer` put there.
        """

    def after_step(self, model: nn.Module, epoch: float, epochs: int) -> None:
        """Do what follows the optimizer's step, such as moving a teacher; `model` is unwrapped."""
