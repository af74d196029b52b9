"""Undoing the shuffle of decoded blocks on the device, and copying what was stored unpacked."""

import numpy as np
from numpy.typing import NDArray

from fastload_kernels.cuda.launch import Device, HasPointer

MOVE = np.dtype(
    [
        ("src", "u8"),  # address, or IN_SCRATCH + an offset in the scratch memory
        ("dst", "u8"),  # the same; not overlapping
        ("size", "i8"),  # bytes, at least 1
        ("typesize", "i8"),  # bytes of an element: 1, 2, 4 or 8
        ("bits", "i8"),  # 0: shuffled by bytes, 1: by bits, whole elements a multiple of 8
        ("first", "i8"),  # number of the row's first piece, see `cut`
    ]
)
"""Bytes to move, which are shuffled at `src` and in order at `dst`. It is a copy where elements
have one byte and are not shuffled by bits."""

IN_SCRATCH = np.uint64(1 << 63)
"""Marks an address as an offset in the scratch memory; no device address is as large."""

_PIECE = 32768  # as in unshuffle.cu
_THREADS = 256


def cut(rows: NDArray[np.void]) -> int:
    """Fill in `first` of all rows, `MOVE` ``[N]``; returns how many pieces they have."""
    ends = np.cumsum(-(-rows["size"] // _PIECE))
    rows["first"][1:] = ends[:-1]
    rows["first"][:1] = 0
    return int(ends[-1]) if len(rows) else 0


def unshuffle(
    device: Device, rows: HasPointer | int, count: int, pieces: int, scratch: int
) -> None:
    """Move what `count` rows say; enqueued, not waited for.

    Args:
        device: where to.
        rows: `MOVE` ``[count]`` on the device.
        count, pieces: see `cut`.
        scratch: address of the scratch memory.
    """
    device.launch("unshuffle.cu", "unshuffle", pieces, _THREADS, [rows, count, scratch])


def place(
    device: Device,
    addresses: HasPointer | int,
    sizes: HasPointer | int,
    count: int,
    scratch: int,
) -> None:
    """Turn offsets in the scratch memory into addresses, for readers other than `unshuffle`.

    Args:
        device: where to.
        addresses: uint64 ``[count]`` on the device, changed in place.
        sizes: uint64 ``[count]`` on the device, set to 0: nothing is decoded yet.
        count: how many.
        scratch: address of the scratch memory.
    """
    blocks = -(-count // _THREADS)
    device.launch("unshuffle.cu", "place", blocks, _THREADS, [addresses, sizes, count, scratch])
