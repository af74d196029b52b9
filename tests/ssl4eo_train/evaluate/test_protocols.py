"""What protocols find on made scenes whose classes are known."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ssl4eo_train.errors import SetupError
from ssl4eo_train.evaluate.numbers.figures import figure
from ssl4eo_train.evaluate.outcome import Outcome, Scored
from ssl4eo_train.evaluate.protocols import protocol
from tests.ssl4eo_train.evaluate import scenes

FEW: dict[str, Any] = {"epochs": 12, "warmup": 1.0, "rate": 5e-3, "batch": 16}


@pytest.fixture(scope="module")
def means(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Classes that differ in their mean colour."""
    return scenes.tree(tmp_path_factory.mktemp("means"))


def accuracy(outcome: Outcome) -> float:
    assert isinstance(outcome.test, Scored)
    return figure("class", outcome.test.scores, outcome.test.targets)


def run(name: str, bench: Any, **options: Any) -> Outcome:
    how = protocol(name)
    return how.run(bench, how.Options(**options))


@pytest.mark.parametrize("arch", ["test_resnet", "test_vit"])
@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("knn", {}),
        ("colours", {}),
        ("linear", {}),
        ("linear", {"solver": "sgd", "epochs": 30, "head": "bn_linear"}),
        ("linear", {"solver": "adam", "epochs": 30, "rates": (0.01, 0.1)}),
    ],
)
def test_mean_colours_are_found_by_an_untrained_backbone(
    means: Path, tmp_path: Path, arch: str, name: str, options: dict[str, Any]
) -> None:
    """Frozen features of any network tell as much."""
    backbone = scenes.untrained(arch, 32)
    assert accuracy(run(name, scenes.bench(means, tmp_path, backbone), **options)) > 0.95


@pytest.mark.slow
@pytest.mark.parametrize("arch", ["test_resnet", "test_vit"])
def test_fine_tuning_finds_what_the_frozen_backbone_does_not_show(
    tmp_path: Path, arch: str
) -> None:
    """Its first layer adds up all bands, whose sum tells no class, until it is trained."""
    root = scenes.tree(tmp_path / "data", classes=3, colours=scenes.by_order)
    bench = scenes.bench(root, tmp_path / "out", scenes.blind(scenes.untrained(arch, 32)))
    assert accuracy(run("linear", bench)) < 0.6
    found = run("finetune", bench, **FEW)
    assert accuracy(found) > 0.95
    rows = [json.loads(x) for x in (tmp_path / "out/history.jsonl").read_text().splitlines()]
    assert [row["epoch"] for row in rows] == list(range(1, 13))
    assert rows[found.chosen["epoch"] - 1]["val_accuracy"] == found.chosen["val"] == 1.0
    assert found.settings["layer_decay"] == (0.75 if arch == "test_vit" else 1.0)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["linear", "finetune"])
def test_test_labels_choose_nothing_and_two_runs_are_equal(
    means: Path, tmp_path: Path, name: str
) -> None:
    """With all test labels wrong, what is chosen, and the scores, are the same bits."""
    options = {**FEW, "epochs": 3} if name == "finetune" else {}
    backbone = scenes.untrained("test_resnet")
    first, again = (
        run(name, scenes.bench(means, tmp_path / str(i), backbone), **options) for i in range(2)
    )
    torch.manual_seed(99)
    wrong = np.zeros(48, np.int64)
    other = run(
        name, scenes.bench(means, tmp_path / "2", backbone, extras={"test": wrong}), **options
    )
    for found in (again, other):
        assert found.chosen == first.chosen
        assert torch.equal(found.test.scores, first.test.scores)  # type: ignore[union-attr]
    assert accuracy(other) != accuracy(first)


def test_the_backbone_stays_as_it_was(means: Path, tmp_path: Path) -> None:
    """A classifier trains a copy."""
    backbone = scenes.untrained("test_resnet")
    before = {name: x.clone() for name, x in backbone.network.state_dict().items()}
    run("finetune", scenes.bench(means, tmp_path, backbone), **{**FEW, "epochs": 2})
    for name, x in backbone.network.state_dict().items():
        assert torch.equal(x, before[name]), name


def test_features_are_kept_and_used(
    means: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """For the same checkpoint alone; a damaged file is made again."""
    backbone = scenes.untrained("test_resnet")
    bench = scenes.bench(means, tmp_path, backbone, cache=tmp_path / "cache")
    first = run("linear", bench)
    kept = sorted((tmp_path / "cache").iterdir())
    assert len(kept) == 3
    with monkeypatch.context() as patch:
        patch.setattr(backbone.network, "forward", lambda x: pytest.fail("not used"))
        again = run("linear", bench)
    assert torch.equal(again.test.scores, first.test.scores)  # type: ignore[union-attr]
    kept[0].write_bytes(b"no features")
    assert accuracy(run("linear", bench)) == accuracy(first)
    assert "cannot be read" in capsys.readouterr().out
    other = scenes.untrained("test_resnet", seed=1)
    run("knn", scenes.bench(means, tmp_path, other, cache=tmp_path / "cache"))
    assert len(list((tmp_path / "cache").iterdir())) == 5


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        ("linear", {"solver": "newton"}, "solver is newton, expected one of lbfgs, sgd, adam"),
        ("linear", {"l2": ()}, "l2 is .* expected numbers above 0"),
        ("linear", {"resize": 20}, "resize is 20"),
        ("linear", {"pool": "cls"}, "pool cls is for transformers"),
        ("linear", {"pool": "max"}, "pool is 'max', expected one of auto"),
        ("finetune", {"optimiser": "lars"}, "optimiser is 'lars', expected one of sgd"),
        ("finetune", {"epochs": 5}, "warmup is 5.0, expected fewer than 5 epochs"),
        ("finetune", {"layer_decay": 0.5}, "layer_decay is 0.5, expected 1"),
        ("finetune", {"crop": (0.5,)}, "crop is .* expected two shares"),
        ("published", {}, "eurosat_rgb was published with seco"),
        ("published", {"mode": "both"}, "mode is both, expected one of linear, finetune"),
        ("published", {"method": "seco", "mode": "finetune"}, "with seco as linear only"),
    ],
)
def test_what_does_not_fit_is_said(
    means: Path, tmp_path: Path, name: str, options: dict[str, Any], words: str
) -> None:
    """In a sentence that names the option."""
    bench = scenes.bench(means, tmp_path, scenes.untrained("test_resnet"), name="eurosat_rgb")
    with pytest.raises(SetupError, match=words):
        run(name, bench, **options)


def test_a_loss_that_is_no_number_ends_the_run(means: Path, tmp_path: Path) -> None:
    """And says at which epoch; the first step was still of the weights as they were."""
    bench = scenes.bench(means, tmp_path, scenes.untrained("test_resnet"))
    with pytest.raises(ValueError, match=r"epoch 2: the loss is nan"):
        run("finetune", bench, optimiser="sgd", rate=1e30, schedule="constant", epochs=6)
