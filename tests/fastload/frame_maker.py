"""Blosc frames of every kind that numcodecs writes, and a slow decoder that follows the tables."""

import ctypes
import mmap
import struct

import lz4.block
import numcodecs.blosc
import numpy as np
import pytest

from fastload.storage.blosc.frames import RAW, Streams
from tests.fastload.host_codecs import decompressed
from tests.kernels.cuda.test_shuffle import shuffled

TYPESIZES = (1, 2, 4, 8)
CODECS = ("lz4", "lz4hc", "zstd")
SHUFFLES = (0, 1, 2)
_BLOSC = ctypes.CDLL(numcodecs.blosc.__file__)


def content(rng: np.random.Generator, elements: int, typesize: int) -> np.ndarray:
    """Bytes that compress well, badly, or not at all."""
    kind = rng.choice(["constant", "smooth", "noisy", "random"], p=[0.2, 0.35, 0.35, 0.1])
    dtype = np.dtype(f"u{typesize}")
    if kind == "constant":
        return np.full(elements, rng.integers(0, 200), dtype).view("u1")
    if kind == "random":
        return rng.integers(0, 256, elements * typesize, np.uint8)
    steps = rng.integers(0, 3 if kind == "smooth" else 40, elements)
    return np.cumsum(steps).astype(dtype).view("u1")


def frame(
    data: np.ndarray, typesize: int, codec: str, level: int = 5, shuffle: int = 1, block: int = 0
) -> bytes:
    """Uint8 `data`, whole elements, as numcodecs writes it."""
    items = np.ascontiguousarray(data).view(f"V{typesize}")
    return bytes(numcodecs.blosc.compress(items, codec.encode(), level, shuffle, block))


def odd_frame(
    data: np.ndarray, typesize: int, codec: str, shuffle: int, block: int, threads: int = 1
) -> bytes:
    """The same by C-Blosc's own call: any length, and threads, which finish blocks in any order."""
    compress = getattr(_BLOSC, "blosc_compress_ctx", None)
    if compress is None:
        pytest.skip("this numcodecs hides C-Blosc's functions")
    out = np.zeros(len(data) + 16, np.uint8)
    size = ctypes.c_size_t
    n = compress(
        ctypes.c_int(5), ctypes.c_int(shuffle), size(typesize), size(len(data)),
        ctypes.c_void_p(data.ctypes.data), ctypes.c_void_p(out.ctypes.data), size(len(out)),
        codec.encode(), size(block), ctypes.c_int(threads),
    )  # fmt: skip
    assert n > 0
    return out[:n].tobytes()


def small_blocks(data: np.ndarray, typesize: int, shuffle: int, block: int) -> bytes:
    """An LZ4 frame with blocks that are smaller than C-Blosc would make them, and without the flag
    that forbids to split them: then those of 128 elements and more are split."""
    starts, body, head = [], b"", 16 + 4 * -(-len(data) // block)
    for first in range(0, len(data), block):
        part = data[first : first + block]
        plain = shuffle == 0 or (shuffle == 2 and len(part) // typesize % 8 != 0)
        moved = part if plain else shuffled(part, typesize, shuffle == 2)
        starts.append(head + len(body))
        for stream in np.split(moved, typesize if len(part) == block >= 128 * typesize else 1):
            packed = lz4.block.compress(stream.tobytes(), store_size=False)
            packed = packed if len(packed) < len(stream) else stream.tobytes()
            body += struct.pack("<i", len(packed)) + packed
    flags = 1 << 5 | (0, 1, 4)[shuffle]
    sizes = len(data), block, head + len(body)
    frame = struct.pack("<BBBBIII", 2, 1, flags, typesize, *sizes)
    frame += np.array(starts, "<i4").tobytes() + body
    assert numcodecs.blosc.decompress(frame) == data.tobytes()
    return frame


def some(
    rng: np.random.Generator, n: int, codec: str, shuffle: int
) -> list[tuple[np.ndarray, bytes]]:
    """N contents with their frames, of every type size and level, many with a forced block size."""
    made = []
    for i in range(n):
        typesize = TYPESIZES[i % 4]
        # LZ4 splits blocks of 64 KiB and more, so some chunks must have several of these.
        elements = int(2 ** rng.uniform(*((3, 13) if rng.random() < 0.9 else (13, 17))))
        data = content(rng, elements, typesize)
        block = int(rng.choice([0, 64, 300, 1000, 4096, 30000]))
        made.append((data, frame(data, typesize, codec, i // 4 % 10, shuffle, block)))
    return made


def decode(streams: Streams, frames: list[bytes], sizes: list[int]) -> list[np.ndarray]:
    """Each chunk by the tables, stream by stream; each byte must come from one stream.

    Raises:
        ValueError: where a stream is damaged.
    """
    out = [np.zeros(size, np.uint8) for size in sizes]
    times = [np.zeros(size, np.uint8) for size in sizes]
    for row in streams.streams:
        chunk, src, csize, dst, size = (
            int(row[n]) for n in ("chunk", "src", "csize", "dst", "size")
        )
        assert 16 <= src <= src + csize <= len(frames[chunk])
        assert 0 <= dst <= dst + size <= sizes[chunk]
        data = frames[chunk][src : src + csize]
        whole = data if row["kind"] == RAW else decompressed(int(row["kind"]), data, size)
        if len(whole) != size:
            raise ValueError(f"{len(whole)} bytes came out, expected {size}")
        out[chunk][dst : dst + size] = np.frombuffer(whole, np.uint8)
        times[chunk][dst : dst + size] += 1
    left_out = {i for i, _ in streams.on_host}
    assert all((t == 1).all() or i in left_out for i, t in enumerate(times))
    for row in streams.blocks:
        part = out[row["chunk"]][row["dst"] : row["dst"] + row["length"]]
        assert len(part) == row["length"]
        part[:] = unshuffled(part, int(row["typesize"]), row["shuffle"] == 2)
    return out


def unshuffled(data: np.ndarray, typesize: int, bits: bool) -> np.ndarray:
    """The inverse of the definition, found by shuffling the places."""
    if not bits:
        places = [np.arange(len(data)) >> shift & 255 for shift in (0, 8, 16)]
        moved = [shuffled(p.astype(np.uint8), typesize, False).astype(np.int64) for p in places]
        out = np.empty_like(data)
        out[moved[0] | moved[1] << 8 | moved[2] << 16] = data
        return out
    n = len(data) // typesize
    planes = np.unpackbits(
        data[: n * typesize].reshape(8 * typesize, -1), axis=1, bitorder="little"
    )
    elements = np.packbits(np.ascontiguousarray(planes.T), axis=1, bitorder="little").ravel()
    return np.concatenate([elements, data[n * typesize :]])


class Fence:
    """Memory whose end is a page that nobody may read: one byte too far ends the process."""

    def __init__(self, size: int) -> None:
        page = mmap.PAGESIZE
        self.room = -(-size // page) * page
        self.map = mmap.mmap(-1, self.room + page)
        self.bytes = np.frombuffer(self.map, np.uint8)
        end = ctypes.c_void_p(self.bytes.ctypes.data + self.room)
        assert ctypes.CDLL(None).mprotect(end, ctypes.c_size_t(page), ctypes.c_int(0)) == 0

    def put(self, data: bytes) -> np.ndarray:
        """`data` right before the fence, until the next call."""
        place = self.bytes[self.room - len(data) : self.room]
        place[:] = np.frombuffer(data, np.uint8)
        return place
