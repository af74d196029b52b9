"""``python -m benchmarks.host``: what the host does for each MoCo pair that a GPU makes.

The device's way of the loader runs with nothing in the device's place: launches, decoders and
copies of bytes return at once. What is left is the host's work: planning, reading, check-sums,
tables, hand-over. The CPU time of each thread is counted, apart from what it spends in calls that
release the GIL. What holds the GIL cannot overlap, whatever the number of threads: it is the
ceiling of one process.
"""

import argparse
import ctypes
import json
import sys
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from importlib import import_module
from pathlib import Path
from statistics import median
from typing import Any

import torch

from benchmarks import machine
from benchmarks.many_shards import MODALITY, SHARDS, many_shards
from fastload import SSL4EOS12
from fastload.engines import MOVERS, Options, imported
from fastload.engines.dali import has_dali
from fastload.engines.device.decode import Decoder
from fastload.engines.device.nvcomp import StreamTable
from fastload.engines.device.queue import DeviceQueue
from fastload.engines.device.state import DeviceState
from fastload.engines.device.target import DeviceTarget
from fastload.engines.engine import Engine
from fastload.engines.staging import Buffer
from fastload.engines.workers import THREAD_NAME
from fastload.plan import Plan
from fastload.profile import Profile
from ssl4eo_train.methods import moco_v2

BATCHES = (64, 256)
AIM_US = {64: 20.0, 256: 10.0}
AIM_CEILING = 50_000
WARM_UP, LONGEST = 3, 24
WITHOUT_GIL = (
    "fastload.storage.store:read_ranges",
    "fastload.engines.staging:crc_ranges",
    "fastload.storage.blosc.frames:walk",
    "fastload.storage.blosc.frames:headers",
    "fastload.engines.device.tables:_order",
    "fastload.engines.device.tables:_fill",
    "fastload.engines.device.tables:_scratch",
    "fastload.datasets.zarrs.zarr_source:fill_cells",
    "fastload.storage.blosc.frames:examine",
    "fastload_kernels.philox:_fill",
)
"""Calls that release the GIL for all or nearly all of their time."""

BEFORE: dict[str, Any] = {
    "commit": "94598d0",
    "source": "quoted from a review of that commit on two cores, not measured in this run",
    "gil_us": {64: (155, 186), 256: (130, 176)},
}
"""The first house: the main thread, and the workers under the GIL, by DALI's engine."""


class NoDevice:
    """Launches nothing."""

    def launch(self, *_: Any, **__: Any) -> None:
        """See `fastload_kernels.cuda.launch.Device.launch`."""


class NoCodecs:
    """Decodes nothing, and says that all went well; see `Codecs`."""

    def temp_bytes(self, kind: int, streams: int, largest: int, total: int) -> int:
        """See `Codecs.temp_bytes`."""
        return 4096 * streams

    def decompress(
        self, kind: int, table: StreamTable, temp: int, temp_bytes: int, stream: int
    ) -> None:
        """See `Codecs.decompress`."""
        ctypes.memmove(table.actual_sizes, table.dst_sizes, 8 * table.count)
        ctypes.memset(table.statuses, 0, 4 * table.count)


class NoQueue(DeviceQueue):
    """A queue whose copies of a batch's bytes take no CPU time, as those of a GPU."""

    def __init__(self) -> None:
        super().__init__(torch.device("cpu"), NoDevice())
        self.kept: dict[Any, torch.Tensor] = {}

    def copy(self, buffer: Buffer, nbytes: int) -> torch.Tensor:
        """See `DeviceQueue.copy`."""
        return torch.from_numpy(buffer.array)

    def empty(self, shape: Sequence[int], dtype: torch.dtype) -> torch.Tensor:
        """See `DeviceQueue.empty`. As from a GPU's allocator, it takes no system call; nobody
        writes to it."""
        key = (tuple(shape), dtype)
        if key not in self.kept:
            self.kept[key] = torch.empty(key[0], dtype=dtype)
        return self.kept[key]


@dataclass(frozen=True)
class Found:
    """Microseconds of CPU for each pair, the median over rounds.

    Attributes:
        gil: under the GIL, all threads together.
        consumer, producer, readers: of these threads, with what they do without the GIL.
        ceiling: pairs a second that one process can describe at most.
    """

    mover: str
    batch: int
    gil: float
    consumer: float
    producer: float
    readers: float
    ceiling: float


class Clock:
    """CPU seconds of threads, and how much of them went by without the GIL."""

    def __init__(self) -> None:
        self.without = defaultdict[int, float](float)

    def timed(self, call: Callable[..., Any]) -> Callable[..., Any]:
        """A call whose CPU time counts as spent without the GIL."""

        def run(*args: Any, **options: Any) -> Any:
            start = time.thread_time()
            try:
                return call(*args, **options)
            finally:
                self.without[threading.get_ident()] += time.thread_time() - start

        return run

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Within this context the calls of `WITHOUT_GIL` are timed."""
        held = []
        for name in WITHOUT_GIL:
            module, _, attribute = name.partition(":")
            place = import_module(module)
            held.append((place, attribute, getattr(place, attribute)))
            setattr(place, attribute, self.timed(held[-1][2]))
        try:
            yield
        finally:
            for place, attribute, call in held:
                setattr(place, attribute, call)

    def read(self) -> dict[str, tuple[float, float]]:
        """By kind of thread: CPU seconds, and those without the GIL."""
        out = defaultdict[str, list[float]](lambda: [0.0, 0.0])
        for thread in threading.enumerate():
            mine = thread is threading.main_thread()
            if thread.ident is None or not (mine or thread.name.startswith(THREAD_NAME)):
                continue
            kind = "consumer" if mine else thread.name.rpartition("-")[2]
            total = out[kind if kind in ("consumer", "producer") else "readers"]
            total[0] += time.clock_gettime(time.pthread_getcpuclockid(thread.ident))
            total[1] += self.without[thread.ident]
        return {kind: (cpu, without) for kind, (cpu, without) in out.items()}


def open_engine(mover: str, dataset: SSL4EOS12, batch: int) -> Engine:
    """The engine of a device that does nothing."""
    queue = NoQueue()
    decoder = Decoder(queue.runner, NoCodecs(), 0)
    options = Options(queue.device, 1, Profile(), batch)
    state = DeviceState(dataset, queue, decoder, count_pixels=False)
    target = DeviceTarget(dataset, options, state)
    moves = imported(MOVERS[mover])(dataset, options.profile, queue, batch)
    return Engine(moves, target, options.profile)


def measure(mover: str, dataset: SSL4EOS12, batch: int, workers: int, rounds: int) -> Found:
    """Microseconds a pair of one mover and batch size."""
    engine = open_engine(mover, dataset, batch)
    plan = Plan(len(dataset), batch, seed=1, shuffle=True, drop_last=True)
    rows = []
    for epoch in range(rounds):
        clock = Clock()
        with clock.watching():
            batches = engine.iterate(workers, 2, epoch, plan.steps(epoch).since(0))
            try:
                rows.append(_round(batches, clock, min(len(plan), LONGEST) - WARM_UP, batch))
            finally:
                batches.close()
    gil, consumer, producer, readers = (median(column) for column in zip(*rows, strict=True))
    return Found(mover, batch, gil, consumer, producer, readers, 1e6 / gil)


def _round(batches: Any, clock: Clock, steps: int, batch: int) -> tuple[float, ...]:
    for _ in range(WARM_UP):
        next(batches)
    before = clock.read()
    for _ in range(steps):
        next(batches)
    after = clock.read()
    us = 1e6 / (steps * batch)
    kinds = ("consumer", "producer", "readers")
    cpu = [us * (after[kind][0] - before[kind][0]) for kind in kinds]
    without = us * sum(after[kind][1] - before[kind][1] for kind in kinds)
    return sum(cpu) - without, *cpu


def table(found: Sequence[Found]) -> str:
    """What was found, with the aims and the figures of the first house."""
    lines = ["mover    batch  under GIL  aim   consumer  producer  readers  ceiling (aim 50,000)"]
    for f in found:
        met = "met" if f.gil <= AIM_US[f.batch] else "above"
        lines.append(
            f"{f.mover:<8} {f.batch:5} {f.gil:8.1f}   {AIM_US[f.batch]:.0f} {met:<6}"
            f"{f.consumer:7.1f} {f.producer:9.1f} {f.readers:8.1f}  {f.ceiling:9,.0f}/s"
        )
    for batch, (low, high) in BEFORE["gil_us"].items():
        line = f"{low} to {high} us a pair at batch {batch}, {BEFORE['source']}"
        lines.append(f"{BEFORE['commit']}: {line}")
    return "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, and print a table."""
    p = argparse.ArgumentParser(prog="python -m benchmarks.host", description=__doc__)
    p.add_argument("--shards", type=int, default=SHARDS, help="files of the dataset")
    p.add_argument("--workers", type=int, default=2, help="readers")
    p.add_argument("--rounds", type=int, default=5)
    p.add_argument("--size", type=int, default=264, help="pixels of a scene's side")
    p.add_argument("--json", type=Path, metavar="FILE")
    args = p.parse_args(argv)
    described = machine.describe()
    found = []
    with tempfile.TemporaryDirectory() as folder:
        root = many_shards(Path(folder) / "data", args.shards, size=args.size)
        crop = min(moco_v2.PUBLISHED.image_size, args.size)
        dataset = SSL4EOS12(
            root, modalities=[MODALITY], recipe=moco_v2.recipe(crop), progress=False
        )
        for mover in (name for name in MOVERS if name != "dali" or has_dali()):
            for batch in BATCHES:
                found.append(measure(mover, dataset, batch, args.workers, args.rounds))
    print(table(found))
    if args.json is not None:
        out = {
            "machine": described,
            "shards": args.shards,
            "workers": args.workers,
            "microseconds": [asdict(f) for f in found],
            "before": BEFORE,
        }
        args.json.write_text(json.dumps(out, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
