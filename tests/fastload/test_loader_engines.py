import gc
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import torch

from fastload import DataError, DataLoader, Radiometry, Recipe, View
from fastload.engines.workers import Workers
from tests.fastload.made import (
    BOTH,
    ENGINES,
    LOCATIONS,
    REPOSITORY,
    TIMESTAMPS,
    assert_like_torch,
    assert_same,
    damaged,
    dataset,
    flat,
    indices,
    moco,
    root,
    workers_alive,
)

pytestmark = pytest.mark.timeout(60)


def policies(**more: Any) -> Recipe:
    """A view of every timestamp policy."""
    ways = ("independent", "same", "same", "distinct", "distinct", "distinct", "all", 0, 3)
    views = tuple(View(size=12, scale=(0.3, 1.0), d4=0.5, timestamp=way) for way in ways)
    return Recipe(views, Radiometry.standardise(), **more)


def plain(dtype: str, **more: Any) -> Recipe:
    """Crops without resampling, bicubic resampling, uneven sizes."""
    views = (
        View(size=(20, 9)),
        View(size=(8, 24), scale=(0.1, 0.6), interpolation="bicubic", ratio_law="uniform"),
        View(size=32, center=True, drop=1.0, drop_bands=(1, 20)),
    )
    return Recipe(views, Radiometry.two_sigma(), dtype=dtype, **more)


def labels() -> Recipe:
    """One modality as labels, all dates and one, with masks; nearest for the other one too."""
    colours = {"jitter": 1.0, "contrast": 0.4, "gray": 0.5, "blur": 0.5, "drop": 0.5}
    views = (
        View(size=16, scale=(0.2, 1.0), d4=1.0, solarize=0.5, **colours),
        View(size=9, scale=(0.2, 1.0), timestamp="all", interpolation="nearest", **colours),
    )
    kinds = {"S2L1C": Radiometry.identity(), "S1GRD": Radiometry.two_sigma()}
    return Recipe(views, kinds, mask=True)


CASES: dict[str, tuple[tuple[str, ...], Recipe | None]] = {
    "raw": (BOTH[:1], None),
    "raw, half floats first": (BOTH[::-1], None),
    "moco": (BOTH[:1], moco()),
    "moco, both": (BOTH, moco()),
    "moco, both, float16, channels-last": (BOTH, moco(dtype="float16", channels_last=True)),
    "moco, bfloat16": (BOTH[1:], moco(dtype="bfloat16")),
    "series": (BOTH[:1], Recipe.series(24)),
    "series, both, channels-last": (
        BOTH,
        Recipe((View(size=24, timestamp="all", d4=1.0),), Radiometry.standardise(),
               channels_last=True),
    ),
    "moco, both, masks": (BOTH, moco(mask=True)),
    "labels": (BOTH, labels()),
    "policies": (BOTH, policies()),
    "policies, float16": (BOTH[1:], policies(dtype="float16")),
    "plain": (BOTH, plain("float32")),
    "plain, float16": (BOTH[:1], plain("float16")),
    "plain, bfloat16, channels-last": (BOTH, plain("bfloat16", channels_last=True)),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_threads_dali_and_torch_give_the_same_batches(case: str) -> None:
    modalities, recipe = CASES[case]
    data = dataset(recipe, modalities, seed=6)
    loaders = [
        DataLoader(data, 6, shuffle=True, num_workers=workers, seed=6, engine=engine)
        for engine in ENGINES
        for workers in (0, 1, 3)
    ]
    first = list(loaders[0])
    for loader in loaders[1:]:
        assert_same(list(loader), first)
    order = loaders[0].order(0).tolist()
    dtype = "float32" if recipe is None else recipe.dtype
    for mine, theirs in zip(
        first, torch.utils.data.DataLoader(data, 6, sampler=order), strict=True
    ):
        pixels = () if recipe is None else modalities
        assert_like_torch(mine, theirs, dtype, pixels)


@pytest.mark.parametrize("engine", ENGINES)
def test_shapes_dtypes_and_layout(engine: Any) -> None:
    (raw,) = DataLoader(dataset(None, BOTH), LOCATIONS, engine=engine)
    assert raw["S2L1C"].dtype == torch.int16
    assert raw["S1GRD"].dtype == torch.float16
    assert raw["S2L1C"].shape == (LOCATIONS, TIMESTAMPS, 13, 32, 32)
    assert raw["time"].shape == raw["season"].shape == (LOCATIONS, TIMESTAMPS)
    assert (raw["index"].dtype, raw["lon"].dtype) == (torch.int64, torch.float64)
    assert raw["time"].dtype == torch.int64
    (batch,) = DataLoader(dataset(policies(), BOTH), LOCATIONS, engine=engine)
    for bands, name in ((13, "S2L1C"), (2, "S1GRD")):
        shapes = [tuple(view.shape) for view in batch[name]]
        assert shapes[0] == (LOCATIONS, bands, 12, 12)
        assert shapes[6] == (LOCATIONS, TIMESTAMPS, bands, 12, 12)
    assert [t.ndim for t in batch["time"]] == [1, 1, 1, 1, 1, 1, 2, 1, 1]
    chosen = torch.stack([batch["time"][v] for v in (3, 4, 5)]).sort(0).values
    assert (chosen.diff(dim=0) > 0).all()  # distinct
    assert torch.equal(batch["time"][1], batch["time"][2])  # same
    assert torch.equal(batch["time"][6][:, 3], batch["time"][8])  # all holds index 3
    last = moco(channels_last=True, dtype="bfloat16")
    (batch,) = DataLoader(dataset(last), LOCATIONS, engine=engine)
    for view in batch["S2L1C"]:
        assert view.is_contiguous(memory_format=torch.channels_last)
        assert view.dtype == torch.bfloat16


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("workers", [0, 2])
def test_batches_belong_to_the_consumer(engine: Any, workers: int) -> None:
    """They may be written to, each on its own memory, without a word from torch."""
    data = dataset(moco(), BOTH)
    untouched = list(DataLoader(data, 4, seed=1))
    loader = DataLoader(data, 4, num_workers=workers, seed=1, engine=engine)
    for batch, expected in zip(loader, untouched, strict=True):
        assert_same(batch, expected)
        for name in BOTH:
            for view in batch[name]:
                view.mul_(-7).add_(1)
        batch["time"][0].zero_()
        batch["index"].zero_()
    assert_same(list(DataLoader(data, 4, seed=1)), untouched)


@pytest.mark.parametrize("engine", ENGINES)
def test_batches_of_a_deep_ring_keep_their_bytes(engine: Any) -> None:
    """Bytes that a queue of slow workers has not yet decoded must outlive the steps after them."""
    data = dataset(None, BOTH)
    expected = list(DataLoader(data, 1))
    loader = DataLoader(data, 1, num_workers=1, prefetch_factor=LOCATIONS, engine=engine)
    assert_same(list(loader), expected)


# --- threads end, whatever happens ---


def until(condition: Callable[[], bool]) -> None:
    """Wait for something that must come soon; the test's time-out says when it did not."""
    while not condition():
        time.sleep(0.005)


@pytest.mark.parametrize("engine", ENGINES)
def test_threads_end_with_the_iteration(engine: Any) -> None:
    assert not workers_alive()
    loader = DataLoader(dataset(moco()), 2, num_workers=3, engine=engine)
    for _ in loader:
        assert workers_alive()
    assert not workers_alive()
    for _ in loader:
        break
    until(lambda: not workers_alive())  # an iterator that is dropped only tells its threads
    iterator = iter(loader)
    next(iterator)
    iterator.close()
    assert not workers_alive()
    with pytest.raises(StopIteration):
        next(iterator)
    assert len(indices(loader)) == len(loader)


@pytest.mark.parametrize("engine", ENGINES)
def test_threads_end_when_the_iterator_is_collected(engine: Any) -> None:
    loader = DataLoader(dataset(moco()), 2, num_workers=2, engine=engine)
    cycle: list[Any] = [iter(loader)]
    cycle.append(cycle)
    next(cycle[0])
    assert workers_alive()
    del cycle
    gc.collect()
    until(lambda: not workers_alive())


def test_an_iterator_may_be_collected_in_a_worker() -> None:
    """A worker that waited for itself would raise, or wait for ever."""
    workers = Workers(2)
    workers.share(1, lambda _: workers.cancel()).wait()
    until(lambda: not workers_alive())


def test_no_iteration_leaves_a_dali_thread_behind() -> None:
    loader = DataLoader(dataset(), 2, num_workers=2, engine="dali")
    list(loader)
    before = len(os.listdir("/proc/self/task"))
    for _ in range(5):
        next(iter(loader))
    gc.collect()
    until(lambda: len(os.listdir("/proc/self/task")) <= before)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("error", [ZeroDivisionError, KeyboardInterrupt])
def test_an_exception_in_the_consumer(engine: Any, error: type[BaseException]) -> None:
    data = dataset(moco())
    loader = DataLoader(data, 2, num_workers=2, engine=engine, shuffle=True)
    seen = []

    def consume() -> None:
        for batch in loader:
            seen.append(batch["index"].tolist())
            if len(seen) == 3:
                raise error

    with pytest.raises(error):
        consume()
    until(lambda: not workers_alive())
    state = loader.state_dict()
    assert (state["epoch"], state["step"]) == (0, 3)
    fresh = DataLoader(data, 2, num_workers=2, engine=engine, shuffle=True)
    fresh.load_state_dict(state)
    assert seen + indices(fresh) == indices(DataLoader(data, 2, shuffle=True))


@pytest.mark.parametrize("engine", ENGINES)
def test_an_interrupt_inside_the_loader(engine: Any) -> None:
    # A shell's background jobs start with the signal ignored.
    usual = signal.signal(signal.SIGINT, signal.default_int_handler)

    def interrupt(samples: list[Any]) -> Any:
        signal.raise_signal(signal.SIGINT)

    loader = DataLoader(dataset(), 2, num_workers=2, engine=engine, collate_fn=interrupt)
    try:
        with pytest.raises(KeyboardInterrupt):
            next(iter(loader))
    finally:
        signal.signal(signal.SIGINT, usual)
    assert not workers_alive()
    assert loader.state_dict()["step"] == 0


def test_a_process_may_end_in_the_middle(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "import sys\n"
        "from fastload import SSL4EOS12, DataLoader\n"
        f"data = SSL4EOS12({str(root())!r})\n"
        f"loaders = [DataLoader(data, 2, num_workers=2, engine=e) for e in {ENGINES!r}]\n"
        "iterators = [iter(loader) for loader in loaders]\n"
        "assert all(len(next(iterator)['key']) == 2 for iterator in iterators)\n"
        "sys.exit(7)\n"
    )
    done = python(script)
    assert done.returncode == 7, done.stderr
    assert "Error" not in done.stderr
    assert "Traceback" not in done.stderr


def python(*arguments: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *map(str, arguments)],
        cwd=REPOSITORY,
        env=os.environ | {"PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
        timeout=50,
    )


# --- unreadable samples ---

BAD = 9


@pytest.fixture(scope="module")
def broken(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return damaged(tmp_path_factory.mktemp("broken") / "data", BAD)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("workers", [0, 3])
@pytest.mark.parametrize("recipe", [None, moco()], ids=["raw", "moco"])
def test_an_unreadable_sample_ends_the_run(
    broken: Path, tmp_path: Path, engine: Any, workers: int, recipe: Recipe | None
) -> None:
    report = tmp_path / "folder" / "errors.jsonl"
    data = dataset(recipe, path=broken)
    loader = DataLoader(
        data, 4, num_workers=workers, engine=engine, error_report=report, prefetch_factor=3
    )
    seen: list[list[int]] = []
    with pytest.raises(DataError) as caught:
        seen.extend(batch["index"].tolist() for batch in loader)
    assert seen == [[0, 1, 2, 3], [4, 5, 6, 7]]
    assert not workers_alive()
    error = caught.value
    assert error.shard.endswith("ssl4eos12_shard_000003.tar")
    assert "0000009.zarr.zip/bands/" in error.member
    assert error.offset > 0
    assert "CRC-32" in error.reason
    lines = [json.loads(line) for line in report.read_text().splitlines()]
    assert lines[0]["index"] == BAD
    assert lines[0]["replaced_by"] is None
    assert (lines[0]["shard"], lines[0]["member"]) == (error.shard, error.member)
    assert loader.stats()["errors"] == len(lines) == 1
    assert loader.stats()["replaced"] == 0
    assert loader.state_dict()["step"] == 2


@pytest.mark.parametrize("recipe", [None, moco()], ids=["raw", "moco"])
def test_an_unreadable_sample_is_replaced_alike_by_all(
    broken: Path, tmp_path: Path, recipe: Recipe | None
) -> None:
    runs = []
    for engine in ENGINES:
        for workers in (0, 3):
            report = tmp_path / f"{engine}{workers}.jsonl"
            loader = DataLoader(
                dataset(recipe, path=broken),
                4,
                shuffle=True,
                num_workers=workers,
                engine=engine,
                on_error="replace",
                error_report=report,
            )
            runs.append(list(loader))
            stats = loader.stats()
            assert (stats["errors"], stats["replaced"], stats["samples"]) == (1, 1, LOCATIONS)
            (line,) = map(json.loads, report.read_text().splitlines())
            assert line["index"] == BAD
            order = loader.order(0).tolist()
            found = flat(b["index"].tolist() for b in runs[-1])
            expected = [line["replaced_by"] if i == BAD else i for i in order]
            assert found == expected
    for run in runs[1:]:
        assert_same(run, runs[0])
    # The sound sample that stands in is whole: pixels, key and dates are its own.
    sound = DataLoader(dataset(recipe), LOCATIONS, on_error="replace")
    (whole,) = sound
    for batch in runs[0]:
        for b, sample in enumerate(batch["index"].tolist()):
            pixels = batch["S2L1C"] if recipe else [batch["S2L1C"]]
            theirs = whole["S2L1C"] if recipe else [whole["S2L1C"]]
            assert batch["key"][b] == whole["key"][sample]
            assert_same([p[b] for p in pixels], [p[sample] for p in theirs])


def test_replacements_differ_by_epoch(broken: Path, tmp_path: Path) -> None:
    report = tmp_path / "errors.jsonl"
    loader = DataLoader(dataset(path=broken), 4, on_error="replace", error_report=report)
    for _ in range(6):
        list(loader)
    lines = [json.loads(line) for line in report.read_text().splitlines()]
    assert [line["epoch"] for line in lines] == list(range(6))
    assert len({line["replaced_by"] for line in lines}) > 1


def test_an_error_report_that_cannot_be_written_hides_nothing(broken: Path) -> None:
    loader = DataLoader(dataset(path=broken), 4, error_report="/proc/none/errors.jsonl")
    with (
        pytest.warns(UserWarning, match=r"/proc/none/errors\.jsonl"),
        pytest.raises(DataError, match="CRC-32"),
    ):
        list(loader)


# --- house rules ---


def test_dali_missing_gets_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "nvidia.dali", None)
    for engine in ("auto", "threads"):
        assert len(DataLoader(dataset(), LOCATIONS, engine=engine)) == 1
    with pytest.raises(
        ImportError, match=r"engine='dali' needs NVIDIA DALI: pip install .*\[cuda13\]"
    ):
        DataLoader(dataset(), engine="dali")


SIDE_EFFECTS = """
import gc, json, locale, logging, multiprocessing, os, random, signal, sys, threading, warnings
import numba, numpy, torch, torch.distributed, torch.utils.data

def picture():
    return {
        "torch threads": (torch.get_num_threads(), torch.get_num_interop_threads()),
        "default dtype": str(torch.get_default_dtype()),
        "default device": str(torch.get_default_device()),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "benchmark": torch.backends.cudnn.benchmark,
        "precision": torch.get_float32_matmul_precision(),
        "grad": torch.is_grad_enabled(),
        "sharing": torch.multiprocessing.get_sharing_strategy(),
        "torch random": torch.get_rng_state().tolist(),
        "numpy random": str(numpy.random.get_state()),
        "python random": str(random.getstate()),
        "numpy print": str(numpy.get_printoptions()),
        "numpy errors": numpy.geterr(),
        "numba": {k: str(v) for k, v in vars(numba.config).items() if k.isupper()},
        "warnings": [str(f) for f in warnings.filters],
        "threads": [t.name for t in threading.enumerate()],
        "children": [c.pid for c in multiprocessing.active_children()],
        "start method": multiprocessing.get_start_method(allow_none=True),
        "signals": [str(signal.getsignal(s)) for s in (signal.SIGINT, signal.SIGTERM)],
        "hooks": [str(sys.excepthook), str(threading.excepthook)],
        "handlers": [str(h) for h in logging.getLogger().handlers],
        "collector": (gc.isenabled(), gc.get_threshold()),
        "locale": locale.setlocale(locale.LC_ALL),
        "environment": dict(os.environ),
        "folder": os.getcwd(),
        "cuda": torch.cuda.is_initialized(),
    }

before = picture()
import fastload, fastload.engines.dali, fastload.engines.threads, kernels, fastload_kernels.cpu
after = picture()
heavy = [m for m in sys.modules if m.split(".")[0] == "cupy" or m.startswith("nvidia.dali")]
changed = {k: (before[k], after[k]) for k in before if before[k] != after[k]}
print(json.dumps({"changed": changed, "heavy": heavy}))
"""


def test_import_changes_nothing(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(SIDE_EFFECTS)
    done = python(script)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert json.loads(done.stdout) == {"changed": {}, "heavy": []}


def test_loading_leaves_global_settings_alone() -> None:
    def picture() -> list[Any]:
        return [torch.get_num_threads(), torch.get_rng_state().tolist(), os.environ.copy()]

    before = picture()
    for engine in ENGINES:
        list(islice(DataLoader(dataset(moco()), 4, True, num_workers=2, engine=engine), 2))
    assert picture() == before
    until(lambda: not workers_alive())
