"""Whole runs on made scenes, through the command line."""

import errno
import json
import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from fastload.storage.errors import MachineError
from fastload.storage.store import Local
from fastload.synth import synth
from ssl4eo_train import checkpoint
from ssl4eo_train.__main__ import main
from ssl4eo_train.tracking import NAME, read
from tests.ssl4eo_train.runs import begin

pytestmark = pytest.mark.timeout(180)

LOCATIONS, BATCH = 30, 4
STEPS_PER_EPOCH = LOCATIONS // BATCH


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("scenes")
    return synth(root, LOCATIONS, modalities=["S2L1C"], size=32, samples_per_shard=16)


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FASTLOAD_CACHE", str(tmp_path / "cache"))


def words(scenes: Path, out: Path, *more: str) -> list[str]:
    return [
        *("--data", str(scenes), "--out", str(out), "--arch", "test_resnet"),
        *("--image-size", "24", "--batch-size", str(BATCH), "--set", "queue=8"),
        *("--device", "cpu", "--workers", "1", "--seed", "3", *more),
    ]


def command(scenes: Path, out: Path, *more: str) -> str:
    process = begin(words(scenes, out, *more), {})
    printed, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors
    return printed


def losses(out: Path) -> list[tuple[float, float]]:
    return [(row["step"], row["loss"]) for row in read(out / NAME)]


def test_resumed_run_logs_the_same_losses(scenes: Path, tmp_path: Path) -> None:
    """20 steps here against 10, then 10 more, in processes of their own: to the last digit."""
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    assert main(words(scenes, whole, "--steps", "20")) == 0
    command(scenes, parts, "--steps", "10")
    second = command(scenes, parts, "--steps", "20", "--resume")
    assert f"{STEPS_PER_EPOCH} an epoch; from step 10 to step 20" in second
    assert [step for step, _ in losses(whole)] == list(range(1, 21))
    assert losses(whole) == losses(parts)
    assert len({loss for _, loss in losses(whole)}) == 20
    one, two = checkpoint.load(whole), checkpoint.load(parts)
    assert one["loader"] == two["loader"]
    assert (one["loader"]["epoch"], one["loader"]["step"]) == divmod(20, STEPS_PER_EPOCH)
    assert all(torch.equal(w, two["model"][n]) for n, w in one["model"].items() if "extra" not in n)
    assert list(whole.glob("events.out.tfevents.*"))
    assert json.loads((whole / "config.json").read_text())["seed"] == 3


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        pytest.param(signal.SIGINT, 130, marks=pytest.mark.long),
        pytest.param(signal.SIGTERM, 143, marks=pytest.mark.long),
        (signal.SIGUSR1, 138),  # B7: Slurm's --signal, as Lightning has it
        # and as submitit has it
        pytest.param(signal.SIGUSR2, 140, marks=pytest.mark.long),
    ],
)
def test_a_signal_saves_and_says_how_to_go_on(
    scenes: Path, tmp_path: Path, sent: signal.Signals, status: int
) -> None:
    out = tmp_path / "run"
    process = begin(words(scenes, out, "--steps", "100000"), {})
    while not (out / NAME).exists() or len(losses(out)) < 5:
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)
    os.kill(process.pid, sent)
    printed, _ = process.communicate(timeout=60)
    assert process.returncode == status
    saved = checkpoint.load(out)
    steps = [step for step, _ in losses(out)]
    assert steps == list(range(1, saved["step"] + 1))
    assert f"stopped after step {saved['step']} of 100000; continue with --resume" in printed
    last = saved["step"] + 2
    assert main(["--resume", "--out", str(out), "--device", "cpu", "--steps", str(last)]) == 0
    assert [step for step, _ in losses(out)] == list(range(1, last + 1))


def test_a_run_moves_from_one_loader_to_another(scenes: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    assert main(words(scenes, out, "--loader", "torch", "--steps", "5")) == 0
    again = ["--resume", "--out", str(out), "--device", "cpu", "--workers", "0"]
    assert main([*again, "--loader", "threads", "--steps", "9"]) == 0
    assert main([*again, "--loader", "torch", "--steps", "12"]) == 0
    assert [step for step, _ in losses(out)] == list(range(1, 13))


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_half_precision_starts_alike(scenes: Path, tmp_path: Path, precision: str) -> None:
    for name in ("fp32", precision):
        assert main(words(scenes, tmp_path / name, "--precision", name, "--steps", "2")) == 0
    (_, exact), _ = losses(tmp_path / "fp32")
    (_, half), _ = losses(tmp_path / precision)
    assert half == pytest.approx(exact, rel=0.02)
    assert half != exact


def refused(capsys: pytest.CaptureFixture[str], line: list[str]) -> str:
    assert main(line) == 2
    return capsys.readouterr().err


def test_runs_that_cannot_start(
    scenes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"

    def sentence(*more: str) -> str:
        return refused(capsys, words(scenes, out, "--steps", "2", *more))

    assert "31 samples" in sentence("--batch-size", "31")
    assert f"holds {LOCATIONS} locations" in sentence("--batch-size", "31")
    assert "queue is 10, expected a multiple of the 4 samples" in sentence("--set", "queue=10")
    assert "there is no 'queu'; the nearest name is 'queue'" in sentence("--set", "queu=8")
    assert "option queue: expected int" in sentence("--set", "queue=many")
    assert "near it are" in sentence("--arch", "resnet5O")
    assert "nowhere" in sentence("--data", str(tmp_path / "nowhere"))
    assert "S2L9" in sentence("--modality", "S2L9")
    assert "--out must name" in refused(capsys, ["--resume"])
    (tmp_path / "file").write_text("")
    assert "cannot write to" in sentence("--out", str(tmp_path / "file" / "x"))
    assert "cannot replace a sample" in sentence("--on-error", "replace", "--loader", "torch")
    assert "expected NAME, or MODALITY" in sentence("--bands", "S2L1C=B04", "B03")
    assert sorted(path.name for path in tmp_path.iterdir() if path.name != "cache") == ["file"]


def test_b7_resume_before_the_first_checkpoint_starts(
    scenes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As a job does that is started again and again by one command."""
    out = tmp_path / "deep" / "run"
    assert main(words(scenes, out, "--steps", "2", "--resume")) == 0
    assert (
        "holds no checkpoint yet, so the run starts from the beginning" in capsys.readouterr().out
    )
    assert main(words(scenes, out, "--steps", "4", "--resume")) == 0
    assert "from step 2 to step 4" in capsys.readouterr().out
    assert [step for step, _ in losses(out)] == [1, 2, 3, 4]


def test_checkpoint_that_does_not_fit(
    scenes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    assert main(words(scenes, out, "--steps", "2")) == 0
    files = sorted(path for path in out.iterdir() if path.is_file())
    before = {path.name: path.read_bytes() for path in files if path.name != ".lock"}

    def sentence(*more: str) -> str:
        return refused(capsys, words(scenes, out, *more))

    assert "continue it with --resume" in sentence("--steps", "2")
    assert "nothing is left to do" in sentence("--resume", "--steps", "2")
    for field, value in (("arch", "test_byobnet"), ("seed", "4"), ("lr", "0.5")):
        text = sentence("--resume", "--steps", "4", f"--{field}", value)
        assert f"the checkpoint was made with {field} " in text
    text = sentence("--resume", "--steps", "4", "--set", "queue=16")
    assert "the checkpoint was made with options " in text
    assert "batch 4, this run has 8" in sentence("--resume", "--steps", "4", "--batch-size", "8")
    few = synth(tmp_path / "few", 9, modalities=["S2L1C"], size=32)
    assert "the state's dataset" in sentence("--resume", "--steps", "4", "--data", str(few))
    assert sorted(path for path in out.iterdir() if path.is_file()) == files
    assert {path.name: path.read_bytes() for path in files if path.name != ".lock"} == before


def test_damaged_data_is_named(
    scenes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = synth(tmp_path / "own", 8, modalities=["S2L1C"], size=32)
    shard = next((root / "train" / "S2L1C").glob("*.tar"))
    assert main(words(root, tmp_path / "sound", "--steps", "2")) == 0
    content = bytearray(shard.read_bytes())
    content[len(content) // 4 : len(content) * 3 // 4 : 50] = bytes(
        b ^ 255 for b in content[len(content) // 4 : len(content) * 3 // 4 : 50]
    )
    times = os.stat(shard)
    shard.write_bytes(content)
    os.utime(shard, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert main(words(root, tmp_path / "damaged", "--steps", "2")) in (1, 2)
    assert shard.name in capsys.readouterr().err


def test_a_machine_without_handles_gets_a_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As every trouble of a run; it was one before it had a kind of its own."""
    root = synth(tmp_path / "own", 8, modalities=["S2L1C"], size=32)
    assert main(words(root, tmp_path / "sound", "--steps", "2")) == 0

    def none_left(*_: object) -> Any:
        raise MachineError(errno.EMFILE, f"no file handle is left to read {root}")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Local, "read", none_left)
        patch.setattr(Local, "fetch", none_left)
        patch.setattr(Local, "read_ranges", none_left)
        assert main(words(root, tmp_path / "none", "--steps", "2")) == 1
    assert f"no file handle is left to read {root}" in capsys.readouterr().err
