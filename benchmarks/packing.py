"""``python -m benchmarks.packing``: how packed shards are best stored, on real pixels.

Each way of storing is measured on the same chunks, one timestamp each: its size, and how fast one
core decodes it, by the processor's time and not by the clock, so that others on the machine
matter little. Then shards are packed in some of these ways, and the loader makes MoCo-v2 pairs
from each, in interleaved rounds. What a figure is compared with is lz4 at level 5 with byte shuffle
and Blosc's own block size, as SSL4EO-S12 v1.1 is published.

``delta`` is the difference of neighbours in a row before the codec; decoding adds them up again.
"""

import argparse
import json
import sys
import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from statistics import median
from time import perf_counter, process_time, thread_time
from typing import Any

import numpy as np
from numcodecs import Blosc
from numpy.typing import NDArray

from benchmarks import machine, ours
from benchmarks.data import Shards
from benchmarks.measure import Contestant, Running, calibrate
from fastload import SSL4EOS12
from fastload.pack import Options, pack
from fastload.pack.options import SHUFFLES
from ssl4eo_train.methods import moco_v2

RESULTS = Path(__file__).parent / "results" / "packing.json"
REAL = Path(__file__).parents[2] / "shared" / "data" / "ssl4eo_v11_real"
NAME = "ssl4eos12_shard"
AIM_SPEED, AIM_SIZE = 0.9, 0.8
"""Of lz4: pairs a second at least, bytes at most."""
Pixels = NDArray[Any]


@dataclass(frozen=True)
class Way:
    """A way of storing a chunk."""

    codec: str
    level: int
    shuffle: str
    block: int
    delta: bool = False

    @property
    def name(self) -> str:
        """For tables."""
        block = f"{self.block // 1024}K" if self.block else "own"
        return f"{self.codec} {self.level} {self.shuffle} {block}" + (" delta" * self.delta)

    def encoded(self, pixels: Pixels) -> Any:
        """The frame of one timestamp ``[C, H, W]``."""
        rows = np.ascontiguousarray(np.diff(pixels, axis=-1, prepend=0)) if self.delta else pixels
        codec = Blosc(self.codec, self.level, SHUFFLES[self.shuffle], self.block)
        return codec.encode(rows.astype(pixels.dtype, copy=False))

    def decode(self, frame: Any, out: Pixels) -> None:
        """Undo `encoded`."""
        Blosc().decode(frame, out)
        if self.delta:
            np.cumsum(out, axis=-1, out=out, dtype=out.dtype)


PUBLISHED = Way("lz4", 5, "byte", 0)
WAYS = (
    PUBLISHED,
    *(Way("lz4", 5, "byte", 1024 * k) for k in (32, 64)),
    Way("lz4", 5, "bit", 2**16),
    *(Way("lz4hc", level, "byte", 2**16) for level in (5, 9)),
    *(Way("zstd", 1, shuffle, 1024 * k) for shuffle in ("byte", "bit") for k in (0, 32, 64, 256)),
    *(Way("zstd", level, shuffle, 2**16) for level in (3, 5) for shuffle in ("byte", "bit")),
    *(Way("zstd", 1, shuffle, 2**16, True) for shuffle in ("byte", "bit")),
    Way("lz4", 5, "byte", 2**16, True),
)
RACED = (
    PUBLISHED,
    Way("lz4hc", 5, "byte", 2**16),
    Way("lz4hc", 9, "byte", 2**16),
    Way("zstd", 1, "byte", 2**16),
    Way("zstd", 1, "bit", 2**16),
    Way("zstd", 5, "byte", 2**16),
)


@dataclass(frozen=True)
class Stored:
    """What a way of storing comes to.

    Attributes:
        name, modality: what was stored how.
        size: bytes, of the published way's.
        ratio: decoded bytes over stored ones.
        decode: decoded GB/s of one core, median over rounds.
        speed: that, of the published way's.
        encode: MB/s of one core.
    """

    name: str
    modality: str
    size: float
    ratio: float
    decode: float
    speed: float
    encode: float


@dataclass(frozen=True)
class Raced:
    """Pairs from shards that are stored in some way.

    Attributes:
        name: of the way.
        size: bytes of the shards, of the published way's.
        pairs: a second, of each round.
        speed: median, of the published way's.
        cpu_pairs: pairs a second of processor time, all threads together, of each round.
        cpu_speed: median, of the published way's.
    """

    name: str
    size: float
    pairs: tuple[float, ...]
    speed: float
    cpu_pairs: tuple[float, ...]
    cpu_speed: float


def chunks_of(root: Path, modality: str, samples: int) -> list[Pixels]:
    """Single dates ``[C, H, W]`` of some samples, spread over all."""
    dataset = SSL4EOS12(root, modalities=[modality], progress=False)
    which = np.unique(np.linspace(0, len(dataset) - 1, samples).astype(int))
    return [np.ascontiguousarray(image) for i in which for image in dataset.read(modality, int(i))]


def store(modality: str, chunks: list[Pixels], ways: Sequence[Way], rounds: int) -> list[Stored]:
    """Size and speed of ways of storing chunks; the first way is what all are compared with."""
    total, frames, encode = sum(chunk.nbytes for chunk in chunks), {}, {}
    for way in ways:
        start = thread_time()
        frames[way] = [way.encoded(chunk) for chunk in chunks]
        encode[way] = total / 1e6 / (thread_time() - start)
        _check(way, frames[way], chunks)
    decode: dict[Way, list[float]] = {way: [] for way in ways}
    out = np.empty_like(chunks[0])
    for _ in range(rounds):
        for way in ways:
            decode[way].append(total / 1e9 / _seconds(partial(_decode_all, way, frames[way], out)))
    sizes = {way: sum(map(len, frames[way])) for way in ways}
    first = ways[0]
    return [
        Stored(
            way.name,
            modality,
            sizes[way] / sizes[first],
            total / sizes[way],
            median(decode[way]),
            median(decode[way]) / median(decode[first]),
            encode[way],
        )
        for way in ways
    ]


def _seconds(call: Callable[[], object]) -> float:
    start = thread_time()
    call()
    return thread_time() - start


def _decode_all(way: Way, frames: list[Any], out: Pixels) -> None:
    for frame in frames:
        way.decode(frame, out)


def _check(way: Way, frames: list[Any], chunks: list[Pixels]) -> None:
    for frame, chunk in zip(frames, chunks, strict=True):
        out = np.empty_like(chunk)
        way.decode(frame, out)
        if not np.array_equal(out, chunk):
            raise AssertionError(f"{way.name}: decoded pixels are not those that were stored")


def race(
    root: Path, modality: str, ways: Sequence[Way], rounds: int, seconds: float, workers: int,
    batch: int, crop: int,
) -> list[Raced]:  # fmt: skip
    """Pairs a second from shards that are packed in some ways."""
    dataset = SSL4EOS12(root, modalities=[modality], progress=False)
    with tempfile.TemporaryDirectory() as folder:
        sizes, contestants = {}, []
        for number, way in enumerate(ways):
            place = Path(folder) / str(number)
            options = Options(way.codec, way.level, way.shuffle, way.block, name=NAME)
            done = pack(dataset, place, options, executor="threads", say=lambda _: None)
            sizes[way.name] = done.sizes[modality]
            shards = Shards.find(place, "train", modality, way.name)
            stream = partial(ours.stream, shards, moco_v2.recipe(crop), batch, workers)
            contestants.append(Contestant(way.name, stream, partial(_looks_right, batch), batch))
        counts = {c.name: calibrate(c, seconds) for c in contestants}
        found: dict[str, list[tuple[float, float]]] = {c.name: [] for c in contestants}
        for _ in range(rounds):
            for c in contestants:
                found[c.name].append(_rates(c, counts[c.name]))
    first = ways[0].name
    base = [median(column) for column in zip(*found[first], strict=True)]
    out = []
    for name, rates in found.items():
        pairs, cpu = zip(*rates, strict=True)
        speeds = median(pairs) / base[0], median(cpu) / base[1]
        out.append(Raced(name, sizes[name] / sizes[first], pairs, speeds[0], cpu, speeds[1]))
    return out


def _rates(contestant: Contestant, batches: int) -> tuple[float, float]:
    """Pairs a second of the clock, and of the processors."""
    running = Running.start(contestant)
    try:
        start, cpu = perf_counter(), process_time()
        running.take(batches)
        took = perf_counter() - start, process_time() - cpu
    finally:
        running.stop()
    pairs = batches * contestant.batch
    return pairs / took[0], pairs / took[1]


def _looks_right(batch: int, found: Any) -> None:
    views = next(value for value in found.values() if isinstance(value, list))
    if len(views) != 2 or len(views[0]) != batch:
        raise AssertionError(f"expected pairs of {batch}, got {[tuple(v.shape) for v in views]}")


def table(stored: Sequence[Stored], raced: Sequence[Raced]) -> str:
    """What was found, as Markdown."""
    lines = [
        "| stored as | modality | size | ratio | decoding, GB/s | of lz4's | encoding, MB/s |",
        "|---|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {s.name} | {s.modality} | {s.size:.2f} | {s.ratio:.2f} | {s.decode:.2f} | "
        f"{s.speed:.2f} | {s.encode:.0f} |"
        for s in stored
    ]
    lines += [
        "",
        "| shards | size | MoCo pairs/s | of lz4's | of lz4's, by processor time | aim |",
        "|---|---|---|---|---|---|",
    ]
    for r in raced:
        met = r.cpu_speed >= AIM_SPEED and r.size <= AIM_SIZE
        said = ("met" if met else "below") if r.name.startswith("zstd") else ""
        lines.append(
            f"| {r.name} | {r.size:.2f} | {median(r.pairs):.0f} | {r.speed:.2f} | "
            f"{r.cpu_speed:.2f} | {said} |"
        )
    return "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print a table and write the figures."""
    p = argparse.ArgumentParser(prog="python -m benchmarks.packing", description=__doc__)
    p.add_argument("--root", type=Path, default=REAL, help="shards in the published layout")
    p.add_argument("--modality", nargs="+", default=["S2L2A", "S2RGB"])
    p.add_argument("--samples", type=int, default=3, help="whose chunks are stored")
    p.add_argument("--rounds", type=int, default=5)
    p.add_argument("--seconds", type=float, default=2.0, help="of a timed span of the loader")
    p.add_argument("--workers", type=int, default=2)
    p.add_argument("--batch", type=int, default=16)
    p.add_argument("--crop", type=int, default=224)
    p.add_argument("--json", type=Path, default=RESULTS, metavar="FILE")
    args = p.parse_args(argv)
    described, stored = machine.describe(), []
    with ThreadPoolExecutor(1) as one:  # where Blosc works with a single thread
        for modality in args.modality:
            chunks = chunks_of(args.root, modality, args.samples)
            stored += one.submit(store, modality, chunks, WAYS, args.rounds).result()
    raced = race(args.root, args.modality[0], RACED, args.rounds, args.seconds, args.workers,
                 args.batch, args.crop)  # fmt: skip
    print(table(stored, raced))
    out = {
        "machine": described,
        "root": args.root.name,
        "stored": [asdict(s) for s in stored],
        "moco_pairs": [asdict(r) for r in raced],
        "aim": {"speed": AIM_SPEED, "size": AIM_SIZE},
    }
    args.json.write_text(json.dumps(out, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
