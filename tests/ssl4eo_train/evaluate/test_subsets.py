"""Small labels, and published runs from end to end."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import fastload
from ssl4eo_train.errors import SetupError
from ssl4eo_train.evaluate import subsets
from ssl4eo_train.evaluate.bench import Bench
from ssl4eo_train.evaluate.classify import fit
from ssl4eo_train.evaluate.classify.classifier import Classifier
from ssl4eo_train.evaluate.classify.plan import Plan
from ssl4eo_train.evaluate.outcome import Scored
from ssl4eo_train.evaluate.protocols import published
from ssl4eo_train.evaluate.tasks import task
from tests.shared_data import shared_data
from tests.ssl4eo_train.evaluate import scenes


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """120 training chips of four classes."""
    return scenes.tree(tmp_path_factory.mktemp("few"), test=5)


@pytest.fixture
def bench(root: Path, tmp_path: Path) -> Bench:
    """Before a tiny backbone."""
    return scenes.bench(root, tmp_path, scenes.untrained("test_resnet"), name="eurosat_rgb")


def test_shares_are_nested_and_have_every_class(bench: Bench) -> None:
    """And depend on keys alone, not on their order."""
    whole, its = bench.splits["train"], bench.task
    keys: dict[float, set[str]] = {}
    for share in (0.01, 0.1, 0.5):
        few = subsets.part(whole, share, its)
        keys[share] = set(few.keys)
        assert set(few.extras["label"].tolist()) == {0, 1, 2, 3}
        turned = subsets.part(whole.subset(np.arange(len(whole))[::-1]), share, its)
        assert set(turned.keys) == keys[share]
    assert len(keys[0.01]) == 4  # At least one of each.
    assert keys[0.01] < keys[0.1] < keys[0.5]
    assert subsets.part(whole, 1.0, its) is whole


@pytest.mark.parametrize("share", [0.0, -0.1, 1.5])
def test_shares_that_are_none_are_refused(bench: Bench, share: float) -> None:
    """By the option's name."""
    with pytest.raises(SetupError, match="--fraction is"):
        subsets.part(bench.splits["train"], share, bench.task)
    some = dataclasses.replace(bench, fraction=share)
    with pytest.raises(SetupError, match="--fraction is"):
        published.drawn_from(some, "replacement")


def test_a_class_of_one_sample_keeps_it(bench: Bench) -> None:
    """There is nothing to leave out."""
    whole = bench.splits["train"]
    first = np.flatnonzero(whole.extras["label"] == 0)[:1]
    few = whole.subset(np.concatenate([first, np.flatnonzero(whole.extras["label"] == 1)]))
    labels = subsets.part(few, 0.1, bench.task).extras["label"].tolist()
    assert labels.count(0) == 1


def test_draws_are_those_of_the_published_code() -> None:
    """A tenth of BigEarthNet has 29,721 different samples, as was counted with their code."""
    rows = subsets.drawn(311_667, 0.1)
    assert len(rows) == 31_166
    assert len(np.unique(rows)) == pytest.approx(29_721, abs=100)
    theirs = np.random.default_rng(42).choice(range(1000), int(0.1 * 1000))
    assert np.array_equal(subsets.drawn(1000, 0.1), theirs)
    kept = subsets.kept(1000, 0.1)
    assert len(set(kept.tolist())) == 100


@pytest.mark.parametrize("draw", ["replacement", "split"])
def test_published_shares_are_drawn_by_the_protocol(bench: Bench, draw: str) -> None:
    """And what is drawn twice is there twice."""
    some = dataclasses.replace(bench, fraction=0.5)
    train, told = published.drawn_from(some, draw)
    count = len(bench.splits["train"]) // 2
    assert len(train) == count
    assert len(told) == 1
    assert (len(set(train.keys)) < count) == (draw == "replacement")
    drawn = dataclasses.replace(some, splits={**bench.splits, "train": train})
    images, _, _ = next(drawn.batches("train", fit.view(Plan(size=16)), 8, epoch=0))
    assert images[0].shape == (8, 3, 16, 16)


def test_a_published_run_from_end_to_end(bench: Bench) -> None:
    """SeCo's on EuroSAT: the scores are those of whole batches, and oddities are said."""
    options = published.Options(method="seco", epochs=5, batch=8, image_size=16)
    plan = published.changed(published.find("eurosat_rgb", "seco", "linear", False).plan, options)
    assert (plan.optimiser, plan.rate, plan.milestones) == ("adam", 1e-3, (3, 4))
    found = published.run(bench, options)
    assert isinstance(found.test, Scored)
    assert found.test.batch == 32
    assert len(found.test.targets) == 20  # Less than a batch, which is all there is.
    assert "epochs is 5, published 100" in found.told
    assert any("training mode" in sentence for sentence in found.told)
    assert found.examples


def test_what_is_less_than_a_batch_is_left_out(bench: Bench) -> None:
    """Where the programs do so."""
    for drop, count in ((True, 16), (False, 20)):
        plan = Plan(size=16, judge_batch=8, drop_last=drop)
        classifier = Classifier(bench.pretrained, plan, 10)
        scores, targets = fit.score(bench, classifier, plan, "test")
        assert (len(scores), len(targets)) == (count, count)


def test_the_middle_is_that_of_resize_and_center_crop(bench: Bench) -> None:
    """To the pixel."""
    whole = torch.cat([x for (x,), _, _ in bench.shown("test", 32, 8)])
    middle = torch.cat([x for (x,), _, _ in bench.shown("test", 28, 8, resize=32)])
    assert torch.equal(middle, whole[..., 2:30, 2:30])


@pytest.mark.slow
def test_several_labels_are_probed_and_trained(root: Path, tmp_path: Path) -> None:
    """Two labels that colours tell: k-NN, linear and fine-tuning rank them."""
    from ssl4eo_train.evaluate.numbers.figures import figure
    from ssl4eo_train.evaluate.protocols import finetune, knn, linear

    its: Any = task("eurosat_rgb")
    its.kind, its.classes = "labels", ("first", "second")
    backbone = scenes.untrained("test_resnet")
    inner = scenes.bench(root, tmp_path, backbone)
    splits = {name: _two_labels(x) for name, x in inner.splits.items()}
    bench = dataclasses.replace(inner, task=its, splits=splits)
    ways: tuple[tuple[Any, dict[str, Any]], ...] = (
        (knn, {}),
        (linear, {}),
        (finetune, {"epochs": 8, "warmup": 1.0, "rate": 5e-3, "batch": 16}),
    )
    for module, options in ways:
        found = module.run(bench, module.Options(**options)).test
        assert found.scores.shape == (20, 2)
        assert figure("labels", found.scores, found.targets) > 0.95, module.__name__


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_eurosat_is_told_by_colours_and_by_an_untrained_backbone() -> None:
    """Real chips, the published split of the data; of the backbone's, some."""
    from benchmarks import downstream

    data = shared_data("eurosat_rgb")
    if not data.is_dir():
        pytest.skip(f"needs the whole EuroSAT RGB set in {data}")
    assert downstream.colours_of(data) == pytest.approx(0.7217, abs=0.005)
    bench = downstream.bench_of(scenes.untrained("resnet18", 64), data, 0, chips=3000)
    assert downstream.evaluated(bench, ["linear"])["linear"] > 0.6


def _two_labels(dataset: fastload.Dataset) -> fastload.Dataset:
    """The bits of a class's number, ``[N, 1, 2]``."""
    numbers = dataset.extras["label"]
    both = np.stack([numbers & 1, numbers >> 1 & 1], axis=1)[:, None]
    other = dataset.with_recipe(None)
    other.extras = {**dataset.extras, "label": both}
    return other
