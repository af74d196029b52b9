"""Locations drawn with replacement, by every loader, and over a resume."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch

from fastload.recipe import Recipe
from ssl4eo_train import data
from ssl4eo_train.__main__ import main
from ssl4eo_train.command import parser
from ssl4eo_train.config import Config, resolve
from ssl4eo_train.distributed import World
from ssl4eo_train.methods import mae
from ssl4eo_train.resampling import resampled
from tests.fastload import made
from tests.ssl4eo_train.runs import losses, words

pytestmark = pytest.mark.timeout(120)
CPU = torch.device("cpu")


def config(*more: str) -> Config:
    line = words(Path("out"), "--resample", "42", *more)
    del line[line.index("--set") : line.index("queue=8") + 1]
    return resolve(vars(parser().parse_args(line)), None, World())


def recipe() -> Recipe:
    return mae.recipe(16)


def test_the_published_draw() -> None:
    dataset = made.dataset()
    drawn = resampled(dataset, 42)
    expected = np.random.default_rng(42).choice(len(dataset), len(dataset))
    assert drawn.keys.tolist() == dataset.keys[expected].tolist()
    assert resampled(dataset, 43).fingerprint != drawn.fingerprint != dataset.fingerprint


def test_a_copy_is_a_sample_of_its_own() -> None:
    dataset = made.dataset()
    drawn = resampled(dataset, 42)
    ids = drawn.ids_of(np.arange(len(drawn)))
    assert len(set(ids.tolist())) == len(drawn)
    assert drawn.keys.tolist() == dataset.keys[ids % len(dataset)].tolist()
    copies = Counter((ids // len(dataset)).tolist())
    assert copies[0] == len(set(drawn.keys))
    assert copies[1] >= 1


def test_every_loader_gives_the_same_and_copies_look_different() -> None:
    batches = {}
    for name in ("threads", "torch"):
        loader, _ = data.make(config("--loader", name), recipe(), CPU, World())
        steps = data.forever(loader)
        batches[name] = [next(steps) for _ in range(2 * len(loader))]
        steps.close()
    for one, two in zip(*batches.values(), strict=True):
        assert one["key"] == two["key"]
        assert torch.equal(one["index"], two["index"])
        torch.testing.assert_close(one["S2L1C"][0], two["S2L1C"][0], rtol=0, atol=1e-5)
    epoch = batches["threads"][: len(batches["threads"]) // 2]
    seen: dict[str, torch.Tensor] = {}
    again = 0
    for batch in epoch:
        for key, image in zip(batch["key"], batch["S2L1C"][0], strict=True):
            again += key in seen
            assert key not in seen or not torch.equal(image, seen[key])
            seen[key] = image
    assert again


def test_a_run_goes_on_with_its_draw_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole, out = tmp_path / "whole", tmp_path / "run"
    assert main(words(whole, "--resample", "42", "--steps", "4")) == 0
    different = len(set(resampled(made.dataset(), 42).keys))
    wanted = f"{made.LOCATIONS} locations (drawn with replacement, {different} different ones) x"
    assert wanted in capsys.readouterr().out
    assert main(words(out, "--resample", "42", "--steps", "2")) == 0
    again = ["--resume", "--out", str(out), "--device", "cpu", "--steps", "4"]
    assert main([*again, "--resample", "43"]) == 2
    assert "--resume: the checkpoint's loader does not fit" in capsys.readouterr().err
    assert main(again) == 0
    assert losses(out) == losses(whole)
