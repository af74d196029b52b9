"""data2vec: masks in blocks, student and teacher, the loss, and the whole."""

import json
import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import timm
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from fastload_kernels.philox import choice, uniform, words
from ssl4eo_train import distributed
from ssl4eo_train.errors import SetupError
from ssl4eo_train.methods import Progress, Samples, data2vec, masks
from ssl4eo_train.methods.data2vec import Data2Vec, Options, backbone_options, regression
from ssl4eo_train.methods.data2vec_networks import average
from tests.ssl4eo_train.processes import run_two
from tests.ssl4eo_train.transformer import images, samples, settings

pytestmark = pytest.mark.timeout(60)
STILL = Options(drop_path=0.0, attention_drop=0.0, warmup=0.0)
"""Without random numbers of torch's."""


def built(**more: Any) -> Data2Vec:
    torch.manual_seed(0)
    return data2vec.build(settings(**{"options": STILL} | more))


def slow_blocks(which: Samples, side: int, most: int, least: float) -> NDArray[np.float32]:
    """The masks of arXiv:2106.08254, algorithm 1, as its code has it, patch by patch."""
    spread = math.log(1 / 0.3)
    out = []
    for index in which.index:
        hidden = np.zeros((side, side), np.float32)
        attempt = failures = 0
        while hidden.sum() < most and failures < 10:
            word = words(which.seed, which.epoch, index, masks.BLOCKS, 4 * attempt, 4)[0]
            u = uniform(word)
            left = most - hidden.sum()
            area = least + (left - least) * u[0]
            ratio = math.exp(spread * (2 * u[1] - 1))
            h, w = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
            attempt, failures = attempt + 1, failures + 1
            if h < side and w < side:
                top, start = choice(word[2], side - h + 1), choice(word[3], side - w + 1)
                block = [(r, c) for r in range(top, top + h) for c in range(start, start + w)]
                new = [place for place in block if not hidden[place]]
                if 0 < len(new) <= left:
                    for place in new:
                        hidden[place] = 1
                    failures = 0
        out.append(hidden.ravel())
    return np.stack(out)


@pytest.mark.parametrize(("side", "most", "least"), [(14, 120, 16.0), (4, 10, 1.3), (2, 2, 0.33)])
def test_masks_are_the_slow_loops(side: int, most: int, least: float) -> None:
    which = Samples(2**40 + 3, 5, np.array([0, 4, 2**31, 99]))
    found = masks.blocks(which, side, side, most, least, aspect=0.3)
    assert np.array_equal(found, slow_blocks(which, side, most, least))


def test_masks_hide_at_most_120_of_196() -> None:
    model = built(image_size=224, bands=1)
    counts = model.mask(samples(2000)).sum(axis=1)
    assert counts.max() == 120
    assert counts.min() > 90
    assert 118 < counts.mean() < 120  # It may fall short, but rarely by much.


def test_masks_are_of_the_sample_alone() -> None:
    model = built(image_size=224, bands=1)
    mask = model.mask(samples(16))
    again = model.mask(Samples(0, 0, samples(16).index[[5, 0]]))
    assert np.array_equal(again, mask[[5, 0]])
    for other in (samples(16, epoch=1), samples(16, seed=1)):
        assert all((a != b).any() for a, b in zip(model.mask(other), mask, strict=True))


@pytest.mark.parametrize(("distance", "expected"), [(1, 0.25), (2, 1.0), (3, 2.0), (-3, 2.0)])
def test_loss_by_distance(distance: float, expected: float) -> None:
    target = torch.randn(2, 3, 5)
    loss = regression(target + distance, target, torch.tensor([[1.0, 0, 1], [0, 1, 0]]))
    assert loss.item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("beta", [0.12, 2.0])
def test_loss_is_the_slow_loops(beta: float) -> None:
    predicted, target = 3 * torch.randn(2, 3, 5), torch.randn(2, 3, 5)
    mask = torch.tensor([[1.0, 0, 1], [0, 1, 0]])
    total = []
    for n, place in ((0, 0), (0, 2), (1, 1)):
        for d in (predicted - target)[n, place].abs().tolist():
            total.append(d * d / (2 * beta) if d < beta else d - beta / 2)
    loss = regression(predicted, target, mask, beta)
    assert loss.item() == pytest.approx(np.mean(total), rel=1e-5)
    # What is not hidden does not count, and nothing hidden is no loss.
    elsewhere = predicted + 5 * (1 - mask)[..., None]
    assert torch.equal(regression(elsewhere, target, mask, beta), loss)
    assert regression(predicted, target, torch.zeros(2, 3), beta) == 0


def test_targets_average_normalised_blocks() -> None:
    outputs = [5 * torch.randn(2, 3, 64) + 2 for _ in range(3)]
    target = average(outputs)
    for n in range(2):
        for place in range(3):
            tokens = [x[n, place].double().numpy() for x in outputs]
            mean = sum((t - t.mean()) / np.sqrt(t.var() + 1e-5) for t in tokens) / 3
            expected = (mean - mean.mean()) / np.sqrt(mean.var() + 1e-5)
            np.testing.assert_allclose(target[n, place].numpy(), expected, atol=1e-5)
    torch.testing.assert_close(target.mean(dim=2), torch.zeros(2, 3), atol=1e-6, rtol=0)
    torch.testing.assert_close(
        target.var(dim=2, unbiased=False), torch.ones(2, 3), atol=1e-3, rtol=0
    )


@pytest.mark.parametrize(("target_blocks", "expected"), [(None, [3, 4, 5]), (2, [4, 5])])
def test_target_is_of_the_last_blocks(target_blocks: int | None, expected: list[int]) -> None:
    model = built(options=replace(STILL, target_blocks=target_blocks))
    seen: list[Tensor] = []
    for block in model.teacher.backbone.blocks:
        block.register_forward_hook(lambda _, __, x: seen.append(x))
    target = model.teacher(images())
    assert len(seen) == 6
    assert torch.equal(target, average([seen[i][:, 1:] for i in expected]))


def test_large_network_has_six_target_blocks_of_24() -> None:
    with torch.device("meta"):  # Shapes only.
        model = built(arch="vit_large_patch16_224", image_size=224)
    assert (len(model.teacher.backbone.blocks), model.teacher.blocks) == (24, 6)


def test_teacher_sees_the_whole_image_and_drops_nothing() -> None:
    model = built(options=Options()).train()
    target = model.teacher(images())
    assert torch.equal(model.teacher(images()), target)
    assert not target.requires_grad
    seen: list[Tensor] = []
    model.teacher.register_forward_hook(lambda _, __, x: seen.append(x))
    first, _ = model([images()], samples(epoch=0))
    second, _ = model([images()], samples(epoch=1))  # Other masks.
    assert all(torch.equal(x, target) for x in seen)
    assert not torch.equal(first, second)


def test_student_sees_nothing_of_hidden_patches() -> None:
    model, x = built(), images()
    mask = torch.from_numpy(model.mask(samples()))
    shown = 1 - mask.reshape(4, 1, 4, 4).repeat_interleave(16, 2).repeat_interleave(16, 3)
    assert torch.equal(model.student(x * shown + 9 * (1 - shown), mask), model.student(x, mask))
    assert not torch.equal(model.student(x * (1 - shown), mask), model.student(x, mask))


def test_student_of_a_whole_image_is_the_backbone() -> None:
    model, x = built(), images()
    with torch.no_grad():
        model.student.backbone.rel_pos_bias.relative_position_bias_table.normal_()
    tokens = model.student.backbone.forward_features(x)[:, 1:]
    predicted = model.student(x, torch.zeros(4, 16))
    torch.testing.assert_close(predicted, model.student.predict(tokens))
    torch.testing.assert_close(model.backbone(x), tokens.mean(dim=1))


def test_forward_puts_the_parts_together() -> None:
    model, x = built(), images()
    loss, metrics = model([x], samples())
    mask = torch.from_numpy(model.mask(samples())).bool()
    predicted, target = model.student(x, mask.float())[mask], model.teacher(x)[mask]
    expected = F.smooth_l1_loss(predicted, target, beta=2.0)
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)
    assert set(metrics) == {"spread", "target_std"}
    tokens = model.teacher(x).flatten(0, 1)
    assert metrics["target_std"].item() == pytest.approx(tokens.std(0, correction=0).mean().item())


def test_precision_of_loss_and_teacher() -> None:
    exact = built().teacher(images())
    for half_teacher in (False, True):
        model, seen = built(options=replace(STILL, half_teacher=half_teacher)), list[Tensor]()
        model.teacher.register_forward_hook(lambda _, __, x, seen=seen: seen.append(x))
        with torch.autocast("cpu", dtype=torch.bfloat16):
            loss, _ = model([images()], samples())
        assert loss.dtype == seen[0].dtype == torch.float32
        assert torch.equal(seen[0], exact) != half_teacher


def test_teacher_follows_after_the_step() -> None:
    model = built()
    before = [p.clone() for p in model.teacher.parameters()]
    with torch.no_grad():
        for p in model.student.parameters():
            p.add_(1)
    model.after_step(Progress(0, 10, 10))
    for now, p in zip(model.teacher.parameters(), before, strict=True):
        torch.testing.assert_close(now, p + 0.0002, atol=1e-6, rtol=0)
    assert model.options.momentum == 0.9998


def test_teacher_starts_as_the_student() -> None:
    """Also where the student was given other weights after it was made."""
    model = built()
    with torch.no_grad():
        for p in model.student.parameters():
            p.add_(1)
    optimizer = model.optimizer()
    model.before_step(optimizer, Progress(1, 10, 10))
    assert not same(model)
    model.before_step(optimizer, Progress(0, 10, 10))
    assert same(model)


def same(model: Data2Vec) -> bool:
    one, two = model.student.backbone.state_dict(), model.teacher.backbone.state_dict()
    assert one.keys() == two.keys()
    return all(torch.equal(one[name], two[name]) for name in one)


def test_gradient_is_clipped_as_one() -> None:
    model = built()
    for size, expected in ((1.0, 3.0), (1e-5, None)):
        for p in model.student.parameters():
            p.grad = torch.full_like(p, size)
        whole = math.sqrt(sum(p.numel() for p in model.student.parameters())) * size
        model.after_backward(Progress(0, 10, 10))
        norms = [p.grad.norm() for p in model.student.parameters() if p.grad is not None]
        assert torch.stack(norms).norm().item() == pytest.approx(expected or whole, rel=1e-4)


def test_optimizer_is_the_published_one() -> None:
    model = built(batch=512)
    optimizer = model.optimizer()
    decays, rest = optimizer.param_groups
    assert isinstance(optimizer, torch.optim.AdamW)
    assert decays["lr"] == rest["lr"] == 1e-3  # Whatever the batch.
    assert (decays["betas"], decays["weight_decay"], rest["weight_decay"]) == (
        (0.9, 0.999),
        0.05,
        0,
    )
    held = {id(p) for group in optimizer.param_groups for p in group["params"]}
    assert held == {id(p) for p in model.student.parameters()}
    spared = {id(p) for p in rest["params"]}
    backbone = model.student.backbone
    assert id(backbone.cls_token) in spared
    assert {id(b.gamma_1) for b in backbone.blocks} <= spared
    assert {id(b.attn.q_bias) for b in backbone.blocks} <= spared
    assert id(backbone.rel_pos_bias.relative_position_bias_table) not in spared
    assert id(model.student.hidden) not in spared
    scaled = built(batch=512, options=replace(STILL, scale_rate=True)).optimizer()
    assert scaled.param_groups[0]["lr"] == pytest.approx(2e-3)


def test_rate_warms_up_and_falls() -> None:
    model = built(options=replace(STILL, warmup=10.0))
    optimizer = model.optimizer()
    steps = (0, 4880, 9760, 53680, 97599)
    rates = [model.before_step(optimizer, Progress(step, 976, 100)) for step in steps]
    assert rates == pytest.approx([0, 5e-4, 1e-3, 5.05e-4, 1e-5], rel=1e-4)


def test_published_network() -> None:
    model = data2vec.build(settings(Options(), arch="vit_small_patch16_224", image_size=224))
    student, teacher = model.student.backbone, model.teacher.backbone
    assert student.rel_pos_bias.relative_position_bias_table.shape == (732, 6)
    assert student.pos_embed is None
    assert len(student.blocks) == 12
    for i, (s, t) in enumerate(zip(student.blocks, teacher.blocks, strict=True)):
        rate = getattr(s.drop_path1, "drop_prob", 0.0)
        assert rate == pytest.approx(0.25 * i / 11)
        assert getattr(t.drop_path1, "drop_prob", 0.0) == t.attn.attn_drop.p == 0
        assert s.attn.attn_drop.p == 0.05
        assert torch.equal(s.gamma_1, torch.full((384,), 1e-4))
        assert s.attn.relative_position_bias_table is None
        # Normal of 0.02, cut off there, and scaled down by depth.
        bound = 0.02 / math.sqrt(2 * (i + 1))
        assert 0.99 * bound < s.mlp.fc2.weight.abs().max() <= bound * 1.0001
    assert 0.0199 < student.patch_embed.proj.weight.abs().max() <= 0.0200001
    assert (model.student.predict.in_features, model.student.predict.out_features) == (384, 384)


@pytest.mark.parametrize(
    ("size", "expected"),
    [("small", (384, 12, 6)), ("base", (768, 12, 12)), ("large", (1024, 24, 16))],
)
def test_sizes_go_by_the_name_of_the_transformer(size: str, expected: tuple[int, ...]) -> None:
    options = backbone_options(settings(STILL, arch=f"vit_{size}_patch16_224", image_size=224))
    assert tuple(options[n] for n in ("embed_dim", "depth", "num_heads")) == expected
    assert (options["patch_size"], options["mlp_ratio"]) == (16, 4)
    assert json.loads(json.dumps(options)) == options


def test_backbone_is_timms() -> None:
    model = built(options=Options())
    stepped(model, 2)
    again = timm.create_model(**backbone_options(settings(STILL))).eval()
    again.load_state_dict(model.backbone.state_dict())
    assert torch.equal(again(images()), model.backbone.eval()(images()))


@pytest.mark.parametrize("bands", [1, 2, 12, 13])
def test_any_band_count(bands: int) -> None:
    model = built(bands=bands)
    loss, _ = model([images(bands=bands)], samples())
    loss.backward()  # type: ignore[no-untyped-call]
    assert all(p.grad is not None for p in model.student.parameters())
    assert all(p.grad is None and not p.requires_grad for p in model.teacher.parameters())
    assert model.student.backbone.patch_embed.proj.weight.shape[1] == bands
    assert model.backbone(images(bands=bands)).shape == (4, 64)


def stepped(model: Data2Vec, steps: int, count: int = 4) -> list[float]:
    """Train for some steps on this process's share; the losses of the whole steps."""
    wrapped: nn.Module = model
    if distributed.size() > 1:
        wrapped = nn.parallel.DistributedDataParallel(model)
    optimizer = model.optimizer(1e-2)
    losses = []
    for step in range(steps):
        progress = Progress(step, 10, 10)
        model.before_step(optimizer, progress)
        index = distributed.mine(torch.arange(count)).numpy()
        x = distributed.mine(images(count, seed=step))
        loss, _ = wrapped([x], Samples(0, step, index))
        optimizer.zero_grad()
        loss.backward()
        model.after_backward(progress)
        optimizer.step()
        model.after_step(progress)
        losses.append(distributed.mean(loss.detach()).item())
    return losses


# Some of these masks fall far short, so that the processes hide unlike numbers of patches.
UNEVEN = replace(STILL, masked=0.9, block=0.5, momentum=0.9)


def work() -> dict[str, Any]:
    return {"losses": stepped(built(options=UNEVEN), 4)}


@pytest.mark.long
@pytest.mark.timeout(180)
def test_two_processes_train_as_one() -> None:
    model = built(options=UNEVEN)
    counts = [model.mask(Samples(0, step, np.arange(4))).sum(axis=1) for step in range(4)]
    assert any(c[::2].sum() != c[1::2].sum() for c in counts)
    losses = stepped(model, 4)
    assert max(losses) - min(losses) > 1e-3
    for seen in run_two(work):
        assert seen["losses"] == pytest.approx(losses, rel=1e-4)


def test_state_continues_the_run() -> None:
    one, two = built(), built()
    stepped(one, 3)
    two.load_state_dict(one.state_dict())
    assert torch.equal(two([images()], samples())[0], one([images()], samples())[0])


def test_checkpointing_changes_no_gradient() -> None:
    gradients = []
    for checkpointing in (False, True):
        model = built(checkpointing=checkpointing, options=Options())
        torch.manual_seed(1)  # What is dropped the first time is dropped the second.
        model([images()], samples())[0].backward()  # type: ignore[no-untyped-call]
        gradients.append([p.grad for p in model.student.parameters()])
    torch.testing.assert_close(gradients[0], gradients[1])


def test_recipe_is_the_published_one() -> None:
    (view,) = data2vec.recipe().views
    assert view.shape == (224, 224)
    assert (view.scale, view.ratio_law, view.interpolation) == ((0.2, 1.0), "uniform", "bilinear")
    assert (view.hflip, view.vflip, view.d4, view.timestamp) == (0.5, 0, 0, "independent")
    assert (view.jitter, view.gray, view.blur, view.solarize, view.drop) == (0, 0, 0, 0, 0)
    published = data2vec.PUBLISHED
    assert (published.arch, published.batch, published.epochs) == (
        "vit_small_patch16_224",
        256,
        100,
    )


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"arch": "resnet18"}, "--arch: data2vec needs a plain vision transformer.*'resnet18'"),
        ({"image_size": 40}, "--image-size: expected a multiple of 16.*got 40"),
        ({"image_size": 16}, "--image-size is 16, expected at least 2 x 2 patches"),
        ({"options": Options(target_blocks=7)}, "target_blocks is 7, expected some of the 6"),
    ],
)
def test_settings_that_do_not_fit_are_refused(wrong: dict[str, Any], sentence: str) -> None:
    with pytest.raises(SetupError, match=sentence):
        built(**wrong)


@pytest.mark.parametrize(
    ("name", "value"),
    [("masked", 0.0), ("block", 1.5), ("momentum", 1.0), ("beta", 0), ("clip", 0)],
)
def test_options_that_do_not_fit_are_refused(name: str, value: float) -> None:
    with pytest.raises(SetupError, match=f"{name} is {value}, expected"):
        Options(**{name: value})


def test_learns_what_surrounds_a_patch() -> None:
    """Each image has one value all over, which any patch tells."""
    model = built(bands=2, image_size=32, options=replace(STILL, momentum=0.99, layer_scale=0.1))
    optimizer = model.optimizer(1e-3)
    generator = torch.Generator().manual_seed(0)
    losses, deviations = [], []
    for step in range(80):
        progress = Progress(step, 10, 8)
        model.before_step(optimizer, progress)
        x = torch.randn(16, 2, 1, 1, generator=generator).expand(-1, -1, 32, 32)
        loss, metrics = model([x], Samples(0, step, np.arange(16)))
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        model.after_backward(progress)
        optimizer.step()
        model.after_step(progress)
        losses.append(loss.item())
        deviations.append(metrics["target_std"].item())
    assert np.mean(losses[-5:]) < 0.1 * np.mean(losses[:5])
    assert np.mean(deviations[-5:]) > 0.5 * np.mean(deviations[:5])  # The teacher did not collapse.
