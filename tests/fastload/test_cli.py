import os
import subprocess
import sys
from pathlib import Path

import pytest

from fastload.cli import main
from fastload.storage.index import FILE, load
from tests.fastload import shardmaker as make
from tests.fastload.conftest import Open

REPOSITORY = Path(__file__).parents[2]


def folder(root: Path, modality: str = "S2L1C") -> Path:
    return root / "train" / modality


@pytest.mark.timeout(120)
def test_index_below_a_root(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Folder after folder, in processes, whose errors reach the command line whole."""
    make.write(tmp_path, ["S2L1C", "S1GRD", "S2RGB"])
    os.truncate(make.shard(tmp_path, "S2RGB", 2), 3000)
    assert main(["index", str(tmp_path), "--workers", "1"]) == 1
    said = capsys.readouterr()
    for modality in ("S2L1C", "S1GRD"):
        assert f"{folder(tmp_path, modality)}: 6 samples in 2 shards" in said.out
        assert len(load(folder(tmp_path, modality) / FILE)) == 6
    error = said.err.splitlines()[-1]
    assert error.startswith("fastload index: ")
    assert str(make.shard(tmp_path, "S2RGB", 2)) in error
    assert "the file ends at 3000" in error


def test_an_index_that_is_there_is_used(
    tiny: Path, reopen: Open, capsys: pytest.CaptureFixture[str]
) -> None:
    reopen(tiny)
    before = (folder(tiny) / FILE).stat().st_mtime_ns
    assert main(["index", str(tiny)]) == 0
    assert (folder(tiny) / FILE).stat().st_mtime_ns == before
    assert "6 samples in 2 shards" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["empty", "missing"])
def test_nothing_to_index(tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "empty").mkdir()
    assert main(["index", str(tmp_path / name)]) == 1
    assert "expected shards named *.tar below it, found none" in capsys.readouterr().err


def test_workers_that_make_no_sense(tiny: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["index", str(tiny), "--workers", "0"]) == 1
    assert "max_workers must be greater than 0" in capsys.readouterr().err


def test_synth(tmp_path: Path, capsys: pytest.CaptureFixture[str], reopen: Open) -> None:
    command = ["synth", str(tmp_path / "made"), "--locations", "2", "--size", "32", "--quiet",
               "--modalities", "S2L1C", "S1GRD", "--timestamps", "2", "--workers", "1"]  # fmt: skip
    assert main(command) == 0
    assert "2 locations" in capsys.readouterr().out
    ds = reopen(tmp_path / "made", modalities=["S2L1C", "S1GRD"])
    assert [tuple(ds[1][m].shape) for m in ds.modalities] == [(2, 13, 32, 32), (2, 2, 32, 32)]
    assert main([*command, "--size", "8"]) != 0
    assert "size: expected 16 or more" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [[], ["unknown"], ["index"], ["synth", "x"]], ids=str)
def test_usage(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2
    assert "usage: python -m fastload" in capsys.readouterr().err


def test_help_names_the_commands(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["--help"])
    assert caught.value.code == 0
    out = capsys.readouterr().out
    assert "index" in out
    assert "stats" in out
    assert "synth" in out


@pytest.mark.timeout(120)
def test_as_a_module(tmp_path: Path) -> None:
    result = subprocess.run(
        [sys.executable, "-m", "fastload", "index", str(tmp_path)],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert result.returncode == 1
    assert result.stderr.strip().endswith("expected shards named *.tar below it, found none")
