import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
import torch.nn.functional as F
import yaml
from torch import Tensor, nn

from ssl4eo_train import distributed, sync_norm
from ssl4eo_train.errors import SetupError
from ssl4eo_train.methods import Progress, Samples, Settings, moco_v3
from ssl4eo_train.methods.moco_v3 import MoCoV3, Options, contrast, mlp
from tests.ssl4eo_train.processes import run_two

pytestmark = pytest.mark.timeout(120)

SAMPLES = Samples(seed=3, epoch=0, index=np.arange(8))
BATCH, FEATURES = 8, 6
SMALL: dict[str, Any] = {"hidden": 32, "width": 16}


def tiny(**options: Any) -> MoCoV3:
    torch.manual_seed(0)
    encoder = nn.Sequential()
    encoder.add_module("backbone", nn.Sequential(nn.Flatten(), nn.Linear(FEATURES, 16), nn.ReLU()))
    encoder.add_module("projector", mlp(16, 12, 8))
    return MoCoV3(encoder, mlp(8, 12, 8), Options(**options))


def built(arch: str, image_size: int = 32, bands: int = 13, **options: Any) -> MoCoV3:
    torch.manual_seed(0)
    return moco_v3.build(
        Settings(
            arch=arch,
            bands=bands,
            image_size=image_size,
            batch=4,
            seed=0,
            options=Options(**{**SMALL, **options}),
        )
    )


def views(step: int = 0) -> list[Tensor]:
    generator = torch.Generator().manual_seed(step)
    return [torch.randn(BATCH, FEATURES, 1, 1, generator=generator) for _ in range(2)]


def rows(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def slow(q: Tensor, k: Tensor, temperature: float) -> float:
    """Algorithm 1 of arXiv:2104.02057 in Python numbers."""
    total = 0.0
    for n, row in enumerate(q.tolist()):
        terms = []
        for key in k.tolist():
            dot = sum(x * y for x, y in zip(row, key, strict=True))
            terms.append(math.exp(dot / math.hypot(*row) / math.hypot(*key) / temperature))
        total -= math.log(terms[n] / sum(terms))
    return 2 * temperature * total / len(q)


@pytest.mark.parametrize("temperature", [0.07, 0.2, 1.0])
def test_loss_is_the_slow_loops(temperature: float) -> None:
    q, k = rows(5, 7), rows(5, 7, seed=1)
    loss, accuracy = contrast(q, k, temperature)
    assert loss.item() == pytest.approx(slow(q, k, temperature), rel=1e-5)
    nearest = (F.normalize(q, dim=1) @ F.normalize(k, dim=1).T).argmax(dim=1)
    assert accuracy.item() == pytest.approx(np.mean(nearest.numpy() == np.arange(5)))


def test_equal_similarities_give_log_of_choices() -> None:
    same = rows(1, 8).expand(256, 8)
    total = contrast(same, same, 0.2)[0] + contrast(same, same, 0.2)[0]
    assert total.item() == pytest.approx(2 * 0.4 * math.log(256), abs=1e-5)
    assert total.item() == pytest.approx(4.43614, abs=1e-5)


def test_own_key_and_orthogonal_others() -> None:
    loss, accuracy = contrast(3 * torch.eye(16), torch.eye(16), 0.2)
    assert loss.item() == pytest.approx(0.4 * math.log(1 + 15 * math.exp(-5)), rel=1e-4)
    assert accuracy == 1


def test_loss_is_float32_under_autocast() -> None:
    q, k = rows(5, 16), rows(5, 16, seed=1)
    exact, _ = contrast(q, k, 0.2)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss, _ = contrast(q, k, 0.2)
    assert loss.dtype == torch.float32
    assert torch.equal(loss, exact)


def test_loss_is_the_same_for_swapped_views() -> None:
    first, second = views()
    one, metrics = tiny()([first, second], SAMPLES)
    other, _ = tiny()([second, first], SAMPLES)
    assert one.item() == pytest.approx(other.item(), rel=1e-6)
    assert set(metrics) == {"accuracy", "spread"}
    assert all(m.shape == () and not m.requires_grad for m in metrics.values())


def test_each_view_is_asked_for_the_key_of_the_other() -> None:
    model, (first, second) = tiny(temperature=0.5), views()
    loss, _ = model([first, second], SAMPLES)
    with torch.no_grad():
        q1, q2 = (model.predictor(model.query(x)) for x in (first, second))
        k1, k2 = (model.key(x) for x in (first, second))
    assert loss.item() == pytest.approx(slow(q1, k2, 0.5) + slow(q2, k1, 0.5), rel=1e-5)


@pytest.mark.parametrize(("epoch", "momentum"), [(0.1, 0.99), (50, 0.995), (75.5, None), (100, 1)])
def test_key_encoder_follows_ever_more_slowly(epoch: float, momentum: float | None) -> None:
    model = tiny()
    optimizer = model.optimizer()
    for p, q in zip(model.key.parameters(), model.query.parameters(), strict=True):
        nn.init.zeros_(p)
        nn.init.ones_(q)
    model.before_step(optimizer, Progress(round(10 * epoch), 10, 100))
    if momentum is None:
        momentum = 1 - 0.01 * 0.5 * (1 + math.cos(math.pi * epoch / 100))
    for p in model.key.parameters():
        torch.testing.assert_close(p, torch.full_like(p, 1 - momentum), rtol=0, atol=1e-6)


def test_both_encoders_start_alike() -> None:
    """Also where the query encoder was given weights after it was made."""
    model = tiny()
    with torch.no_grad():
        for p in model.query.parameters():
            p.add_(1)
    model.before_step(model.optimizer(), Progress(0, 10, 100))
    for p, q in zip(model.key.parameters(), model.query.parameters(), strict=True):
        assert torch.equal(p, q)


def test_learning_rate_rises_then_falls() -> None:
    model = tiny()
    optimizer = model.optimizer()
    rates = {e: model.before_step(optimizer, Progress(10 * e, 10, 100)) for e in range(101)}
    assert (rates[0], rates[5], rates[10]) == pytest.approx((0, 0.75e-4, 1.5e-4))
    assert rates[55] == pytest.approx(0.75e-4)
    assert rates[100] == pytest.approx(0, abs=1e-12)
    assert optimizer.param_groups[0]["lr"] == rates[100]
    assert optimizer.param_groups[0]["weight_decay"] == 0.1
    assert optimizer.param_groups[0]["betas"] == (0.9, 0.999)


def test_only_query_and_predictor_learn() -> None:
    model = tiny()
    loss, _ = model(views(), SAMPLES)
    loss.backward()
    trained = [*model.query.parameters(), *model.predictor.parameters()]
    assert all(p.grad is not None for p in trained)
    assert all(p.grad is None and not p.requires_grad for p in model.key.parameters())
    (group,) = model.optimizer().param_groups
    assert {id(p) for p in group["params"]} == {id(p) for p in trained}


@pytest.mark.parametrize("frozen", [True, False])
def test_a_step_leaves_frozen_parts_as_they_were(frozen: bool) -> None:
    model = built("test_vit", frozen_patches=frozen)
    before = {name: x.clone() for name, x in model.backbone.state_dict().items()}
    optimizer = model.optimizer(0.01)
    model.before_step(optimizer, Progress(1, 1, 100))
    loss, _ = model([torch.rand(4, 13, 32, 32) for _ in range(2)], SAMPLES)
    loss.backward()
    optimizer.step()
    same = {name for name, x in model.backbone.state_dict().items() if torch.equal(x, before[name])}
    patches = {"patch_embed.proj.weight", "patch_embed.proj.bias"} if frozen else set()
    assert same == {"pos_embed", *patches}


@pytest.mark.parametrize(("bands", "published"), [(13, False), (13, True), (3, True), (2, False)])
def test_patch_projection_is_drawn_within_its_bound(bands: int, published: bool) -> None:
    model = built(
        "vit_small_patch16_224", image_size=64, bands=bands, published_patch_bound=published
    )
    projection = model.backbone.get_submodule("patch_embed.proj")
    bound = math.sqrt(6 / ((3 if published else bands) * 256 + 384))
    assert 0.999 * bound < projection.weight.abs().max() <= bound
    assert not projection.bias.any()
    if bands == 13:
        assert bound == pytest.approx(0.07217 if published else 0.0402, abs=1e-5)


def test_positions_are_sines_and_cosines_of_row_and_column() -> None:
    positions = built("test_vit", image_size=64).backbone.get_parameter("pos_embed")
    assert not positions.requires_grad
    rows, width = 4, positions.shape[2]
    assert positions.shape[1] == 1 + rows * rows
    assert not positions[0, 0].any()
    for row in range(rows):
        for column in range(rows):
            expected = [
                wave(place * 10000 ** (-i / (width // 4)))
                for place in (row, column)
                for wave in (math.sin, math.cos)
                for i in range(width // 4)
            ]
            seen = positions[0, 1 + row * rows + column].tolist()
            assert seen == pytest.approx(expected, abs=1e-5)


def kinds(network: nn.Module) -> list[str]:
    return [type(layer).__name__ for layer in network.children()]


def test_heads_are_the_published_ones() -> None:
    vit, resnet = built("test_vit"), built("test_resnet")
    hidden = ["Linear", "BatchNorm1d", "ReLU"]
    ends = ["Linear", "BatchNorm1d"]
    assert kinds(vit.query.get_submodule("projector")) == [*hidden, *hidden, *ends]
    assert kinds(vit.predictor) == [*hidden, *ends]
    assert kinds(resnet.query.get_submodule("projector")) == [*hidden, *ends]
    assert kinds(resnet.predictor) == [*hidden, "Linear"]
    for model in (vit, resnet):
        heads = [*model.query.get_submodule("projector").children(), *model.predictor.children()]
        assert all(layer.bias is None for layer in heads if isinstance(layer, nn.Linear))
    last = vit.predictor[-1]
    assert not last.affine
    assert last.num_features == SMALL["width"]


@pytest.mark.parametrize("bands", [1, 2, 12, 13])
@pytest.mark.parametrize("arch", ["test_vit", "test_resnet"])
def test_any_band_count(arch: str, bands: int) -> None:
    model = built(arch, bands=bands)
    loss, _ = model([torch.rand(4, bands, 32, 32) for _ in range(2)], SAMPLES)
    assert loss.shape == ()
    assert 0 < loss.item() < 2 * 0.4 * (math.log(4) + 2 / 0.2)
    loss.backward()
    assert all(p.grad is not None for p in model.parameters() if p.requires_grad)


def test_checkpointing_changes_nothing_but_memory() -> None:
    images = [torch.rand(4, 13, 32, 32) for _ in range(2)]
    gradients = []
    for checkpointing in (False, True):
        torch.manual_seed(0)
        settings = Settings(
            arch="test_vit",
            bands=13,
            image_size=32,
            batch=4,
            seed=0,
            options=Options(**SMALL),
            checkpointing=checkpointing,
        )
        model = moco_v3.build(settings)
        assert model.backbone.grad_checkpointing is checkpointing
        model(images, SAMPLES)[0].backward()
        gradients.append([p.grad for p in model.parameters() if p.grad is not None])
    torch.testing.assert_close(gradients[0], gradients[1])


def test_backbone_loads_into_timm() -> None:
    model = built("test_vit")
    fresh = timm.create_model("test_vit", in_chans=13, num_classes=0, img_size=32)
    fresh.load_state_dict(model.backbone.state_dict())
    images = torch.rand(2, 13, 32, 32)
    assert torch.equal(fresh.eval()(images), model.backbone.eval()(images))


def test_state_is_everything() -> None:
    one, two = tiny(), tiny()
    optimizer = one.optimizer(0.1)
    for step in range(1, 4):
        one.before_step(optimizer, Progress(step, 1, 100))
        optimizer.zero_grad()
        one(views(step), SAMPLES)[0].backward()
        optimizer.step()
    assert not torch.equal(one(views(9), SAMPLES)[0], two(views(9), SAMPLES)[0])
    two.load_state_dict(one.state_dict())
    assert torch.equal(one(views(9), SAMPLES)[0], two(views(9), SAMPLES)[0])


def train() -> dict[str, Any]:
    """A few steps on this process's share; losses of the whole steps, and what came of them."""
    model = tiny()
    sync_norm.synchronise(model)
    wrapped: nn.Module = model
    if distributed.size() > 1:
        wrapped = nn.parallel.DistributedDataParallel(model, broadcast_buffers=False)
    optimizer = model.optimizer(0.02)
    losses = []
    for step in range(4):
        model.before_step(optimizer, Progress(10 + step, 1, 100))
        loss, metrics = wrapped([distributed.mine(view) for view in views(step)], SAMPLES)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(distributed.mean(loss.detach()).item())
    return {
        "losses": losses,
        "accuracy": distributed.mean(metrics["accuracy"]),
        "state": model.state_dict(),
    }


@pytest.mark.long
@pytest.mark.timeout(300)
def test_two_processes_train_as_one() -> None:
    alone = train()
    for seen in run_two(train):
        assert seen["losses"] == pytest.approx(alone["losses"], rel=1e-4)
        assert seen["accuracy"] == alone["accuracy"]
        torch.testing.assert_close(seen["state"], alone["state"], rtol=1e-3, atol=1e-4)


def test_learns_to_tell_toy_samples_apart() -> None:
    """Samples differ in two features and agree in four noisy ones, which the loss must ignore."""
    torch.manual_seed(0)
    model = tiny()
    optimizer = model.optimizer(0.01)
    seen = []
    for step in range(200):
        angle = 2 * math.pi * torch.rand(16)
        signal = torch.stack([angle.cos(), angle.sin()], dim=1)
        pair = [torch.cat([signal, torch.randn(16, 4)], dim=1)[..., None, None] for _ in range(2)]
        model.before_step(optimizer, Progress(step, 2, 100))
        loss, metrics = model(pair, SAMPLES)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        seen.append([loss.item(), metrics["accuracy"].item(), metrics["spread"].item()])
    first, last = np.mean(seen[:20], axis=0), np.mean(seen[-20:], axis=0)
    assert last[0] < first[0] - 0.5
    assert last[1] > 1.5 * first[1]
    assert last[2] > 0.5  # The queries have not collapsed.


def test_recipe_is_the_published_one() -> None:
    first, second = moco_v3.recipe().views
    for view, blur in ((first, 1.0), (second, 0.1)):
        assert view.shape == (224, 224)
        assert (view.scale, view.ratio_law, view.interpolation) == (
            (0.08, 1.0),
            "uniform",
            "bilinear",
        )
        assert (view.jitter, view.brightness, view.contrast) == (0.8, 0.4, 0.4)
        assert (view.gray, view.blur, view.sigma, view.hflip) == (0.2, blur, (0.1, 2.0), 0.5)
        assert (view.solarize, view.vflip, view.d4, view.drop) == (0, 0, 0, 0)
        assert view.timestamp == "independent"
    assert moco_v3.recipe(96).views[1].shape == (96, 96)


def test_config_is_the_published_run() -> None:
    path = Path(moco_v3.__file__).parents[1] / "configs" / "moco_v3_vit_small.yaml"
    said = yaml.safe_load(path.read_text())
    published = moco_v3.PUBLISHED
    wanted = {
        "method": "moco_v3",
        "arch": published.arch,
        "modality": ["S2L1C"],
        "image_size": published.image_size,
        "batch": published.batch,
        "epochs": published.epochs,
        "precision": "fp16",
    }
    assert {name: said[name] for name in wanted} == wanted


@pytest.mark.parametrize(("option", "value"), [("momentum", 1.0), ("temperature", 0.0)])
def test_impossible_options_are_refused(option: str, value: float) -> None:
    with pytest.raises(SetupError, match=rf"{option} is {value}, expected a number"):
        Options(**{option: value})


def test_patches_must_tile_the_view() -> None:
    with pytest.raises(SetupError, match="multiple of 16, the patch of test_vit, got 40"):
        built("test_vit", image_size=40)
