import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from ssl4eo_train import checkpoint
from ssl4eo_train.errors import SetupError
from tests import nursery

pytestmark = pytest.mark.timeout(60)

CPU = torch.device("cpu")


class Unwritable:
    """Fails while it is being written."""

    def __reduce__(self) -> Any:
        raise OSError("no space left")


def test_round_trip_without_running_code(tmp_path: Path) -> None:
    content = {"step": 3, "model": {"w": torch.arange(4.0)}, "loader": {"epoch": 1, "name": "x"}}
    checkpoint.save(tmp_path, content)
    raw = torch.load(tmp_path / checkpoint.NAME, weights_only=True)
    loaded = checkpoint.load(tmp_path)
    assert raw.keys() == loaded.keys()
    assert torch.equal(loaded["model"]["w"], torch.arange(4.0))
    assert (loaded["step"], loaded["loader"]) == (3, {"epoch": 1, "name": "x"})
    assert os.listdir(tmp_path) == [checkpoint.NAME]


def test_a_failed_save_leaves_the_old_file(tmp_path: Path) -> None:
    checkpoint.save(tmp_path, {"step": 1})
    before = (tmp_path / checkpoint.NAME).read_bytes()
    with pytest.raises(OSError, match="no space left"):
        checkpoint.save(tmp_path, {"step": 2, "much": torch.zeros(1000), "bad": Unwritable()})
    assert (tmp_path / checkpoint.NAME).read_bytes() == before
    assert os.listdir(tmp_path) == [checkpoint.NAME]


def test_a_killed_save_leaves_a_whole_file(tmp_path: Path) -> None:
    """A process that does nothing but save is killed twice, wherever it happens to be."""
    program = (
        "import sys, torch; from pathlib import Path; from ssl4eo_train import checkpoint\n"
        "for step in range(1, 10**6):\n"
        "    w = torch.full((500_000,), float(step))\n"
        "    checkpoint.save(Path(sys.argv[1]), {'step': step, 'w': w})\n"
    )
    for delay in (0.05, 0.12):
        (tmp_path / checkpoint.NAME).unlink(missing_ok=True)
        process = nursery.python("-c", program, tmp_path)
        while not (tmp_path / checkpoint.NAME).exists():
            assert process.poll() is None
            time.sleep(0.01)
        time.sleep(delay)
        process.send_signal(signal.SIGKILL)
        process.wait()
        loaded = checkpoint.load(tmp_path)
        assert torch.equal(loaded["w"], torch.full((500_000,), float(loaded["step"])))


def test_what_is_no_checkpoint_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SetupError, match="there is no checkpoint"):
        checkpoint.load(tmp_path)
    (tmp_path / checkpoint.NAME).write_bytes(b"not a checkpoint")
    with pytest.raises(SetupError, match="cannot be read as a checkpoint"):
        checkpoint.load(tmp_path)
    torch.save({"format": 99}, tmp_path / checkpoint.NAME)
    with pytest.raises(SetupError, match="not a checkpoint of format 1 to 2"):
        checkpoint.load(tmp_path)


def test_code_in_a_checkpoint_is_not_run(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> Any:
            return os.mkdir, (str(tmp_path / "run"),)

    torch.save({"format": 1, "x": Evil()}, tmp_path / checkpoint.NAME)
    with pytest.raises(SetupError):
        checkpoint.load(tmp_path)
    assert not (tmp_path / "run").exists()


def test_disagreement_names_the_field() -> None:
    saved = {"arch": "resnet18", "bands": 13, "batch": 8}
    checkpoint.agree(saved, dict(saved))
    with pytest.raises(SetupError, match="with bands 13, this run has 2"):
        checkpoint.agree(saved, {**saved, "bands": 2})


def test_random_state_continues(tmp_path: Path) -> None:
    torch.manual_seed(5)
    checkpoint.save(tmp_path, {"random": checkpoint.random_state(CPU)})
    expected = torch.rand(4)
    torch.manual_seed(6)
    checkpoint.set_random_state(checkpoint.load(tmp_path)["random"], CPU)
    assert torch.equal(torch.rand(4), expected)
