"""Decoding a batch of Blosc frames on the device.

The host reads the frames' headers and makes one table of addresses. After its upload everything is
enqueued at once: streams stored as they are get copied, one nvCOMP call for each codec decodes all
others, and a last launch undoes the shuffle. Blocks that are not shuffled are decoded straight to
where they belong.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from fastload_kernels.cuda.launch import Device
from fastload_kernels.cuda.shuffle import IN_SCRATCH, MOVE, cut, place, unshuffle
from numpy.typing import NDArray

from fastload.engines.nvcomp import NAMES, Codecs, StreamTable, status_name
from fastload.storage.blocks import RAW
from fastload.storage.codecs import Buffer
from fastload.storage.frames import LZ4, ZSTD, Reasons, parse

_ALIGNMENT = 256
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
    _copies: "_Moves"
    _blocks: "_Moves"
    _streams: "_Packed"


@dataclass(frozen=True)
class _Moves:
    """Rows for `unshuffle`, `MOVE` ``[count]``."""

    rows: NDArray[np.void]
    pieces: int


@dataclass(frozen=True)
class _Packed:
    """Compressed streams, by kind and the largest first: rows of `STREAM`."""

    rows: NDArray[np.void]
    calls: tuple[tuple[int, int, int, int], ...]  # kind, first row, rows, temporary bytes
    shuffled_bytes: int  # of scratch memory; the temporary bytes follow


class Decoder:
    """Decodes Blosc frames that lie in device memory. For each batch::

        tables = decoder.prepare(frames, sizes, sources, destinations)
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
        frames: Sequence[Buffer],
        sizes: Sequence[int],
        sources: Sequence[int],
        destinations: Sequence[int],
    ) -> Tables:
        """Describe a batch, without a GPU.

        Args:
            frames: each frame's bytes in host memory; only headers are read.
            sizes: decoded size of each in bytes.
            sources: device address of each frame's bytes, any alignment.
            destinations: device address that each goes to; fastest where it is a multiple of 8.
        """
        damaged: Reasons = []
        parsed = parse(frames, sizes, damaged)
        source, destination = np.array(sources, np.uint64), np.array(destinations, np.uint64)
        scratch, shuffled_bytes = _scratch(parsed.blocks["chunk"], sizes)
        blocks, streams = parsed.blocks, parsed.streams
        its, at = blocks["chunk"], blocks["dst"].astype(np.uint64)
        moves = _moves(scratch[its] + at, destination[its] + at, blocks["length"])
        moves.rows["typesize"], moves.rows["bits"] = blocks["typesize"], blocks["shuffle"] == 2

        streams = streams[np.lexsort((-streams["size"], streams["kind"]))]
        its, at = streams["chunk"], streams["dst"].astype(np.uint64)
        dst = np.where(streams["shuffled"] > 0, scratch[its], destination[its]) + at
        src = source[its] + streams["src"].astype(np.uint64)
        raw = int(np.count_nonzero(streams["kind"] == RAW))  # these come first
        copies = _moves(src[:raw], dst[:raw], streams["size"][:raw])
        packed = self._packed(streams[raw:], shuffled_bytes)
        words = (dst[raw:], src[raw:], packed.rows["csize"], packed.rows["size"])
        parts = [copies.rows, moves.rows, *(column.astype(np.uint64) for column in words)]
        return Tables(
            np.concatenate([part.view(np.uint8) for part in parts]),
            shuffled_bytes + max((call[3] for call in packed.calls), default=0),
            _RESULT * len(packed.rows),
            parsed.on_host,
            damaged,
            copies,
            moves,
            packed,
        )

    def _packed(self, rows: NDArray[np.void], shuffled_bytes: int) -> _Packed:
        """Divide the rows among one call for each codec."""
        calls = []
        for kind in (LZ4, ZSTD):
            first, last = np.searchsorted(rows["kind"], [kind, kind + 1]).tolist()
            sizes = rows["size"][first:last]
            if len(sizes):
                temp = self.codecs.temp_bytes(kind, len(sizes), int(sizes[0]), int(sizes.sum()))
                calls.append((kind, first, len(sizes), temp))
        return _Packed(rows, tuple(calls), shuffled_bytes)

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
        for kind, first, its, temp_bytes in streams.calls:
            dst, src, csize, size = (words + 8 * (i * count + first) for i in range(4))
            actual, status = results + 8 * first, results + 8 * count + 4 * first
            part = StreamTable(its, src, csize, dst, size, actual, status)
            temp = scratch + streams.shuffled_bytes
            self.codecs.decompress(kind, part, temp, temp_bytes, self.stream)
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


def _scratch(chunks: NDArray[np.int32], sizes: Sequence[int]) -> tuple[NDArray[np.uint64], int]:
    """Place in the scratch memory of each chunk ``[F]`` with shuffled blocks, and bytes of all."""
    room = np.zeros(len(sizes), np.uint64)
    aligned = -(-np.array(sizes, np.int64) // _ALIGNMENT) * _ALIGNMENT
    room[chunks] = aligned[chunks].astype(np.uint64)
    ends = np.cumsum(room)
    return (ends - room) | IN_SCRATCH, int(room.sum())


def _moves(src: NDArray[np.uint64], dst: NDArray[np.uint64], size: NDArray[np.int64]) -> _Moves:
    """Copies, as long as nothing else is said."""
    rows = np.zeros(len(src), MOVE)
    rows["src"], rows["dst"], rows["size"], rows["typesize"] = src, dst, size, 1
    return _Moves(rows, cut(rows))
