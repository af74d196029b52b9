"""Blosc frames taken apart: where each compressed stream lies, and where its bytes belong.

A frame is a header of 16 bytes, a table of block starts, and in each block one or more streams,
each behind its own size. Only these are read, never what is compressed, so that a batch of frames
can be described on the host and decoded elsewhere. Source of the format, and of what is refused:
C-Blosc 1.21, `blosc_run_decompression_with_context` and `blosc_d`.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fastload.storage.blosc.walk import RAW, examine, headers, walk
from fastload.storage.formats.codecs import Buffer

LZ4, ZSTD = 1, 2
"""Kinds of streams beside `RAW`: an LZ4 block, a zstd frame."""

STREAM = np.dtype(
    [
        ("chunk", "i4"),  # number of its frame
        ("kind", "u1"),
        ("shuffled", "u1"),  # 1: it belongs to a block that must be unshuffled
        ("src", "i8"),  # first byte in the frame
        ("csize", "i8"),  # bytes there
        ("dst", "i8"),  # first byte in the chunk, as it is before unshuffling
        ("size", "i8"),  # bytes there
    ],
    align=True,
)
BLOCK = np.dtype(
    [
        ("chunk", "i4"),
        ("typesize", "u1"),  # 1, 2, 4 or 8
        ("shuffle", "u1"),  # 1: bytes, 2: bits
        ("dst", "i8"),  # first byte in the chunk, both before and after unshuffling
        ("length", "i8"),
    ],
    align=True,
)

HEADER = np.dtype(
    [(name, "u1") for name in ("version", "versionlz", "flags", "typesize")]
    + [(name, "<u4") for name in ("nbytes", "blocksize", "cbytes")]
)
KINDS = np.array([RAW, LZ4, RAW, RAW, ZSTD], np.uint8)
"""By codec number, which is ``flags >> 5``."""
ON_HOST = {0: "blosclz", 2: "snappy", 3: "zlib"}
RULES = (
    ("header", "have 16 bytes"),
    ("version", "be 2"),
    ("flags", "have bit 3 unset"),
    ("flags", "name a codec from 0 to 4"),
    ("versionlz", "be 1"),
    ("typesize", "be at least 1"),
    ("nbytes", "be {expected}"),
    ("cbytes", "be {size}, as many as there are"),
    ("cbytes", "be nbytes + 16 in a stored frame"),
    ("blocksize", "be at least 1"),
    ("blocksize", "be at most {expected}"),
    ("blocksize", "be a multiple of {splits}"),  # else the last bytes would be of no stream
    ("bstarts", "name as many blocks as {size} bytes can hold"),
)
"""What `walk.examine` looks for, in its order and numbered from 1: a field, and what it must do.
Two more are no faults: that the codec, and then the type size, has a place in the tables."""
_CODEC = len(RULES) + 1
FAULTS = (
    "bstarts[{block}] must lie behind the block starts and inside the frame, found {value}",
    "csize of block {block}, stream {stream} must lie inside the frame, found at byte {value}",
    "csize of block {block}, stream {stream} must be positive, end inside the frame and not exceed "
    "the stream's decoded size, found {value}",
)

Reasons = list[tuple[int, str]]
"""Numbers of frames in ascending order, each with a sentence."""


@dataclass(frozen=True)
class Streams:
    """What a batch of frames consists of.

    Attributes:
        streams: `STREAM` ``[S]``, by frame and within it by `dst`. They cover each byte of a chunk
            once, if it is neither on the host nor damaged.
        blocks: `BLOCK` ``[B]``, those that must be unshuffled after decoding. All others are
            finished when their streams are.
        on_host: frames that are sound as far as read, but of a kind that has no place in `streams`.
    """

    streams: NDArray[np.void]
    blocks: NDArray[np.void]
    on_host: Reasons


def parse(
    frames: Sequence[Buffer], expected: Sequence[int], damaged: Reasons | None = None
) -> Streams:
    """Take frames apart. Each size and place in the result lies inside its frame and its chunk.

    Args:
        frames: bytes of each frame, contiguous.
        expected: decoded size of each in bytes.
        damaged: where it is given, damaged frames are noted there and left out.

    Raises:
        ValueError: names the first damaged frame and the field, unless `damaged` is given.
    """
    if len(frames) != len(expected):
        raise ValueError(f"{len(frames)} frames, but {len(expected)} sizes are expected of them")
    arrays = [np.frombuffer(frame, np.uint8) for frame in frames]
    address = np.array([array.ctypes.data for array in arrays], np.int64)
    size = np.array([len(array) for array in arrays], np.int64)
    found: Reasons = []
    streams = parse_at(address, size, np.asarray(expected, np.int64), found)
    if damaged is not None:
        damaged.extend(found)
    elif found:
        raise ValueError(f"chunk {found[0][0]}: {found[0][1]}")
    return streams


def parse_at(
    address: NDArray[np.int64],
    size: NDArray[np.int64],
    expected: NDArray[np.int64],
    damaged: Reasons,
) -> Streams:
    """As `parse`, for frames ``[F]`` in memory that the caller owns.

    Args:
        address, size: where each lies, and its bytes.
        expected: decoded size of each in bytes.
        damaged: receives the damaged frames, in ascending order; they are left out.
    """
    head = headers(address, size).view(HEADER)[:, 0]
    splits, nblocks, rule, value = np.empty((4, len(size)), np.int64)
    todo, found, on_host = np.arange(len(size)), dict[int, str](), dict[int, str]()
    if examine(head, size, expected, splits, nblocks, rule, value):
        todo = np.flatnonzero(rule == 0)
        for i in np.flatnonzero(rule).tolist():
            if rule[i] >= _CODEC:
                on_host[i] = _why_on_host(int(rule[i]), int(value[i]))
                continue
            field, must = RULES[rule[i] - 1]
            must = must.format(expected=expected[i], size=size[i], splits=splits[i])
            found[i] = f"Blosc {field} must {must}, found {value[i]}"
    streams = np.empty(int((np.maximum(nblocks, 1) * splits)[todo].sum()), STREAM)
    blocks = np.empty(int(nblocks[todo].sum()), BLOCK)
    fault = np.zeros((len(size), 4), np.int64)
    filled = walk(todo, address, size, head, splits, nblocks, KINDS, streams, blocks, fault)
    for i in np.flatnonzero(fault[:, 0]).tolist():
        which, block, stream, value = fault[i].tolist()
        found[i] = "Blosc " + FAULTS[which - 1].format(block=block, stream=stream, value=value)
    damaged.extend(sorted(found.items()))
    return Streams(streams[: filled[0]], blocks[: filled[1]], sorted(on_host.items()))


def _why_on_host(rule: int, value: int) -> str:
    """Why a sound frame has no place in the tables."""
    return f"Blosc codec {ON_HOST[value]}" if rule == _CODEC else f"shuffled type of {value} bytes"
