"""A twin of nvCOMP on the host: the same tables of addresses, the public LZ4 and zstd libraries."""

import ctypes

import lz4.block
import numpy as np
import zstandard

from fastload.engines.device.nvcomp import StreamTable
from fastload.storage.blosc.frames import LZ4

CANNOT_DECOMPRESS = 12


def memory(address: int, size: int, dtype: str = "u1") -> np.ndarray:
    """The `size` items at an address, not copied."""
    count = size * np.dtype(dtype).itemsize
    return np.frombuffer((ctypes.c_uint8 * count).from_address(address), dtype)


def decompressed(kind: int, data: bytes, size: int) -> bytes:
    """A stream of at most `size` bytes, decoded.

    Raises:
        ValueError: where it is damaged or larger.
    """
    try:
        if kind == LZ4:
            return lz4.block.decompress(data, uncompressed_size=size)
        if zstandard.frame_content_size(data) > size:
            raise ValueError(f"the frame says that it holds more than {size} bytes")
        decoder = zstandard.ZstdDecompressor()
        return decoder.decompress(data, max_output_size=size, allow_extra_data=False)
    except (lz4.block.LZ4BlockError, zstandard.ZstdError) as error:
        raise ValueError(str(error)) from error


class HostCodecs:
    """A `fastload.engines.device.nvcomp.Codecs` on host memory, and at once.

    It asks for temporary memory, overwrites it, and gives the same statuses as nvCOMP.
    """

    def temp_bytes(self, kind: int, streams: int, largest: int, total: int) -> int:
        assert 0 < largest <= total <= streams * largest
        return 8 * kind * streams

    def decompress(
        self, kind: int, table: StreamTable, temp: int, temp_bytes: int, stream: int
    ) -> None:
        n = table.count
        assert temp % 8 == 0
        assert temp_bytes == 8 * kind * n
        memory(temp, temp_bytes)[:] = 0xEE
        src, csize = memory(table.src, n, "u8"), memory(table.src_sizes, n, "u8")
        dst, size = memory(table.dst, n, "u8"), memory(table.dst_sizes, n, "u8")
        actual, status = memory(table.actual_sizes, n, "u8"), memory(table.statuses, n, "i4")
        for i in range(n):
            try:
                out = decompressed(kind, memory(int(src[i]), int(csize[i])).tobytes(), int(size[i]))
            except ValueError:
                actual[i], status[i] = 0, CANNOT_DECOMPRESS
                continue
            memory(int(dst[i]), len(out))[:] = np.frombuffer(out, "u1")
            actual[i], status[i] = len(out), 0
