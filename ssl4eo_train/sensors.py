"""Which sensors a view shows, where several modalities share it (`Config.fusion`)."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fastload_kernels.philox import words
from ssl4eo_train.methods.masks import placed

DROPS = 0xFFFE1000
"""Philox view id of the draws for view 0; those of the others follow. Far from the ids of views."""
SHARE = 2**31
"""Of 2**32: the share of the views that lack a sensor."""


def dropped(
    seed: int, epoch: int, index: NDArray[np.int64], view: int, sensors: int
) -> NDArray[np.int64]:
    """Draw the sensor that a view of each sample lacks: half of them none, -1, else any.

    So DINO-MM drops sensors (Wang et al., arXiv:2204.05381; zhu-xlab/DINO-MM at 45975d8,
    main_dino_B14.py, ``RandomApply([RandomSensorDrop()], p=0.5)`` in each of its views).

    Args:
        seed, epoch: of the run.
        index: sample ids ``[N]``.
        view: number of the view.
        sensors: M.

    Returns:
        ``[N]``, from -1 to M - 1; a function of the arguments alone.
    """
    word = words(seed, epoch, index, DROPS + view, 0, 2)
    which = (word[:, 1] * np.uint64(sensors)) >> np.uint64(32)
    return np.where(word[:, 0] < SHARE, which.astype(np.int64), -1)


def drop(parts: list[Tensor], lacking: NDArray[np.int64]) -> list[Tensor]:
    """Put zeros, also for NaN, in place of a sensor that a sample lacks.

    Args:
        parts: a view of each sensor, ``[N, C, h, w]``.
        lacking: of `dropped`, ``[N]``.
    """
    gone = placed(lacking, parts[0].device)[:, None, None, None]
    return [part.masked_fill(gone == m, 0) for m, part in enumerate(parts)]


def alternate(parts: list[Tensor], view: int) -> list[Tensor]:
    """Show one sensor in each view, the others as zeros, in turn. No published run does so."""
    here = view % len(parts)
    return [x if m == here else torch.zeros_like(x) for m, x in enumerate(parts)]
