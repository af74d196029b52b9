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

from fastload.storage.blosc.walk import (
    BIT_SHUFFLE,
    BYTE_SHUFFLE,
    MEMCPYED,
    RAW,
    examine,
    headers,
    walk,
)
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
FROM_THE_FUTURE = 8
KINDS = np.array([RAW, LZ4, RAW, RAW, ZSTD], np.uint8)
"""By codec number, which is ``flags >> 5``."""
ON_HOST = {0: "blosclz", 2: "snappy", 3: "zlib"}
TYPESIZES = (1, 2, 4, 8)
_FOR_HOST = np.isin(np.arange(8), list(ON_HOST))
_ODD_TYPESIZE = ~np.isin(np.arange(256), TYPESIZES)
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
    splits, nblocks = np.empty(len(size), np.int64), np.empty(len(size), np.int64)
    todo, found, on_host = np.arange(len(size)), dict[int, str](), dict[int, str]()
    if not examine(head, size, expected, splits, nblocks):
        found = _faults(head, size, expected, splits, nblocks)
        on_host = {i: why for i, why in _on_host(head).items() if i not in found}
        others = np.array([*found, *on_host], np.int64)
        todo = np.setdiff1d(todo, others)
    streams = np.empty(int((np.maximum(nblocks, 1) * splits)[todo].sum()), STREAM)
    blocks = np.empty(int(nblocks[todo].sum()), BLOCK)
    fault = np.zeros((len(size), 4), np.int64)
    filled = walk(todo, address, size, head, splits, nblocks, KINDS, streams, blocks, fault)
    for i in np.flatnonzero(fault[:, 0]).tolist():
        which, block, stream, value = fault[i].tolist()
        found[i] = "Blosc " + FAULTS[which - 1].format(block=block, stream=stream, value=value)
    damaged.extend(sorted(found.items()))
    return Streams(streams[: filled[0]], blocks[: filled[1]], sorted(on_host.items()))


def _faults(
    head: NDArray[np.void],
    size: NDArray[np.int64],
    expected: NDArray[np.int64],
    splits: NDArray[np.int64],
    nblocks: NDArray[np.int64],
) -> dict[int, str]:
    """The first thing wrong in each header."""
    nbytes, blocksize = head["nbytes"].astype(np.int64), head["blocksize"].astype(np.int64)
    stored = head["flags"] & MEMCPYED != 0
    packed, codec = ~stored & (nbytes > 0), head["flags"] >> 5
    # A stream has a size and at least one byte: so no table grows much larger than its frame.
    least = 16 + 4 * nblocks + 5 * np.maximum(nblocks - 1, 0) * splits
    rules = (
        (size < 16, "header", size, "have 16 bytes"),
        (head["version"] != 2, "version", head["version"], "be 2"),
        (head["flags"] & FROM_THE_FUTURE != 0, "flags", head["flags"], "have bit 3 unset"),
        (codec >= len(KINDS), "flags", head["flags"], "name a codec from 0 to 4"),
        (packed & (head["versionlz"] != 1), "versionlz", head["versionlz"], "be 1"),
        (head["typesize"] == 0, "typesize", head["typesize"], "be at least 1"),
        (nbytes != expected, "nbytes", nbytes, "be {expected}"),
        (head["cbytes"] != size, "cbytes", head["cbytes"], "be {size}, as many as there are"),
        (stored & (size != 16 + nbytes), "cbytes", size, "be nbytes + 16 in a stored frame"),
        ((nbytes > 0) & (blocksize == 0), "blocksize", blocksize, "be at least 1"),
        (blocksize > np.maximum(nbytes, 128), "blocksize", blocksize, "be at most {expected}"),
        # Else the last bytes of a block would belong to no stream.
        (packed & (blocksize % splits != 0), "blocksize", blocksize, "be a multiple of {splits}"),
        (least > size, "bstarts", nblocks, "name as many blocks as {size} bytes can hold"),
    )
    found: dict[int, str] = {}
    if not np.logical_or.reduce([wrong for wrong, *_ in rules]).any():
        return found
    for wrong, field, value, must in rules:
        for i in np.flatnonzero(wrong).tolist():
            rule = must.format(expected=expected[i], size=size[i], splits=splits[i])
            found.setdefault(i, f"Blosc {field} must {rule}, found {value[i]}")
    return found


def _on_host(head: NDArray[np.void]) -> dict[int, str]:
    """Frames whose codec or type size has no place in the tables."""
    codec, typesize = head["flags"] >> 5, head["typesize"]
    odd = (head["flags"] & (BYTE_SHUFFLE | BIT_SHUFFLE) != 0) & _ODD_TYPESIZE[typesize]
    packed = (head["flags"] & MEMCPYED == 0) & (head["nbytes"] > 0)
    found = {}
    for i in np.flatnonzero(packed & (odd | _FOR_HOST[codec])).tolist():
        name = ON_HOST.get(int(codec[i]))
        found[i] = f"Blosc codec {name}" if name else f"shuffled type of {typesize[i]} bytes"
    return found
