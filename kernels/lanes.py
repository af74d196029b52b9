"""Weighted gathers from a line of pixels: the horizontal half of resampling."""

import numba
import numpy as np


@numba.njit(nogil=True, cache=True, fastmath={"contract"})
def gather(line, index, weight, row):  # type: ignore[no-untyped-def]
    """``row[x] = sum_k weight[k, x] * line[index[k, x]]`` for K of 1, 2 or 4 taps."""
    K, w = index.shape
    i0 = index[0]
    if K == 1:
        for x in range(w):
            row[x] = line[i0[x]]
        return
    i1, w0, w1 = index[1], weight[0], weight[1]
    if K == 2:
        for x in range(w):
            row[x] = w0[x] * line[i0[x]] + w1[x] * line[i1[x]]
        return
    i2, i3, w2, w3 = index[2], index[3], weight[2], weight[3]
    for x in range(w):
        near = w1[x] * line[i1[x]] + w2[x] * line[i2[x]]
        row[x] = w0[x] * line[i0[x]] + near + w3[x] * line[i3[x]]
