"""The walk through the blocks of Blosc frames, compiled.

It follows the block starts and the streams' sizes through the frames, which lie anywhere in memory,
and looks at nothing else. Whatever it reads was checked to lie inside its frame.
"""

from typing import Any

import numpy as np
from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic
from numpy.typing import NDArray

from fastload_kernels.compiled import jit

RAW = 0
"""Kind of a stream that is stored as it is."""
BYTE_SHUFFLE, MEMCPYED, BIT_SHUFFLE = 1, 2, 4
FROM_THE_FUTURE, DONT_SPLIT = 8, 16
"""Bits of a frame's flags."""
LAST_CODEC = 4
MOST_SPLITS, LEAST_SPLIT = 16, 128

_jit = jit()


@intrinsic  # type: ignore[untyped-decorator]
def _int32_at(context: Any, address: Any) -> Any:
    """The int32 at an address, which need not be aligned."""

    def generate(_context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        value = builder.load(builder.inttoptr(args[0], ir.IntType(32).as_pointer()))
        value.align = 1
        return value

    return types.int32(types.int64), generate


@intrinsic  # type: ignore[untyped-decorator]
def _byte_at(context: Any, address: Any) -> Any:
    """The byte at an address."""

    def generate(_context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        return builder.load(builder.inttoptr(args[0], ir.IntType(8).as_pointer()))

    return types.uint8(types.int64), generate


def headers(address: NDArray[np.int64], size: NDArray[np.int64]) -> NDArray[np.uint8]:
    """The first 16 bytes ``[F, 16]`` of frames ``[F]``; 0 where a frame is shorter."""
    out = np.zeros((len(address), 16), np.uint8)
    _headers(address, size, out)
    return out


@_jit
def _headers(address, size, out):  # type: ignore[no-untyped-def]
    for i in range(address.shape[0]):
        for k in range(min(size[i], 16)):
            out[i, k] = _byte_at(address[i] + k)


@_jit
def examine(head, size, expected, splits, nblocks, rule, value):  # type: ignore[no-untyped-def]
    """Find the first rule that each of some frames ``[F]`` breaks, as far as headers tell.

    Args:
        head: `HEADER` ``[F]``.
        size, expected: int64, stored and decoded bytes.
        splits, nblocks: int64, receive the streams in each full block, and the blocks, of which
            there are none where the frame is stored as it is.
        rule: int64, receives the number of the rule in `fastload.storage.blosc.frames.RULES`, or 0.
        value: int64, receives what was found.

    Returns:
        how many break one.
    """
    broken = 0
    for i in range(head.shape[0]):
        h = head[i]
        typesize: Any = max(np.int64(h.typesize), 1)
        blocksize: Any = max(np.int64(h.blocksize), 1)
        one = typesize > MOST_SPLITS or blocksize // typesize < LEAST_SPLIT
        splits[i] = 1 if one or h.flags & DONT_SPLIT != 0 else typesize
        nblocks[i] = 0 if h.flags & MEMCPYED != 0 else -(-np.int64(h.nbytes) // blocksize)
        rule[i], value[i] = _broken(h, size[i], expected[i], splits[i], nblocks[i])
        broken += rule[i] != 0
    return broken


@_jit
def _broken(h, size, expected, splits, nblocks):  # type: ignore[no-untyped-def]
    """Number of the first rule that a header breaks, and what was found; 0 for none."""
    nbytes: Any = np.int64(h.nbytes)
    blocksize: Any = np.int64(h.blocksize)
    codec, typesize, flags = np.int64(h.flags >> 5), np.int64(h.typesize), np.int64(h.flags)
    stored = flags & MEMCPYED != 0
    packed = not stored and nbytes > 0
    if size < 16:
        return 1, size
    if h.version != 2:
        return 2, np.int64(h.version)
    if flags & FROM_THE_FUTURE != 0:
        return 3, flags
    if codec > LAST_CODEC:
        return 4, flags
    if packed and h.versionlz != 1:
        return 5, np.int64(h.versionlz)
    if typesize == 0:
        return 6, typesize
    if nbytes != expected:
        return 7, nbytes
    if h.cbytes != size:
        return 8, np.int64(h.cbytes)
    if stored and size != 16 + nbytes:
        return 9, size
    if nbytes > 0 and blocksize == 0:
        return 10, blocksize
    if blocksize > max(nbytes, 128):
        return 11, blocksize
    if packed and blocksize % splits != 0:
        return 12, blocksize
    # A stream has a size and at least one byte: so no table grows much larger than its frame.
    if 16 + 4 * nblocks + 5 * max(nblocks - 1, 0) * splits > size:
        return 13, nblocks
    if packed and codec != 1 and codec != 4:
        return 14, codec
    shuffled = flags & (BYTE_SHUFFLE | BIT_SHUFFLE) != 0
    plain = typesize == 1 or typesize == 2 or typesize == 4 or typesize == 8
    if packed and shuffled and not plain:
        return 15, typesize
    return 0, np.int64(0)


@_jit
def walk(  # type: ignore[no-untyped-def]
    todo, address, size, head, splits, nblocks, kinds, streams, blocks, fault
):
    """Enter the streams and the shuffled blocks of some frames into tables.

    Args:
        todo: int64, the numbers of these frames, whose headers are sound.
        address, size: int64 ``[F]``, where each frame lies, and its bytes.
        head, splits, nblocks: see `fastload.storage.blosc.frames`.
        kinds: kind of stream by codec number.
        streams, blocks: the tables, long enough.
        fault: int64 ``[F, 4]`` of zeros, receives what is damaged (1: block start, 2: place of a
            size, 3: size), the block, the stream and the value. Such a frame gets no rows.

    Returns:
        how many rows of `streams` and of `blocks` are filled.
    """
    s = b = 0
    for i in todo:
        h, first = head[i], (s, b)
        if h.flags & MEMCPYED and h.nbytes > 0:
            _enter(streams[s], i, RAW, 0, 16, h.nbytes, 0, h.nbytes)
            s += 1
        for k in range(nblocks[i]):
            start = k * np.int64(h.blocksize)
            length = min(np.int64(h.blocksize), h.nbytes - start)
            shuffle = _shuffle(h.flags, h.typesize, length)
            if shuffle:
                row = blocks[b]
                row.chunk, row.typesize, row.shuffle = i, h.typesize, shuffle
                row.dst, row.length = start, length
                b += 1
            parts = splits[i] if length == h.blocksize else 1
            found = _walk_block(
                address[i], size[i], 16 + 4 * nblocks[i], k, parts, start, length // parts,
                i, kinds[h.flags >> 5], shuffle > 0, streams[s:],
            )  # fmt: skip
            if found[0]:
                fault[i] = found
                s, b = first
                break
            s += parts
    return s, b


@_jit
def _walk_block(  # type: ignore[no-untyped-def]
    address, end, begin, k, parts, start, each, chunk, kind, shuffled, streams
):
    """Enter the `parts` streams of block `k`, `each` bytes when decoded; returns the fault."""
    at = np.int64(_int32_at(address + 16 + 4 * k))
    if at < begin or at > end - 4:
        return 1, k, 0, at
    for j in range(parts):
        if at > end - 4:
            return 2, k, j, at
        csize = np.int64(_int32_at(address + at))
        at += 4
        if csize < 1 or csize > each or csize > end - at:
            return 3, k, j, csize
        # What does not become smaller is stored as it is.
        stored_as = RAW if csize == each else kind
        _enter(streams[j], chunk, stored_as, shuffled, at, csize, start + j * each, each)
        at += csize
    return 0, k, 0, at


@_jit
def _enter(row, chunk, kind, shuffled, src, csize, dst, size):  # type: ignore[no-untyped-def]
    row.chunk, row.kind, row.shuffled = chunk, kind, shuffled
    row.src, row.csize, row.dst, row.size = src, csize, dst, size


@_jit
def _shuffle(flags, typesize, length):  # type: ignore[no-untyped-def]
    """How a block of `length` bytes is shuffled: 0 not, 1 by bytes, 2 by bits."""
    if flags & BYTE_SHUFFLE and typesize > 1:
        return 1
    # Bits are shuffled in groups of 8 elements; a block that is no multiple of it is left alone.
    elements = length // typesize
    return 2 if flags & BIT_SHUFFLE and elements > 0 and elements % 8 == 0 else 0
