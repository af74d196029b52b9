"""Processors without AVX2, such as those of aarch64, as far as they show on another."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def run(*command: str, **environment: str) -> str:
    done = subprocess.run(
        [sys.executable, *command],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(map(str, (ROOT, ROOT / "kernels")))}
        | environment,
        capture_output=True,
        text=True,
        timeout=500,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_a_processor_whose_features_are_unknown():
    program = """
from llvmlite import binding
def unknown():
    raise RuntimeError("failed to get host cpu features.")
binding.get_host_cpu_features = unknown
from fastload_kernels import lanes
print(lanes.LANES)
"""
    assert run("-c", program) == "0\n"


@pytest.mark.long
@pytest.mark.timeout(600)
def test_views_without_lanes(tmp_path):
    """Numba compiles for the least x86-64, or the least aarch64, and nothing is permuted."""
    generic = {"NUMBA_CPU_NAME": "generic", "NUMBA_CACHE_DIR": str(tmp_path)}
    assert run("-c", "from fastload_kernels.lanes import LANES; print(LANES)", **generic) == "0\n"
    out = run(
        *("-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/kernels/test_view.py"),
        *("-k", "cpu and (odd_sizes or random_draws)"),
        **generic,
    )
    assert "7 passed" in out
