"""Batch norm over parts of a batch: against several batch norms, and against several processes."""

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ssl4eo_train import checkpoint, distributed, norms, split_norm
from ssl4eo_train.__main__ import main
from ssl4eo_train.errors import SetupError
from ssl4eo_train.methods import METHODS, Learner, Samples, Settings, moco_v2, seco
from ssl4eo_train.methods.common import follow
from ssl4eo_train.methods.moco_v2 import MoCo
from ssl4eo_train.split_norm import SplitBatchNorm
from tests.ssl4eo_train.processes import run
from tests.ssl4eo_train.runs import losses, words

pytestmark = pytest.mark.timeout(120)
BATCH, PARTS, STEPS = 16, 4, 3


def images(step: int, count: int = BATCH, bands: int = 3, size: int = 5) -> Tensor:
    generator = torch.Generator().manual_seed(step)
    return 3 + 2 * torch.randn(count, bands, size, size, generator=generator, dtype=torch.float64)


def norm(channels: int = 3) -> nn.BatchNorm2d:
    made = nn.BatchNorm2d(channels).double()
    with torch.no_grad():
        made.weight.uniform_(0.5, 2)
        made.bias.uniform_(-1, 1)
    return made


def halved(module: nn.Module, parts: int) -> nn.Module:
    whole = nn.Sequential(copy.deepcopy(module))
    assert split_norm.split(whole, parts) == 1
    return whole


@pytest.mark.parametrize("momentum", [0.1, 0.5, None])
@pytest.mark.parametrize("parts", [2, 4])
def test_each_part_is_normalised_as_by_a_norm_of_its_own(parts: int, momentum: Any) -> None:
    one = norm()
    one.momentum = momentum
    whole = halved(one, parts)
    apart = [copy.deepcopy(one) for _ in range(parts)]
    for step in range(STEPS):
        x = images(step)
        given, wanted = x.clone().requires_grad_(), x.clone().requires_grad_()
        seen = whole(given)
        expected = torch.stack([n(wanted[s::parts]) for s, n in enumerate(apart)], 1).flatten(0, 1)
        torch.testing.assert_close(seen, expected)
        pull = images(step + 50)
        (seen * pull).sum().backward()
        (expected * pull).sum().backward()
        torch.testing.assert_close(given.grad, wanted.grad)
    gradient = sum(n.weight.grad for n in apart if n.weight.grad is not None)
    torch.testing.assert_close(whole[0].weight.grad, gradient)
    for name in ("running_mean", "running_var", "num_batches_tracked"):
        mean = torch.stack([getattr(n, name).double() for n in apart]).mean(dim=0)
        torch.testing.assert_close(getattr(whole[0], name).double(), mean)


def of_the_notebook(x: Tensor, one: nn.BatchNorm2d, parts: int) -> tuple[Tensor, Tensor, Tensor]:
    """What a norm that sees parts as further channels gives, and its statistics afterwards."""
    assert one.running_mean is not None
    assert one.running_var is not None
    N, C, H, W = x.shape
    mean, variance = one.running_mean.repeat(parts), one.running_var.repeat(parts)
    side_by_side = x.reshape(N // parts, C * parts, H, W)
    weight, bias = one.weight.repeat(parts), one.bias.repeat(parts)
    y = F.batch_norm(side_by_side, mean, variance, weight, bias, True, one.momentum or 0, one.eps)
    return y.reshape(N, C, H, W), mean.view(parts, C).mean(0), variance.view(parts, C).mean(0)


def test_as_channels_of_one_norm() -> None:
    one, x = norm(), images(3)
    whole = halved(one, PARTS)
    expected, mean, variance = of_the_notebook(x, one, PARTS)
    torch.testing.assert_close(whole(x), expected)
    torch.testing.assert_close(whole[0].running_mean, mean)
    torch.testing.assert_close(whole[0].running_var, variance)


def test_evaluation_and_one_part_are_as_before() -> None:
    one, x = norm(), images(1)
    assert torch.equal(halved(one, 1)(x), one(x))
    assert torch.equal(halved(one, PARTS).eval()(x), one.eval()(x))
    assert halved(one, PARTS).eval().state_dict().keys() == nn.Sequential(one).state_dict().keys()


def test_vectors_and_the_layout_of_a_gpu() -> None:
    x = images(0)[..., 0, 0]
    flat = halved(nn.BatchNorm1d(3).double(), 2)
    torch.testing.assert_close(flat(x)[0::2].mean(dim=0), torch.zeros(3).double())
    last = images(0).to(memory_format=torch.channels_last)
    whole = halved(norm(), 2)
    assert whole(last).is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(whole(last), whole(images(0)))


def test_norms_that_do_more_are_refused() -> None:
    from timm.layers.norm_act import BatchNormAct2d

    with pytest.raises(TypeError, match="a BatchNormAct2d cannot be split"):
        split_norm.split(nn.Sequential(BatchNormAct2d(3)), 2)
    with pytest.raises(TypeError, match="a BatchNorm2d cannot be split"):
        split_norm.split(nn.Sequential(nn.BatchNorm2d(3, track_running_stats=False)), 2)


def built(splits: int, method: str = "moco_v2", **more: Any) -> Learner:
    made: dict[str, Any] = {"moco_v2": moco_v2.Options, "seco": seco.Options}
    options = made[method](queue=48, splits=splits)
    settings: dict[str, Any] = {"arch": "test_resnet", "batch": BATCH, "seed": 5, **more}
    torch.manual_seed(0)
    return METHODS[method].build(Settings(bands=2, image_size=16, options=options, **settings))


def test_only_parts_that_can_be_are_taken() -> None:
    for splits, why in (
        (3, "a divisor of the 16 samples of a forward pass"),
        (16, "leaves at least 2 in a part"),
        (-4, "parts that 1 processes share evenly"),
    ):
        with pytest.raises(SetupError, match=f"splits is {splits}, expected .*{why}"):
            built(splits)
    with pytest.raises(SetupError, match="splits is 4, expected 0, since test_vit has no batch"):
        built(4, arch="test_vit")
    with pytest.raises(SetupError, match="a divisor of the 2 samples of a forward pass"):
        built(4, accumulate=8)


def small(splits: int, method: str) -> MoCo:
    """A network made by hand, in float64; embeddings, queue and loss are float32 by themselves."""
    torch.manual_seed(0)
    convolution = nn.Conv2d(2, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.AdaptiveAvgPool2d(1)
    network = nn.Sequential(*convolution, nn.Flatten(), nn.Linear(8, 8), nn.BatchNorm1d(8))
    settings = Settings(arch="-", bands=2, image_size=8, batch=BATCH, seed=5, options=None)
    encoder: nn.Module = network if method == "moco_v2" else seco.Encoder(network, 8, 3)
    parts = moco_v2.separate(encoder, splits, settings)
    made: MoCo
    if method == "moco_v2":
        made = MoCo(encoder, queue=48, batch=BATCH, width=8, seed=5, parts=parts)
    else:
        options = seco.Options(queue=48)
        made = seco.SeCo(encoder, spaces=3, batch=BATCH, options=options, seed=5, parts=parts)
    made.query.double()
    made.key.double()
    return made


def train(splits: int, method: str, views: int) -> dict[str, Any]:
    """A few steps on this process's share of each; what they leave."""
    model = small(splits, method)
    wrapped: nn.Module = model
    if distributed.size() > 1:
        wrapped = nn.parallel.DistributedDataParallel(model, broadcast_buffers=False)
    trained = list(model.query.parameters())
    losses = []
    for step in range(STEPS):
        follow(model.key, model.query, 0.5)
        shown = [images(10 * step + v, bands=2, size=8) for v in range(views)]
        index = distributed.mine(torch.arange(BATCH)).numpy()
        loss, _ = wrapped([distributed.mine(x) for x in shown], Samples(0, 0, index))
        loss.backward()
        with torch.no_grad():
            for parameter in trained:
                assert parameter.grad is not None
                parameter -= 0.1 * parameter.grad
                parameter.grad = None
        losses.append(distributed.mean(loss.detach()).item())
    # Each process has running statistics of its own; theirs are compared by the mean.
    kept = [x.double() for x in model.state_dict().values() if isinstance(x, Tensor)]
    mean = torch.cat([distributed.mean(x).flatten() for x in kept])
    return {"losses": losses, "queue": model.queue, "state": mean, "parts": model.parts}


def train_both() -> dict[str, Any]:
    return {"moco_v2": train(PARTS, "moco_v2", 2), "seco": train(PARTS, "seco", 4)}


def train_and_ask_too_much() -> dict[str, Any]:
    """What a process of several does; one part cannot be shared by them."""
    with pytest.raises(SetupError) as error:
        small(1, "moco_v2")
    return {**train_both(), "said": str(error.value)}


@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    "count", [pytest.param(2, marks=pytest.mark.slow), pytest.param(4, marks=pytest.mark.long)]
)
def test_one_process_of_four_parts_is_several_processes(count: int) -> None:
    """So every number of processes that divides the parts trains the same network."""
    alone = train_both()
    for each in run(count, train_and_ask_too_much):
        wanted = f"splits is 1, expected parts that {count} processes share evenly"
        assert each.pop("said").startswith(wanted)
        for method, seen in each.items():
            expected = alone[method]
            assert (seen["parts"], expected["parts"]) == (PARTS // count, PARTS)
            assert seen["losses"] == pytest.approx(expected["losses"], rel=1e-6)
            for name in ("queue", "state"):
                torch.testing.assert_close(seen[name], expected[name], rtol=1e-5, atol=1e-6)


def test_parts_and_the_order_of_keys_make_a_difference() -> None:
    """And only together do they hide which samples share statistics."""
    whole, parted = train(0, "moco_v2", 2), train(PARTS, "moco_v2", 2)
    assert abs(whole["losses"][0] - parted["losses"][0]) > 1e-3
    model = small(PARTS, "moco_v2")
    x = images(0, bands=2, size=8)
    with torch.no_grad():
        keys = F.normalize(model.key(x).float(), dim=1)
        model([x, x], Samples(0, 0, torch.arange(BATCH).numpy()))
    dealt = model.queue[:, :BATCH].T
    assert (dealt - keys).abs().max() > 1e-3


def test_shuffling_is_undone() -> None:
    x = torch.arange(BATCH)[:, None]
    dealt = distributed.shuffle(x, 3, 7, PARTS)
    assert not torch.equal(dealt, x)
    assert sorted(dealt.flatten().tolist()) == list(range(BATCH))
    assert torch.equal(distributed.unshuffle(dealt, 3, 7, PARTS), x)
    assert torch.equal(distributed.shuffle(x, 3, 7), x)
    assert not torch.equal(distributed.shuffle(x, 3, 8, PARTS), dealt)


def test_a_resumed_run_is_exact(tmp_path: Path) -> None:
    whole, parted = tmp_path / "whole", tmp_path / "parted"
    split = ("--set", "queue=8", "splits=2")
    assert main(words(whole, *split, "--steps", "4")) == 0
    assert main(words(parted, *split, "--steps", "2")) == 0
    assert main(["--resume", "--out", str(parted), "--device", "cpu", "--steps", "4"]) == 0
    assert losses(parted) == losses(whole)
    assert main(words(tmp_path / "other", "--steps", "2")) == 0
    assert losses(tmp_path / "other") != losses(whole)[:2]
    states = [checkpoint.load(out)["model"] for out in (whole, parted)]
    tensors = [{n: x for n, x in s.items() if isinstance(x, Tensor)} for s in states]
    assert all(torch.equal(x, tensors[1][name]) for name, x in tensors[0].items())


def test_norms_are_found_wherever_they_are() -> None:
    network = nn.Sequential(nn.Linear(2, 2), nn.Sequential(nn.BatchNorm1d(2), nn.BatchNorm1d(2)))
    parameters = list(network.parameters())
    assert norms.replace(network, lambda n: norms.like(SplitBatchNorm, n)) == 2
    assert all(a is b for a, b in zip(parameters, network.parameters(), strict=True))
