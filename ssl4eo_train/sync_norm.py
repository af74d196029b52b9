"""Batch norm whose statistics are those of the whole step, over all processes."""

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from ssl4eo_train import distributed, norms


class StepBatchNorm(_BatchNorm):
    """As `torch.nn.SyncBatchNorm`, which refuses tensors on the CPU, but on any device.

    Every process must hold as many samples. Input ``[N, C]`` or ``[N, C, ...]``.
    """

    def _check_input_dim(self, input: Tensor) -> None:
        if input.ndim < 2:
            raise ValueError(f"batch norm needs [N, C, ...], got {list(input.shape)}")

    def forward(self, input: Tensor) -> Tensor:
        """Normalise with the step's mean and variance; in evaluation with the running ones."""
        if not self.training or distributed.size() == 1:
            return super().forward(input)
        x = input.float()
        over = [d for d in range(x.ndim) if d != 1]
        shape = [1, -1] + [1] * (x.ndim - 2)
        count = x.numel() // x.shape[1] * distributed.size()
        # Two passes, since a mean of squares loses what matters when the mean is large.
        mean = _summed(x.sum(dim=over)) / count
        centred = x - mean.view(shape)
        variance = _summed(centred.square().sum(dim=over)) / count
        self._remember(mean.detach(), variance.detach(), count)
        y = centred * torch.rsqrt(variance + self.eps).view(shape)
        if self.weight is not None:
            y = y * self.weight.view(shape) + self.bias.view(shape)
        return y.to(input.dtype)

    @torch.no_grad()
    def _remember(self, mean: Tensor, variance: Tensor, count: int) -> None:
        if self.running_mean is None or self.running_var is None:
            return
        assert self.num_batches_tracked is not None
        self.num_batches_tracked += 1
        share = self.momentum if self.momentum is not None else 1 / float(self.num_batches_tracked)
        self.running_mean.lerp_(mean, share)
        self.running_var.lerp_(variance * count / (count - 1), share)


class _Sum(torch.autograd.Function):
    """Sum over the processes; so is its gradient, since each one's loss depends on every part."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        total = x.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        return _Sum.forward(ctx, gradients[0])


def _summed(x: Tensor) -> Tensor:
    total: Tensor = _Sum.apply(x)
    return total


def synchronise(module: nn.Module) -> None:
    """Give every batch norm inside a module the statistics of the whole step.

    The parameters stay the ones they were. With one process nothing is changed.
    """
    if distributed.size() > 1:
        norms.replace(module, _synchronised)


def _synchronised(norm: _BatchNorm) -> _BatchNorm:
    # Torch's is faster, but runs on a GPU only.
    is_cuda = any(x.is_cuda for x in (*norm.parameters(), *norm.buffers()))
    return norms.like(nn.SyncBatchNorm if is_cuda else StepBatchNorm, norm)
