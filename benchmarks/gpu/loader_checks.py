"""Checks of the whole loader with the device, against the engine that runs on the CPU alone."""

import dataclasses
import tempfile
import threading
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.gpu.bench import MODALITY, Bench, from_tests
from fastload import DataError, DataLoader
from ssl4eo_train.methods import moco_v2

BATCH, SEED, WORKERS = 6, 6, 2
BUSY = 50_000_000
"""Cycles that a consumer keeps its stream busy with before it looks at a batch, some 30 ms."""
Batch = dict[str, Any]


def open_both(
    bench: Bench, engine: str, data: Any, epoch: int = 0, **more: Any
) -> tuple[DataLoader, DataLoader]:
    """A loader with the device, and one on the CPU, for the same batches."""
    options = {"shuffle": True, "seed": SEED, "num_workers": WORKERS} | more
    ours = bench.open(data, BATCH, engine=engine, **options)
    options.pop("device_cache", None)
    theirs = DataLoader(data, BATCH, engine="threads", **options)
    for loader in (ours, theirs):
        loader.set_epoch(epoch)
    return ours, theirs


def on_host(value: Any) -> Any:
    """A batch with all of its tensors on the host."""
    if isinstance(value, Tensor):
        return value.cpu()
    if isinstance(value, list):
        return [on_host(part) for part in value]
    return {n: on_host(v) for n, v in value.items()} if isinstance(value, dict) else value


def agree(ours: Any, theirs: Any, dtype: str, modalities: Sequence[str]) -> int:
    """Check batches against others by the tolerance table; returns how many."""
    alike, batches = from_tests("fastload.made").assert_like_torch, 0
    for mine, other in zip(ours, theirs, strict=True):
        alike(on_host(mine), other, dtype, modalities)
        batches += 1
    assert batches, "no batch came"
    return batches


def every_recipe(bench: Bench, engine: str) -> str:
    """Each recipe of the loader's tests: sizes, policies, dtypes, layouts, modalities."""
    made, cases = from_tests("fastload.made"), from_tests("fastload.test_loader_engines").CASES
    batches = 0
    for name, (modalities, recipe) in cases.items():
        data = made.dataset(recipe, modalities, seed=SEED)
        dtype, pixels = ("float32", ()) if recipe is None else (recipe.dtype, modalities)
        try:
            batches += agree(*open_both(bench, engine, data), dtype, pixels)
        except AssertionError as error:
            raise AssertionError(f"recipe {name!r}: {error}") from error
    return f"{len(cases)} recipes, {batches} batches"


def full_size(bench: Bench, engine: str) -> str:
    """The published MoCo-v2 pair from pixels of the published size, as training asks for it."""
    recipe = moco_v2.recipe(bench.options.crop)
    for dtype in ("float32", "bfloat16"):
        wanted = dataclasses.replace(recipe, dtype=dtype, channels_last=True)
        ours, theirs = open_both(bench, engine, bench.dataset(wanted))
        mine: Any = iter(ours)
        others: Any = iter(theirs)
        with closing(mine), closing(others):
            agree([next(mine)], [next(others)], dtype, [MODALITY])
    return f"{bench.options.size} px to {bench.options.crop}"


def cache(bench: Bench, engine: str) -> str:
    """Three epochs with a cache for some and for all samples: the batches, and what is read."""
    made = from_tests("fastload.made")
    data = made.dataset(made.moco())
    m = data.modalities["S2L1C"]
    sample = int(np.prod(m.shape)) * m.dtype.itemsize
    for room in (5, made.LOCATIONS):
        ours, _ = open_both(bench, engine, data, device_cache=room * sample + 7)
        for epoch in range(3):
            ours.set_epoch(epoch)
            before = ours.stats()["bytes_in"]
            agree(ours, open_both(bench, engine, data, epoch)[1], "float32", ["S2L1C"])
            read = ours.stats()["bytes_in"] - before
            nothing = epoch > 0 and room == made.LOCATIONS
            assert (read == 0) == nothing, f"epoch {epoch} read {read} bytes with room for {room}"
        held = ours.stats()["device_bytes"]["cache"]
        assert held == room * sample, f"the cache holds {held} bytes, expected {room * sample}"
    return f"room for 5 and {made.LOCATIONS} of {made.LOCATIONS} samples, 3 epochs"


def replaced(bench: Bench, engine: str) -> str:
    """A sample with a wrong checksum is replaced by the one that the CPU puts there, or raised."""
    made = from_tests("fastload.made")
    with tempfile.TemporaryDirectory() as folder:
        data = made.dataset(made.moco(), made.BOTH, path=made.damaged(Path(folder) / "data", 3))
        report = Path(folder) / "report"
        ours, theirs = open_both(bench, engine, data, on_error="replace", error_report=report)
        mine = [on_host(batch) for batch in ours]
        agree(mine, theirs, "float32", made.BOTH)
        shown = made.indices(mine)
        assert all(3 not in ids for ids in shown), f"sample 3 is damaged, and yet in {shown}"
        assert ours.stats()["replaced"] == 1, f"{ours.stats()['replaced']} replaced, expected 1"
        refuses(open_both(bench, engine, data, error_report=report)[0], "CRC-32")
    return "1 sample"


def refuses(loader: DataLoader, word: str) -> None:
    """Check that a loader raises a DataError that says a word."""
    said = "nothing, all batches came"
    try:
        for _ in loader:
            pass
    except DataError as error:
        said = str(error)
    assert word in said, f"expected a DataError with {word!r}, found {said}"


def damaged_frame(bench: Bench, engine: str) -> str:
    """With checksums off, only the device's decoder can see that a frame is damaged."""
    made = from_tests("fastload.made")
    with tempfile.TemporaryDirectory() as folder:
        data = made.dataset(made.moco(), path=made.damaged(Path(folder) / "data", 3))
        data.sources["S2L1C"].check_crc = False
        rows = made.chunks(data, 3)
        shard = made.file_of(data, rows[0])
        content = bytearray(shard.read_bytes())
        for row in rows:
            start, stored = int(row["offset"]), int(row["stored"])
            content[start + 60 : start + stored] = b"\xff" * (stored - 60)
        shard.write_bytes(content)
        report = Path(folder) / "report"
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            ours, _ = open_both(bench, engine, data, on_error="replace", error_report=report)
            shown = made.indices(ours)
            assert all(3 not in ids for ids in shown), f"sample 3 is damaged, and yet in {shown}"
            assert ours.stats()["replaced"] == 1, f"{ours.stats()['replaced']} replaced, expected 1"
            refuses(open_both(bench, engine, data, error_report=report)[0], "damaged")
    return "1 sample"


def held(bench: Bench, engine: str) -> str:
    """Batches stay as they are while a slow consumer's stream has still to read them.

    The consumer works on a stream of its own, enqueues a long kernel and then a copy of the batch,
    and lets go of it at once, while the loader makes the next ones.
    """
    return f"{_disturbed(bench, engine, 1, slowly)} batches"


def behind(bench: Bench, engine: str) -> str:
    """Batches are right where the device is far behind the host: its queue is busy while the bytes
    of further batches come."""
    return f"{_disturbed(bench, engine, 3, _busily)} batches"


def _disturbed(
    bench: Bench,
    engine: str,
    ahead: int,
    seen: Callable[[Bench, DataLoader], Iterable[Batch]],
) -> int:
    """How many batches of three epochs are right, seen by someone who disturbs the loader."""
    made = from_tests("fastload.made")
    data = made.dataset(made.moco(), made.BOTH)
    batches = 0
    for epoch in range(3):
        ours, theirs = open_both(bench, engine, data, epoch, prefetch_factor=ahead)
        batches += agree(seen(bench, ours), theirs, "float32", made.BOTH)
    return batches


def slowly(bench: Bench, loader: DataLoader) -> list[Batch]:
    """Copies of all batches as a slow consumer sees them."""
    if not bench.is_cuda:
        return [_clone(batch) for batch in loader]
    copies = []
    with torch.cuda.device(bench.device), torch.cuda.stream(torch.cuda.Stream(bench.device)):  # type: ignore[no-untyped-call]
        for batch in loader:
            torch.cuda._sleep(BUSY)  # type: ignore[no-untyped-call]
            copies.append(_clone(batch))
            del batch
        torch.cuda.current_stream(bench.device).synchronize()
    return copies


def _clone(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value.clone()
    if isinstance(value, list):
        return [_clone(part) for part in value]
    return {n: _clone(v) for n, v in value.items()} if isinstance(value, dict) else value


def _busily(bench: Bench, loader: DataLoader) -> Iterator[Batch]:
    """The loader's batches; before each the loader's own queue gets a long kernel to do."""
    queue = loader._open().target.queue

    def occupy() -> None:
        with queue.work():
            if bench.is_cuda:
                torch.cuda._sleep(BUSY)  # type: ignore[no-untyped-call]

    occupy()
    for batch in loader:
        yield batch
        occupy()


def two_loaders(bench: Bench, engine: str) -> str:
    """Two loaders in two threads at once, over different recipes, two epochs each."""
    made, cases = from_tests("fastload.made"), from_tests("fastload.test_loader_engines").CASES
    names = ("moco, both", "plain, bfloat16, channels-last")
    opened = [made.dataset(cases[n][1], cases[n][0], seed=SEED) for n in names]
    start = threading.Barrier(len(names), timeout=60)

    def check(data: Any) -> int:
        start.wait()
        return sum(
            agree(*open_both(bench, engine, data, epoch), data.recipe.dtype, [*data.modalities])
            for epoch in range(2)
        )

    with ThreadPoolExecutor(len(names)) as pool:
        batches = sum(pool.map(check, opened))
    return f"{batches} batches"
