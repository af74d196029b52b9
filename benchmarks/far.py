"""``python -m benchmarks.far``: a data set behind a web server with some delay, against a folder.

nginx serves real files; a proxy of this benchmark's own holds each request for the delay, which
is a round trip's. The contestants read the same samples by block shuffle with the same workers:
from the folder, from afar, and from afar with a block cache that is cold and then warm. Epochs are
interleaved; rates are medians.
"""

import argparse
import asyncio
import json
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from benchmarks import machine
from fastload import SSL4EOS12, DataLoader, Radiometry, Recipe, Remote, View
from fastload.storage.remote.store import Remote as Store

RECIPE = Recipe((View(size=224), View(size=224)), Radiometry.standardise())


class Delay:
    """A proxy that holds what a client sends for some seconds, and passes on what it gets."""

    def __init__(self, port: int, seconds: float) -> None:
        self._port, self._seconds = port, seconds
        self._loop = asyncio.new_event_loop()
        self._started = threading.Event()
        self.port = 0
        threading.Thread(target=self._run, daemon=True).start()
        self._started.wait()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        server = self._loop.run_until_complete(
            asyncio.start_server(self._talk, "127.0.0.1", 0, backlog=256)
        )
        self.port = server.sockets[0].getsockname()[1]
        self._started.set()
        self._loop.run_forever()

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, out = await asyncio.open_connection("127.0.0.1", self._port, limit=2**20)

        async def back() -> None:
            while data := await there.read(2**20):
                writer.write(data)
                await writer.drain()
            writer.close()

        passing = asyncio.ensure_future(back())
        while data := await reader.read(2**16):
            await asyncio.sleep(self._seconds)
            out.write(data)
        out.close()
        await passing


def shuffle_quality(dataset: Any, order: Sequence[int], batch: int) -> tuple[float, float]:
    """Rank correlation of the order with the places on disk; and the share of a batch's samples
    that another sample of it has its shard in common with, in an order of `batch` a step."""
    order_ = np.asarray(order)
    places = np.argsort(np.argsort(order_))
    correlation = float(np.corrcoef(np.arange(len(places)), places)[0, 1])
    shard = np.asarray(next(iter(dataset.sources.values())).columns.group)[order_]
    pairs = same = 0
    for start in range(0, len(shard) - 1, batch):
        some = shard[start : start + batch]
        pairs += len(some) - 1
        same += int((some[1:] == some[:-1]).sum())
    return abs(correlation), same / max(1, pairs)


def epoch(dataset: Any, args: argparse.Namespace, number: int) -> tuple[float, list[str]]:
    """Samples a second of one epoch, without the first batch, and the keys as they came."""
    loader = DataLoader(dataset, args.batch, shuffle=True, seed=0, num_workers=args.workers,
                        shuffle_window=args.window)  # fmt: skip
    loader.set_epoch(number)
    keys, first = list[str](), 0
    start = time.perf_counter()
    for step, batch in enumerate(loader):
        keys += list(batch["key"])
        if step == 0:
            start, first = time.perf_counter(), len(keys)
    return (len(keys) - first) / (time.perf_counter() - start), keys


def measure(args: argparse.Namespace, root: Path, url: str, scratch: Path) -> dict[str, Any]:
    """Rates of all contestants, and what they asked the server for."""
    local = SSL4EOS12(root, modalities=[args.modality], recipe=RECIPE, progress=False)
    stores = {"far": Remote(url), "cached": Remote(url, cache=scratch / "blocks")}
    sets = {name: SSL4EOS12(s, modalities=[args.modality], recipe=RECIPE, progress=False)
            for name, s in stores.items()}  # fmt: skip
    rates: dict[str, list[float]] = {n: [] for n in ("folder", "far", "cold cache", "warm cache")}
    epoch(local, args, 0)  # compiles
    keys: list[str] = []
    before: dict[str, int] = {}
    for number in range(args.rounds):
        rate, keys = epoch(local, args, 0)
        rates["folder"].append(rate)
        before = _store(sets["far"]).counts()
        rates["far"].append(epoch(sets["far"], args, 0)[0])
        kind = "warm cache" if number else "cold cache"
        rates[kind].append(epoch(sets["cached"], args, 0)[0])
    after, n = _store(sets["far"]).counts(), len(keys)
    index = {key: i for i, key in enumerate(local.keys)}
    quality = shuffle_quality(local, [index[key] for key in keys], args.batch)
    return {
        "samples": n,
        "rates": rates,
        "requests_per_sample": (after["requests"] - before["requests"]) / n,
        "bytes_per_sample": (after["bytes"] - before["bytes"]) / n,
        "rank_correlation": quality[0],
        "neighbours_of_one_shard": quality[1],
    }


def _store(dataset: Any) -> Store:
    store = next(iter(dataset.sources.values())).store
    assert isinstance(store, Store)
    return store


def served(folder: Path, scratch: Path) -> tuple["subprocess.Popen[bytes]", int]:
    """nginx over a folder, and its port."""
    import socket

    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    config = scratch / "nginx.conf"
    config.write_text(
        f"worker_processes 1; daemon off; pid {scratch}/pid; error_log {scratch}/error;"
        f"events {{}} http {{ access_log off; sendfile on; tcp_nodelay on; "
        f"keepalive_requests 1000000; client_body_temp_path {scratch}/body;"
        f"server {{ listen 127.0.0.1:{port}; root {folder}; autoindex on; }} }}"
    )
    process = subprocess.Popen(["nginx", "-p", str(scratch), "-c", str(config),
                                "-g", "user root;"])  # fmt: skip
    time.sleep(0.5)
    if process.poll() is not None:
        raise RuntimeError("nginx did not start")
    return process, port


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, and print a table."""
    p = argparse.ArgumentParser(prog="python -m benchmarks.far", description=__doc__)
    p.add_argument("--root", type=Path, required=True, help="data set of SSL4EO-S12")
    p.add_argument("--modality", default="S2L1C")
    p.add_argument("--delay", type=float, default=20.0, help="milliseconds of each request")
    p.add_argument("--batch", type=int, default=32)
    p.add_argument("--workers", type=int, default=8)
    p.add_argument("--window", type=int, default=4, help="shards that are shuffled together")
    p.add_argument("--rounds", type=int, default=3)
    p.add_argument("--json", type=Path, default=Path("benchmarks/results/far.json"))
    args = p.parse_args(argv)
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        process, port = served(args.root.resolve(), scratch)
        try:
            url = f"http://127.0.0.1:{Delay(port, args.delay / 1000).port}"
            found = measure(args, args.root, url, scratch)
        finally:
            process.terminate()
            process.wait()
    show(found)
    options = {"delay_ms": args.delay, "batch": args.batch, "workers": args.workers,
               "window": args.window}  # fmt: skip
    out = {"machine": machine.describe(), "options": options} | found
    args.json.write_text(json.dumps(out, indent=2) + "\n")
    return 0


def show(found: dict[str, Any]) -> None:
    """Print the table."""
    rates = {name: median(some) for name, some in found["rates"].items() if some}
    for name, rate in rates.items():
        print(f"{name:<12} {rate:8.1f} samples/s  {rate / rates['folder']:.2f} of the folder")
    print(f"from afar, a sample: {found['requests_per_sample']:.2f} requests, "
          f"{found['bytes_per_sample'] / 1e6:.3f} MB")  # fmt: skip
    print(f"the order: rank correlation with the disk {found['rank_correlation']:.3f}; share of "
          f"neighbours of one shard {found['neighbours_of_one_shard']:.3f}")  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
