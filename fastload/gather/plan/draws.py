"""What a plan draws: Philox words at the counter (block, purpose, location, attempt)."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastload_kernels.compiled import jit
from fastload_kernels.philox import U64, philox_numba

PLACE, DATE = 0, 1
"""Purposes: draws of one never change those of the other."""
E7 = 1e7
"""Places are kept as whole numbers of 1e-7 degrees, about a centimetre."""
Ints = NDArray[np.int64]
Fixed = NDArray[np.int32]


class Places(NamedTuple):
    """Drawn places ``[M]``.

    Attributes:
        lon, lat: in 1e-7 degrees.
        city: number of the city in its list, -1 where none.
        ok: whether the law wants the place; what it does not is drawn again.
    """

    lon: Fixed
    lat: Fixed
    city: Fixed
    ok: NDArray[np.bool_]


def empty_places(M: int) -> Places:
    """Places to fill, of no city, all wanted."""
    return Places(
        np.empty(M, np.int32), np.empty(M, np.int32), np.full(M, -1, np.int32), np.ones(M, bool)
    )


@jit()
def _fill(out, block, purpose, location, attempt, k0, k1):  # type: ignore[no-untyped-def]
    for n in range(len(out)):
        w0, w1, w2, w3 = philox_numba(block, purpose, U64(location[n]), U64(attempt[n]), k0, k1)
        out[n, 0], out[n, 1], out[n, 2], out[n, 3] = w0, w1, w2, w3


def words(
    seed: int, purpose: int, location: Ints, attempt: Ints, block: int = 0
) -> NDArray[np.uint64]:
    """Four 32-bit words for each pair of a location and an attempt.

    Args:
        seed: in [0, 2**64).
        purpose: `PLACE` or `DATE`.
        location, attempt: ``[M]``, in [0, 2**32).
        block: further words where four are too few.

    Returns:
        ``[M, 4]``, values below 2**32.
    """
    out = np.empty((len(location), 4), U64)
    key = U64(seed & 0xFFFFFFFF), U64(seed >> 32)
    _fill(out, U64(block), U64(purpose), location, attempt, *key)
    return out


def fine(high: NDArray[np.uint64], low: NDArray[np.uint64]) -> NDArray[np.float64]:
    """Uniform numbers in (0, 1) of 52 bits of two words, where 32 are too coarse for the globe."""
    bits = (high << U64(20)) | (low >> U64(12))
    return (bits.astype(np.float64) + 0.5) * 2.0**-52
