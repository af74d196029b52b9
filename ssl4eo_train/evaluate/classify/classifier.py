"""A backbone with a head."""

import copy

import torch
from torch import Tensor, nn

from ssl4eo_train.errors import SetupError
from ssl4eo_train.evaluate.classify import heads
from ssl4eo_train.evaluate.classify.plan import Plan
from ssl4eo_train.evaluate.classify.pooling import Pooled
from ssl4eo_train.evaluate.pretrained import Pretrained


class Classifier(nn.Module):
    """A copy of a backbone, its pooling, and a new head: ``[N, C, h, w]`` to scores ``[N, K]``.

    Args:
        pretrained: the backbone, which stays as it is.
        plan: says what is trained.
        classes: K.

    Raises:
        SetupError: where backbone and plan do not fit.
    """

    def __init__(self, pretrained: Pretrained, plan: Plan, classes: int) -> None:
        super().__init__()
        network = copy.deepcopy(pretrained.network)
        self.pooled = Pooled(network, plan.pool)  # type: ignore[arg-type]
        self.head = heads.make(plan.head, plan.head_start, self.pooled.width, classes)
        self._plan = plan
        names = dict(network.named_parameters())
        for name in plan.fixed:
            if name not in names:
                raise SetupError(f"fixed: the network has no parameter {name!r}")
        for name, parameter in names.items():
            parameter.requires_grad_(plan.trains == "all" and name not in plan.fixed)

    def learn(self) -> None:
        """Modules in the mode that they are trained in."""
        self.train()
        self.pooled.train(self._plan.backbone_mode == "train")

    def forward(self, images: Tensor) -> Tensor:
        """Scores; without a gradient for the backbone where only the head is trained."""
        with torch.set_grad_enabled(torch.is_grad_enabled() and self._plan.trains == "all"):
            found = self.pooled(images)
        scores: Tensor = self.head(found.float())
        return scores
