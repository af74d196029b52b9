"""MAE: patches, masks, the two networks, the loss, and the whole."""

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import timm
import torch
from torch import Tensor, nn

from ssl4eo_train import distributed
from ssl4eo_train.errors import SetupError
from ssl4eo_train.methods import Progress, Samples, Settings, mae, masks
from ssl4eo_train.methods.mae import MAE, Options, reconstruction, targets
from ssl4eo_train.methods.mae_networks import Decoder, sin_cos
from ssl4eo_train.methods.patches import patchify, unpatchify
from tests.ssl4eo_train.processes import run_two
from tests.ssl4eo_train.transformer import images, samples, settings

pytestmark = pytest.mark.timeout(60)
TINY = Options(decoder_width=32, decoder_depth=2, decoder_heads=4, warmup=0.0)


def built(**more: Any) -> MAE:
    torch.manual_seed(0)
    return mae.build(settings(**{"options": TINY} | more))


@pytest.mark.parametrize("bands", [1, 2, 12, 13])
def test_patches_hold_pixel_by_pixel_all_bands(bands: int) -> None:
    x = torch.rand(2, bands, 6, 8)
    patches = patchify(x, 2)
    assert patches.shape == (2, 12, 4 * bands)
    for row in range(6):
        for column in range(8):
            patch = row // 2 * 4 + column // 2
            place = (row % 2 * 2 + column % 2) * bands
            here = patches[:, patch, place : place + bands]
            assert torch.equal(here, x[:, :, row, column])
    assert torch.equal(unpatchify(patches, 2, columns=4), x)


def test_positions_are_the_slow_loops() -> None:
    rows, columns, width = 3, 5, 16
    found = sin_cos(rows, columns, width)
    assert found.shape == (1, 1 + 15, 16)
    assert (found[0, 0] == 0).all()
    for row in range(rows):
        for column in range(columns):
            expected = []
            for place in (column, row):
                angles = [place / 10000 ** (i / 4) for i in range(4)]
                expected += [math.sin(a) for a in angles] + [math.cos(a) for a in angles]
            here = found[0, 1 + row * columns + column]
            torch.testing.assert_close(here, torch.tensor(expected), atol=1e-5, rtol=0)


@pytest.mark.parametrize(("ratio", "kept", "removed"), [(0.7, 58, 138), (0.75, 49, 147)])
def test_so_many_patches_are_removed(ratio: float, kept: int, removed: int) -> None:
    model = built(image_size=224, bands=1, options=replace(TINY, mask_ratio=ratio))
    seen: list[Tensor] = []
    model.encoder.register_forward_hook(lambda _, args, __: seen.append(args[1]))
    model([images(3, 1, 224)], samples(3))
    assert seen[0].shape == (3, kept)
    assert 196 - kept == removed
    assert all(len(set(row.tolist())) == kept for row in seen[0])


def test_masks_are_permutations_that_only_the_sample_decides() -> None:
    order = masks.shuffles(samples(64), 196)
    assert np.array_equal(np.sort(order, axis=1), np.tile(np.arange(196), (64, 1)))
    some = np.array([5, 0, 33])
    again = masks.shuffles(Samples(0, 0, samples(64).index[some]), 196)
    assert np.array_equal(again, order[some])
    for other in (samples(64, epoch=1), samples(64, seed=1)):
        # Two random permutations of 196 agree in one place on average.
        assert (masks.shuffles(other, 196) == order).sum(axis=1).mean() < 2


def test_every_patch_is_kept_as_often() -> None:
    order = masks.shuffles(samples(4000), 196)
    share = np.bincount(order[:, :58].ravel(), minlength=196) / 4000
    # The standard deviation of such a share is 0.0072.
    assert abs(share - 58 / 196).max() < 5 * 0.0072


def test_encoder_of_all_patches_is_the_backbone() -> None:
    model = built().eval()
    x = images()
    keep = torch.from_numpy(masks.shuffles(samples(), 16))
    encoded = model.encoder(x, keep)
    torch.testing.assert_close(encoded[:, 0], model.backbone(x), atol=1e-5, rtol=1e-5)
    whole = model.encoder.backbone.forward_features(x)
    for n in range(4):
        torch.testing.assert_close(encoded[n, 1:], whole[n, 1:][keep[n]], atol=1e-5, rtol=1e-5)


def test_encoder_sees_nothing_of_removed_patches() -> None:
    model, x = built(), images()
    keep = torch.from_numpy(masks.shuffles(samples(), 16))[:, :5]
    changed = patchify(torch.rand_like(x), 16)
    index = keep[..., None].expand(-1, -1, changed.shape[2])
    changed.scatter_(1, index, patchify(x, 16).gather(1, index))
    changed = unpatchify(changed, 16, columns=4)
    assert not torch.equal(changed, x)
    assert torch.equal(model.encoder(changed, keep), model.encoder(x, keep))


def test_decoder_puts_every_token_at_its_place() -> None:
    """Without blocks the decoder is a formula for each patch."""
    torch.manual_seed(0)
    decoder = Decoder(6, 5, 2, 3, width=8, depth=0, heads=1)
    encoded, rank = torch.randn(1, 3, 6), torch.tensor([[4, 1, 3, 0, 5, 2]])
    painted = decoder(encoded, rank)
    assert painted.shape == (1, 6, 5)
    for patch, place in enumerate(rank[0].tolist()):
        token = decoder.embed(encoded[0, 1 + place]) if place < 2 else decoder.removed[0, 0]
        expected = decoder.predict(decoder.norm(token + decoder.positions[0, 1 + patch]))
        torch.testing.assert_close(painted[0, patch], expected)


def slow(painted: Tensor, x: Tensor, mask: Tensor, patch: int) -> float:
    """The loss of arXiv:2111.06377, section 3, with normalised pixels, in Python numbers."""
    total, count = 0.0, 0
    for n, row in enumerate(mask.tolist()):
        for place, is_removed in enumerate(row):
            if is_removed:
                values = patchify(x, patch)[n, place].double().tolist()
                mean = sum(values) / len(values)
                variance = sum((v - mean) ** 2 for v in values) / (len(values) - 1)
                wanted = [(v - mean) / math.sqrt(variance + 1e-6) for v in values]
                pairs = zip(painted[n, place].tolist(), wanted, strict=True)
                total += sum((p - w) ** 2 for p, w in pairs) / len(values)
                count += 1
    return total / count


@pytest.mark.parametrize("bands", [1, 13])
def test_loss_is_the_slow_loops(bands: int) -> None:
    x = images(2, bands, 8)
    painted = torch.randn(2, 4, 16 * bands)
    mask = torch.tensor([[1.0, 0, 1, 1], [0, 1, 0, 0]])
    loss = reconstruction(painted, targets(x, 4), mask)
    assert loss.item() == pytest.approx(slow(painted, x, mask, 4), rel=1e-5)


def test_loss_is_of_removed_patches_alone() -> None:
    target, mask = torch.randn(2, 4, 7), torch.tensor([[1.0, 0, 1, 1], [0, 1, 0, 0]])
    painted = torch.randn(2, 4, 7)
    loss = reconstruction(painted, target, mask)
    elsewhere = painted + 5 * (1 - mask)[..., None]
    assert torch.equal(reconstruction(elsewhere, target, mask), loss)
    assert not torch.equal(reconstruction(painted + 5 * mask[..., None], target, mask), loss)


def test_painting_nothing_costs_almost_one() -> None:
    x = images(1, 13, 16)
    target = targets(x, 16)
    loss = reconstruction(torch.zeros_like(target), target, torch.ones(1, 1))
    variance = x.double().flatten().var().item()
    assert target.shape == (1, 1, 3328)
    assert loss.item() == pytest.approx(3327 / 3328 * variance / (variance + 1e-6), rel=1e-5)
    assert loss.item() == pytest.approx(0.9997, abs=1e-4)


def test_constant_patches_have_nothing_to_paint() -> None:
    assert torch.equal(targets(torch.full((1, 2, 8, 8), 0.25), 4), torch.zeros(1, 4, 32))
    x = images(1, 2, 8)
    assert torch.equal(targets(x, 4, normalise=False), patchify(x, 4))


def test_loss_is_float32_under_autocast() -> None:
    painted, x = torch.randn(2, 4, 32), images(2, 2, 8)
    mask = torch.tensor([[1.0, 0, 1, 1], [0, 1, 0, 0]])
    exact = reconstruction(painted, targets(x, 4), mask)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        half = reconstruction(painted, targets(x, 4), mask)
        whole, _ = built()([images()], samples())
    assert half.dtype == whole.dtype == torch.float32
    assert torch.equal(half, exact)


def test_forward_paints_what_was_removed() -> None:
    """The parts of the whole fit: what is removed from the encoder is what the loss is of."""
    model, x = built(), images()
    loss, metrics = model([x], samples())
    order = torch.from_numpy(masks.shuffles(samples(), 16))
    rank = order.argsort(dim=1)
    painted = model.decoder(model.encoder(x, order[:, :4]), rank)  # int(16 x 0.3) are kept.
    assert loss.item() == pytest.approx(slow(painted, x, rank >= 4, 16), rel=1e-5)
    assert set(metrics) == {"spread"}
    assert 0 < metrics["spread"] < 1


@pytest.mark.parametrize("bands", [1, 2, 12, 13])
def test_any_band_count(bands: int) -> None:
    model = built(bands=bands)
    loss, _ = model([images(bands=bands)], samples())
    loss.backward()  # type: ignore[no-untyped-call]
    trained = [p for p in model.parameters() if p.requires_grad]
    assert all(p.grad is not None for p in trained)
    assert model.encoder.backbone.patch_embed.proj.weight.shape[1] == bands
    assert model.decoder.predict.out_features == 256 * bands
    assert model.backbone(images(bands=bands)).shape == (4, 64)


def test_backbone_is_timms_and_its_positions_stay() -> None:
    model = built().eval()
    stepped(model, 3)
    again = timm.create_model("test_vit", in_chans=13, img_size=64, num_classes=0).eval()
    again.load_state_dict(model.backbone.state_dict())
    assert torch.equal(again(images()), model.backbone(images()))
    torch.testing.assert_close(again.pos_embed, sin_cos(4, 4, 64))


def stepped(model: MAE, steps: int, count: int = 4) -> list[float]:
    """Train for some steps on this process's share; the losses of the whole steps."""
    wrapped: nn.Module = model
    if distributed.size() > 1:
        wrapped = nn.parallel.DistributedDataParallel(model)
    optimizer = model.optimizer(0.1)
    losses = []
    for step in range(steps):
        progress = Progress(step, 10, 10)
        model.before_step(optimizer, progress)
        index = distributed.mine(torch.arange(count)).numpy()
        x = distributed.mine(images(count, seed=step))
        loss, _ = wrapped([x], Samples(0, step, index))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(distributed.mean(loss.detach()).item())
    return losses


def work() -> dict[str, Any]:
    return {"losses": stepped(built(), 4)}


@pytest.mark.long
@pytest.mark.timeout(180)
def test_two_processes_train_as_one() -> None:
    losses = stepped(built(), 4)
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
        model = built(checkpointing=checkpointing)
        model([images()], samples())[0].backward()  # type: ignore[no-untyped-call]
        gradients.append([p.grad for p in model.parameters() if p.requires_grad])
    torch.testing.assert_close(gradients[0], gradients[1])


def test_optimizer_is_the_published_one() -> None:
    model = built(batch=512)
    optimizer = model.optimizer()
    decays, rest = optimizer.param_groups
    assert isinstance(optimizer, torch.optim.AdamW)
    assert decays["lr"] == rest["lr"] == pytest.approx(3e-4)
    assert decays["betas"] == rest["betas"] == (0.9, 0.95)
    assert (decays["weight_decay"], rest["weight_decay"]) == (0.05, 0)
    held = {id(p) for group in optimizer.param_groups for p in group["params"]}
    assert held == {id(p) for p in model.parameters() if p.requires_grad}
    assert id(model.encoder.backbone.pos_embed) not in held
    assert any(p is model.encoder.backbone.cls_token for p in decays["params"])
    assert all(p.ndim == 1 for p in rest["params"])
    plain = built(batch=512, options=replace(TINY, scale_rate=False)).optimizer()
    assert plain.param_groups[0]["lr"] == pytest.approx(1.5e-4)


def test_rate_warms_up_and_falls_to_zero() -> None:
    model = built(batch=256, options=replace(TINY, warmup=10.0))
    optimizer = model.optimizer()
    steps = (0, 488, 976, 9760, 53680, 97599)
    rates = [model.before_step(optimizer, Progress(step, 976, 100)) for step in steps]
    assert rates[:3] == pytest.approx([0, 0.5e-4 * 488 / 3253.3333, 1.5e-5], rel=1e-4)
    assert rates[3] == pytest.approx(1.5e-4)
    assert rates[4] == pytest.approx(0.75e-4)
    assert 0 < rates[5] < 1e-12
    assert optimizer.param_groups[1]["lr"] == rates[5]


def test_recipe_is_the_published_one() -> None:
    (view,) = mae.recipe().views
    assert view.shape == (224, 224)
    assert (view.scale, view.ratio_law, view.interpolation) == ((0.2, 1.0), "uniform", "bilinear")
    assert (view.hflip, view.vflip, view.d4, view.timestamp) == (0.5, 0, 0, "independent")
    assert (view.jitter, view.gray, view.blur, view.solarize, view.drop) == (0, 0, 0, 0, 0)
    assert mae.recipe(96).views[0].shape == (96, 96)
    published = mae.PUBLISHED
    assert (published.arch, published.batch) == ("vit_small_patch16_224", 256)
    options = Options()
    decoder = (options.decoder_width, options.decoder_depth, options.decoder_heads)
    assert (options.mask_ratio, *decoder, options.normalise) == (0.7, 512, 8, 16, True)


def test_published_networks_have_the_published_sizes() -> None:
    model = mae.build(
        Settings(
            arch="vit_small_patch16_224",
            bands=13,
            image_size=224,
            batch=256,
            seed=0,
            options=Options(),
        )
    )
    vit = model.encoder.backbone
    assert (vit.embed_dim, len(vit.blocks), vit.blocks[0].attn.num_heads) == (384, 12, 6)
    assert (model.kept, model.decoder.predict.in_features) == (58, 512)
    assert model.decoder.predict.out_features == 3328
    assert (len(model.decoder.blocks), model.decoder.blocks[0].attn.num_heads) == (8, 16)
    # Glorot's bound, of a patch as a linear layer.
    bound = math.sqrt(6 / (3328 + 384))
    assert 0.999 * bound < vit.patch_embed.proj.weight.abs().max() <= bound


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"arch": "resnet18"}, "--arch: mae needs a plain vision transformer.*got 'resnet18'"),
        ({"image_size": 40}, "--image-size: expected a multiple of 16.*got 40"),
        ({"image_size": 16}, "mask_ratio is 0.7, expected a share that keeps some of 1 patches"),
    ],
)
def test_settings_that_do_not_fit_are_refused(wrong: dict[str, Any], sentence: str) -> None:
    with pytest.raises(SetupError, match=sentence):
        built(**wrong)


def test_options_that_do_not_fit_are_refused() -> None:
    with pytest.raises(SetupError, match=r"mask_ratio is 1\.0, expected a share in \(0, 1\)"):
        Options(mask_ratio=1.0)
    with pytest.raises(SetupError, match="decoder_width is 30, expected a multiple of 4 and of"):
        Options(decoder_width=30)


def test_learns_to_paint_ramps() -> None:
    """Each image rises in a direction of its own, which any patch tells."""
    torch.manual_seed(0)
    model = built(bands=2, image_size=32, options=replace(TINY, mask_ratio=0.5))
    optimizer = model.optimizer(0.2)  # Scaled by 4 / 256.
    row, column = torch.meshgrid(*[torch.linspace(-1, 1, 32)] * 2, indexing="ij")
    losses = []
    for step in range(60):
        model.before_step(optimizer, Progress(step, 10, 6))
        angle = 2 * math.pi * torch.rand(16, 1, 1)
        ramp = angle.cos() * row + angle.sin() * column
        loss, _ = model([torch.stack([ramp, -ramp], dim=1)], Samples(0, step, np.arange(16)))
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        losses.append(loss.item())
    assert np.mean(losses[:5]) > 0.9
    assert np.mean(losses[-5:]) < 0.3
