import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

# Many tests start processes. Without bytecode on disk each would compile torch anew; and threads of
# OpenMP that wait for each other take the processors from the other test process.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False
os.environ.setdefault("OMP_NUM_THREADS", "1")

SLOW = (
    "ssl4eo_train/test_torchrun.py", "ssl4eo_train/test_run.py", "ssl4eo_train/test_slurm.py",
    "fastload/test_machine.py", "ssl4eo_train/test_export.py", "fastload/test_lifetime.py",
    "kernels/cuda/test_compile.py", "benchmarks/test_gpu.py", "packaging/test_wheel.py",
    "test_house.py", "ssl4eo_train/test_errors.py", "harness/test_trainer.py",
    "benchmarks/test_harness.py", "ssl4eo_train/test_distributed.py", "ssl4eo_train/test_folder.py",
    "harness/test_accelerate.py", "fastload/test_pack_work.py", "ssl4eo_train/test_configs.py",
    "ssl4eo_train/test_layouts.py", "packaging/test_portable.py", "random/test_random.py",
)  # fmt: skip
"""Files that take longest, the longest first: they begin first, so that no process is left alone
with one of them in the end. Those of whole runs and processes are slow throughout."""
QUICK = ("fastload/test_machine.py", "test_house.py", "kernels/cuda/test_compile.py")
"""Those among them that are of many short tests."""
PLACES = {name: place for place, name in enumerate(SLOW)}


def pytest_configure(config: pytest.Config) -> None:
    """Let pytest-xdist take files in the order that is made here."""
    if hasattr(config.option, "loadscopereorder"):
        config.option.loadscopereorder = False


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """``-m quick`` picks what is marked neither `slow` nor `long`."""
    here = Path(__file__).parent
    names = {id(item): item.path.relative_to(here).as_posix() for item in items if _is_ours(item)}
    for item in items:
        name = names.get(id(item), "")
        if name in PLACES and name not in QUICK:
            item.add_marker("slow")
        if not any(item.get_closest_marker(mark) for mark in ("slow", "long")):
            item.add_marker("quick")
    items.sort(key=lambda item: PLACES.get(names.get(id(item), ""), len(PLACES)))


def _is_ours(item: pytest.Item) -> bool:
    return item.path.is_relative_to(Path(__file__).parent)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Chromium."""
    playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright")
    names = ("chromium", "chromium-browser", "google-chrome")
    path = next((p for p in map(shutil.which, names) if p), None)
    with playwright.sync_playwright() as started:
        try:
            opened = started.chromium.launch(executable_path=path, args=["--no-sandbox"])
        except playwright.Error as error:
            pytest.skip(f"needs Chromium: {str(error).splitlines()[0]}")
        yield opened
        opened.close()
