"""What a training method is, as the loop sees it.

A method is one file, and the file itself is the `Method`: its published setting, its options, its
recipe, and `build`, which makes the `Learner` that is trained. A new one is written beside
`moco_v2` and put into `ssl4eo_train.methods.METHODS`.
"""

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn
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
    """What a method may know of a run when it builds its learner."""

    arch: str
    bands: int
    """Channels of a view, over all that are stacked in it."""
    image_size: int
    batch: int
    """Samples a step, over all processes."""
    seed: int
    options: Any
    """An instance of the method's `Options`."""
    accumulate: int = 1
    """Forward passes that a step is split into."""
    checkpointing: bool = False
    """Recompute activations in the backward pass, to save memory."""

    @property
    def pass_batch(self) -> int:
        """Samples of one forward pass, over all processes."""
        return self.batch // self.accumulate


@dataclass(frozen=True)
class Progress:
    """How far a run is, before a step."""

    step: int
    """Optimizer steps done."""
    steps_per_epoch: int
    epochs: int
    """Length of the schedule."""

    @property
    def epoch(self) -> float:
        """Epochs done; a fraction counts the steps of the present one."""
        return self.step / self.steps_per_epoch

    @property
    def total(self) -> int:
        """Steps of the whole schedule."""
        return self.steps_per_epoch * self.epochs


@dataclass(frozen=True)
class Samples:
    """Which samples the views show: what a method's own draws are a function of."""

    seed: int
    epoch: int
    index: NDArray[np.int64]
    """Sample ids ``[N]``."""


class Learner(nn.Module):
    """What is trained. Its children are networks, which the loop may compile one by one.

    So `forward` calls a child as a whole and never reaches for the parts of one.
    """

    step_norm = False
    """Whether batch norms take their statistics over the whole step, not over one process."""

    @property
    def backbone(self) -> nn.Module:
        """The network that is wanted in the end, images ``[N, C, h, w]`` to features ``[N, F]``."""
        raise NotImplementedError

    def forward(self, views: list[Tensor], samples: Samples) -> tuple[Tensor, dict[str, Tensor]]:
        """Compute the loss.

        Args:
            views: one float tensor ``[N, C, h, w]`` per view of the recipe.
            samples: what they show.

        Returns:
            The loss, a float32 scalar, and further scalars to log, detached and on the device of
            the views. Among these are what tells of collapse.
        """
        raise NotImplementedError

    def optimizer(self, lr: float | None) -> Optimizer:
        """Make the optimizer. `lr` is the base learning rate; None for the published one."""
        raise NotImplementedError

    def before_step(self, optimizer: Optimizer, progress: Progress) -> float:
        """Set the optimizer for a step, and move what follows the network before its forward pass.

        Returns the learning rate, for the log.
        """
        raise NotImplementedError

    def after_backward(self, progress: Progress) -> None:
        """Change the gradients, such as by clipping. They are no longer scaled."""

    def after_step(self, progress: Progress) -> None:
        """Do what follows the optimizer's step, such as moving a teacher."""


class Method(Protocol):
    """One training method."""

    @property
    def PUBLISHED(self) -> Published:  # noqa: N802, a constant of the method's file
        """Defaults of a run on real data."""

    @property
    def Options(self) -> type[Any]:  # noqa: N802, a class of the method's file
        """Frozen dataclass of numbers, flags and names, all with defaults.

        Where published code is wrong or surprising, the default is the sane reading, and an option
        gives the published one.
        """

    def recipe(self, image_size: int, arch: str, options: Any) -> Recipe:
        """What the method wants to see, for views of `image_size` pixels a side."""

    def build(self, settings: Settings) -> Learner:
        """Make the learner.

        Raises:
            SetupError: where the settings do not fit together.
        """
