"""All parts by name, and how one is run: what came of it is a plain record."""

import traceback
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from functools import partial
from time import perf_counter
from typing import Any, Literal, Protocol

import torch

from benchmarks import report
from benchmarks.gpu import decoding, kernel_checks, loader_checks, pairs, present, training, views
from benchmarks.gpu.bench import Bench, Found, Skip
from benchmarks.gpu.timing import sentence
from benchmarks.results import Run

Outcome = Literal["passed", "measured", "failed", "skipped"]


@dataclass(frozen=True)
class Part:
    """A check, which gives a sentence on its extent, or a group of figures."""

    run: Callable[[Bench], "str | Found"]
    needs: tuple[str, ...] = ("CuPy",)


@dataclass
class Result:
    """What came of a part."""

    name: str
    kind: str
    outcome: Outcome
    seconds: float
    detail: str
    """What was checked; or why it failed or was skipped."""
    trace: str = ""
    memory: dict[str, int] = field(default_factory=dict)
    """Bytes on the device: at most allocated by torch, and used by all afterwards."""
    races: list[dict[str, Any]] = field(default_factory=list)
    """As `benchmarks.report.as_json` has them."""
    missing: list[dict[str, str]] = field(default_factory=list)


class LoaderCheck(Protocol):
    """A check of the loader with an engine."""

    def __call__(self, bench: Bench, engine: str) -> str:
        """Gives a sentence on its extent."""


_TESTS = ("CuPy", "pytest", "OpenCV")
_LOADER: dict[str, LoaderCheck] = {
    "recipes": loader_checks.every_recipe,
    "full-size": loader_checks.full_size,
    "cache": loader_checks.cache,
    "replaced": loader_checks.replaced,
    "held-batches": loader_checks.held,
    "behind": loader_checks.behind,
    "two-loaders": loader_checks.two_loaders,
}
CHECKS: dict[str, Part] = {
    "compile": Part(kernel_checks.compiling, ("CuPy", "pytest")),
    "shared-memory": Part(kernel_checks.shared_memory, ()),
    **{
        name: Part(partial(kernel_checks.tests_of, path=f"tests/kernels/{path}"), _TESTS)
        for name, path in {
            "philox": "test_philox.py",
            "draws": "cuda/test_draw.py",
            "views": "test_view.py",
            "batches-of-views": "cuda/test_view.py",
        }.items()
    },
    "unshuffle": Part(kernel_checks.unshuffling),
    "frames": Part(kernel_checks.frames, ("CuPy", "nvCOMP")),
    **{
        f"{name}-{engine}": Part(partial(check, engine=engine), needs)
        for engine, needs in pairs.ENGINES.items()
        for name, check in _LOADER.items()
    },
    "damaged-frame-dali": Part(
        partial(loader_checks.damaged_frame, engine="dali"), pairs.ENGINES["dali"]
    ),
}
FIGURES: dict[str, Part] = {
    "kernel": Part(views.kernel),
    "augmentation": Part(views.augmentation),
    "decoding": Part(decoding.decoding, ("CuPy", "nvCOMP")),
    "pairs": Part(pairs.pairs, ()),
    "training": Part(training.training, (*pairs.ENGINES["threads"], "timm")),
}
PARTS = CHECKS | FIGURES
"""In the order in which they are run."""


def kind_of(name: str) -> str:
    """``check`` or ``figure``."""
    return "check" if name in CHECKS else "figure"


def run(name: str, bench: Bench) -> Result:
    """Run a part. Whatever goes wrong is in its result."""
    part, kind, start = PARTS[name], kind_of(name), perf_counter()
    why = present.lacking(part.needs) if bench.is_cuda else None
    if why is not None:
        return Result(name, kind, "skipped", 0.0, why)
    _forget_peak(bench)
    result = Result(name, kind, "passed" if kind == "check" else "measured", 0.0, "")
    try:
        found = part.run(bench)
        bench.synchronize()
        _take(result, found)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # pytest's own are no Exceptions
        skipped = isinstance(error, Skip) or type(error).__name__ == "Skipped"
        result.outcome = "skipped" if skipped else "failed"
        result.detail = str(error) if skipped else sentence(error)
        result.trace = "" if skipped else traceback.format_exc()
    result.seconds = perf_counter() - start
    result.memory = _memory(bench)
    return result


def _take(result: Result, found: "str | Found") -> None:
    if isinstance(found, str):
        result.detail = found
        return
    result.races = report.as_json(Run(found.races, (), {}))["races"]
    result.missing = [asdict(m) for m in found.missing]
    failed = [m for m in found.missing if m.outcome == "failed"]
    result.detail = f"{sum(len(race.figures) for race in found.races)} figures"
    if failed or not found.races:
        result.outcome = "failed" if failed else "skipped"
        result.detail += f"; {len(found.missing)} missing, the first: {found.missing[0].reason}"


def _forget_peak(bench: Bench) -> None:
    if bench.is_cuda:
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(bench.device)


def _memory(bench: Bench) -> dict[str, int]:
    """Nothing where the device does not answer any more."""
    if not bench.is_cuda:
        return {}
    try:
        free, total = torch.cuda.mem_get_info(bench.device)
        most = torch.cuda.max_memory_allocated(bench.device)
    except RuntimeError:
        return {}
    return {"torch_peak": most, "used_afterwards": total - free}
