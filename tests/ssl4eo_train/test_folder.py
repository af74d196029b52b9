"""One run a folder, whatever ends it; and nothing is left of a run that never was."""

import errno
import fcntl
import os
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from ssl4eo_train import checkpoint
from ssl4eo_train.__main__ import main
from ssl4eo_train.errors import SetupError
from ssl4eo_train.folder import LOCK, RunFolder
from tests import nursery
from tests.ssl4eo_train.runs import QUIET, losses, words

pytestmark = pytest.mark.timeout(240)
HOLD = """
import sys, time
from pathlib import Path
from ssl4eo_train.folder import RunFolder
with RunFolder(Path(sys.argv[1]), True, False):
    print("held", flush=True)
    time.sleep(200)
"""
ROUNDS = """
import sys
from pathlib import Path
from ssl4eo_train.__main__ import main
words = sys.argv[1:]
print("ready", flush=True)
for line in sys.stdin:  # One a round: its folder.
    print(main([*words, "--out", line.strip()]), flush=True)
"""


def test_b6_a_folder_is_held_until_its_process_ends(tmp_path: Path) -> None:
    """Also where that is killed and cleans nothing up."""
    out = tmp_path / "run"
    holder = nursery.python("-c", HOLD, out)
    assert holder.stdout.readline() == "held\n"
    with pytest.raises(SetupError) as refused, RunFolder(out, True, False):
        pass
    assert f"--out: {out} is in use by another run (process {holder.pid} on" in str(refused.value)
    assert (out / LOCK).exists()
    holder.kill()
    holder.wait()
    with RunFolder(out, True, False):
        assert f"process {os.getpid()} on" in (out / LOCK).read_text()


@pytest.mark.slow
def test_b6_two_runs_in_one_folder(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Five rounds: one trains, the other one is refused, and every checkpoint seen is whole."""
    line = words(Path("x"), "--steps", "6", "--save-every", "1")
    other = nursery.python("-c", ROUNDS, *line, imported=nursery.TRAINING, **QUIET)
    assert other.stdout.readline() == "ready\n"
    for turn in range(5):
        out = tmp_path / f"run{turn}"
        other.stdin.write(f"{out}\n")
        other.stdin.flush()
        if turn % 2:  # Let the other one begin, at some time of its run.
            while not (out / checkpoint.NAME).exists():
                time.sleep(0.01)
        mine = main([*line, "--out", str(out)])
        theirs = next(text for text in other.stdout if text.strip().isdigit())
        assert sorted([mine, int(theirs)]) == [0, 2]
        saved = checkpoint.load(out)
        assert saved["step"] == 6
        assert [step for step, _ in losses(out)] == list(range(1, 7))
    other.stdin.close()
    other.wait()
    assert "Traceback" not in capfd.readouterr().err


@pytest.mark.slow
def test_b6_a_checkpoint_is_never_read_half(tmp_path: Path) -> None:
    """Also where nothing can be locked, so that two processes save at once."""
    program = (
        "import sys, torch; from pathlib import Path; from ssl4eo_train import checkpoint\n"
        "for step in range(10**6):\n"
        "    w = torch.full((50_000,), float(step))\n"
        "    checkpoint.save(Path(sys.argv[1]), {'step': step, 'w': w})\n"
    )
    both = [nursery.python("-c", program, tmp_path) for _ in range(2)]
    seen = set()
    while len(list(tmp_path.glob(".*.part"))) < 2:  # Both are at it.
        time.sleep(0.001)
        assert all(process.poll() is None for process in both)
    for _ in range(20):
        loaded = checkpoint.load(tmp_path) if checkpoint.exists(tmp_path) else None
        if loaded is not None:
            assert torch.equal(loaded["w"], torch.full((50_000,), float(loaded["step"])))
            seen.add(loaded["step"])
    for process in both:
        assert process.poll() is None, process.communicate()
        process.kill()
        process.communicate()
    assert len(seen) > 1
    with RunFolder(tmp_path, True, True):  # What they left half is swept.
        assert not list(tmp_path.glob(".*.part"))


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP])
def test_b6_without_locks_a_run_goes_on_and_says_so(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    number: int,
) -> None:
    def unsupported(*_: object) -> Any:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", unsupported)
    with RunFolder(tmp_path / "run", True, False):
        assert (tmp_path / "run").is_dir()
    printed = capsys.readouterr().out
    assert printed.count("\n") == 1
    assert "cannot be locked" in printed
    assert os.strerror(number) in printed


def test_b6_a_run_that_ends_gives_its_folder_free(tmp_path: Path) -> None:
    out = tmp_path / "run"
    assert main(words(out, "--steps", "1")) == 0
    assert main(words(out, "--steps", "2", "--resume")) == 0
    assert main(words(out, "--steps", "2")) == 2
    with RunFolder(out, True, True):
        pass


def test_failed_starts_leave_no_empty_folder(tmp_path: Path) -> None:
    """But what was there before stays."""
    out = tmp_path / "a" / "b"
    assert main(words(out, "--set", "queue=10")) == 2
    assert main(words(out, "--data", str(tmp_path / "nowhere"))) == 2
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "a").mkdir()
    assert main(words(out, "--batch-size", "400")) == 2
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
    assert list((tmp_path / "a").iterdir()) == []


def test_b6_who_is_refused_removes_nothing_of_the_holder(tmp_path: Path) -> None:
    """Also where it thinks that it made the folder, as two do that start at once."""
    out = tmp_path / "run"
    with RunFolder(out, True, False):
        late = RunFolder(out, True, False)
        late._made = [out]
        with pytest.raises(SetupError, match="in use by another run"):
            late.__enter__()
        assert (out / LOCK).exists()
    assert not out.exists()


def test_a_folder_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(SetupError, match="--out: cannot write to"),
        RunFolder(tmp_path / "file" / "run", True, False),
    ):
        pass
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_other_processes_touch_nothing(tmp_path: Path) -> None:
    with RunFolder(tmp_path / "run", False, False):
        assert list(tmp_path.iterdir()) == []
