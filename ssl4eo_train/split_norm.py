"""Batch norm over parts of a batch, as if each part were on a GPU of its own.

With shuffled keys this is what the single-GPU notebook of facebookresearch/moco does (branch
colab-notebook, colab/moco_cifar10_demo.ipynb, ``SplitBatchNorm``). Part s is rows s, s + S, ..., as
there, and as `ssl4eo_train.distributed` deals a step to S processes.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from ssl4eo_train import norms

PLAIN = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


class SplitBatchNorm(_BatchNorm):
    """As torch's, with statistics of each of `splits` parts. Input ``[N, C]`` or ``[N, C, ...]``.

    N is a multiple of `splits`. The running statistics are the mean of those that the parts would
    leave, as in the notebook; of several processes the first one's are kept.
    """

    splits = 1

    def _check_input_dim(self, input: Tensor) -> None:
        if input.ndim < 2:
            raise ValueError(f"batch norm needs [N, C, ...], got {list(input.shape)}")

    def forward(self, input: Tensor) -> Tensor:
        """Normalise each part with its own mean and variance; in evaluation as torch's."""
        if not self.training:
            return super().forward(input)
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.num_batches_tracked is not None
        self.num_batches_tracked += 1
        share = self.momentum if self.momentum is not None else 1 / float(self.num_batches_tracked)
        means = self.running_mean.repeat(self.splits, 1)  # [S, C]
        variances = self.running_var.repeat(self.splits, 1)
        parts = [input[s :: self.splits] for s in range(self.splits)]  # [N / S, C, ...] each
        normed = [
            F.batch_norm(x, mean, variance, self.weight, self.bias, True, share, self.eps)
            for x, mean, variance in zip(parts, means, variances, strict=True)
        ]
        self.running_mean.copy_(means.mean(dim=0))
        self.running_var.copy_(variances.mean(dim=0))
        output = torch.stack(normed, dim=1).flatten(0, 1)
        if input.ndim == 4 and input.is_contiguous(memory_format=torch.channels_last):
            return output.contiguous(memory_format=torch.channels_last)  # Which stacking undoes.
        return output


def split(module: nn.Module, splits: int) -> int:
    """Let every batch norm inside a module take its statistics over each of `splits` parts.

    The parameters stay the ones they were; with one part nothing is changed. Returns how many batch
    norms there are.

    Raises:
        TypeError: where a norm does more than torch's, or keeps no running statistics.
    """
    return norms.replace(module, lambda norm: norm if splits == 1 else _split(norm, splits))


def _split(norm: _BatchNorm, splits: int) -> SplitBatchNorm:
    if type(norm) not in PLAIN or not norm.track_running_stats:
        raise TypeError(f"a {type(norm).__name__} cannot be split")
    new = norms.like(SplitBatchNorm, norm)
    new.splits = splits
    return new
