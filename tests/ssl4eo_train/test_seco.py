import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
import yaml
from torch import Tensor, nn

from fastload_kernels import View, draw
from ssl4eo_train import distributed
from ssl4eo_train.errors import SetupError
from ssl4eo_train.methods import Progress, Samples, Settings, seco
from ssl4eo_train.methods.moco_v2 import MoCo
from ssl4eo_train.methods.seco import Options, SeCo
from tests.ssl4eo_train.processes import run_two

pytestmark = pytest.mark.timeout(120)

SAMPLES = Samples(seed=3, epoch=0, index=np.arange(4))
FEATURES, WIDTH, BATCH, QUEUE, SPACES = 6, 8, 4, 12, 3


class Net(nn.Module):
    """Images ``[N, FEATURES, 1, 1]`` to unit rows ``[SPACES, N, WIDTH]``."""

    def __init__(self) -> None:
        super().__init__()
        self.trunk = nn.Sequential(nn.Flatten(), nn.Linear(FEATURES, 16), nn.ReLU())
        self.heads = nn.ModuleList(nn.Linear(16, WIDTH) for _ in range(SPACES))

    def forward(self, x: Tensor) -> Tensor:
        v = self.trunk(x)
        return F.normalize(torch.stack([head(v) for head in self.heads]), dim=-1)


def tiny(batch: int = BATCH, **options: Any) -> SeCo:
    torch.manual_seed(0)
    chosen = Options(**{"queue": QUEUE, "momentum": 0.9, **options})
    return SeCo(Net(), spaces=SPACES, batch=batch, options=chosen, width=WIDTH, seed=3)


def views(step: int = 0) -> list[Tensor]:
    generator = torch.Generator().manual_seed(step)
    return [torch.randn(BATCH, FEATURES, 1, 1, generator=generator) for _ in range(1 + SPACES)]


def slow(model: SeCo, batch: list[Tensor]) -> list[float]:
    """The published sum, space by space, in Python numbers."""
    with torch.no_grad():
        q = model.query(batch[0]).double()
        z = [model.key(images).double() for images in batch[1:]]
    losses = []
    for i, queue in enumerate(model.queue.double()):
        total = 0.0
        for n in range(BATCH):
            negatives = [queue[:, c] for c in range(queue.shape[1])]
            if i > 0:
                negatives += [row for j in range(len(z)) if j != i for row in z[j][i]]
            terms = [
                math.exp(float(q[i, n] @ k) / model.temperature) for k in (z[i][i, n], *negatives)
            ]
            total -= math.log(terms[0] / sum(terms))
        losses.append(total / BATCH)
    return losses


@pytest.mark.parametrize("temperature", [0.07, 0.5])
def test_loss_is_the_slow_loops(temperature: float) -> None:
    model = tiny(temperature=temperature)
    expected = slow(model, views())
    loss, metrics = model(views(), SAMPLES)
    assert [metrics[f"loss_{i}"].item() for i in range(SPACES)] == pytest.approx(expected, rel=1e-5)
    assert loss.item() == pytest.approx(sum(expected), rel=1e-5)


class Constant(nn.Module):
    """The same unit row for every image and space."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))

    def forward(self, x: Tensor) -> Tensor:
        row = F.one_hot(torch.tensor(0), WIDTH).float()
        return (self.weight * row).expand(SPACES, len(x), WIDTH)


def test_equal_similarities_give_log_of_choices() -> None:
    """N = 256 and K = 16384: 16385 choices in space 0, and 2 x 256 more in the others."""
    model = SeCo(Constant(), spaces=SPACES, batch=256, width=WIDTH)
    model.queue.zero_()
    model.queue[:, 0] = 1
    images = torch.zeros(256, 1, 1, 1)
    loss, metrics = model([images] * 4, SAMPLES)
    expected = [9.70412, 9.73489, 9.73489]
    assert [metrics[f"loss_{i}"].item() for i in range(3)] == pytest.approx(expected, abs=1e-4)
    assert loss.item() == pytest.approx(29.1739, abs=2e-4)
    assert metrics["spread"] == 0


class First(nn.Module):
    """Embeddings of the first space, not yet normalised."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor) -> Tensor:
        return 3 * self.net(x)[0]


def test_one_space_is_moco_v2() -> None:
    one = tiny()
    two = MoCo(
        First(Net()), queue=QUEUE, batch=BATCH, width=WIDTH, temperature=0.07, momentum=0.9, seed=3
    )
    two.query.net.load_state_dict(one.query.state_dict())  # type: ignore[union-attr]
    two.queue = one.queue[0].clone()
    optimizers = [model.optimizer(0.0) for model in (one, two)]
    for step in range(4):
        batch, progress = views(step), Progress(step, 1, 10)
        for model, optimizer in zip((one, two), optimizers, strict=True):
            model.before_step(optimizer, progress)
        if step == 0:
            two.key.load_state_dict(two.query.state_dict())
        _, seen = one(batch, SAMPLES)
        expected, metrics = two(batch[:2], SAMPLES)
        assert seen["loss_0"].item() == pytest.approx(expected.item(), rel=1e-5)
        assert seen["accuracy_0"] == metrics["accuracy"]
    torch.testing.assert_close(one.queue[0], two.queue)


def test_negatives_of_each_space() -> None:
    """K in space 0, K + 2 N in the others, and the own location's other keys among these."""
    model, batch = tiny(), views()
    with torch.no_grad():
        keys = [model.key(images) for images in batch[1:]]
    widths = [model._negatives(model.queue[i], keys, i).shape for i in range(SPACES)]
    assert widths == [(WIDTH, QUEUE), (WIDTH, QUEUE + 2 * BATCH), (WIDTH, QUEUE + 2 * BATCH)]
    negatives = model._negatives(model.queue[1], keys, 1)[:, QUEUE:].T
    assert torch.equal(negatives, torch.cat([keys[0][1], keys[2][1]]))


def test_space_0_does_not_see_the_other_keys() -> None:
    seen = []
    for other in (1, 2):
        batch = views()
        batch[2:] = views(other)[2:]
        _, metrics = tiny()(batch, SAMPLES)
        seen.append([metrics[f"loss_{i}"].item() for i in range(SPACES)])
    assert seen[0][0] == seen[1][0]
    assert seen[0][1] != seen[1][1]
    assert seen[0][2] != seen[1][2]


def test_queues_and_pointer_advance_together() -> None:
    model = tiny()
    for step in range(4):
        assert model.pointer == step * BATCH % QUEUE
        before, batch = model.queue.clone(), views(step)
        with torch.no_grad():
            keys = [model.key(images) for images in batch[1:]]
        model(batch, SAMPLES)
        at = step * BATCH % QUEUE
        for i in range(SPACES):
            assert torch.equal(model.queue[i, :, at : at + BATCH].T, keys[i][i])
            before[i, :, at : at + BATCH] = keys[i][i].T
        assert torch.equal(model.queue, before)
        norms = model.queue.norm(dim=1)
        torch.testing.assert_close(norms, torch.ones_like(norms))
    with pytest.raises(ValueError, match="take 4 keys a step, got 3"):
        model.enqueue(torch.zeros(SPACES, 3, WIDTH))


def test_queue_must_be_a_multiple_of_the_step() -> None:
    with pytest.raises(SetupError, match="queue is 10, expected a multiple of the 4 samples"):
        tiny(queue=10)


def test_only_the_query_encoder_learns() -> None:
    model = tiny()
    loss, _ = model(views(), SAMPLES)
    loss.backward()
    assert all(p.grad is not None and p.grad.any() for p in model.query.parameters())
    assert all(p.grad is None and not p.requires_grad for p in model.key.parameters())
    groups = model.optimizer(None).param_groups
    assert {id(p) for g in groups for p in g["params"]} == {id(p) for p in model.query.parameters()}
    assert [(g["lr"], g["momentum"], g["weight_decay"]) for g in groups] == [(0.03, 0.9, 1e-4)]


def test_schedule_is_steps_in_whole_epochs_and_the_key_follows() -> None:
    model = tiny()
    optimizer = model.optimizer(None)
    rates = {}
    for step in (0, 1199, 1200, 1599, 1600, 1999):
        rates[step] = model.before_step(optimizer, Progress(step, 10, 200))
        assert optimizer.param_groups[0]["lr"] == rates[step]
    expected = {0: 0.03, 1199: 0.03, 1200: 3e-3, 1599: 3e-3, 1600: 3e-4, 1999: 3e-4}
    assert rates == pytest.approx(expected)
    with torch.no_grad():
        for p in model.query.parameters():
            p.fill_(1)
        for p in model.key.parameters():
            p.zero_()
    for _ in range(3):
        model.before_step(optimizer, Progress(1, 10, 200))
    for p in model.key.parameters():
        torch.testing.assert_close(p, torch.full_like(p, 1 - 0.9**3))
    model.before_step(optimizer, Progress(0, 10, 200))
    assert all((p == 1).all() for p in model.key.parameters())


def test_state_carries_queues_and_pointer() -> None:
    one, two = tiny(), tiny()
    for step in range(2):
        one(views(step), SAMPLES)
    two.load_state_dict(one.state_dict())
    assert two.pointer == one.pointer == 2 * BATCH
    assert torch.equal(one(views(9), SAMPLES)[0], two(views(9), SAMPLES)[0])


def test_loss_is_float32_under_autocast() -> None:
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss, metrics = tiny()(views(), SAMPLES)
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(tiny()(views(), SAMPLES)[0].item(), rel=0.05)
    assert all(torch.isfinite(x) and not x.requires_grad for x in metrics.values())


def train(local: bool) -> dict[str, Any]:
    """Three steps on this process's share of the batches; the losses are those of the whole."""
    model = tiny(local_negatives=local)
    wrapped: nn.Module = model
    if distributed.size() > 1:
        wrapped = nn.parallel.DistributedDataParallel(model, broadcast_buffers=False)
    optimizer = model.optimizer(0.1)
    losses = []
    for step in range(3):
        model.before_step(optimizer, Progress(step, 1, 10))
        loss, _ = wrapped([distributed.mine(view) for view in views(step)], SAMPLES)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(distributed.mean(loss.detach()).item())
    return {"losses": losses, "queue": model.queue}


def train_both() -> dict[str, Any]:
    return {"step": train(local=False), "local": train(local=True)}


@pytest.mark.long
def test_two_processes_train_as_one() -> None:
    alone = train_both()
    assert alone["step"]["losses"] == alone["local"]["losses"]
    for seen in run_two(train_both):
        assert seen["step"]["losses"] == pytest.approx(alone["step"]["losses"], rel=1e-5)
        torch.testing.assert_close(seen["step"]["queue"], alone["step"]["queue"])
        # Fewer negatives, so an easier task, and another number.
        assert seen["local"]["losses"][0] < alone["local"]["losses"][0] - 0.01


def test_space_2_alone_tells_seasons_apart() -> None:
    """Samples with two features that last, two of the season and two of the augmentation.

    In spaces 0 and 1 a location's key has another season than the query, in space 2 the same one.
    """
    torch.manual_seed(0)
    model = tiny(batch=16, queue=128, temperature=0.2)
    optimizer = model.optimizer(0.1)

    def few(count: int = 16) -> Tensor:
        return torch.randn(count, FEATURES // 3)

    def image(place: Tensor, season: Tensor, augmentation: Tensor) -> Tensor:
        return torch.cat([place, season, augmentation], dim=1)[..., None, None]

    for step in range(400):
        place, t0, t1, t2 = (few() for _ in range(4))
        none = torch.zeros_like(place)
        batch = [
            image(place, t0, none),
            image(place, t1, few()),
            image(place, t2, none),
            image(place, t0, few()),
        ]
        model.before_step(optimizer, Progress(step, 400, 1))
        loss, _ = model(batch, SAMPLES)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        place, none = few(256), torch.zeros(256, FEATURES // 3)
        z = model.query(image(place, few(256), none))
        other_season = (z * model.query(image(place, few(256), none))).sum(dim=2).mean(dim=1)
        other_place = (z * model.query(image(few(256), few(256), none))).sum(dim=2).mean(dim=1)
    assert (other_season[:2] > 0.95).all()
    assert other_season[2] < 0.8
    assert (other_place < 0.6).all()


def test_recipe_is_the_published_one() -> None:
    q, k0, k1, k2 = seco.recipe().views
    assert q == k1
    assert [v.timestamp for v in (q, k0, k1, k2)] == ["distinct"] * 3 + ["as_first"]
    for view in (q, k0, k1, k2):
        assert (view.shape, view.scale, view.ratio_law) == ((224, 224), (0.2, 1.0), "log")
    assert q == View(size=224, scale=(0.2, 1.0), timestamp="distinct")
    for view in (k0, k2):
        assert (view.jitter, view.brightness, view.contrast) == (0.8, 0.4, 0.4)
        assert (view.gray, view.blur, view.sigma, view.hflip) == (0.2, 0.5, (0.1, 2.0), 0.5)
        assert (view.solarize, view.vflip, view.d4, view.drop) == (0, 0, 0, 0)
    assert seco.recipe(96).views[2].shape == (96, 96)
    kinds = {m: seco.recipe().radiometry_of(m).kind for m in ("S2L1C", "S2RGB")}
    assert kinds == {"S2L1C": "reflectance", "S2RGB": "quantile"}


def test_dates_of_the_modes() -> None:
    def dates(**options: Any) -> Any:
        recipe = seco.recipe(8, options=Options(**options))
        return draw(recipe.views, 0, 0, np.arange(4000), 16, 16, 4)["timestamp"].T

    t0, t1, t2, k2 = dates()
    assert (t0 == k2).all()
    assert not ((t0 == t1) | (t1 == t2) | (t0 == t2)).any()
    t0, t1, t2, k2 = dates(with_replacement=True)
    assert (t0 == k2).all()
    for a, b in ((t0, t1), (t1, t2), (t0, t2)):
        assert (a == b).mean() == pytest.approx(1 / 4, abs=0.03)
    one, two = dates(data_mode="moco")
    assert (one == two).all()
    assert {*one} == {0, 1, 2, 3}
    one, two = dates(data_mode="moco_tp")
    assert not (one == two).any()
    one, two = dates(data_mode="moco_tp", with_replacement=True)
    assert (one == two).mean() == pytest.approx(1 / 4, abs=0.03)


def test_key_of_another_season_differs_by_the_crop_alone() -> None:
    """Where all three dates are one, the query and key 1 have nothing drawn but their boxes."""
    views_ = seco.recipe(8, options=Options(with_replacement=True)).views
    params = draw(views_, 0, 0, np.arange(500), 16, 16, 1)
    for v in (0, 2):
        p = params[:, v]
        assert (p["timestamp"] == 0).all()
        assert (p["brightness"] == 1).all()
        assert (p["contrast"] == 1).all()
        for field in ("sigma", "gray", "flip_x", "flip_y", "transpose"):
            assert not p[field].any()
    assert (params[:, 0]["height"] != params[:, 2]["height"]).any()


def test_published_options() -> None:
    options = Options()
    assert (options.data_mode, options.queue, options.momentum) == ("seco", 16384, 0.999)
    assert (options.temperature, options.milestones) == (0.07, (0.6, 0.8))
    published = seco.PUBLISHED
    assert (published.arch, published.image_size) == ("resnet18", 224)
    assert (published.batch, published.epochs) == (256, 200)
    with pytest.raises(
        SetupError, match="data_mode is 'seko', expected one of moco, moco_tp, seco"
    ):
        Options(data_mode="seko")


@pytest.mark.parametrize("bands", [1, 2, 3, 12, 13])
@pytest.mark.parametrize("mode", ["seco", "moco", "moco_tp"])
def test_whole_module_takes_any_band_count(mode: str, bands: int) -> None:
    options = Options(data_mode=mode, queue=16)
    settings = Settings(
        arch="test_resnet", bands=bands, image_size=32, batch=4, seed=0, options=options
    )
    model = seco.build(settings)
    count = len(seco.recipe(32, options=options).views)
    loss, metrics = model([torch.rand(4, bands, 32, 32) for _ in range(count)], SAMPLES)
    loss.backward()  # type: ignore[no-untyped-call]
    spaces = 3 if mode == "seco" else 1
    assert torch.isfinite(loss)
    assert set(metrics) == {"spread", "similarity"} | {
        f"{name}_{i}" for name in ("loss", "accuracy") for i in range(spaces)
    }
    assert model.queue.shape == (spaces, 128, 16)
    assert len(model.query.heads) == spaces  # type: ignore[arg-type]
    assert model.backbone(torch.rand(2, bands, 32, 32)).shape == (2, model.backbone.num_features)


@pytest.mark.parametrize("arch", ["test_resnet", "test_vit"])
def test_checkpointing_changes_no_number(arch: str) -> None:
    found = []
    for checkpointing in (False, True):
        torch.manual_seed(0)
        model = seco.build(
            Settings(
                arch=arch,
                bands=3,
                image_size=32,
                batch=4,
                seed=0,
                options=Options(queue=16),
                checkpointing=checkpointing,
            )
        ).eval()
        images = torch.rand(4, 3, 32, 32, generator=torch.Generator().manual_seed(1))
        loss, _ = model([images, images.flip(3), images + 1, images.flip(2)], SAMPLES)
        loss.backward()  # type: ignore[no-untyped-call]
        found.append((loss.item(), next(model.query.parameters()).grad))
    assert found[0][0] == found[1][0]
    torch.testing.assert_close(found[0][1], found[1][1])


@pytest.mark.parametrize("name", ["seco_resnet18", "seco_resnet50", "seco_moco", "seco_moco_tp"])
def test_configs_are_the_published_runs(name: str) -> None:
    path = Path(seco.__file__).parents[1] / "configs" / f"{name}.yaml"
    config = yaml.safe_load(path.read_text())
    assert config["method"] == "seco"
    assert config["arch"] == ("resnet50" if name.endswith("50") else "resnet18")
    assert (config["batch"], config["epochs"], config["image_size"]) == (256, 200, 224)
    mode = Options(**config.get("options", {})).data_mode
    assert mode == {"seco_moco": "moco", "seco_moco_tp": "moco_tp"}.get(name, "seco")
