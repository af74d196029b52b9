"""nvCOMP's batched LZ4 and zstd decoders, called through ctypes.

The library comes with DALI's wheel. Its two calls take the addresses of arrays on the device, read
compressed streams in place and write them anywhere: neither codec asks for an alignment of either.
A damaged stream may go unnoticed there, or worse: nvCOMP checks little. What guards the pixels is
the CRC-32 of each chunk, compared on the host before.
"""

import ctypes
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Protocol

from fastload.extras import missing
from fastload.storage.blosc.frames import LZ4, ZSTD

LIBRARY = "libnvcomp.so.5"
NAMES = {LZ4: "LZ4", ZSTD: "Zstd"}
STATUSES = {
    10: "InvalidValue",
    11: "NotSupported",
    12: "CannotDecompress",
    13: "BadChecksum",
    14: "CannotVerifyChecksums",
    15: "OutputBufferTooSmall",
    16: "WrongHeaderLength",
    17: "Alignment",
    18: "ChunkSizeTooLarge",
    19: "CannotCompress",
    20: "WrongInputLength",
    21: "BatchSizeTooLarge",
    22: "SubChunkCountTooLarge",
    23: "SubChunkCountTooSmall",
    24: "OutputBufferAlignmentTooSmall",
    1000: "CudaError",
    10000: "Internal",
}


def status_name(status: int) -> str:
    """A status as nvCOMP's header has it."""
    return f"nvcompError{STATUSES.get(status, '')} ({status})"


@dataclass(frozen=True)
class StreamTable:
    """Addresses of arrays ``[count]`` on the device, one entry a stream.

    Attributes:
        count: how many streams.
        src, src_sizes: uint64 addresses and sizes of what is compressed.
        dst, dst_sizes: uint64 addresses and sizes of where it goes.
        actual_sizes: uint64, receives how many bytes each stream decoded to.
        statuses: int32, receives 0 where it is sound.
    """

    count: int
    src: int
    src_sizes: int
    dst: int
    dst_sizes: int
    actual_sizes: int
    statuses: int


class Codecs(Protocol):
    """Decodes streams of one kind, `LZ4` or `ZSTD`, all of them by one call."""

    def temp_bytes(self, kind: int, streams: int, largest: int, total: int) -> int:
        """Bytes of temporary memory for so many streams of at most `largest` decoded bytes each and
        `total` together. Needs no GPU."""

    def decompress(
        self, kind: int, table: StreamTable, temp: int, temp_bytes: int, stream: int
    ) -> None:
        """Enqueue the decoding; the table must live until it is done.

        Args:
            kind: `LZ4` or `ZSTD`.
            table: the streams.
            temp, temp_bytes: temporary memory, aligned to 8 bytes.
            stream: handle of a CUDA stream.

        Raises:
            RuntimeError: names the error of the launch.
        """


class _Lz4Options(ctypes.Structure):
    """``nvcompBatchedLZ4DecompressOpts_t``; its defaults are zeros."""

    _fields_ = (
        ("backend", ctypes.c_int),
        ("sort_before_hw_decompress", ctypes.c_int),
        ("data_type", ctypes.c_int),
        ("bitshuffle_mode", ctypes.c_int),
        ("reserved", ctypes.c_char * 48),
    )


class _ZstdOptions(ctypes.Structure):
    """``nvcompBatchedZstdDecompressOpts_t``; its defaults are zeros."""

    _fields_ = (("backend", ctypes.c_int), ("reserved", ctypes.c_char * 60))


OPTIONS: dict[int, type[ctypes.Structure]] = {LZ4: _Lz4Options, ZSTD: _ZstdOptions}
_CUDA_BACKEND = 2
"""Not the default, which may choose the hardware engine: that reports success on damaged input."""


def options(kind: int) -> ctypes.Structure:
    """What the decoders are called with."""
    return OPTIONS[kind](backend=_CUDA_BACKEND)


@cache
def library() -> ctypes.CDLL:
    """The library, from NVIDIA's wheel or where the system has it.

    Raises:
        ImportError: says what to install.
    """
    spec = find_spec("nvidia") and find_spec("nvidia.libnvcomp")
    folders = (spec.submodule_search_locations or []) if spec else []
    found = [path for folder in folders for path in Path(folder).glob(f"lib*/{LIBRARY}")]
    try:
        return ctypes.CDLL(str(found[0]) if found else LIBRARY)
    except OSError as error:
        what = f"decoding on the GPU needs nvCOMP 5 ({LIBRARY})"
        raise missing(what, "cuda13") from error


class NvComp:
    """`Codecs` on the current CUDA device."""

    def __init__(self) -> None:
        """Loads the library; raises ImportError where it is not installed."""
        self._library = library()

    def temp_bytes(self, kind: int, streams: int, largest: int, total: int) -> int:
        """See `Codecs.temp_bytes`."""
        found = ctypes.c_size_t()
        self._call(
            kind,
            "GetTempSizeAsync",
            ctypes.c_size_t(streams),
            ctypes.c_size_t(largest),
            options(kind),
            ctypes.byref(found),
            ctypes.c_size_t(total),
        )
        return found.value

    def decompress(
        self, kind: int, table: StreamTable, temp: int, temp_bytes: int, stream: int
    ) -> None:
        """See `Codecs.decompress`."""
        self._call(
            kind,
            "Async",
            ctypes.c_void_p(table.src),
            ctypes.c_void_p(table.src_sizes),
            ctypes.c_void_p(table.dst_sizes),
            ctypes.c_void_p(table.actual_sizes),
            ctypes.c_size_t(table.count),
            ctypes.c_void_p(temp),
            ctypes.c_size_t(temp_bytes),
            ctypes.c_void_p(table.dst),
            options(kind),
            ctypes.c_void_p(table.statuses),
            ctypes.c_void_p(stream),
        )

    def _call(self, kind: int, what: str, *args: object) -> None:
        name = f"nvcompBatched{NAMES[kind]}Decompress{what}"
        status = getattr(self._library, name)(*args)
        if status:
            raise RuntimeError(f"{name} returned {status_name(status)}")
