"""Runs of older versions go on as they were, or are refused with a sentence."""

from pathlib import Path
from typing import Any

import pytest
import torch

from ssl4eo_train import checkpoint, older, weights
from ssl4eo_train.__main__ import main
from ssl4eo_train.command import parser
from ssl4eo_train.config import Config, resolve
from ssl4eo_train.distributed import World
from ssl4eo_train.methods import METHODS
from tests.ssl4eo_train.runs import losses, words

pytestmark = pytest.mark.timeout(120)


def aged(out: Path, **options: Any) -> dict[str, Any]:
    """Make a run's checkpoint one of format 1, without what that did not know."""
    path = out / checkpoint.NAME
    content = torch.load(path, weights_only=True)
    new = older.OPTIONS[content["run"]["method"]]
    for part in (content["run"], content["config"]):
        part["options"] = {k: v for k, v in part["options"].items() if k not in new} | options
    for name in ("resample", "epoch_of"):
        del content["config"][name]
    torch.save({**content, "format": 1}, path)
    return dict(content)


def test_a_run_of_before_goes_on(tmp_path: Path) -> None:
    whole, out = tmp_path / "whole", tmp_path / "run"
    assert main(words(whole, "--steps", "4")) == 0
    assert main(words(out, "--steps", "2")) == 0
    assert "splits" not in aged(out)["run"]["options"]
    assert weights.is_run(torch.load(out / checkpoint.NAME, weights_only=True))
    again = ["--resume", "--out", str(out), "--device", "cpu"]
    assert main([*again, "--steps", "4"]) == 0
    assert losses(out) == losses(whole)
    saved = checkpoint.load(out)
    assert (saved["format"], saved["run"]["options"]["splits"]) == (2, 0)


def test_an_option_that_is_gone_is_a_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words(tmp_path, "--steps", "1")) == 0
    aged(tmp_path, ramp=0.5)
    assert main(["--resume", "--out", str(tmp_path), "--device", "cpu", "--steps", "2"]) == 2
    assert "there is no 'ramp'; the nearest name is" in capsys.readouterr().err


def resumed(saved: dict[str, Any]) -> Config:
    given = vars(parser().parse_args(["--resume", "--out", "x", "--device", "cpu"]))
    return resolve(given, saved, World())


def checkpoint_of(method: str, epochs: int, **options: Any) -> dict[str, Any]:
    line = ["--method", method, "--data", "x", "--epochs", str(epochs), "--device", "cpu"]
    config = resolve(vars(parser().parse_args(line)), None, World())
    known = {**vars(METHODS[method].Options()), **options}
    known = {k: v for k, v in known.items() if k not in older.OPTIONS.get(method, {})}
    run = {"method": method, "batch": config.batch_size, "options": known}
    return {"format": 1, "config": {**vars(config), "options": options}, "run": run}


def test_what_was_done_before_there_was_an_option() -> None:
    saved = older.updated(checkpoint_of("dino", 100))
    assert saved["run"]["options"]["published_positions"] is False
    config = resumed(saved)
    assert config.options["published_positions"] is False
    # What was at its default then stays so, whatever the default is now.
    assert config.options == saved["run"]["options"]


@pytest.mark.parametrize(("epochs", "warmup"), [(100, 10.0), (50, 5.0), (300, 10.0)])
def test_a_rise_was_cut_to_a_tenth(epochs: int, warmup: float) -> None:
    saved = older.updated(checkpoint_of("moco_v3", epochs, warmup=10.0))
    assert resumed(saved).options["warmup"] == warmup
    assert older.updated({**saved, "format": 2}) == {**saved, "format": 2}
