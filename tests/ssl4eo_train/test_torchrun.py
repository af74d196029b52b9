"""Whole runs of one and of two processes, as torchrun starts them."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from fastload.synth import synth
from ssl4eo_train.tracking import NAME, read

pytestmark = pytest.mark.timeout(240)
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node"]


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("scenes")
    return synth(root, 19, modalities=["S2L1C"], size=32, samples_per_shard=8)


def run(scenes: Path, out: Path, processes: int, *more: str) -> list[float]:
    """Losses of all steps so far of a run with 8 samples a step."""
    start = [sys.executable] if processes == 1 else [*TORCHRUN, str(processes)]
    line = ["-m", "ssl4eo_train", "--method", "mae", "--data", str(scenes), "--out", str(out)]
    line += ["--arch", "test_vit", "--image-size", "32", "--batch-size", str(8 // processes)]
    line += ["--device", "cpu", "--workers", "1", "--seed", "3", *more]
    done = subprocess.run(
        [*start, *line], capture_output=True, text=True, timeout=200, check=False,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return [row["loss"] for row in read(out / NAME)]


@pytest.mark.long
def test_processes_come_and_go_without_a_trace(scenes: Path, tmp_path: Path) -> None:
    """MAE, which has no batch norm: what a sample contributes does not depend on its company."""
    alone = run(scenes, tmp_path / "alone", 1, "--steps", "6")
    two = run(scenes, tmp_path / "two", 2, "--steps", "3")
    assert two == pytest.approx(alone[:3], rel=1e-4)
    one_again = run(scenes, tmp_path / "two", 1, "--resume", "--steps", "5")
    assert one_again == pytest.approx(alone[:5], rel=1e-4)
    two_again = run(scenes, tmp_path / "two", 2, "--resume", "--steps", "6")
    assert two_again == pytest.approx(alone, rel=1e-4)
    assert len(set(alone)) == 6


@pytest.mark.long
def test_a_step_in_parts_is_the_step_as_a_whole(scenes: Path, tmp_path: Path) -> None:
    """Nor does it matter that activations are made again in the backward pass."""
    whole = run(scenes, tmp_path / "whole", 1, "--steps", "4")
    parts = run(
        scenes, tmp_path / "parts", 2, "--steps", "4", "--accumulate", "2", "--checkpointing"
    )
    assert parts == pytest.approx(whole, rel=1e-4)
