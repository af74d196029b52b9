"""The tables of a decoding: one row for each copy, shuffled block and compressed stream."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fastload.storage.blosc.frames import LZ4, ZSTD, Streams
from fastload.storage.blosc.walk import RAW
from fastload_kernels.compiled import jit
from fastload_kernels.cuda.shuffle import IN_SCRATCH, MOVE, cut

_ALIGNMENT = 256
_MOST_STREAMS = {LZ4: 1 << 30, ZSTD: 512}
"""Streams of one call. zstd wants temporary memory for each, some 0.4 MB, so a batch is cut."""

_jit = jit()


@dataclass(frozen=True)
class Moves:
    """Rows for `unshuffle`, `MOVE` ``[count]``."""

    rows: NDArray[np.void]
    pieces: int


@dataclass(frozen=True)
class Call:
    """One call of a decoder: streams `first` to before ``first + count``, of one kind."""

    kind: int
    first: int
    count: int
    largest: int
    total: int


@dataclass(frozen=True)
class Packed:
    """Compressed streams, by kind and the dearest first: rows of `STREAM`."""

    rows: NDArray[np.void]
    calls: tuple[Call, ...]
    words: NDArray[np.uint64]
    """``[4, count]``: addresses of where each goes and comes from, its stored and decoded size."""


def arrange(
    parsed: Streams,
    sizes: NDArray[np.int64],
    source: NDArray[np.uint64],
    destination: NDArray[np.uint64],
) -> tuple[Moves, Moves, Packed, int]:
    """Order what frames ``[F]`` consist of, for decoding.

    Args:
        parsed: the frames taken apart.
        sizes: decoded size of each.
        source, destination: device address of each frame, and of where its pixels go.

    Returns:
        The copies of what is stored as it is; the blocks to unshuffle; the streams to decode; and
        bytes of scratch memory for shuffled blocks.
    """
    streams, blocks = parsed.streams, parsed.blocks
    scratch = np.empty(len(sizes), np.uint64)
    order = np.empty(len(streams), np.int64)
    scratch_bytes = int(_scratch(blocks, sizes, _ALIGNMENT, IN_SCRATCH, scratch))
    raw = int(_order(streams, order))
    copies, moves = np.zeros(raw, MOVE), np.zeros(len(blocks), MOVE)
    rows, words = streams[order[raw:]], np.empty((4, len(streams) - raw), np.uint64)
    _fill(streams, order, blocks, source, destination, scratch, copies, moves, words)
    packed = Packed(rows, _calls(rows), words)
    return Moves(copies, cut(copies)), Moves(moves, cut(moves)), packed, scratch_bytes


@_jit
def _order(streams, order):  # type: ignore[no-untyped-def]
    """Numbers of the streams: raw ones first, then by kind, the dearest first.

    What a stream costs is how many sequences it has. Bytes that were left as literals cost little,
    and so do long matches: the dear ones are neither small nor nearly incompressible.
    """
    n = streams.shape[0]
    key = np.empty(n, np.int64)
    raw = 0
    for i in range(n):
        s = streams[i]
        dear = min(s.csize, s.size - s.csize)
        key[i] = (np.int64(s.kind) << 40) - dear
        raw += s.kind == RAW
    order[:] = np.argsort(key, kind="mergesort")
    return raw


@_jit
def _fill(  # type: ignore[no-untyped-def]
    streams, order, blocks, source, destination, scratch, copies, moves, words
):
    """Fill the copies of raw streams, the blocks to unshuffle, and the words of all others."""
    raw = copies.shape[0]
    for k in range(order.shape[0]):
        s = streams[order[k]]
        src = source[s.chunk] + np.uint64(s.src)
        dst = (scratch[s.chunk] if s.shuffled else destination[s.chunk]) + np.uint64(s.dst)
        if k < raw:
            row = copies[k]
            row.src, row.dst, row.size, row.typesize = src, dst, s.size, 1
        else:
            words[0, k - raw], words[1, k - raw] = dst, src
            words[2, k - raw], words[3, k - raw] = np.uint64(s.csize), np.uint64(s.size)
    for k in range(blocks.shape[0]):
        b, row = blocks[k], moves[k]
        at = np.uint64(b.dst)
        row.src, row.dst, row.size = scratch[b.chunk] + at, destination[b.chunk] + at, b.length
        row.typesize, row.bits = b.typesize, b.shuffle == 2


@_jit
def _scratch(blocks, sizes, align, mark, out):  # type: ignore[no-untyped-def]
    """Place in the scratch memory of each frame ``[F]`` with shuffled blocks; bytes of all."""
    shuffled = np.zeros(sizes.shape[0], np.bool_)
    for k in range(blocks.shape[0]):
        shuffled[blocks[k].chunk] = True
    end = np.int64(0)
    for i in range(sizes.shape[0]):
        out[i] = np.uint64(end) | mark
        if shuffled[i]:
            end += (sizes[i] + align - 1) // align * align
    return end


def _calls(rows: NDArray[np.void]) -> tuple[Call, ...]:
    calls = []
    for kind in (LZ4, ZSTD):
        start, stop = np.searchsorted(rows["kind"], [kind, kind + 1]).tolist()
        for first in range(start, stop, _MOST_STREAMS[kind]):
            size = rows["size"][first : min(stop, first + _MOST_STREAMS[kind])]
            calls.append(Call(kind, first, len(size), int(size.max()), int(size.sum())))
    return tuple(calls)
