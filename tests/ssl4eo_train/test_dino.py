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

from fastload_kernels import draw
from ssl4eo_train import distributed, sync_norm
from ssl4eo_train.errors import SetupError
from ssl4eo_train.methods import Progress, Samples, Settings, dino
from ssl4eo_train.methods.dino import DINO, RESNET, TRANSFORMER, Options, clip, distil
from ssl4eo_train.methods.dino_network import Head
from tests.ssl4eo_train.processes import run_two

pytestmark = pytest.mark.timeout(120)

SAMPLES = Samples(seed=3, epoch=0, index=np.arange(8))
BATCH, BANDS, OUTPUTS = 8, 3, 12
SMALL: dict[str, Any] = {"hidden": 32, "bottleneck": 16, "outputs": 64}
LENGTH = "head.last.parametrizations.weight.original0"
DIRECTION = "head.last.parametrizations.weight.original1"


def net() -> nn.Module:
    """Images ``[N, BANDS, h, w]`` of any size to logits ``[N, OUTPUTS]``, with a batch norm."""
    torch.manual_seed(0)
    whole = nn.Sequential()
    # A bias ahead of a batch norm has no gradient but rounding, which AdamW would blow up.
    trunk = [
        nn.Conv2d(BANDS, 8, 1, bias=False),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
    ]
    whole.add_module("backbone", nn.Sequential(*trunk, nn.Flatten()))
    whole.add_module("head", Head(8, 16, 8, OUTPUTS))
    return whole


def tiny(published: dino.Family = TRANSFORMER, batch: int = 256, **options: Any) -> DINO:
    chosen = Options(**{"outputs": OUTPUTS, "local_views": 3, **options})
    return DINO(net(), net(), published, batch, chosen)


def built(arch: str, image_size: int = 32, bands: int = 13, **options: Any) -> DINO:
    torch.manual_seed(0)
    chosen = Options(**{**SMALL, **options})
    return dino.build(
        Settings(arch=arch, bands=bands, image_size=image_size, batch=4, seed=0, options=chosen)
    )


def views(step: int = 0, count: int = 3) -> list[Tensor]:
    generator = torch.Generator().manual_seed(step)
    sizes = [6, 6, *[3] * count]
    return [torch.randn(BATCH, BANDS, s, s, generator=generator) for s in sizes]


def rows(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def slow(answers: Tensor, target: Tensor, temperature: float) -> tuple[float, int]:
    """Algorithm 1 of arXiv:2104.14294 for several crops, in Python numbers, and its terms."""
    terms = []
    for t, wanted in enumerate(target.tolist()):
        for v, answer in enumerate(answers.tolist()):
            if v == t:
                continue
            total = 0.0
            for p, logits in zip(wanted, answer, strict=True):
                norm = sum(math.exp(x / temperature) for x in logits)
                total -= sum(
                    a * math.log(math.exp(x / temperature) / norm)
                    for a, x in zip(p, logits, strict=True)
                )
            terms.append(total / len(wanted))
    return sum(terms) / len(terms), len(terms)


@pytest.mark.parametrize(("count", "terms"), [(10, 18), (2, 2), (3, 4)])
@pytest.mark.parametrize("temperature", [0.1, 1.0])
def test_loss_is_the_slow_loops(count: int, terms: int, temperature: float) -> None:
    answers = rows(count, 3, 5)
    target = F.softmax(rows(2, 3, 5, seed=1) / 0.3, dim=-1)
    expected, seen = slow(answers, target, temperature)
    assert seen == terms
    assert distil(answers, target, temperature).item() == pytest.approx(expected, rel=1e-5)


def test_uniform_student_pays_the_log_of_the_outputs() -> None:
    answers = torch.full((10, 1, 65536), 0.7)
    target = F.softmax(rows(2, 1, 65536) / 0.04, dim=-1)
    loss = distil(answers, target, 0.1).item()
    assert loss == pytest.approx(math.log(65536), rel=1e-5)
    assert loss == pytest.approx(11.09035, rel=1e-5)


def test_loss_is_float32_under_autocast() -> None:
    answers, target = rows(4, 3, 5), F.softmax(rows(2, 3, 5, seed=1), dim=-1)
    exact = distil(answers, target, 0.1)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = distil(answers, target, 0.1)
    assert loss.dtype == torch.float32
    assert torch.equal(loss, exact)


def test_teacher_is_centred_and_sharpened() -> None:
    model = tiny(teacher_temperature=0.5)
    model.centre.copy_(rows(OUTPUTS))
    uniform = model.target(model.centre.expand(3, -1))
    torch.testing.assert_close(uniform, torch.full((3, OUTPUTS), 1 / OUTPUTS))
    said = rows(3, OUTPUTS, seed=1)
    expected = F.softmax(2 * (said - rows(OUTPUTS)), dim=1)
    torch.testing.assert_close(model.target(said), expected)


def test_loss_is_of_the_centre_before_it_moves() -> None:
    model, batch = tiny(), views()
    model.centre.copy_(0.01 * rows(OUTPUTS))
    before = model.centre.clone()
    with torch.no_grad():
        said = model.teacher(torch.cat(batch[:2]))
        answers = torch.cat([model.student(torch.cat(part)) for part in (batch[:2], batch[2:])])
    target = F.softmax((said - before) / 0.04, dim=1)
    expected, _ = slow(answers.view(5, BATCH, -1), target.view(2, BATCH, -1), 0.1)
    loss, metrics = model(batch, SAMPLES)
    assert loss.item() == pytest.approx(expected, rel=1e-4)
    torch.testing.assert_close(model.centre, 0.9 * before + 0.1 * said.mean(dim=0))
    entropy = -(target * target.clamp(min=1e-30).log()).sum(dim=1).mean()
    assert metrics["entropy"].item() == pytest.approx(entropy.item(), rel=1e-4)
    assert metrics["centre"].item() == pytest.approx(model.centre.norm().item())
    assert 0 < metrics["spread"].item() < 1
    assert all(m.shape == () and not m.requires_grad for m in metrics.values())


def test_centre_after_one_step_is_a_tenth_of_the_mean() -> None:
    model, batch = tiny(), views()
    with torch.no_grad():
        said = model.teacher(torch.cat(batch[:2]))
    model(batch, SAMPLES)
    torch.testing.assert_close(model.centre, 0.1 * said.mean(dim=0))


def test_views_of_one_size_pass_together() -> None:
    """The batch norm sees the large views as one batch and the small ones as another."""
    model, batch = tiny(), views()
    model(batch, SAMPLES)
    conv, norm = model.student.get_submodule("backbone")[:2]
    mean = torch.zeros(8)
    with torch.no_grad():
        for part in (batch[:2], batch[2:]):
            mean = 0.9 * mean + 0.1 * conv(torch.cat(part)).mean(dim=(0, 2, 3))
    assert norm.num_batches_tracked == 2
    torch.testing.assert_close(norm.running_mean, mean)


def test_no_small_views_are_no_matter() -> None:
    model = tiny(local_views=0)
    loss, _ = model(views(count=0), SAMPLES)
    assert 0 < loss.item() < 40


@pytest.mark.parametrize(
    ("step", "momentum"), [(0, 0.996), (24400, None), (48800, 0.998), (97599, 1 - 1.04e-12)]
)
def test_teacher_follows_ever_more_slowly(step: int, momentum: float | None) -> None:
    model = tiny().double()
    for p, q in zip(model.teacher.parameters(), model.student.parameters(), strict=True):
        nn.init.zeros_(p)
        nn.init.ones_(q)
    model.after_step(Progress(step, 976, 100))
    if momentum is None:
        momentum = 1 - 0.004 * 0.5 * (1 + math.cos(math.pi / 4))
    for p in model.teacher.parameters():
        assert p.flatten()[0].item() == pytest.approx(1 - momentum, rel=1e-2, abs=1e-15)
        assert (p == p.flatten()[0]).all()
        assert 0 < p.flatten()[0] < 1


def test_both_networks_start_alike() -> None:
    """Also where the teacher, whose backbone is the learner's, was given weights afterwards."""
    model = tiny()
    with torch.no_grad():
        for p in model.backbone.parameters():
            p.add_(1)
    model.before_step(model.optimizer(), Progress(0, 10, 100))
    for p, q in zip(model.teacher.parameters(), model.student.parameters(), strict=True):
        assert torch.equal(p, q)


@pytest.mark.parametrize(
    ("published", "rate", "decay"),
    [(TRANSFORMER, 1.5e-4, (0.04, 0.4)), (RESNET, 0.03, (1e-4,) * 2)],
)
def test_schedules(published: dino.Family, rate: float, decay: tuple[float, float]) -> None:
    model = tiny(published)
    optimizer = model.optimizer()
    kind = torch.optim.AdamW if published is TRANSFORMER else torch.optim.SGD
    assert type(optimizer) is kind
    rates, decays = [], []
    for step in range(1001):
        rates.append(model.before_step(optimizer, Progress(step, 10, 100)))
        decays.append([group["weight_decay"] for group in optimizer.param_groups])
        assert {group["lr"] for group in optimizer.param_groups} == {rates[-1]}
    assert (rates[0], rates[50], rates[100]) == pytest.approx((0, rate / 2, rate))
    assert rates[550] == pytest.approx((rate + 1e-6) / 2)
    assert rates[1000] == pytest.approx(1e-6)
    first, last = decay
    assert decays[0] == pytest.approx([first, 0])
    assert decays[500] == pytest.approx([(first + last) / 2, 0])
    assert decays[1000] == pytest.approx([last, 0])


def test_rate_is_scaled_to_the_batch() -> None:
    assert [tiny(batch=batch).optimizer().defaults["lr"] for batch in (256, 64, 1024)] == (
        pytest.approx([1.5e-4, 0.375e-4, 6e-4])
    )
    assert tiny(batch=64).optimizer(0.1).defaults["lr"] == pytest.approx(0.025)
    assert tiny(RESNET).optimizer().defaults["momentum"] == 0.9


def test_biases_and_norms_do_not_decay() -> None:
    model = tiny()
    decaying, spared = (group["params"] for group in model.optimizer().param_groups)
    assert all(p.ndim > 1 for p in decaying)
    assert all(p.ndim == 1 for p in spared)
    trained = {id(p) for p in model.student.parameters() if p.requires_grad}
    assert {id(p) for p in (*decaying, *spared)} == trained
    assert all(not p.requires_grad for p in model.teacher.parameters())


def test_last_layer_holds_still_for_an_epoch() -> None:
    model = tiny(weight_decay=(0.5, 0.5))
    optimizer = model.optimizer(0.1)
    held = model.student.get_parameter(DIRECTION)
    before, moved = held.detach().clone(), []
    for step in range(6):
        progress = Progress(step, 3, 100)
        model.before_step(optimizer, progress)
        optimizer.zero_grad()
        model(views(step), SAMPLES)[0].backward()
        assert held.grad is not None
        model.after_backward(progress)
        optimizer.step()
        model.after_step(progress)
        moved.append(not torch.equal(held, before))
    assert moved == [False] * 3 + [True] * 3
    for network in (model.student, model.teacher):
        length = network.get_parameter(LENGTH)
        assert torch.equal(length, torch.ones(OUTPUTS, 1))
    assert not torch.equal(model.student.get_parameter("head.mlp.0.weight"), before)


def test_logits_are_cosines() -> None:
    head = Head(8, 16, 8, OUTPUTS)
    x = rows(5, 8)
    directions = head.last.get_parameter("parametrizations.weight.original1")
    expected = F.normalize(head.mlp(x), dim=1) @ F.normalize(3 * directions, dim=1).T
    torch.testing.assert_close(head(x), expected)


def test_gradients_are_clipped_one_by_one() -> None:
    gradients = [rows(4, 5), 1e-3 * rows(7, seed=1), 100 * rows(3, seed=2), torch.zeros(2)]
    expected = [g * min(1, 3 / (g.norm().item() + 1e-6)) for g in gradients]
    norms = [g.norm().item() for g in gradients]
    assert max(norms) > 3 > norms[1]
    clip(gradients, 3.0)
    for g, e in zip(gradients, expected, strict=True):
        torch.testing.assert_close(g, e)
        assert g.norm() <= 3 * (1 + 1e-6)  # Rounding.


def test_after_backward_clips_the_student() -> None:
    model = tiny(frozen_last=0)
    for p in model.student.parameters():
        p.grad = torch.full_like(p, 100) if p.requires_grad else None
    model.after_backward(Progress(0, 10, 100))
    for p in model.student.parameters():
        assert p.grad is None or p.grad.norm().item() == pytest.approx(3)


def test_only_a_transformer_student_drops_paths() -> None:
    model = built("test_vit")
    drops = {
        name: [m.drop_prob for m in network.modules() if type(m).__name__ == "DropPath"]
        for name, network in model.named_children()
    }
    assert max(drops["student"]) == pytest.approx(0.1)
    assert drops["teacher"] == []
    for p, q in zip(model.teacher.parameters(), model.student.parameters(), strict=True):
        assert torch.equal(p, q)


@pytest.mark.parametrize("bands", [1, 2, 12, 13])
@pytest.mark.parametrize("arch", ["test_vit", "test_resnet"])
def test_any_band_count(arch: str, bands: int) -> None:
    model = built(arch, image_size=64, bands=bands, local_views=2)
    sizes = [view.shape for view in dino.recipe(64, arch, model.options).views]
    assert [shape[0] for shape in sizes] == [
        64,
        64,
        *[{"test_vit": 32, "test_resnet": 27}[arch]] * 2,
    ]
    loss, _ = model([torch.rand(4, bands, *shape) for shape in sizes], SAMPLES)
    assert loss.shape == ()
    assert 0 < loss.item() < math.log(64) + 2 / 0.1  # A cosine is within 1 of another, by twice.
    loss.backward()
    assert all(p.grad is not None for p in model.parameters() if p.requires_grad)


def test_backbone_loads_into_timm() -> None:
    model = built("test_vit")
    fresh = timm.create_model("test_vit", in_chans=13, num_classes=0, img_size=32)
    fresh.load_state_dict(model.backbone.state_dict())
    images = torch.rand(2, 13, 32, 32)
    assert torch.equal(fresh.eval()(images), model.backbone.eval()(images))


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
            options=Options(**SMALL, local_views=0),
            checkpointing=checkpointing,
        )
        model = dino.build(settings)
        torch.manual_seed(1)  # Of the dropped paths.
        model(images, SAMPLES)[0].backward()
        gradients.append([p.grad for p in model.parameters() if p.grad is not None])
    torch.testing.assert_close(gradients[0], gradients[1])


def train(steps: int = 4) -> dict[str, Any]:
    """A few steps on this process's share; losses of the whole steps, and what came of them."""
    model = tiny()
    sync_norm.synchronise(model)
    wrapped: nn.Module = model
    if distributed.size() > 1:
        wrapped = nn.parallel.DistributedDataParallel(model, broadcast_buffers=False)
    optimizer = model.optimizer(0.02)
    losses = []
    for step in range(steps):
        progress = Progress(10 + step, 12, 10)  # The last layer starts to learn on the way.
        model.before_step(optimizer, progress)
        loss, _ = wrapped([distributed.mine(view) for view in views(step)], SAMPLES)
        optimizer.zero_grad()
        loss.backward()
        model.after_backward(progress)
        optimizer.step()
        model.after_step(progress)
        losses.append(distributed.mean(loss.detach()).item())
    return {"losses": losses, "state": model.state_dict()}


@pytest.mark.long
@pytest.mark.timeout(300)
def test_two_processes_train_as_one() -> None:
    alone = train()
    assert alone["state"]["centre"].norm() > 0
    for seen in run_two(train):
        assert seen["losses"] == pytest.approx(alone["losses"], rel=1e-4)
        torch.testing.assert_close(seen["state"], alone["state"], rtol=1e-3, atol=1e-4)


def test_state_is_everything() -> None:
    one, two = tiny(), tiny()
    two.load_state_dict(one.state_dict())
    optimizer = one.optimizer(0.1)
    for step in range(1, 4):
        progress = Progress(step, 1, 100)
        one.before_step(optimizer, progress)
        optimizer.zero_grad()
        one(views(step), SAMPLES)[0].backward()
        optimizer.step()
        one.after_step(progress)
    assert not torch.equal(one(views(9), SAMPLES)[0], two(views(9), SAMPLES)[0])
    two.load_state_dict(one.state_dict())
    assert torch.equal(one(views(9), SAMPLES)[0], two(views(9), SAMPLES)[0])


def toy(kind: Tensor) -> Tensor:
    """Views of samples of kind 0 or 1, which one band tells; the others are noise."""
    signal = 2 * kind[:, None].float() - 1
    pixel = torch.cat([signal, 0.3 * torch.randn(len(kind), BANDS - 1)], dim=1)
    return pixel[..., None, None].expand(-1, -1, 2, 2)


@pytest.mark.parametrize("centred", [True, False])
def test_centre_keeps_the_teacher_from_saying_one_thing(
    centred: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Section 5.3 of the paper: sharpening alone ends in one output for whatever is seen."""
    model = tiny()
    if not centred:
        monkeypatch.setattr(model, "recentre", lambda said: None)
    torch.manual_seed(0)
    optimizer = model.optimizer(0.002)
    for step in range(399):
        progress = Progress(step, 3, 133)
        model.before_step(optimizer, progress)
        kind = torch.randint(2, (32,))
        loss, metrics = model([toy(kind) for _ in range(5)], SAMPLES)
        optimizer.zero_grad()
        loss.backward()
        model.after_backward(progress)
        optimizer.step()
        model.after_step(progress)
    kind = torch.arange(2).repeat(64)
    with torch.no_grad():
        named = (model.teacher(toy(kind)) - model.centre).argmax(dim=1)
    names = [torch.bincount(named[kind == k], minlength=OUTPUTS) for k in (0, 1)]
    if centred:
        assert names[0].argmax() != names[1].argmax()
        assert metrics["entropy"].item() > 1
        assert loss.item() < math.log(OUTPUTS) - 0.01  # The student learned what to say.
    else:
        assert names[0].argmax() == names[1].argmax()
        assert metrics["entropy"].item() < 0.05


@pytest.mark.parametrize(
    ("arch", "split"), [("vit_small_patch16_224", 0.4), ("resnet50", 0.14), ("resnet18", 0.14)]
)
def test_recipe_is_the_published_one(arch: str, split: float) -> None:
    seen = dino.recipe(224, arch).views
    assert [view.shape for view in seen] == [(224, 224)] * 2 + [(96, 96)] * 8
    assert [view.scale for view in seen] == [(split, 1.0)] * 2 + [(0.05, split)] * 8
    assert [view.blur for view in seen] == [1.0, 0.1] + [0.5] * 8
    assert [view.solarize for view in seen] == [0, 0.2] + [0] * 8
    assert [view.timestamp for view in seen] == ["independent"] * 2 + ["same"] * 8
    for view in seen:
        assert (view.ratio_law, view.interpolation) == ("uniform", "bicubic")
        assert (view.jitter, view.brightness, view.contrast) == (0.8, 0.4, 0.4)
        assert (view.gray, view.sigma, view.hflip) == (0.2, (0.1, 2.0), 0.5)
        assert (view.vflip, view.d4, view.drop) == (0, 0, 0)
    assert seen[1].solarize_dark
    assert not dino.recipe(224, arch, Options(solarize_dark=False)).views[1].solarize_dark


def test_recipe_draws_three_seasons() -> None:
    params = draw(dino.recipe(64, "resnet18").views, 0, 0, np.arange(4000), 96, 96, 4)
    first, second, *local = params["timestamp"].T
    assert all(np.array_equal(local[0], t) for t in local)
    for one, other in ((first, second), (first, local[0]), (second, local[0])):
        assert np.mean(one == other) == pytest.approx(1 / 4, abs=0.03)


@pytest.mark.parametrize(
    ("image_size", "arch", "size"),
    [
        (224, "vit_small_patch16_224", 96),
        (64, "vit_tiny_patch16_224", 32),
        (32, "test_vit", 16),
        (224, "vit_small_patch14_dinov2", 98),
        (224, "resnet50", 96),
        (32, "resnet18", 14),
        (1, "resnet18", 1),
    ],
)
def test_small_views_are_whole_patches(image_size: int, arch: str, size: int) -> None:
    assert dino.recipe(image_size, arch).views[2].shape == (size, size)


def test_options_change_the_crops() -> None:
    chosen = Options(local_views=1, split=0.3)
    assert [v.scale for v in dino.recipe(64, "resnet18", chosen).views] == [
        (0.3, 1.0),
        (0.3, 1.0),
        (0.05, 0.3),
    ]


@pytest.mark.parametrize("name", ["dino_vit_small", "dino_resnet50"])
def test_config_is_a_published_run(name: str) -> None:
    said = yaml.safe_load((Path(dino.__file__).parents[1] / "configs" / f"{name}.yaml").read_text())
    arch = {"dino_vit_small": dino.PUBLISHED.arch, "dino_resnet50": "resnet50"}[name]
    wanted = {
        "method": "dino",
        "arch": arch,
        "modality": ["S2L1C"],
        "image_size": dino.PUBLISHED.image_size,
        "batch": dino.PUBLISHED.batch,
        "epochs": dino.PUBLISHED.epochs,
        "precision": "fp16",
    }
    assert {name: said[name] for name in wanted} == wanted


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("momentum", 1.0),
        ("centre_momentum", -0.1),
        ("student_temperature", 0.0),
        ("clip", 0.0),
        ("local_views", -1),
        ("weight_decay", (0.1,)),
    ],
)
def test_impossible_options_are_refused(option: str, value: Any) -> None:
    with pytest.raises(SetupError, match=rf"^{option} is .*, expected "):
        Options(**{option: value})


def test_patches_must_tile_the_view() -> None:
    with pytest.raises(SetupError, match="multiple of 16, the patch of test_vit, got 40"):
        built("test_vit", image_size=40)
