"""Philox4x32-10, the one source of randomness.

A counter-based generator: the 128 random bits at counter ``(c0, c1, c2, c3)`` under key
``(k0, k1)`` are a pure function of those six words, so any draw can be made anywhere, in any order
and by any number of workers. Source: Salmon et al., "Parallel random numbers: as easy as 1, 2, 3",
SC 2011; test vectors from the authors' Random123 distribution.

Counters are used as ``(block, view, sample, epoch)`` and the key is the 64-bit seed, so that two
draws share bits only if all five agree.
"""

import numba
import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastload_kernels.compiled import jit

U64 = np.uint64
_M0, _M1 = U64(0xD2511F53), U64(0xCD9E8D57)
_W0, _W1 = U64(0x9E3779B9), U64(0xBB67AE85)
_LOW, _HALF = U64(0xFFFFFFFF), U64(32)


def philox(c0, c1, c2, c3, k0, k1):  # type: ignore[no-untyped-def]
    """Return the four output words of Philox4x32-10.

    All arguments are uint64 scalars or arrays (broadcast against each other) that hold 32-bit
    values, and so are the four results. The same lines serve NumPy arrays and, compiled as
    `philox_numba`, scalars inside Numba kernels.
    """
    for _ in range(10):
        p0 = _M0 * c0
        p1 = _M1 * c2
        c0, c1, c2, c3 = (p1 >> _HALF) ^ c1 ^ k0, p1 & _LOW, (p0 >> _HALF) ^ c3 ^ k1, p0 & _LOW
        k0 = (k0 + _W0) & _LOW
        k1 = (k1 + _W1) & _LOW
    return c0, c1, c2, c3


philox_numba = numba.njit(inline="always")(philox)


@jit()
def _fill(out, first_block, view, sample, epoch, k0, k1):  # type: ignore[no-untyped-def]
    """Blocks from `first_block` on into ``out [N, blocks, 4]``."""
    for n in range(out.shape[0]):
        for b in range(out.shape[1]):
            block = first_block + U64(b)
            w0, w1, w2, w3 = philox_numba(block, view, sample[n], epoch, k0, k1)
            out[n, b, 0], out[n, b, 1], out[n, b, 2], out[n, b, 3] = w0, w1, w2, w3


def words(
    seed: int, epoch: int, sample: ArrayLike, view: int, first: int, count: int
) -> NDArray[np.uint64]:
    """Draw random 32-bit words for many samples at once.

    Args:
        seed: 64-bit key.
        epoch: counter word 3, below 2**32.
        sample: sample ids ``[N]``, each below 2**32; counter word 2.
        view: counter word 1; `SHARED` and `REPLACE` are reserved ids.
        first: first word to return; words are numbered through the blocks of four.
        count: how many words.

    Returns:
        ``[N, count]`` uint64 holding values below 2**32.

    Raises:
        ValueError: where a counter or the seed does not fit its word.
    """
    sample = np.atleast_1d(np.asarray(sample)).astype(np.int64, copy=False)
    in_range = 0 <= epoch < 2**32 and 0 <= seed < 2**64
    if not in_range or (len(sample) and (sample.min() < 0 or sample.max() >= 2**32)):
        raise ValueError(
            f"seed must be in [0, 2**64) and epoch and sample in [0, 2**32), got {seed=}, {epoch=}"
        )
    block0, block1 = first // 4, -(-(first + count) // 4)
    out = np.empty((len(sample), block1 - block0, 4), U64)
    key = U64(seed & 0xFFFFFFFF), U64(seed >> 32)
    _fill(out, U64(block0), U64(view), sample.astype(U64), U64(epoch), *key)
    flat = out.reshape(len(sample), 4 * (block1 - block0))
    return flat[:, first - 4 * block0 : first - 4 * block0 + count]


SHARED = 0xFFFFFFFF
"""View id of draws that all views of a sample share."""
REPLACE = 0xFFFFFFFE
"""View id of draws that choose a replacement for an unreadable sample."""
ORDER = 0xFFFFFFFD
"""View id of draws that order the samples of an epoch."""


def uniform(word: NDArray[np.uint64]) -> NDArray[np.float64]:
    """Map 32-bit words to float64 in the open interval (0, 1)."""
    return (word.astype(np.float64) + 0.5) * 2.0**-32


def choice(word: NDArray[np.uint64], n: ArrayLike) -> NDArray[np.int64]:
    """Map 32-bit words to integers in ``[0, n)``; the bias is below n / 2**32."""
    return ((word * np.asarray(n).astype(U64)) >> _HALF).astype(np.int64)
