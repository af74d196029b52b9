"""`pytest benchmarks/` at tiny size: benchmarks run, check their batches and are reported."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
TINY = {
    "--locations": 6, "--rounds": 1, "--seconds": 0.05, "--large-batch": 2, "--small-batch": 2,
    "--workers": 1,
}  # fmt: skip


def run(results: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    options = [f"{name}={value}" for name, value in (TINY | {"--results": results}).items()]
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *options, *arguments],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=280,
    )


@pytest.mark.timeout(300)
def test_benchmarks_run_and_are_reported(tmp_path: Path) -> None:
    done = run(tmp_path, "benchmarks/test_decode.py", "benchmarks/test_moco_pair.py")
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads((tmp_path / "latest.json").read_text())
    assert not [m for m in found["missing"] if m["outcome"] == "failed"]
    for race in found["races"]:
        assert race["title"] in done.stdout
        for figure in race["figures"]:
            assert figure["median"] > 0
            assert len(figure["rounds"]) == 1
    assert found["machine"]["cache"].startswith("warm")
    assert len(found["races"]) + len(found["missing"]) == 2
    assert (tmp_path / "latest.png").exists() == bool(found["races"])


def test_a_failure_fails_the_run_and_is_named(tmp_path: Path) -> None:
    done = run(tmp_path, "benchmarks/test_decode.py", "--data", str(tmp_path / "nothing"))
    assert done.returncode != 0
    assert "FAILED: benchmarks/test_decode.py::test_decode: FileNotFoundError" in done.stdout
    found = json.loads((tmp_path / "latest.json").read_text())
    assert found["missing"][0]["outcome"] == "failed"
    assert "expected ssl4eos12_shard_*.tar, found none" in found["missing"][0]["reason"]
