"""What every `fastload.engines.Mover` must do."""

import errno
import gc
import threading
import time
import tracemalloc
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fastload.datasets.base import Dataset
from fastload.datasets.source import ChunkedSource
from fastload.datasets.zarrs.zarr_source import ZarrSource
from fastload.engines import Mover
from fastload.engines.batch import Request, draw, look_up
from fastload.engines.workers import Workers
from fastload.profile import Profile, Stages
from fastload.statistics import statistics
from fastload.storage.errors import DataError, MachineError, StorageError
from fastload.storage.index import open_index
from fastload.storage.native import bytes_at
from tests.conformance.toy import Memory, npy
from tests.conformance.toys import arrays, tars
from tests.fastload.made import BOTH, dataset, moco

Arrived = dict[str, list[bytes | DataError]]
"""By modality what became of each chunk, in the order of the request."""
B = 6


def in_memory(store: Memory) -> Dataset:
    """The shards of a store of bytes as a dataset."""
    source = ZarrSource("S2L1C", store, open_index(store), check_crc=True)
    return Dataset({"S2L1C": source}, None, statistics("v1.1-webdataset"), 0)


def batch(data: Dataset, seed: int, size: int = B) -> Request:
    """A request for some samples, one of them twice."""
    samples = np.random.default_rng(seed).integers(0, len(data), size)
    samples[-1:] = samples[:1]
    return draw(data, 0, seed, samples)


def stored(data: Dataset, request: Request) -> Arrived:
    """What a store itself says of each chunk."""
    out: Arrived = {}
    for name, part in request.parts.items():
        source = data.sources[name]
        if not isinstance(source, ChunkedSource):
            out[name] = []
            continue
        assert part.chunks is not None
        out[name] = [
            source.store.bytes(source.files[row["file"]], int(row["offset"]), int(row["stored"]))
            for row in part.chunks.rows
        ]
    return out


def numbers(request: Request) -> Iterator[tuple[str, int, int]]:
    """Every chunk of a request: modality, slot, number in the request's part."""
    for name, part in request.parts.items():
        if part.chunks is not None:
            for slot in range(len(request)):
                span = part.span(slot)
                yield from ((name, slot, i) for i in range(span.start, span.stop))


class MoverTests:
    """Subclass it and give `make`, once for the host and once for each kind of device."""

    largest: int | None = B
    uses_again = True
    """Whether memory is kept for the batches to come, as it should be."""

    def queue(self) -> Any:
        """That of the device; None for the host."""
        return None

    def make(self, data: Dataset, profile: Profile, queue: Any, largest: int | None) -> Mover:
        """A mover, as `fastload.engines.Mover` says how one is made."""
        raise NotImplementedError

    def from_device(self, address: int, size: int) -> bytes:
        """Bytes in the device's memory, after all that is enqueued on the queue."""
        return bytes_at(address, size).tobytes()

    def new(self, data: Dataset) -> Mover:
        return self.make(data, Profile(), self._queue, self.largest)

    @cached_property
    def _queue(self) -> Any:
        return self.queue()

    def arrived(self, load: Any, request: Request) -> Arrived:
        """What a load holds, after `arrive`."""
        out: Arrived = {name: [] for name in request.parts}
        for name, slot, i in numbers(request):
            chunks = request.parts[name].chunks
            assert chunks is not None
            size = int(chunks.rows["stored"][i])
            if self.on_device:
                failure = load.failures[name].get(i)
                if failure is not None:
                    out[name].append(failure)
                    continue
                at = int(request.parts[name].at[i])
                on_host = bytes_at(load.host + at, size).tobytes()
                assert self.from_device(load.address + at, size) == on_host
                out[name].append(on_host)
                continue
            try:
                (data,) = load.chunks(name, slot, slice(i, i + 1), Stages())
                assert (data is None) == (size == 0)
                out[name].append(b"" if data is None else data.tobytes())
            except DataError as error:
                out[name].append(error)
        return out

    @property
    def on_device(self) -> bool:
        """Whether the mover has a queue."""
        return self._queue is not None

    def carried(self, mover: Mover, request: Request, workers: Workers) -> Arrived:
        """A whole load: begun, arrived, looked at, released."""
        load = mover.begin(request, workers)
        load.arrive()
        try:
            return self.arrived(load, request)
        finally:
            load.release()

    @pytest.fixture(params=[0, 3], ids=["no workers", "3 workers"])
    def workers(self, request: pytest.FixtureRequest) -> Iterator[Workers]:
        found = Workers(request.param)
        yield found
        found.close()

    # Bytes

    def test_every_chunk_arrives_with_its_bytes(self, workers: Workers) -> None:
        """All that the request names, as the store has it; and nothing is drawn but that."""
        data = dataset(moco(), BOTH)
        mover = self.new(data)
        for seed in range(3):
            request = batch(data, seed)
            assert self.carried(mover, request, workers) == stored(data, request)
        mover.close()

    def test_a_slots_chunks_come_together(self, workers: Workers) -> None:
        """`HostLoad.chunks`: of a span in its order, from any worker's thread."""
        if self.on_device:
            pytest.skip("of the host")
        data = dataset(None, BOTH)
        mover, request = self.new(data), batch(data, 1)
        load, expected = mover.begin(request, workers), stored(data, request)
        load.arrive()

        def look(slot: int) -> None:
            for name, part in request.parts.items():
                span = part.span(slot)
                found = load.chunks(name, slot, span, Stages())
                assert [d.tobytes() for d in found if d is not None] == expected[name][span]

        with ThreadPoolExecutor(4) as pool:
            list(pool.map(look, list(range(B)) * 3))
        load.release()
        mover.close()

    def test_any_store_is_read(self, workers: Workers) -> None:
        """Bytes come through the source's store, whichever it is."""
        data = in_memory(Memory("mover", tars()))
        mover, request = self.new(data), batch(data, 3)
        assert self.carried(mover, request, workers) == stored(data, request)
        mover.close()

    def test_nothing_is_wanted(self, workers: Workers) -> None:
        """A request of no chunks, and one of no samples, are moved like any other."""
        data = dataset(None, BOTH)
        mover = self.new(data)
        for size in (B, 0):
            samples = np.arange(size)
            none = {n: np.zeros((size, m.timestamps), bool) for n, m in data.modalities.items()}
            request = look_up(data, 0, samples, None, {}, none)
            assert self.carried(mover, request, workers) == {name: [] for name in BOTH}
            some = batch(data, size)
            assert self.carried(mover, some, workers) == stored(data, some)
        mover.close()

    def test_a_source_without_chunks_is_no_burden(self, workers: Workers) -> None:
        """Its part of a request is left alone."""
        data = npy(Memory("arrays", arrays()))
        mover, request = self.new(data), batch(data, 0)
        assert self.carried(mover, request, workers) == {"toy": []}
        mover.close()

    def test_a_request_may_be_larger_than_was_said(self, workers: Workers) -> None:
        """`largest` is None where it is not known."""
        data = dataset(None, BOTH)
        mover = self.make(data, Profile(), self._queue, None)
        for size in (1, 4 * B, 2):
            request = batch(data, size, size)
            assert self.carried(mover, request, workers) == stored(data, request)
        mover.close()

    # Many at once

    def test_several_are_begun_before_the_first_arrives(self, workers: Workers) -> None:
        """Loads that overlap have memory of their own, until each is released."""
        data = dataset(moco(), BOTH)
        mover = self.new(data)
        for start in range(0, 12, 4):
            requests = [batch(data, start + i) for i in range(4)]
            loads = [mover.begin(request, workers) for request in requests]
            for load in loads:
                load.arrive()
            for load, request in zip(loads, requests, strict=True):
                assert self.arrived(load, request) == stored(data, request)
            for load in loads:
                load.release()
        mover.close()

    def test_memory_is_used_again(self, workers: Workers) -> None:
        """Many batches take no more memory than a few, nor is it taken anew."""
        data = dataset(None, BOTH)
        requests = [batch(data, seed) for seed in range(4)]
        tracemalloc.start()
        try:
            mover = self.new(data)

            def some(count: int) -> None:
                ahead = mover.begin(requests[0], workers)
                for i in range(count):
                    load, ahead = ahead, mover.begin(requests[(i + 1) % 4], workers)
                    load.arrive()
                    load.release()
                ahead.arrive()
                ahead.release()
                del load, ahead
                gc.collect()

            some(6)
            before = tracemalloc.get_traced_memory()[0]
            tracemalloc.reset_peak()
            some(30)
            after, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert after - before < requests[0].nbytes // 2
        if self.uses_again:
            assert peak - before < requests[0].nbytes // 2
        mover.close()

    def test_loads_that_are_given_up_are_dropped(self, workers: Workers) -> None:
        """`release` is never called for them; the mover goes on."""
        data = dataset(moco())
        mover = self.new(data)
        for seed in range(5):
            mover.begin(batch(data, seed), workers)  # not even waited for
            load = mover.begin(batch(data, seed), workers)
            load.arrive()
            del load
            request = batch(data, seed + 1)
            assert self.carried(mover, request, workers) == stored(data, request)
        mover.close()

    def test_iterations_in_two_threads_share_a_mover(self) -> None:
        """One mover, two producers, each with its own workers."""
        data = dataset(moco(), BOTH)
        mover = self.new(data)

        def iterate(seed: int) -> None:
            workers = Workers(2)
            for step in range(8):
                requests = [batch(data, 100 * seed + 2 * step + i) for i in range(2)]
                loads = [mover.begin(request, workers) for request in requests]
                for load, request in zip(loads, requests, strict=True):
                    load.arrive()
                    assert self.arrived(load, request) == stored(data, request)
                    load.release()
            workers.close()

        with ThreadPoolExecutor(2) as pool:
            list(pool.map(iterate, range(2)))
        mover.close()

    # What is wrong

    def test_a_failure_names_its_chunk(self, workers: Workers) -> None:
        """A file that is gone: an error for each of its chunks, and for no other."""
        store = Memory("failures", tars())
        data = in_memory(store)
        mover, request = self.new(data), batch(data, 5, 12)
        expected, gone = stored(data, request)["S2L1C"], sorted(tars())[0]
        assert store.files is not None
        del store.files[gone]
        found = self.carried(mover, request, workers)["S2L1C"]
        part, source = request.parts["S2L1C"], data.sources["S2L1C"]
        assert part.chunks is not None
        assert isinstance(source, ZarrSource)
        failed = 0
        for row, result, content in zip(part.chunks.rows, found, expected, strict=True):
            if source.files[row["file"]] != gone:
                assert result == content
                continue
            failed += 1
            assert isinstance(result, DataError)
            assert not isinstance(result, StorageError)
            key = source.columns.key[part.rows[row["slot"]]].decode()
            assert (result.shard, result.offset) == (store.path(gone), row["offset"])
            assert result.member.startswith(key)
        assert 0 < failed < len(found)
        mover.close()

    def test_frames_are_compared_with_their_checksums(
        self, workers: Workers, tmp_path: Path
    ) -> None:
        """`DeviceLoad.failures` names those of a damaged sample; a host compares when it decodes.

        Without `check_crc` they are taken as they are.
        """
        if not self.on_device:
            pytest.skip("of devices")
        store = Memory("damage", tars())
        data = in_memory(store)
        source, request = data.sources["S2L1C"], draw(data, 0, 0, np.array([0, 4, 1, 4]))
        assert isinstance(source, ZarrSource)
        part = request.parts["S2L1C"]
        assert part.chunks is not None
        assert store.files is not None
        bad = set(np.flatnonzero(part.rows[part.chunks.rows["slot"]] == 4).tolist())
        for row in part.chunks.rows[part.span(1)]:
            name = source.files[row["file"]]
            content = bytearray(store.files[name])
            content[row["offset"] + 20] ^= 1
            store.files[name] = bytes(content)
        mover = self.new(data)
        found = self.carried(mover, request, workers)["S2L1C"]
        assert {i for i, result in enumerate(found) if isinstance(result, DataError)} == bad
        source.check_crc = False
        assert self.carried(mover, request, workers) == stored(data, request)
        mover.close()

    def test_storage_trouble_keeps_its_kind(
        self, workers: Workers, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """`StorageError` for each chunk that could not be had."""
        monkeypatch.setattr("fastload.storage.store.RETRIES_S", (0.0,))
        store = Memory("trouble", tars())
        data = in_memory(store)
        mover, request = self.new(data), batch(data, 0, 3)
        store.fails = [OSError(errno.EIO, "input/output error")] * 10_000
        found = self.carried(mover, request, workers)["S2L1C"]
        assert all(isinstance(result, StorageError) for result in found)
        store.fails = []
        assert self.carried(mover, request, workers) == stored(data, request)
        mover.close()

    def test_a_machine_that_lacks_something_is_no_failure_of_a_chunk(
        self, workers: Workers
    ) -> None:
        """`MachineError` is raised, by `arrive` or when the host asks for chunks."""
        store = Memory("scarce", tars())
        data = in_memory(store)
        mover, request = self.new(data), batch(data, 0, 3)
        store.fails = [OSError(errno.EMFILE, "too many open files")] * 10_000
        load = mover.begin(request, workers)
        with pytest.raises(MachineError):  # noqa: PT012
            load.arrive()
            self.arrived(load, request)
        store.fails = []
        assert self.carried(mover, request, workers) == stored(data, request)
        mover.close()

    # Ends

    @pytest.mark.parametrize("when", ["before it begins", "after it began"])
    def test_cancelled_workers_do_not_hang(self, when: str) -> None:
        """A load that nobody wants any more ends, with an error or without its bytes."""
        data = dataset(moco(), BOTH)
        mover, workers, requests = self.new(data), Workers(2), [batch(data, i) for i in range(8)]

        def end() -> None:
            if when == "before it begins":
                workers.cancel()
            loads = [mover.begin(request, workers) for request in requests]
            workers.cancel()
            for load in loads:
                try:
                    load.arrive()
                except RuntimeError:
                    continue
                load.release()

        assert ends(end)
        workers.close()
        mover.close()

    def test_a_closed_mover_lets_go(self) -> None:
        """After `close` nothing keeps what a mover holds; it need not have moved anything."""
        self.new(dataset(moco())).close()


def ends(work: Callable[[], Any], seconds: float = 10.0) -> bool:
    """Whether some work ends in time, well or not."""
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    until = time.monotonic() + seconds
    while thread.is_alive() and time.monotonic() < until:
        thread.join(0.05)
    return not thread.is_alive()
