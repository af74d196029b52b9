import dataclasses
import json
from pathlib import Path

import pytest
import torch
from torch import nn

from benchmarks import learning
from benchmarks.learning import Outcome
from ssl4eo_train import made
from ssl4eo_train.config import resolve
from ssl4eo_train.distributed import World

pytestmark = pytest.mark.timeout(180)

SCENES = 120


@pytest.fixture(autouse=True)
def small_scenes(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = tmp_path_factory.getbasetemp() / "learning-cache"
    monkeypatch.setenv("FASTLOAD_CACHE", str(cache))
    monkeypatch.setattr(made, "SIZE", 32)


def outcomes() -> list[Outcome]:
    return [
        Outcome("a", "S2L1C", 0, untrained=0.25, settled=0.30, trained=0.50, steps=8, seconds=2.0),
        Outcome("a", "S2L1C", 1, untrained=0.35, settled=0.40, trained=0.50, steps=8, seconds=4.0),
        Outcome("b", "S2L1C", 0, untrained=0.50, settled=0.50, trained=0.54, steps=9, seconds=1.0),
        Outcome("b", "S2L1C", 1, untrained=0.50, settled=0.50, trained=0.50, steps=9, seconds=1.0),
    ]


def test_the_table_has_mean_and_range_of_every_figure() -> None:
    text = learning.table(outcomes(), 0.125)
    assert text.splitlines()[2:4] == [
        "| a | S2L1C | 30.0 (25.0 to 35.0) | 35.0 (30.0 to 40.0) | 50.0 (50.0 to 50.0) "
        "| 15.0 (10.0 to 20.0) | 8 | 3 |",
        "| b | S2L1C | 50.0 (50.0 to 50.0) | 50.0 (50.0 to 50.0) | 52.0 (50.0 to 54.0) "
        "| 2.0 (0.0 to 4.0) | 9 | 1 |",
    ]
    assert "of 2 seeds; the most frequent label alone has 12.5 %" in text


def test_a_mean_gain_below_the_margin_is_named() -> None:
    assert learning.below(outcomes(), 0.01) == {}
    assert learning.below(outcomes(), 0.03) == pytest.approx({"b": 0.02})
    assert learning.below(outcomes(), 0.20) == pytest.approx({"a": 0.15, "b": 0.02})


def test_a_file_keeps_what_it_has_of_other_methods(tmp_path: Path) -> None:
    path = tmp_path / "learning.json"
    names = {"a": "moco_v2", "b": "dino"}
    first = [dataclasses.replace(r, method=names[r.method]) for r in outcomes()]
    learning.write(path, first, 0.1)
    again = [dataclasses.replace(first[0], trained=0.75)]
    learning.write(path, again, 0.2)
    found = json.loads(path.read_text())
    gains = {m: [run["gain"] for run in each["runs"]] for m, each in found["methods"].items()}
    assert gains["moco_v2"] == pytest.approx([0.45])
    assert gains["dino"] == pytest.approx([0.04, 0.0])
    assert found["majority"] == 0.2


def test_the_command_measures_writes_and_judges(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "learning.json"
    line = ["--methods", "moco_v2", "--seeds", "1", "--steps", "2", "--json", str(path)]
    status = learning.main([*line, "--scenes", str(SCENES)])
    found = json.loads(path.read_text())
    assert list(found["methods"]) == ["moco_v2"]
    (run,) = found["methods"]["moco_v2"]["runs"]
    assert (run["method"], run["seed"], run["steps"]) == ("moco_v2", 0, 2)
    assert run["gain"] == run["trained"] - run["settled"]
    assert status == (run["gain"] < learning.MARGIN)
    assert found["methods"]["moco_v2"]["settings"] == json.loads(
        json.dumps(learning.settings_of("moco_v2"))
    )
    assert 0 < found["majority"] < 1
    printed = capsys.readouterr().out
    outcome = Outcome(**{f.name: run[f.name] for f in dataclasses.fields(Outcome)})
    assert learning.table([outcome], found["majority"]) in printed
    assert ("moco_v2: gained" in printed) == bool(status)


def test_labels_are_hidden_in_training(tmp_path: Path) -> None:
    learning.scenes(tmp_path, SCENES)
    assert not list((tmp_path / "train").rglob("*.csv"))
    given = {"device": "cpu", "data": str(tmp_path), "workers": 1, **made.SETTINGS["moco_v2"]}
    config = resolve(given, None, World())
    probe = learning.probe_of(dataclasses.replace(config, split="val"))
    assert len(probe.samples) == SCENES
    with pytest.raises(AssertionError):
        learning.probe_of(config)


def test_untrained_is_what_the_run_started_from(tmp_path: Path) -> None:
    """Without a learning rate a transformer, which has no batch norm, stays what it was."""
    learning.scenes(tmp_path, SCENES)
    first, _ = learning.measure("mae", 0, tmp_path, lr=0.0, steps=2)
    assert first.trained == first.untrained == first.settled
    second, _ = learning.measure("mae", 1, tmp_path, lr=0.0, steps=2)
    assert second.untrained != first.untrained


def test_settled_norms_know_the_images_and_weights_stay() -> None:
    generator = torch.Generator().manual_seed(0)
    batches = [5 + torch.randn(6, 3, 4, 4, generator=generator) for _ in range(2)]
    norm = nn.BatchNorm2d(3)
    settled = learning.settle(norm, batches)
    assert isinstance(settled, nn.BatchNorm2d)
    mean = torch.stack([b.mean(dim=(0, 2, 3)) for b in batches]).mean(dim=0)
    variance = torch.stack([b.transpose(0, 1).flatten(1).var(dim=1) for b in batches]).mean(dim=0)
    torch.testing.assert_close(settled.running_mean, mean)
    torch.testing.assert_close(settled.running_var, variance)
    assert torch.equal(settled.weight, norm.weight)
    assert torch.equal(norm.running_mean, torch.zeros(3))  # type: ignore[arg-type]
