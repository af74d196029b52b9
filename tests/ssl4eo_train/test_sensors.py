"""Sensors that views lack, as DINO-MM drops them."""

from pathlib import Path

import numpy as np
import pytest
import torch

from ssl4eo_train import checkpoint, sensors
from ssl4eo_train.__main__ import main
from tests.ssl4eo_train.runs import losses, words

pytestmark = pytest.mark.timeout(120)
MANY = np.arange(40_000)
BOTH = ("--modality", "S2L1C", "S1GRD")


@pytest.mark.parametrize("count", [2, 3])
def test_half_of_the_views_lack_one_any(count: int) -> None:
    lacking = sensors.dropped(3, 1, MANY, 0, count)
    shares = np.bincount(lacking + 1, minlength=count + 1) / len(MANY)
    np.testing.assert_allclose(shares, [0.5, *[0.5 / count] * count], atol=0.01)


def test_a_function_of_seed_epoch_sample_and_view() -> None:
    one = sensors.dropped(3, 1, MANY, 0, 2)
    assert np.array_equal(sensors.dropped(3, 1, MANY[::-7], 0, 2), one[::-7])
    for other in ((4, 1, 0), (3, 2, 0), (3, 1, 1)):
        seed, epoch, view = other
        same = np.mean(sensors.dropped(seed, epoch, MANY, view, 2) == one)
        assert same == pytest.approx(0.5**2 + 2 * 0.25**2, abs=0.01)


def test_what_is_lacking_is_zero_and_the_rest_untouched() -> None:
    parts = [torch.rand(3, 2, 4, 4), torch.rand(3, 1, 4, 4)]
    parts[1][1] = float("nan")
    shown = sensors.drop(parts, np.array([-1, 1, 0]))
    assert torch.equal(shown[0], parts[0] * torch.tensor([1, 1, 0.0]).view(3, 1, 1, 1))
    assert torch.equal(shown[1][[0, 2]], parts[1][[0, 2]])
    assert not shown[1][1].any()


def test_views_take_turns() -> None:
    parts = [torch.ones(1, 2, 2, 2), torch.ones(1, 1, 2, 2)]
    for view, here in ((0, 0), (1, 1), (2, 0)):
        shown = sensors.alternate(parts, view)
        assert [bool(x.any()) for x in shown] == [m == here for m in range(2)]


def test_a_resumed_run_lacks_the_same(tmp_path: Path) -> None:
    whole, parts, early = tmp_path / "whole", tmp_path / "parts", tmp_path / "early"
    drop = (*BOTH, "--fusion", "drop")
    assert main(words(whole, *drop, "--steps", "4")) == 0
    assert main(words(parts, *drop, "--steps", "2", "--workers", "2")) == 0
    assert main(["--resume", "--out", str(parts), "--device", "cpu", "--steps", "4"]) == 0
    assert losses(parts) == losses(whole)
    assert checkpoint.load(parts)["run"]["fusion"] == "drop"
    assert main(words(early, *BOTH, "--steps", "2")) == 0
    assert losses(early) != losses(whole)[:2]


def test_one_alone_cannot_be_dropped(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words(tmp_path / "run", "--fusion", "drop")) == 2
    assert "--fusion drop: S2L1C alone cannot be dropped" in capsys.readouterr().err
