"""The taps of `resample` for Numba, laid out for the passes of `cpu`."""

import numpy as np

from fastload_kernels.compiled import jit
from fastload_kernels.resample import BICUBIC_A

_jit = jit(error_model="numpy")


@_jit
def _cubic(d):  # type: ignore[no-untyped-def]
    a = BICUBIC_A
    if d <= 1:
        return ((a + 2) * d - (a + 3)) * d * d + 1
    return ((a * d - 5 * a) * d + 8 * a) * d - 4 * a


@_jit
def taps(n_in, n_out, K, flip):  # type: ignore[no-untyped-def]
    """Source index int64 and weight float64, each ``[K, n_out]``; K is 1, 2 or 4, and 1 where the
    sizes agree."""
    K = 1 if n_in == n_out else K
    index = np.empty((K, n_out), np.int64)
    weight = np.empty((K, n_out), np.float64)
    scale = n_in / n_out
    for o in range(n_out):
        at = n_out - 1 - o if flip else o
        if K == 1:
            index[0, at], weight[0, at] = min(np.int64((o + 0.5) * scale), n_in - 1), 1.0
            continue
        x = (o + 0.5) * scale - 0.5
        base = np.floor(x)
        f = x - base
        for k in range(K):
            shift = k - 1 if K == 4 else k
            index[k, at] = min(max(np.int64(base) + shift, 0), n_in - 1)
            weight[k, at] = _cubic(abs(f - shift)) if K == 4 else (f if k else 1 - f)
    return index, weight


@_jit
def nearest(n_in, n_out, K, flip):  # type: ignore[no-untyped-def]
    """Source index int64 ``[n_out]`` of each output's tap with the largest weight, the first of
    equals."""
    index, weight = taps(n_in, n_out, K, flip)
    out = np.empty(n_out, np.int64)
    for o in range(n_out):
        out[o] = index[weight[:, o].argmax(), o]
    return out


@_jit
def radius(sigma):  # type: ignore[no-untyped-def]
    """Of the blur; 0 for none."""
    return (np.int64(np.round(6 * sigma + 1)) | 1) // 2 if sigma > 0 else 0


@_jit
def gaussian(sigma):  # type: ignore[no-untyped-def]
    """Half of the blur: float64 ``[r + 1]`` from the centre outwards; ``[1]`` for no blur."""
    if sigma <= 0:
        return np.ones(1)
    r = radius(sigma)
    half = np.exp(-0.5 * (np.arange(r + 1) / sigma) ** 2)
    return half / (2 * half.sum() - half[0])


@_jit
def fold(i, n):  # type: ignore[no-untyped-def]
    """Reflect an index into ``[0, n)`` without repeating the edge."""
    if 0 <= i < n:  # nearly always, and spares a division
        return i
    if n == 1:
        return 0
    period = 2 * (n - 1)
    i = abs(i) % period
    return min(i, period - i)


@_jit
def rows(n_in, n_out, K, flip, half):  # type: ignore[no-untyped-def]
    """Vertical weights with the blur inside.

    Returns:
        first: int64 ``[n_out]``, the first source row that an output row needs.
        weight: float32 ``[n_out, K]`` over K source rows from there.
        total: float32 ``[n_in]``, what each source row adds to the view's sum, before the blur.
    """
    index, weight = taps(n_in, n_out, K, flip)
    total = np.zeros(n_in, np.float64)
    low = np.full(n_out, n_in, np.int64)
    high = np.zeros(n_out, np.int64)
    r = len(half) - 1
    for o in range(n_out):
        for k in range(len(index)):
            total[index[k, o]] += weight[k, o]
        for d in range(-r, r + 1):
            near = fold(o + d, n_out)
            for k in range(len(index)):
                low[o], high[o] = min(low[o], index[k, near]), max(high[o], index[k, near])
    K = (high - low).max() + 1
    first = np.minimum(low, n_in - K)
    dense = np.zeros((n_out, K), np.float64)
    for o in range(n_out):
        for d in range(-r, r + 1):
            near = fold(o + d, n_out)
            for k in range(len(index)):
                dense[o, index[k, near] - first[o]] += half[abs(d)] * weight[k, near]
    return first, dense.astype(np.float32), total.astype(np.float32)
