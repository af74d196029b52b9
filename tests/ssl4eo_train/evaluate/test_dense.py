"""Segmentation and change: weights, decoders, losses, training, and what the papers do."""

import dataclasses
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.optim import SGD

from fastload_kernels import View
from ssl4eo_train.errors import SetupError
from ssl4eo_train.evaluate import published_settings
from ssl4eo_train.evaluate.bench import Bench
from ssl4eo_train.evaluate.dense import fit, maps, published
from ssl4eo_train.evaluate.dense.backbone import Stages, Taps, load
from ssl4eo_train.evaluate.dense.difference import Difference, UNetDecoder
from ssl4eo_train.evaluate.dense.network import DenseNetwork, Segmenter
from ssl4eo_train.evaluate.dense.plan import Plan
from ssl4eo_train.evaluate.dense.stated import Divided, Stretched
from ssl4eo_train.evaluate.outcome import Mapped, Outcome
from ssl4eo_train.evaluate.protocols import change, segment
from ssl4eo_train.evaluate.protocols import published as papers
from ssl4eo_train.evaluate.task import Task
from tests.ssl4eo_train.evaluate import scenery

pytestmark = pytest.mark.timeout(300)
SIDE, IGNORED = scenery.SIDE, scenery.IGNORED
SMALL: dict[str, Any] = {"channels": 32, "batch": 4, "dropout": 0.0}
LEARNS = {**SMALL, "train": "all", "epochs": 20, "rate": 5e-3}
BRIEF = {**SMALL, "epochs": 2, "rate": 1e-2}


@pytest.fixture(scope="module")
def regions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return scenery.regions(tmp_path_factory.mktemp("regions"))


@pytest.fixture(scope="module")
def changes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return scenery.changes(tmp_path_factory.mktemp("changes"))


def matrices(outcome: Outcome) -> Tensor:
    assert isinstance(outcome.test, Mapped)
    return outcome.test.confusion


def bench(root: Path, out: Path, its: Task, arch: str = "test_resnet") -> Bench:
    return scenery.bench(root, out, its, scenery.untrained(arch))


# Weights


@pytest.mark.parametrize("arch", ["resnet18", "test_resnet"])
@pytest.mark.parametrize("bands", [3, 12])
def test_the_encoder_is_the_backbone(arch: str, bands: int) -> None:
    """smp's encoder has every tensor of the backbone, and gives its maps."""
    pretrained = scenery.untrained(arch, bands=bands)
    encoder = Stages(pretrained).eval()
    theirs, ours = pretrained.network.state_dict(), encoder.encoder.model.state_dict()
    assert theirs.keys() == ours.keys()
    assert all(torch.equal(theirs[name], ours[name]) for name in theirs)
    images = torch.rand(2, bands, 64, 64)
    network: Any = pretrained.network.eval()
    expected = network.forward_intermediates(images, intermediates_only=True)
    found = encoder(images)
    assert torch.equal(found[0], images)
    assert [f.shape[1] for f in found] == encoder.channels
    for a, b in zip(found[1:], expected, strict=True):
        torch.testing.assert_close(a, b)


def test_the_taps_are_the_stem_and_the_stages() -> None:
    pretrained = scenery.untrained("resnet18")
    network: Any = pretrained.network.eval()
    images = torch.rand(2, 3, 64, 64)
    expected = network.forward_intermediates(images, intermediates_only=True)
    for a, b in zip(Taps(pretrained, "act1").eval()(images), expected, strict=True):
        torch.testing.assert_close(a, b)
    first, *others = Taps(pretrained, "conv1").eval()(images)
    torch.testing.assert_close(first, network.conv1(images))
    for a, b in zip(others, expected[1:], strict=True):
        torch.testing.assert_close(a, b)


def test_weights_that_do_not_fit_are_refused() -> None:
    with pytest.raises(SetupError, match="does not fit its pyramid: bias"):
        load(torch.nn.Conv2d(3, 4, 1), torch.nn.Conv2d(3, 4, 1, bias=False))
    with pytest.raises(SetupError, match="does not fit its pyramid: weight"):
        load(torch.nn.Linear(3, 4), torch.nn.Linear(4, 4))


def test_a_dilated_encoder_keeps_the_weights_and_the_stride_of_8() -> None:
    pretrained = scenery.untrained("resnet18")
    encoder = Stages(pretrained, stride=8).eval()
    ours = encoder.encoder.model.state_dict()
    assert all(torch.equal(v, ours[k]) for k, v in pretrained.network.state_dict().items())
    sides = [f.shape[-1] for f in encoder(torch.rand(1, 3, 64, 64))]
    assert sides == [64, 32, 16, 8, 8, 8]


# Networks


@pytest.mark.parametrize("bands", [1, 3, 12, 13])
@pytest.mark.parametrize(
    ("decoder", "arch"),
    [
        ("upernet", "test_resnet"),
        ("deeplabv3plus", "test_resnet"),
        ("fpn", "test_resnet"),
        ("upernet", "test_vit"),
        ("difference", "test_resnet"),
        ("difference", "test_vit"),
    ],
)
def test_shapes(decoder: Any, arch: str, bands: int) -> None:
    pretrained = scenery.untrained(arch, 64, bands)
    plan = Plan(decoder=decoder, channels=32)
    network: DenseNetwork
    if decoder == "difference":
        network, images, classes = Difference(pretrained, plan), torch.rand(2, 2, bands, 64, 64), 1
    else:
        network, images, classes = Segmenter(pretrained, plan, 5), torch.rand(2, bands, 64, 64), 5
    [scores] = network.eval()(images)
    assert scores.shape == (2, classes, 64, 64)
    said = network.said(scores)
    assert (said.shape, said.dtype) == ((2, 64, 64), torch.int64)


def test_images_of_other_sizes_are_resampled_for_a_transformer() -> None:
    network = Segmenter(scenery.untrained("test_vit", 64), Plan(channels=32), 3).eval()
    assert network(torch.rand(1, 3, 40, 56))[0].shape == (1, 3, 40, 56)


def test_an_auxiliary_head_is_there_in_training_alone() -> None:
    network = Segmenter(scenery.untrained(), Plan(channels=32, auxiliary=0.4), 3)
    network.learn()
    assert [s.shape for s in network(torch.rand(2, 3, 64, 64))] == [(2, 3, 64, 64)] * 2
    assert len(network.eval()(torch.rand(2, 3, 64, 64))) == 1


@pytest.mark.parametrize(
    ("arch", "plan", "message"),
    [
        ("test_vit", {"decoder": "deeplabv3plus"}, "dilates ResNets, got test_vit"),
        ("test_vit", {"size": 96}, "--image-size 96 makes it for others"),
        ("test_resnet", {"decoder": "difference"}, "decoder is difference"),
        ("test_efficientnet", {}, "expected a ResNet or a vision transformer"),
    ],
)
def test_what_does_not_fit_is_refused(arch: str, plan: dict[str, Any], message: str) -> None:
    with pytest.raises(SetupError, match=message):
        Segmenter(scenery.untrained(arch), Plan(**plan), 3)


def test_decoders_whose_maps_would_not_meet_say_so() -> None:
    network = Segmenter(scenery.untrained(), Plan(decoder="deeplabv3plus", channels=32), 3).eval()
    with pytest.raises(SetupError, match="multiples of 8, got 60 x 64"):
        network(torch.rand(1, 3, 60, 64))


def test_the_unet_decoder_is_its_definition() -> None:
    """Each operation of SeCo's models/segmentation.py, written one after the other."""
    torch.manual_seed(0)
    decoder = UNetDecoder((4, 6, 8), dropout=0.3).double().eval()
    features = [torch.rand(2, c, 32 >> i, 32 >> i).double() for i, c in enumerate((4, 6, 8))]
    x = features[2]
    for i in (1, 0):
        level: Any = decoder.levels[i]
        x = x.repeat_interleave(2, 2).repeat_interleave(2, 3)
        x = F.conv2d(x, level.shrink.weight, level.shrink.bias, padding=1)
        x = F.conv2d(torch.cat([x, features[i]], 1), level.merge.weight, padding=1)
        x = (x / math.sqrt(1 + level.norm.eps)).clamp(min=0)
    x = x.repeat_interleave(2, 2).repeat_interleave(2, 3)
    expected = F.conv2d(x, decoder.out.weight, decoder.out.bias)
    torch.testing.assert_close(decoder(features), expected)


def test_equal_dates_have_no_difference() -> None:
    """So that what is said does not depend on them."""
    network = Difference(scenery.untrained(), Plan(decoder="difference")).eval()
    a, b = torch.rand(2, 1, 3, 64, 64)
    found = [network(torch.stack([x, x], 1))[0] for x in (a, b)]
    torch.testing.assert_close(*found)


# Figures and losses


def test_confusions_are_scikit_learns() -> None:
    from sklearn.metrics import confusion_matrix

    rng = np.random.default_rng(0)
    truth, said = rng.integers(0, 4, (2, 3, 8, 9))
    truth[rng.random(truth.shape) < 0.2] = IGNORED
    found = maps.confusions(torch.tensor(said), torch.tensor(truth), 4, IGNORED)
    for i in range(3):
        known = truth[i] != IGNORED
        expected = confusion_matrix(truth[i][known], said[i][known], labels=range(4))
        np.testing.assert_array_equal(found[i].numpy(), expected)


def test_a_class_that_there_is_not_is_named() -> None:
    with pytest.raises(ValueError, match="has the class 7, expected 0 to 2"):
        maps.confusions(torch.zeros(1, 1, 1).long(), torch.full((1, 1, 1), 7), 3, IGNORED)


@pytest.mark.parametrize("mean_of_all", [False, True])
def test_the_loss_is_of_known_pixels(regions: Path, tmp_path: Path, mean_of_all: bool) -> None:
    its = bench(regions, tmp_path, scenery.Regions())
    plan = Plan(mean_of_all=mean_of_all, auxiliary=0.4)
    torch.manual_seed(1)
    scores, truth = torch.randn(2, 3, 4, 5), torch.randint(0, 3, (2, 4, 5))
    truth[0, :2] = IGNORED
    known = truth != IGNORED
    each = F.cross_entropy(scores.permute(0, 2, 3, 1)[known], truth[known], reduction="sum")
    expected = each / (truth.numel() if mean_of_all else known.sum())
    found = fit.loss_of(its, plan, [scores, scores], truth)
    torch.testing.assert_close(found, 1.4 * expected)
    nothing = fit.loss_of(its, plan, [scores], torch.full_like(truth, IGNORED))
    assert nothing.item() == 0


def test_the_loss_of_change_is_binary(changes: Path, tmp_path: Path) -> None:
    its = bench(changes, tmp_path, scenery.Changes())
    scores, truth = torch.randn(2, 1, 4, 5), torch.randint(0, 2, (2, 4, 5))
    expected = torch.nn.BCEWithLogitsLoss()(scores[:, 0], truth.float())
    torch.testing.assert_close(fit.loss_of(its, Plan(), [scores], truth), expected)


class Pointwise(DenseNetwork):
    """Says of each pixel what its bands are."""

    def forward(self, images: Tensor) -> list[Tensor]:
        return [images]


@pytest.mark.parametrize(("crop", "slide"), [(16, -1), (16, 5), (40, 7), (16, 0), (0, -1)])
def test_windows_over_an_image_agree_with_a_whole_look(crop: int, slide: int) -> None:
    images = torch.rand(2, 3, 40, 25)
    found = maps.scored(Pointwise(Plan()), images, Plan(crop=crop, slide=slide))
    torch.testing.assert_close(found, images)


def test_windows_cover_an_axis() -> None:
    assert maps.starts(10, 4, 3) == [0, 3, 6]
    assert maps.starts(11, 4, 3) == [0, 3, 6, 7]
    assert maps.starts(4, 4, 3) == [0]


# Training


def test_rates() -> None:
    poly = Plan(rate=0.01, least=1e-4)
    assert fit.rate(poly, 0, 10, 100) == pytest.approx(0.01)
    assert fit.rate(poly, 50, 10, 100) == pytest.approx((0.01 - 1e-4) * 0.5**0.9 + 1e-4)
    falling = Plan(rate=1e-3, schedule="exponential", decay=0.95)
    assert fit.rate(falling, 35, 10, 100) == pytest.approx(1e-3 * 0.95**3)
    cosine = Plan(rate=1.0, schedule="cosine", warmup=3)
    assert fit.rate(cosine, 1, 10, 100) == pytest.approx(0.5)
    assert fit.rate(cosine, 50, 10, 100) == pytest.approx(0.5)


def test_views(regions: Path, changes: Path, tmp_path: Path) -> None:
    its = bench(regions, tmp_path, scenery.Regions())
    found = fit.view(its, Plan(crop=16, zoom=(0.5, 2.0)))
    assert found == View(
        size=(16, 16), scale=(8**2 / SIDE**2, 1.0), ratio=(1, 1), hflip=0.5, timestamp=0
    )
    pairs = bench(changes, tmp_path, scenery.Changes())
    assert fit.view(pairs, Plan(turns=True)) == View(size=(32, 32), d4=1.0, timestamp="all")
    with pytest.raises(SetupError, match="crop is 64, but images are 32 x 32"):
        fit.view(its, Plan(crop=64))


def test_options_are_checked() -> None:
    for wrong in ({"decoder": "psp"}, {"zoom": (2.0, 1.0)}, {"batch": 0}, {"slide": -2}):
        with pytest.raises(SetupError, match=f"{next(iter(wrong))} is"):
            Plan(**wrong)  # type: ignore[arg-type]


def test_a_backbones_rate_is_a_share(regions: Path, tmp_path: Path) -> None:
    its = bench(regions, tmp_path, scenery.Regions())
    plan = Plan(train="all", channels=32, backbone_rate=0.1, optimiser="sgd")
    network = fit.made(its, plan)
    optimizer = fit.optimiser(network, plan)
    assert isinstance(optimizer, SGD)
    counts = {group["share"]: len(group["params"]) for group in optimizer.param_groups}
    inside = len(list(network.backbone.parameters()))
    assert counts == {0.1: inside, 1.0: len(list(network.parameters())) - inside}


def state(module: torch.nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in module.state_dict().items()}


@pytest.mark.parametrize(
    ("train", "mode", "weights_move", "norms_move"),
    [("head", "auto", False, False), ("head", "train", False, True), ("all", "auto", True, True)],
)
def test_what_moves(
    changes: Path, tmp_path: Path, train: Any, mode: Any, weights_move: bool, norms_move: bool
) -> None:
    its = bench(changes, tmp_path, scenery.Changes())
    before = state(its.pretrained.network)
    plan = Plan(**BRIEF, decoder="difference", train=train, backbone_mode=mode, judge=False)
    network = fit.fit(its, plan).network
    after: Any = network.backbone.network.state_dict()
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    weights = {name for name, _ in its.pretrained.network.named_parameters()}
    assert bool(moved & weights) == weights_move
    assert bool(moved - weights) == norms_move
    now = its.pretrained.network.state_dict()
    assert all(torch.equal(before[name], now[name]) for name in before)


def test_runs_are_alike_and_do_not_look_at_the_test_split(
    regions: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another seed is another run; other images to test change nothing that was chosen."""
    its = bench(regions, tmp_path, scenery.Regions())
    options = segment.Options(**{**BRIEF, "dropout": 0.1})
    first, again = (segment.run(its, options) for _ in range(2))
    assert first.history == again.history
    assert torch.equal(matrices(first), matrices(again))
    other = segment.run(dataclasses.replace(its, seed=1), options)
    assert other.history != first.history
    looked = list[str]()
    batches = Bench.batches

    def watched(self: Bench, split: Any, *args: Any, **more: Any) -> Any:
        looked.append(split)
        return batches(self, split, *args, **more)

    monkeypatch.setattr(Bench, "batches", watched)
    fit.fit(its, options)
    assert set(looked) == {"train", "val"}


def test_the_best_epoch_on_validation_counts(regions: Path, tmp_path: Path) -> None:
    its = bench(regions, tmp_path, scenery.Regions())
    fitted = fit.fit(its, Plan(**{**BRIEF, "epochs": 4}))
    figures = [row["val_miou"] for row in fitted.history]
    assert fitted.figure == max(figures)
    assert fitted.epoch == figures.index(max(figures)) + 1
    again = maps.figure("segment", maps.judged(its, fitted.network, "val", Plan(**BRIEF))[0])
    assert again == fitted.figure


def test_steps_end_in_the_middle_of_an_epoch(regions: Path, tmp_path: Path) -> None:
    its = bench(regions, tmp_path, scenery.Regions())
    plan = Plan(**{**BRIEF, "steps": 4, "judge": False})  # of 3 an epoch
    fitted = fit.fit(its, plan)
    assert (len(fitted.history), fitted.figure) == (2, None)
    assert fitted.history[-1]["rate"] == pytest.approx(fit.rate(plan, 3, 3, 4))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("decoder", "arch"),
    [
        ("upernet", "test_resnet"),
        ("deeplabv3plus", "test_resnet"),
        ("fpn", "test_resnet"),
        ("upernet", "test_vit"),
    ],
)
def test_regions_are_found(regions: Path, tmp_path: Path, decoder: Any, arch: str) -> None:
    its = bench(regions, tmp_path, scenery.Regions(), arch)
    rate = 3e-3 if arch == "test_vit" else 5e-3
    outcome = segment.run(its, segment.Options(**{**LEARNS, "decoder": decoder, "rate": rate}))
    assert maps.figure("segment", matrices(outcome)) > 0.9
    known = SIDE * (SIDE - 1)  # A row is ignored.
    assert matrices(outcome).sum(dim=(1, 2)).tolist() == [known] * scenery.COUNTS["test"]
    assert {example.key for example in outcome.examples} == {f"test{i}" for i in range(6)}
    assert {example.truth.shape for example in outcome.examples} == {(SIDE, SIDE)}  # type: ignore[union-attr]


@pytest.mark.slow
def test_changes_are_found(changes: Path, tmp_path: Path) -> None:
    its = bench(changes, tmp_path, scenery.Changes())
    options = {"train": "all", "epochs": 25, "batch": 4, "rate": 3e-3, "dropout": 0.1}
    outcome = change.run(its, change.Options(**options))
    assert maps.figure("change", matrices(outcome)) > 0.9
    assert all(len(example.images) == 2 for example in outcome.examples)


# The papers


@pytest.mark.parametrize(
    ("task", "methods"),
    [
        ("oscd", ["moco_v2", "seco"]),
        ("dfc2020", ["moco_v2"]),
        ("loveda", ["seco"]),
        ("potsdam", ["seco"]),
        ("vaihingen", ["seco"]),
    ],
)
def test_published_settings_are_read(task: str, methods: list[str]) -> None:
    from ssl4eo_train.evaluate.tasks import kind

    settable = {field.name for field in dataclasses.fields(kind(task).settable)}
    for method in methods:
        found = published.find(task, method)
        assert not found.plan.judge
        assert found.told
        assert set(found.task) <= settable
    with pytest.raises(SetupError, match=f"{task} was published with {methods[0]}.* not with dino"):
        published.find(task, "dino")


def test_oscd_is_as_both_programs_have_it() -> None:
    ssl, seco = (published.find("oscd", method) for method in ("moco_v2", "seco"))
    assert (ssl.plan.stem, seco.plan.stem) == ("act1", "conv1")
    assert (ssl.plan.figures_batch, seco.plan.shuffled_test) == (274, True)
    for found in (ssl, seco):
        p = found.plan
        assert (p.train, p.backbone_mode, p.optimiser, p.rate) == ("head", "train", "adam", 1e-3)
        assert (p.weight_decay, p.decay, p.epochs, p.batch) == (1e-4, 0.95, 100, 32)
        assert found.inputs["stretch"]["B12"] == [109, 4238]


def test_a_published_run(changes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is otherwise than published is said."""
    folder = tmp_path / "published"
    folder.mkdir()
    text = (published_settings.FOLDER / "oscd.yaml").read_text()
    text += "\n  made: {inputs: {wanted: reflectance}, plan: {shuffled_test: true}}\n"
    (folder / "oscd.yaml").write_text(text)
    monkeypatch.setattr(published_settings, "FOLDER", folder)
    its = dataclasses.replace(bench(changes, tmp_path, scenery.Changes()), name="oscd")
    outcome = papers.run(its, papers.Options(method="made", epochs=1, batch=4))
    assert matrices(outcome).shape == (6, 2, 2)
    assert outcome.settings["backbone_mode"] == "train"
    assert "epochs is 1, published 100" in outcome.told
    assert "batch is 4, published 32" in outcome.told
    assert any("is always on" in text for text in published.find("oscd", "moco_v2").told)
    with pytest.raises(SetupError, match="mode is finetune"):
        papers.run(its, papers.Options(method="made", mode="finetune"))


def test_radiometry_that_a_paper_states() -> None:
    from fastload.datasets.rasters.raster_dataset import UNKNOWN

    bands = {"S2L1C": ("B04", "B8A")}
    limits = {"B04": (426, 3698), "B8A": (310, 4435)}
    found = Stretched(bands, (0, 1), "reflectance", limits).radiometry("S2L1C", UNKNOWN)
    assert (found.low, found.high) == ((426, 310), (3698, 4435))
    with pytest.raises(SetupError, match="no published limits of B8A of S2L1C"):
        Stretched(bands, (0, 1), "reflectance", {"B04": (426, 3698)}).radiometry("S2L1C", UNKNOWN)
    scaling = Divided(bands, (0, 1), "reflectance", 10000.0).radiometry("S2L1C", UNKNOWN)
    assert scaling.scaling("S2L1C", 2, UNKNOWN).scale.tolist() == pytest.approx([1e-4] * 2)
    assert not np.isfinite(scaling.scaling("S2L1C", 2, UNKNOWN).high).any()
