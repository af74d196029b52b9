"""Decoding a batch of Blosc frames on the device.

The host reads the frames' headers and makes one table of addresses. After its upload everything is
enqueued at once: streams stored as they are get copied, one nvCOMP call for each codec decodes all
others, and a last launch undoes the shuffle. Blocks that are not shuffled are decoded straight to
where they belong.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fastload.engines.device.nvcomp import NAMES, Codecs, StreamTable, status_name
from fastload.engines.device.tables import Moves, Packed, arrange
from fastload.storage.blosc.frames import Reasons, parse_at
from fastload_kernels.cuda.launch import Device
from fastload_kernels.cuda.shuffle import place, unshuffle

_RESULT = 8 + 4  # an actual size and a status


@dataclass(frozen=True)
class Tables:
    """A batch of frames, ready to be decoded.

    Attributes:
        host: uint8 ``[n]``, to be copied to the device, aligned to 8 bytes there.
        scratch_bytes: device memory needed while decoding: shuffled blocks and nvCOMP's own.
        results_bytes: device memory for what `Decoder.failed` reads, uint8 ``[results_bytes]``.
        on_host: frames that only the CPU can decode, with the reason. Their destinations are not
            written to.
        damaged: frames whose header is damaged, with the reason. The same.
    """

    host: NDArray[np.uint8]
    scratch_bytes: int
    results_bytes: int
    on_host: Reasons
    damaged: Reasons
    _copies: Moves
    _blocks: Moves
    _streams: Packed
    _shuffled_bytes: int
    _temp_bytes: list[int]


class Decoder:
    """Decodes Blosc frames that lie in device memory. For each batch::

        tables = decoder.prepare(address, size, expected, source, destination)
        # the caller: memory for the table, for tables.scratch_bytes and tables.results_bytes;
        # the frames and tables.host are copied to the device; on_host and damaged are dealt with
        decoder.enqueue(tables, address_of_table, address_of_scratch, address_of_results)
        # later: results are copied back; when they are there
        for chunk, reason in decoder.failed(tables, results): ...

    `prepare` and `failed` are plain functions of their arguments and safe in threads. `enqueue`
    neither allocates nor waits; all memory must live until the stream has passed it. Scratch memory
    may serve the next batch on the same stream.
    """

    def __init__(self, device: Device, codecs: Codecs, stream: int) -> None:
        """`stream` is the handle of the CUDA stream that `device` launches on."""
        self.device, self.codecs, self.stream = device, codecs, stream

    def prepare(
        self,
        address: NDArray[np.int64],
        size: NDArray[np.int64],
        expected: NDArray[np.int64],
        source: NDArray[np.uint64],
        destination: NDArray[np.uint64],
    ) -> Tables:
        """Describe a batch of frames ``[F]``, without a GPU.

        Args:
            address, size: each frame's bytes in host memory; only headers are read.
            expected: decoded size of each in bytes.
            source: device address of each frame's bytes, any alignment.
            destination: device address that each goes to; fastest where it is a multiple of 16.
        """
        damaged: Reasons = []
        parsed = parse_at(address, size, expected, damaged)
        copies, blocks, packed, shuffled = arrange(parsed, expected, source, destination)
        temps = [self.codecs.temp_bytes(c.kind, c.count, c.largest, c.total) for c in packed.calls]
        parts = [copies.rows.view(np.uint8), blocks.rows.view(np.uint8)]
        return Tables(
            np.concatenate([*parts, packed.words.reshape(-1).view(np.uint8)]),
            shuffled + max(temps, default=0),
            _RESULT * len(packed.rows),
            parsed.on_host,
            damaged,
            copies,
            blocks,
            packed,
            shuffled,
            temps,
        )

    def enqueue(self, tables: Tables, table: int, scratch: int, results: int) -> None:
        """Enqueue the decoding of a batch.

        Args:
            tables: the batch.
            table: device address of its `host`, after the upload; it is changed there.
            scratch: device address of the scratch memory, a multiple of 16.
            results: device address of the results.

        Raises:
            RuntimeError: a launch failed, by the name of its error.
        """
        copies, blocks, streams = tables._copies, tables._blocks, tables._streams
        moves = table + copies.rows.nbytes
        words = moves + blocks.rows.nbytes
        count = len(streams.rows)
        place(self.device, words, results, count, scratch)
        unshuffle(self.device, table, len(copies.rows), copies.pieces, scratch)
        temp = scratch + tables._shuffled_bytes
        for call, temp_bytes in zip(streams.calls, tables._temp_bytes, strict=True):
            dst, src, csize, size = (words + 8 * (i * count + call.first) for i in range(4))
            actual, status = results + 8 * call.first, results + 8 * count + 4 * call.first
            part = StreamTable(call.count, src, csize, dst, size, actual, status)
            self.codecs.decompress(call.kind, part, temp, temp_bytes, self.stream)
        unshuffle(self.device, moves, len(blocks.rows), blocks.pieces, scratch)

    @staticmethod
    def failed(tables: Tables, results: NDArray[np.uint8]) -> Reasons:
        """Chunks whose destination does not hold what it should, each once, with a reason.

        Args:
            tables: the batch.
            results: uint8 ``[results_bytes]``, copied from the device after decoding.
        """
        rows = tables._streams.rows
        actual = results[: 8 * len(rows)].view(np.uint64)
        status = results[8 * len(rows) :].view(np.int32)
        found = dict(tables.damaged)
        for i in np.flatnonzero(
            (status != 0) | (actual != rows["size"].astype(np.uint64))
        ).tolist():
            row = rows[i]
            why = status_name(int(status[i])) if status[i] else f"{actual[i]} bytes came out"
            found.setdefault(
                int(row["chunk"]),
                f"the {NAMES[int(row['kind'])]} stream at byte {row['src']} of the Blosc frame is "
                f"damaged: expected {row['size']} bytes, {why}",
            )
        return sorted(found.items())
