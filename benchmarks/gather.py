"""``python -m benchmarks.gather``: fetching patches of local COGs, and what 250,000 would take.

nginx serves COGs of made scenes (see `benchmarks.archives.cogs`), `rustac serve` is the catalogue.
Locations are fetched as fast as this machine does it, and through proxies that hold each request
for the stated latency. What all locations of SSL4EO-S12 would take on as many processors is the
longest of three times, by latency, by bandwidth and by processor. Servers and proxies run on the
same processors, which slows the rounds down.
"""

import argparse
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from benchmarks import machine
from benchmarks.archives import cogs
from benchmarks.far import Delay, served
from fastload.gather.fetch.fetch import fetch
from fastload.gather.fetch.gathering import Options
from fastload.gather.plan import plan as plans
from fastload.gather.plan.plan import Plan
from fastload.gather.plan.settings import Settings
from fastload.gather.search.services import service
from fastload.processors import processors

RESULTS = Path(__file__).parent / "results" / "gather.json"
ALL = 250_000
"""Locations of SSL4EO-S12."""


@dataclass(frozen=True)
class Round:
    """What fetching took.

    Attributes:
        latency_ms: that each request was held for.
        seconds, cpu: of the clock, and of processor of this process and its workers.
        locations, patches: that were fetched; a patch is one date.
        requests, bytes: of all.
    """

    latency_ms: float
    seconds: float
    cpu: float
    locations: int
    patches: int
    requests: int
    bytes: int


@dataclass(frozen=True)
class Projection:
    """Hours that `ALL` locations take, by what each bound alone comes to."""

    latency: float
    bandwidth: float
    processor: float

    @property
    def hours(self) -> float:
        """By the tightest bound."""
        return max(self.latency, self.bandwidth, self.processor)


def project(quick: Round, held: Round, mbit: float, cores: int) -> Projection:
    """What all locations take, from rounds without and with latency."""
    return Projection(
        latency=ALL * held.seconds / held.locations / 3600,
        bandwidth=ALL * quick.bytes / quick.locations * 8 / (mbit * 1e6) / 3600,
        processor=ALL * quick.cpu / quick.locations / cores / 3600,
    )


def plan(locations: int, px: int, scratch: Path) -> Plan:
    """Places all over the scene, far enough from its border."""
    corners = np.array(cogs.ring(px, inside=2000)[:4])
    # A box within the ring, whose sides are not quite those of the compass.
    low, high = np.sort(corners, axis=0)[1], np.sort(corners, axis=0)[2]
    places = np.random.default_rng(0).uniform(low, high, (locations, 2))
    path = scratch / "places.csv"
    path.write_text("lon,lat\n" + "".join(f"{x:.6f},{y:.6f}\n" for x, y in places))
    return plans.make(Settings(law="csv", places=str(path), dates="generalised"), say=print)


def fetched(
    asked: Plan, args: argparse.Namespace, folder: Path, scratch: Path, latency_ms: float
) -> Round:
    """Fetch all locations of a plan from servers that hold each request for so long."""
    with _nginx(folder, scratch) as port:
        base = f"http://127.0.0.1:{_held(port, latency_ms)}"
        with _catalogue(cogs.items(scratch, base, args.px), latency_ms) as url:
            options = Options(executor=args.executor, workers=args.workers, progress=not args.quiet)
            with tempfile.TemporaryDirectory(dir=scratch) as out:
                start, cpu = time.perf_counter(), sum(os.times()[:4])
                done = fetch(asked, out, service(url), ["S2L2A"], options)
                took = time.perf_counter() - start, sum(os.times()[:4]) - cpu
    if done.counts.whole != len(asked):
        raise RuntimeError(f"only {done.counts.whole} of {len(asked)} locations came")
    patches = len(asked) * len(cogs.DAYS)
    return Round(latency_ms, *took, len(asked), patches, done.log.requests, done.log.bytes)


def _held(port: int, latency_ms: float) -> int:
    """The port of a proxy that holds requests; the server's own where there is no latency."""
    return Delay(port, latency_ms / 1000).port if latency_ms else port


@contextmanager
def _nginx(folder: Path, scratch: Path) -> Iterator[int]:
    process, port = served(folder, scratch)
    try:
        yield port
    finally:
        process.terminate()
        process.wait()


@contextmanager
def _catalogue(files: Sequence[Path], latency_ms: float) -> Iterator[str]:
    """The URL of `rustac serve`, whose links go through the proxy, too."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = int(free.getsockname()[1])
    shown = f"127.0.0.1:{_held(port, latency_ms)}"
    program = Path(sys.executable).with_name("rustac")
    words = [program, "serve", "--addr", shown, "--bind", f"127.0.0.1:{port}", *files]
    process = subprocess.Popen([*map(str, words)], stdout=subprocess.DEVNULL,
                               stderr=subprocess.DEVNULL)  # fmt: skip
    try:
        _wait(process, port)
        yield f"http://{shown}"
    finally:
        process.terminate()
        process.wait()


def _wait(process: "subprocess.Popen[bytes]", port: int) -> None:
    for _ in range(600):
        if process.poll() is not None:
            raise RuntimeError("rustac did not start")
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            time.sleep(0.1)
    raise RuntimeError("rustac does not answer")


def table(rounds: Sequence[Round], found: Projection, args: argparse.Namespace) -> str:
    """What was found, in a few lines."""
    lines = [
        f"{r.latency_ms:g} ms: {r.locations / r.seconds:.2f} locations/s, "
        f"{r.requests / r.patches:.1f} requests and {r.bytes / r.patches / 1e6:.2f} MB a patch, "
        f"{r.cpu / r.locations:.2f} s of processor a location"
        for r in rounds
    ]
    lines.append(
        f"{ALL} locations at {args.latency_ms:g} ms and {args.mbit:g} Mbit/s, {args.workers} "
        f"workers: {found.hours:.0f} hours ({found.latency:.0f} by latency, "
        f"{found.bandwidth:.0f} by bandwidth, {found.processor:.0f} by {processors()} processors)"
    )
    return "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print and write the figures."""
    p = argparse.ArgumentParser(prog="python -m benchmarks.gather", description=__doc__)
    p.add_argument("--locations", type=int, default=200)
    p.add_argument("--px", type=int, default=3660, help="of a scene's side (3660; real: 10980)")
    p.add_argument("--block", type=int, default=1024, help="of a COG's block (1024, Earth Search)")
    p.add_argument("--latency-ms", type=float, default=50.0, help="of a request (50)")
    p.add_argument("--mbit", type=float, default=1000.0, help="of the way, for the projection")
    p.add_argument("--workers", type=int, default=16)
    p.add_argument("--executor", default="threads")
    p.add_argument("--json", type=Path, default=RESULTS, metavar="FILE")
    p.add_argument("--quiet", action="store_true", help="show no progress bar")
    args = p.parse_args(argv)
    described = machine.describe()
    with tempfile.TemporaryDirectory() as name:
        scratch = Path(name)
        folder = scratch / "cogs"
        cogs.make(folder, args.px, args.block)
        asked = plan(args.locations, args.px, scratch)
        quick, held = (fetched(asked, args, folder, scratch, ms) for ms in (0.0, args.latency_ms))
    rounds = [quick, held]
    found = project(quick, held, args.mbit, processors())
    print(table(rounds, found, args))
    options = {k: str(v) if isinstance(v, Path) else v for k, v in vars(args).items()}
    out = {
        "machine": described,
        "options": options,
        "rounds": [asdict(one) for one in rounds],
        "hours": {**asdict(found), "all": found.hours},
    }
    args.json.write_text(json.dumps(out, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
