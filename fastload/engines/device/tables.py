"""The tables of a decoding: one row for each copy, shuffled block and compressed stream."""

from dataclasses import dataclass
from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

from fastload.storage.blosc.frames import LZ4, ZSTD, Streams
from fastload.storage.blosc.walk import RAW
from fastload_kernels.cuda.shuffle import IN_SCRATCH, MOVE, cut

_ALIGNMENT = 256
_MOST_STREAMS = {LZ4: 1 << 30, ZSTD: 512}
"""Streams of one call. zstd wants temporary memory for each, some 0.4 MB, so a batch is cut."""

_jit = numba.njit(nogil=True, cache=True)


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
    scratch, scratch_bytes = _scratch(blocks["chunk"], sizes)
    order = np.empty(len(streams), np.int64)
    raw = int(_order(streams, order))
    streams = streams[order]
    src, dst = np.empty(len(streams), np.uint64), np.empty(len(streams), np.uint64)
    _places(streams, source, destination, scratch, src, dst)
    copies = _moves(src[:raw], dst[:raw], streams["size"][:raw])
    rows = streams[raw:]
    words = np.empty((4, len(rows)), np.uint64)
    words[0], words[1], words[2], words[3] = dst[raw:], src[raw:], rows["csize"], rows["size"]
    chunk, at = blocks["chunk"], blocks["dst"].astype(np.uint64)
    moves = _moves(scratch[chunk] + at, destination[chunk] + at, blocks["length"])
    moves.rows["typesize"], moves.rows["bits"] = blocks["typesize"], blocks["shuffle"] == 2
    return copies, moves, Packed(rows, _calls(rows), words), scratch_bytes


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
def _places(streams, source, destination, scratch, src, dst):  # type: ignore[no-untyped-def]
    for i in range(streams.shape[0]):
        s = streams[i]
        src[i] = source[s.chunk] + np.uint64(s.src)
        base = scratch[s.chunk] if s.shuffled else destination[s.chunk]
        dst[i] = base + np.uint64(s.dst)


def _calls(rows: NDArray[np.void]) -> tuple[Call, ...]:
    calls = []
    for kind in (LZ4, ZSTD):
        start, stop = np.searchsorted(rows["kind"], [kind, kind + 1]).tolist()
        for first in range(start, stop, _MOST_STREAMS[kind]):
            size = rows["size"][first : min(stop, first + _MOST_STREAMS[kind])]
            calls.append(Call(kind, first, len(size), int(size.max()), int(size.sum())))
    return tuple(calls)


def _scratch(chunks: NDArray[np.int32], sizes: NDArray[np.int64]) -> tuple[NDArray[np.uint64], int]:
    """Place in the scratch memory of each frame ``[F]`` with shuffled blocks, and bytes of all."""
    room = np.zeros(len(sizes), np.int64)
    aligned = -(-sizes // _ALIGNMENT) * _ALIGNMENT
    room[chunks] = aligned[chunks]
    ends = np.cumsum(room)
    return (ends - room).astype(np.uint64) | IN_SCRATCH, int(room.sum())


def _moves(src: NDArray[np.uint64], dst: NDArray[np.uint64], size: NDArray[Any]) -> Moves:
    """Copies, as long as nothing else is said."""
    rows = np.zeros(len(src), MOVE)
    rows["src"], rows["dst"], rows["size"], rows["typesize"] = src, dst, size, 1
    return Moves(rows, cut(rows))
