"""Decoding on the device: Blosc frames in device memory to pixels there, against all CPU cores."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import torch
from numcodecs import blosc
from numpy.typing import NDArray

from benchmarks.gpu.bench import Bench, Found, Skip
from benchmarks.gpu.timing import Work, compete
from benchmarks.results import Comparison
from fastload.engines.device.decode import Decoder, Tables
from fastload.processors import processors
from fastload.storage.blosc.frames import parse
from fastload.storage.formats.codecs import Codec
from fastload_kernels.cuda.shuffle import MOVE, cut, unshuffle

CODECS = ("lz4", "zstd")
LEVEL, BYTE_SHUFFLE = 5, 1  # as published


class Case:
    """The chunks of a batch, packed by one codec as the published shards have them."""

    def __init__(self, bench: Bench, codec: str, chunks: NDArray[Any]) -> None:
        self.bench, self.codec, self.chunks = bench, codec, chunks
        self.frames = [
            bytes(blosc.compress(c, codec.encode(), LEVEL, BYTE_SHUFFLE)) for c in chunks
        ]
        self.sizes = [chunks[0].nbytes] * len(chunks)
        self.gigabytes = chunks.nbytes / 1e9
        ends = np.cumsum([len(frame) for frame in self.frames])
        self.ratio = chunks.nbytes / int(ends[-1])
        with bench.queue.work():
            self.moved = bench.queue.upload(np.frombuffer(b"".join(self.frames), np.uint8))
            self.out = bench.queue.empty(chunks.shape, torch.from_numpy(chunks).dtype)
        starts = ends - [len(frame) for frame in self.frames]
        self.source = (starts + self.moved.data_ptr()).astype(np.uint64)
        self.destination = np.array([out.data_ptr() for out in self.out], np.uint64)

    def right(self, _: object) -> None:
        """Check what lies in device memory."""
        expected = torch.from_numpy(self.chunks)
        assert torch.equal(self.out.cpu(), expected), f"{self.codec}: other pixels came out"

    def on_device(self) -> Work:
        """One batched call, raw streams and unshuffle included; headers were parsed before."""
        bench, queue = self.bench, self.bench.queue
        assert bench.codecs is not None
        decoder = Decoder(queue.runner, bench.codecs, queue.handle)
        tables = described(decoder, self.frames, self.sizes, self.source, self.destination)
        assert not tables.on_host, f"{self.codec}: left to the CPU: {tables.on_host[:1]}"
        with queue.work():
            table = queue.upload(tables.host)
            scratch = queue.empty((tables.scratch_bytes,), torch.uint8)
            results = queue.empty((tables.results_bytes,), torch.uint8)
            self.out.zero_()

        def right(_: object) -> None:
            failed = decoder.failed(tables, results.cpu().numpy())
            assert not failed, f"{self.codec}: {failed[0][1]}"
            self.right(None)

        def run() -> None:
            places = table.data_ptr(), scratch.data_ptr(), results.data_ptr()
            with queue.work():
                decoder.enqueue(tables, *places)

        note = f"{self.ratio:.2f} to 1; {tables.scratch_bytes / 2**20:.0f} MiB of scratch memory"
        return Work(self.codec, run, self.gigabytes, right, note)

    def shuffle_alone(self) -> Work:
        """Only the launch that undoes the shuffle, of as many bytes."""
        queue, blocks = self.bench.queue, parse(self.frames, self.sizes).blocks
        with queue.work():
            scratch, out = torch.empty_like(self.out).random_(), torch.empty_like(self.out)
            rows = np.zeros(len(blocks), MOVE)
            at = (blocks["chunk"] * self.sizes[0] + blocks["dst"]).astype(np.uint64)
            rows["src"] = scratch.data_ptr() + at
            rows["dst"] = out.data_ptr() + at
            rows["size"], rows["typesize"] = blocks["length"], blocks["typesize"]
            pieces = cut(rows)
            table = queue.upload(rows.view(np.uint8))

        def run() -> None:
            unshuffle(queue.runner, table, len(rows), pieces, 0)

        def right(_: object) -> None:
            n = int(blocks["length"][0])
            planes, found = (
                t.view(-1)[: n // t.itemsize].view(torch.uint8) for t in (scratch, out)
            )
            assert torch.equal(found, planes.view(scratch.itemsize, -1).T.reshape(-1)), (
                "wrong order"
            )

        note = "the ratio to it is its share of the decoding's time"
        done = float(blocks["length"].sum()) / 1e9
        return Work(f"{self.codec}, unshuffle alone", run, done, right, note)

    def on_host(self, pool: ThreadPoolExecutor) -> Work:
        """The CPU path: a thread a chunk, into memory that is there."""
        decode, out = Codec("blosc").decode, np.zeros_like(self.chunks)
        targets = [np.ascontiguousarray(o).view(np.uint8).reshape(-1) for o in out]

        def run() -> None:
            list(pool.map(decode, self.frames, targets))

        def right(_: object) -> None:
            found = [np.array_equal(t, c.reshape(-1).view(np.uint8)) for t, c in zip(
                targets, self.chunks, strict=True)]  # fmt: skip
            assert all(found), f"{self.codec}: the CPU decoded other pixels"

        name = f"{self.codec}, CPU"
        return Work(name, run, self.gigabytes, right, f"{processors()} threads, Blosc")


def described(
    decoder: Decoder,
    frames: list[bytes],
    sizes: list[int],
    source: NDArray[np.uint64],
    destination: NDArray[np.uint64],
) -> Tables:
    """A decoding of frames in host memory; see `Decoder.prepare`."""
    arrays = [np.frombuffer(frame, np.uint8) for frame in frames]
    address = np.array([array.ctypes.data for array in arrays], np.int64)
    stored = np.array([len(array) for array in arrays], np.int64)
    return decoder.prepare(address, stored, np.array(sizes, np.int64), source, destination)


def decoding(bench: Bench) -> Found:
    """GB/s of pixels that come out of a batch of pairs, by codec.

    Raises:
        Skip: without nvCOMP.
    """
    if bench.codecs is None:
        raise Skip("nvCOMP is not installed")
    pixels = bench.pixels(bench.options.batch)[:, :2].flatten(0, 1).cpu().numpy()
    N, C, H, W = pixels.shape
    found = Found()
    with ThreadPoolExecutor(processors()) as pool:
        for codec in CODECS:
            case = Case(bench, codec, pixels)
            works = [case.on_device(), case.shuffle_alone(), case.on_host(pool)]
            ours, alone, host = (work.name for work in works)
            title = f"decoding {codec}: {N} chunks of [{C}, {H}, {W}] int16, pixels out"
            ratios = [Comparison(ours, host), Comparison(ours, alone)]
            one = compete(bench, title, "GB/s", works, ratios)
            found.races += one.races
            found.missing += one.missing
    return found
