"""Runs that meet what they cannot go on with: the last finished step is saved, and named."""

import errno
import json
import resource
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fastload.storage.errors import MachineError
from fastload.storage.store import Local
from ssl4eo_train import checkpoint
from ssl4eo_train.__main__ import main
from ssl4eo_train.data import ERRORS
from ssl4eo_train.tracking import NAME, read
from tests.fastload import made
from tests.ssl4eo_train.runs import begin, free_port, losses, sample_of, words

pytestmark = pytest.mark.timeout(240)
BAD_STEP = 2


@pytest.fixture(scope="module")
def bad(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Data with a damaged sample, which the third step of the first epoch shows at place 1."""
    return made.damaged(tmp_path_factory.mktemp("bad") / "data", sample_of(BAD_STEP, 1))


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[float, float]]:
    """Losses of a run that meets nothing."""
    out = tmp_path_factory.mktemp("whole") / "run"
    assert main(words(out, "--steps", "6")) == 0
    return losses(out)


def sentence(capsys: pytest.CaptureFixture[str]) -> str:
    """The one line that a run ended with; progress bars end with carriage returns."""
    said = [line for line in capsys.readouterr().err.splitlines() if line.startswith("ssl4eo")]
    assert len(said) == 1, said
    return said[0]


@pytest.mark.parametrize("loader", [("threads", "1"), ("torch", "0"), ("torch", "1")])
def test_b5_a_damaged_sample_saves_the_last_step(
    bad: Path,
    whole: list[tuple[float, float]],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    loader: tuple[str, str],
) -> None:
    out = tmp_path / "run"
    more = ["--loader", loader[0], "--workers", loader[1], "--steps", "6"]
    assert main(words(out, *more, data=bad)) == 1
    said = sentence(capsys)
    assert ".tar" in said
    assert "CRC" in said
    saved = checkpoint.load(out)
    assert saved["step"] == BAD_STEP
    assert [step for step, _ in losses(out)] == [1, 2]
    if loader[0] == "threads":
        [line] = (out / ERRORS).read_text().splitlines()
        assert json.loads(line)["index"] == sample_of(BAD_STEP, 1)
    # On sound data it goes on as if nothing had been.
    assert main(["--resume", "--out", str(out), "--device", "cpu", "--data", str(made.root())]) == 0
    if loader[0] == "threads":
        assert losses(out) == whole
    else:  # Its views are made by the reference, a rounding away, which training widens.
        assert [step for step, _ in losses(out)] == [step for step, _ in whole]
        assert losses(out)[BAD_STEP] == pytest.approx(whole[BAD_STEP], rel=1e-2)


def test_b5_a_damaged_sample_is_replaced_and_counted(
    bad: Path,
    whole: list[tuple[float, float]],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = tmp_path / "run"
    assert main(words(out, "--on-error", "replace", "--steps", "5", data=bad)) == 0
    printed = capsys.readouterr().out
    assert f"could not be read: 1, replaced by others: 1; see {out / ERRORS}" in printed
    [line] = (out / ERRORS).read_text().splitlines()
    found = json.loads(line)
    assert (found["index"], found["epoch"]) == (sample_of(BAD_STEP, 1), 0)
    assert found["replaced_by"] is not None
    rows = list(read(out / NAME))
    assert (rows[-1]["errors"], rows[-1]["replaced"]) == (1, 1)
    assert losses(out)[:BAD_STEP] == whole[:BAD_STEP]
    assert losses(out)[BAD_STEP] != whole[BAD_STEP]
    assert checkpoint.load(out)["config"]["on_error"] == "replace"


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_b5_what_one_of_two_processes_meets_ends_both(bad: Path, tmp_path: Path) -> None:
    """Place 1 is the second process's; the first one saves, and neither hangs."""
    out, port = tmp_path / "run", str(free_port())
    env = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    line = words(out, "--batch-size", "2", "--steps", "6", data=bad)
    both = [begin(line, env | {"RANK": r, "LOCAL_RANK": r}) for r in "01"]
    told = [process.communicate(timeout=500)[1] for process in both]
    assert [process.returncode for process in both] == [1, 1], told
    assert "another process of this run met an error, and names it" in told[0]
    assert "CRC" in told[1]
    assert not any("Traceback" in text for text in told)
    assert checkpoint.load(out)["step"] == BAD_STEP
    assert [step for step, _ in losses(out)] == [1, 2]


@pytest.mark.long
@pytest.mark.timeout(600)
def test_b5_a_process_that_vanishes_ends_the_other(tmp_path: Path) -> None:
    out, port = tmp_path / "run", str(free_port())
    env = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    line = words(out, "--batch-size", "2", "--steps", "100000")
    both = [begin(line, env | {"RANK": r, "LOCAL_RANK": r}) for r in "01"]
    while not (out / NAME).exists() or len(losses(out)) < 3:
        assert both[0].poll() is None, both[0].communicate()
        time.sleep(0.1)
    both[1].kill()
    told = both[0].communicate(timeout=300)[1]
    both[1].communicate()
    assert both[0].returncode == 1, told


def test_b5_a_machine_without_handles_saves_the_last_step(
    whole: list[tuple[float, float]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    with pytest.MonkeyPatch.context() as patch:
        for name in ("read", "fetch", "read_ranges"):
            sound = getattr(Local, name)

            def scarce(self: Local, *args: Any, sound: Any = sound, **more: Any) -> Any:
                if (out / NAME).exists() and len(losses(out)) >= 2:
                    raise MachineError(errno.EMFILE, "no file handle is left")
                return sound(self, *args, **more)

            patch.setattr(Local, name, scarce)
        assert main(words(out, "--steps", "1000")) == 1
    assert "no file handle is left" in sentence(capsys)
    step = checkpoint.load(out)["step"]
    assert step == len(losses(out)) >= 2
    assert losses(out)[:step] == whole[: len(losses(out))]


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 16 MB."""
    place = tmp_path / "disk"
    place.mkdir()
    line = ["mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", str(place)]
    try:
        done = subprocess.run(line, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        pytest.skip("there is no mount here")
    if done.returncode:
        pytest.skip(f"a small disk needs to be mounted: {done.stderr.strip()}")
    yield place
    subprocess.run(["umount", str(place)], check=True)


def fill(out: Path) -> None:
    """Wait for some steps, then take all room that is left."""
    while not (out / NAME).exists() or len(losses(out)) < 3:
        time.sleep(0.01)
    try:
        with (out.parent / "filling").open("wb", buffering=0) as file:
            while True:
                file.write(bytes(4096))
    except OSError:
        pass


def test_b8_a_disk_that_fills_up_during_a_run(
    disk: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = disk / "run"
    filling = threading.Thread(target=fill, args=(out,), daemon=True)
    filling.start()
    assert main(words(out, "--steps", "100000", "--save-every", "1")) == 1
    filling.join()
    printed = capsys.readouterr()
    [said] = [line for line in printed.err.splitlines() if line.startswith("ssl4eo")]
    assert f"--out: cannot write to {out}" in said
    assert "No space left on device" in said
    assert "Traceback" not in printed.err
    saved = checkpoint.load(out)
    assert saved["step"] >= 1
    assert not list(out.glob(".*.part"))
    rows = [step for step, _ in losses(out)]
    assert rows == list(range(1, len(rows) + 1))
    # With room again it goes on.
    (disk / "filling").unlink()
    last = str(saved["step"] + 2)
    assert main(["--resume", "--out", str(out), "--device", "cpu", "--steps", last]) == 0
    assert checkpoint.load(out)["step"] == saved["step"] + 2


def test_b8_a_checkpoint_that_cannot_be_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What a quota is like: the file may not grow as large as it must."""
    out = tmp_path / "run"
    assert main(words(out, "--steps", "2")) == 0
    before = (out / checkpoint.NAME).read_bytes()
    capsys.readouterr()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) // 2, limits[1]))
    try:
        status = main(words(out, "--resume", "--steps", "4"))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    printed = capsys.readouterr()
    assert status == 1
    assert f"cannot write to {out / checkpoint.NAME}: File too large" in printed.err
    assert "done after step 4, but the checkpoint is of step 2" in printed.out
    assert (out / checkpoint.NAME).read_bytes() == before
    assert not list(out.glob(".*.part"))
    assert [step for step, _ in losses(out)] == [1, 2, 3, 4]
