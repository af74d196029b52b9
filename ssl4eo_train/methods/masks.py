"""Which patches are hidden: functions of (seed, epoch, sample), drawn on the host.

So any number of processes, any split of a step and a resumed run hide the same ones.
"""

import math

import numba
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fastload_kernels.compiled import jit
from fastload_kernels.philox import philox_numba, words
from ssl4eo_train.methods.method import Samples

U64 = np.uint64
Mask = NDArray[np.float32]
SHUFFLES, BLOCKS = 0xFFFE0010, 0xFFFE0011
"""Philox view ids of these draws; far from the ids of views."""


def shuffles(samples: Samples, patches: int) -> NDArray[np.int64]:
    """Draw an order of the patches for each sample: permutations ``[N, patches]``."""
    word = words(samples.seed, samples.epoch, samples.index, SHUFFLES, 0, patches)
    return word.argsort(axis=1, kind="stable").astype(np.int64)


def blocks(
    samples: Samples, rows: int, columns: int, most: int, least: float, aspect: float
) -> Mask:
    """Hide rectangles of patches until `most` are hidden. Source: BEiT, arXiv:2106.08254, its code.

    A block's area is uniform between `least` and what is left to hide, its ratio of height to width
    log-uniform between `aspect` and its inverse; both sides are shorter than the grid's. It is laid
    where it hides something new and not too much. After ten failures in a row the mask stays as it
    is, so that it may fall short of `most`, even by all.

    Args:
        samples: the N samples. Attempt number a for one takes words 4a to 4a + 3.
        rows, columns: patches down and across.
        most: patches to hide.
        least: smallest area of a block in patches.
        aspect: least ratio of height to width, in (0, 1].

    Returns:
        ``[N, rows x columns]``: 0 is keep, 1 is hide.
    """
    hidden = np.zeros((len(samples.index), rows, columns), np.float32)
    key = U64(samples.seed & 0xFFFFFFFF), U64(samples.seed >> 32)
    _lay(hidden, samples.index.astype(U64), U64(samples.epoch), key, most, least, -math.log(aspect))
    return hidden.reshape(len(hidden), -1)


@numba.njit(inline="always")
def _uniform(word):  # type: ignore[no-untyped-def]
    return (np.float64(word) + 0.5) * 2.0**-32


@numba.njit(inline="always")
def _choice(word, n):  # type: ignore[no-untyped-def]
    return np.int64((word * U64(n)) >> U64(32))


@jit()
def _lay(hidden, sample, epoch, key, most, least, spread):  # type: ignore[no-untyped-def]
    """Lay blocks into ``hidden [N, rows, columns]``."""
    N, rows, columns = hidden.shape
    for n in range(N):
        attempt, left, failures = 0, most, 0
        while left > 0 and failures < 10:
            w0, w1, w2, w3 = philox_numba(
                U64(attempt), U64(BLOCKS), sample[n], epoch, key[0], key[1]
            )
            attempt += 1
            failures += 1
            area = least + (left - least) * _uniform(w0)
            ratio = math.exp(spread * (2 * _uniform(w1) - 1))
            height, width = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
            if height >= rows or width >= columns:
                continue
            top, side = _choice(w2, rows - height + 1), _choice(w3, columns - width + 1)
            block = hidden[n, top : top + height, side : side + width]
            new = height * width - int(block.sum())
            if 0 < new <= left:
                block[:] = 1
                left -= new
                failures = 0


def placed(array: NDArray[np.generic], device: torch.device) -> Tensor:
    """Copy from the host to a device without a CPU-GPU sync."""
    tensor = torch.from_numpy(array)
    if device.type == "cuda":
        tensor = tensor.pin_memory()  # Kept by torch until the copy is done.
    return tensor.to(device, non_blocking=True)
