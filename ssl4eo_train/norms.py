"""Other batch norms in place of a network's own."""

from collections.abc import Callable
from typing import TypeVar

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

Norm = TypeVar("Norm", bound=_BatchNorm)


def replace(module: nn.Module, new: Callable[[_BatchNorm], nn.Module]) -> int:
    """Put ``new(norm)`` in place of each batch norm inside a module; returns how many there are."""
    count = 0
    for name, child in module.named_children():
        if isinstance(child, _BatchNorm):
            setattr(module, name, new(child))
            count += 1
        else:
            count += replace(child, new)
    return count


def like(kind: type[Norm], norm: _BatchNorm) -> Norm:
    """A batch norm of another kind; parameters and buffers stay the ones they were."""
    new = kind(norm.num_features, norm.eps, norm.momentum, norm.affine, norm.track_running_stats)
    new.weight, new.bias = norm.weight, norm.bias
    for name, buffer in norm.named_buffers():
        setattr(new, name, buffer)
    return new.train(norm.training)
