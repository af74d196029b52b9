import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ssl4eo_train.errors import SetupError
from ssl4eo_train.methods import METHODS, Progress, Samples, Settings, moco_v2
from ssl4eo_train.methods.common import follow
from ssl4eo_train.methods.moco_v2 import MoCo, contrast

pytestmark = pytest.mark.timeout(60)
SAMPLES = Samples(0, 0, np.arange(4))


def unit(*shape: int, seed: int = 0, dim: int = 1) -> Tensor:
    return F.normalize(torch.randn(*shape, generator=torch.Generator().manual_seed(seed)), dim=dim)


def tiny(queue: int = 16, batch: int = 4, momentum: float = 0.999, features: int = 6) -> MoCo:
    torch.manual_seed(0)
    encoder = nn.Sequential(nn.Flatten(), nn.Linear(features, 16), nn.ReLU(), nn.Linear(16, 8))
    return MoCo(encoder, queue=queue, batch=batch, width=8, momentum=momentum, seed=3)


def views(step: int, batch: int = 4, features: int = 6) -> list[Tensor]:
    generator = torch.Generator().manual_seed(step)
    return [torch.randn(batch, features, 1, 1, generator=generator) for _ in range(2)]


def dot(a: list[float], b: list[float]) -> float:
    return sum(x * y for x, y in zip(a, b, strict=True))


def slow(q: Tensor, k: Tensor, queue: Tensor, temperature: float) -> float:
    """Equation 1 of arXiv:1911.05722 in Python numbers."""
    total = 0.0
    columns = queue.T.tolist()
    for row, own in zip(q.tolist(), k.tolist(), strict=True):
        terms = [math.exp(dot(row, key) / temperature) for key in [own, *columns]]
        total -= math.log(terms[0] / sum(terms))
    return total / len(q)


@pytest.mark.parametrize("temperature", [0.07, 0.2, 1.0])
def test_loss_is_the_slow_loops(temperature: float) -> None:
    q, k, queue = unit(5, 7), unit(5, 7, seed=1), unit(7, 12, seed=2, dim=0)
    loss, metrics = contrast(q, k, queue, temperature)
    assert loss.item() == pytest.approx(slow(q, k, queue, temperature), rel=1e-6)
    nearest = [(q[n] @ k[n] > (q[n] @ queue).max()).item() for n in range(5)]
    assert metrics["accuracy"].item() == pytest.approx(np.mean(nearest))


@pytest.mark.parametrize(("keys", "expected"), [(65536, 11.09037), (16384, 9.70412)])
@pytest.mark.parametrize("temperature", [0.07, 0.2])
def test_equal_similarities_give_log_of_choices(
    keys: int, expected: float, temperature: float
) -> None:
    q = unit(1, 8).expand(3, 8)
    loss, _ = contrast(q, q, q[:1].T.expand(8, keys), temperature)
    assert loss.item() == pytest.approx(math.log(1 + keys), abs=1e-4)
    assert loss.item() == pytest.approx(expected, abs=1e-4)


def test_own_key_and_an_orthogonal_queue() -> None:
    q = torch.zeros(2, 4)
    q[:, 0] = 1
    queue = torch.zeros(4, 65536)
    queue[1] = 1
    loss, metrics = contrast(q, q, queue, 0.2)
    assert loss.item() == pytest.approx(math.log(1 + 65536 * math.exp(-1 / 0.2)), rel=1e-5)
    assert loss.item() == pytest.approx(6.1, abs=0.02)
    assert metrics["accuracy"] == 1


def test_loss_is_float32_under_autocast() -> None:
    q, k, queue = unit(5, 16), unit(5, 16, seed=1), unit(16, 64, seed=2, dim=0)
    exact, _ = contrast(q, k, queue, 0.2)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss, _ = contrast(q, k, queue, 0.2)
    assert loss.dtype == torch.float32
    assert torch.equal(loss, exact)


def test_pointer_wraps_after_256_writes() -> None:
    model = MoCo(nn.Linear(2, 4), queue=65536, batch=256, width=4)
    seen = []
    for _ in range(257):
        seen.append(model.pointer)
        model.enqueue(unit(256, 4))
    assert seen == [*range(0, 65536, 256), 0]


def test_queue_keeps_the_latest_keys() -> None:
    model = tiny(queue=12, batch=4)
    keys = [unit(4, 8, seed=step) for step in range(5)]
    for k in keys:
        model.enqueue(k)
    assert torch.equal(model.queue.T, torch.cat([keys[3], keys[4], keys[2]]))
    with pytest.raises(ValueError, match="takes 4 keys a step, got 3"):
        model.enqueue(unit(3, 8))


@pytest.mark.parametrize(("queue", "batch"), [(65536, 100), (65536, 96), (16, 32)])
def test_queue_must_be_a_multiple_of_the_step(queue: int, batch: int) -> None:
    with pytest.raises(SetupError, match=rf"queue is {queue}.*multiple of the {batch} samples"):
        MoCo(nn.Linear(2, 4), queue=queue, batch=batch, width=4)


def test_queue_columns_stay_unit() -> None:
    model = tiny()
    for step in range(6):
        norms = model.queue.norm(dim=0)
        torch.testing.assert_close(norms, torch.ones_like(norms))
        model(views(step), SAMPLES)


def test_own_keys_are_no_negatives() -> None:
    model, batch = tiny(), views(0)
    before = model.queue.clone()
    loss, _ = model(batch, SAMPLES)
    with torch.no_grad():
        q, k = (
            F.normalize(e(v), dim=1) for e, v in zip((model.query, model.key), batch, strict=True)
        )
    assert loss.item() == pytest.approx(slow(q, k, before, 0.2), rel=1e-6)
    assert torch.equal(model.queue[:, :4].T, k)
    assert torch.equal(model.queue[:, 4:], before[:, 4:])


@pytest.mark.parametrize("n", [1, 7, 100])
def test_key_encoder_follows_geometrically(n: int) -> None:
    model = tiny(momentum=0.999)
    for p in model.key.parameters():
        p.zero_()
    with torch.no_grad():
        for p in model.query.parameters():
            p.fill_(1)
    for _ in range(n):
        follow(model.key, model.query, model.momentum)
    expected = 1 - 0.999**n
    for p in model.key.parameters():
        torch.testing.assert_close(p, torch.full_like(p, expected), rtol=1e-4, atol=0)


def test_key_encoder_moves_between_the_two_encoders() -> None:
    """The key is made by the key encoder after it moved, and the query's own is not yet stepped."""
    model, batch = tiny(momentum=0.5), views(0)
    with torch.no_grad():
        for p in model.query.parameters():
            p.mul_(2)
    moved = [
        (k + q) / 2 for k, q in zip(model.key.parameters(), model.query.parameters(), strict=True)
    ]
    model.before_step(model.optimizer(), Progress(1, 10, 1))
    model(batch, SAMPLES)
    for p, expected in zip(model.key.parameters(), moved, strict=True):
        torch.testing.assert_close(p, expected)
    with torch.no_grad():
        k = F.normalize(model.key(batch[1]), dim=1)
    assert torch.equal(model.queue[:, :4].T, k)


def test_only_the_query_encoder_learns() -> None:
    model = tiny()
    loss, _ = model(views(0), SAMPLES)
    loss.backward()  # type: ignore[no-untyped-call]
    assert all(p.grad is not None for p in model.query.parameters())
    assert all(p.grad is None and not p.requires_grad for p in model.key.parameters())
    assert not model.queue.requires_grad
    optimizer = model.optimizer()
    stepped = {id(p) for group in optimizer.param_groups for p in group["params"]}
    assert stepped == {id(p) for p in model.query.parameters()}
    assert all(g["weight_decay"] == 1e-4 and g["momentum"] == 0.9 for g in optimizer.param_groups)


def test_batch_norm_statistics_are_not_averaged() -> None:
    torch.manual_seed(0)
    model = MoCo(nn.Sequential(nn.Flatten(), nn.BatchNorm1d(6)), queue=16, batch=4, width=6)
    batch = [views(0)[0], 5 + views(1)[1]]
    model(batch, SAMPLES)
    key_norm = model.key[1]  # type: ignore[index]
    expected = 0.1 * batch[1].flatten(1).mean(dim=0)  # Momentum 0.1 from a running mean of 0.
    torch.testing.assert_close(key_norm.running_mean, expected)


def test_learning_rate_is_a_cosine_in_whole_epochs() -> None:
    model = tiny()
    optimizer = model.optimizer()
    epochs = (0, 0.99, 50, 50.5, 99, 99.9)
    rates = {e: model.before_step(optimizer, Progress(round(100 * e), 100, 100)) for e in epochs}
    assert rates[0] == rates[0.99] == 0.03
    assert rates[50] == rates[50.5] == pytest.approx(0.015)
    assert rates[99] == rates[99.9] == pytest.approx(7.40e-6, rel=1e-3)
    assert optimizer.param_groups[0]["lr"] == rates[99]


def test_state_carries_queue_and_pointer() -> None:
    one, two = tiny(), tiny()
    for step in range(3):
        one(views(step), SAMPLES)
    two.load_state_dict(one.state_dict())
    assert two.pointer == one.pointer == 12
    assert torch.equal(one(views(9), SAMPLES)[0], two(views(9), SAMPLES)[0])


def test_learns_to_tell_toy_samples_apart() -> None:
    """Samples differ in two features and agree in four noisy ones, which the loss must ignore."""
    torch.manual_seed(0)
    model = tiny(queue=64, batch=16, momentum=0.9)
    optimizer = model.optimizer(0.3)
    losses, accuracies = [], []
    for _ in range(150):
        model.before_step(optimizer, Progress(1, 150, 1))
        angle = 2 * math.pi * torch.rand(16)
        signal = torch.stack([angle.cos(), angle.sin()], dim=1)
        pair = [torch.cat([signal, torch.randn(16, 4)], dim=1)[..., None, None] for _ in range(2)]
        loss, metrics = model(pair, SAMPLES)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
        accuracies.append(metrics["accuracy"].item())
    # The first steps are easy: the queue still holds random columns.
    assert np.mean(losses[-20:]) < np.mean(losses[4:24]) - 0.5
    assert np.mean(accuracies[-20:]) > 2 * np.mean(accuracies[4:24])


def test_recipe_is_the_published_one() -> None:
    recipe = moco_v2.recipe()
    assert len(recipe.views) == 2
    assert recipe.views[0] == recipe.views[1]
    view = recipe.views[0]
    assert view.shape == (224, 224)
    assert (view.scale, view.ratio_law, view.interpolation) == ((0.2, 1.0), "uniform", "bilinear")
    assert (view.jitter, view.brightness, view.contrast) == (0.8, 0.4, 0.4)
    assert (view.gray, view.blur, view.sigma, view.hflip) == (0.2, 0.5, (0.1, 2.0), 0.5)
    assert (view.solarize, view.vflip, view.d4, view.drop) == (0, 0, 0, 0)
    assert view.timestamp == "independent"
    kinds = {m: recipe.radiometry_of(m).kind for m in ("S2L1C", "S2L2A", "S2RGB", "S1GRD")}
    assert kinds == {
        "S2L1C": "reflectance",
        "S2L2A": "reflectance",
        "S2RGB": "quantile",
        "S1GRD": "two_sigma",
    }
    assert moco_v2.recipe(image_size=96).views[1].shape == (96, 96)


@pytest.mark.parametrize("bands", [1, 2, 12, 13])
def test_whole_module_takes_any_band_count(bands: int) -> None:
    method = METHODS["moco_v2"]
    options = moco_v2.Options(queue=16)
    settings = Settings(
        arch="test_resnet", bands=bands, image_size=32, batch=4, seed=0, options=options
    )
    model = method.build(settings)
    loss, metrics = model([torch.rand(4, bands, 32, 32) for _ in range(2)], SAMPLES)
    assert loss.shape == ()
    assert torch.isfinite(loss)
    assert set(metrics) == {"accuracy", "similarity", "spread"}
    loss.backward()
    assert model.query.backbone.conv1[0].weight.shape[1] == bands
    assert model.query.projector[-1].out_features == 128
