"""Schedules value by value, layers, heads, pooling, and the published settings."""

import math
from typing import Any

import numpy as np
import pytest
import timm
import torch
import torch.nn.functional as F
from torch import nn

from ssl4eo_train.errors import SetupError
from ssl4eo_train.evaluate.classify import fit, heads, layers, schedules
from ssl4eo_train.evaluate.classify.classifier import Classifier
from ssl4eo_train.evaluate.classify.plan import Plan
from ssl4eo_train.evaluate.classify.pooling import Pooled, default
from ssl4eo_train.evaluate.protocols import published
from tests.ssl4eo_train.evaluate import scenes

STEPS = 5


def rates(**fields: Any) -> np.ndarray[Any, Any]:
    plan = Plan(**fields)
    return np.array([schedules.rate(plan, s, STEPS) for s in range(plan.epochs * STEPS)])


def test_milestones_and_cosine_change_by_epoch() -> None:
    """As `adjust_learning_rate` of SSL4EO-S12's linear_*_moco.py."""
    found = rates(epochs=100, rate=8.0, schedule="milestones", milestones=(60, 80))
    wanted = [8.0 * (0.1 if e >= 60 else 1.0) * (0.1 if e >= 80 else 1.0) for e in range(100)]
    np.testing.assert_allclose(found, np.repeat(wanted, STEPS), rtol=1e-13)
    found = rates(epochs=100, rate=0.1, schedule="cosine")
    wanted = [0.1 * 0.5 * (1 + math.cos(math.pi * e / 100)) for e in range(100)]
    np.testing.assert_allclose(found, np.repeat(wanted, STEPS), rtol=1e-13)


def test_the_cosine_by_epoch_is_torchs_annealing() -> None:
    """Which DINO's linear evaluation steps once an epoch."""
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], 0.3)
    torchs = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 20, eta_min=0)
    wanted = []
    for _ in range(20):
        wanted.append(float(torchs.get_last_lr()[0]))
        optimizer.step()
        torchs.step()
    found = rates(epochs=20, rate=0.3, schedule="cosine")[::STEPS]
    np.testing.assert_allclose(found, wanted, rtol=1e-12)


def test_the_cosine_of_mae_moves_within_epochs() -> None:
    """Value by value of util/lr_sched.py."""
    wanted = []
    for step in range(30 * STEPS):
        epoch = step / STEPS
        if epoch < 10:
            wanted.append(0.1 * epoch / 10)
        else:
            wanted.append(0.1 * 0.5 * (1 + math.cos(math.pi * (epoch - 10) / 20)))
    found = rates(epochs=30, rate=0.1, schedule="cosine_steps", warmup=10)
    np.testing.assert_allclose(found, wanted, rtol=1e-14)
    assert rates(epochs=30, rate=1.0, schedule="cosine_steps")[0] == 1.0


def test_the_cosine_of_beit_is_at_the_top_twice() -> None:
    """`cosine_scheduler` of its utils.py: linspace over the warm-up, then from the top."""
    rising = np.linspace(0, 1e-3, 10 * STEPS)
    n = 20 * STEPS
    falling = [1e-6 + 0.5 * (1e-3 - 1e-6) * (1 + math.cos(math.pi * i / n)) for i in range(n)]
    found = rates(epochs=30, rate=1e-3, schedule="cosine_beit", warmup=10, least=1e-6)
    np.testing.assert_allclose(found, np.concatenate([rising, falling]), rtol=1e-12)


def test_layers_are_those_of_beit_and_mae() -> None:
    """Of 12 blocks: values of `LayerDecayValueAssigner` and of `param_groups_lrd`, by name."""
    last = 13
    depths = {
        "cls_token": 0, "pos_embed": 0, "patch_embed.proj.weight": 0, "patch_embed.proj.bias": 0,
        "blocks.0.norm1.weight": 1, "blocks.0.attn.qkv.weight": 1, "blocks.11.mlp.fc2.bias": 12,
        "rel_pos_bias.relative_position_bias_table": 13, "norm.weight": 13, "fc_norm.bias": 13,
    }  # fmt: skip
    assert {name: layers.layer(name, last) for name in depths} == depths
    values = [0.65 ** (12 + 1 - i) for i in range(12 + 2)]
    assert values[0] == pytest.approx(0.003697, rel=1e-3)
    assert values[-1] == 1.0


@pytest.mark.parametrize("decay", [1.0, 0.65])
def test_groups_have_the_rate_of_their_layer_and_spare_vectors(decay: float) -> None:
    """All parameters are in one of them; positions and the class token do not decay."""
    plan = Plan(pool="cls", layer_decay=decay, weight_decay=0.05)
    classifier = Classifier(scenes.untrained("test_vit", 32), plan, 3)
    groups = layers.groups(classifier, 0.05, decay)
    assert len(groups) == (2 * (6 + 2) if decay < 1 else 2)
    count = sum(len(g["params"]) for g in groups)
    assert count == len(list(classifier.parameters()))
    by_name = {name: g for g in groups for name in g["names"]}
    assert by_name["head.weight"]["share"] == 1
    assert by_name["blocks.0.attn.qkv.weight"]["share"] == pytest.approx(decay**6)
    assert by_name["pos_embed"]["share"] == pytest.approx(decay**7)
    spared = {name for name, g in by_name.items() if g["weight_decay"] == 0}
    assert {"cls_token", "pos_embed", "norm.weight", "head.bias"} <= spared
    assert "head.weight" not in spared
    optimizer = fit.optimiser(classifier, plan)
    assert len(optimizer.param_groups) == len(groups)


def test_drop_paths_grow_from_block_to_block() -> None:
    """And are active in training alone."""
    network: Any = scenes.untrained("test_vit", 32).network
    layers.drop_paths(network, 0.5)
    shares = [getattr(block.drop_path1, "drop_prob", 0.0) for block in network.blocks]
    assert shares == pytest.approx([0.1 * i for i in range(6)])
    x = torch.rand(2, 3, 32, 32)
    assert torch.equal(network.eval()(x), network(x))
    with pytest.raises(SetupError, match="no blocks"):
        layers.drop_paths(nn.Linear(1, 1), 0.1)


def test_a_frozen_backbone_in_training_mode_moves_its_batch_norms() -> None:
    """As in SSL4EO-S12's linear_*_moco.py; in evaluation mode it does not; no weight ever moves."""
    for mode in ("train", "eval"):
        plan = Plan(trains="head", backbone_mode=mode)
        classifier = Classifier(scenes.untrained("test_resnet"), plan, 3)
        norm = next(m for m in classifier.modules() if isinstance(m, nn.BatchNorm2d))
        assert norm.running_mean is not None
        before = norm.running_mean.clone()
        classifier.learn()
        classifier(torch.rand(4, 3, 16, 16)).sum().backward()
        assert torch.equal(norm.running_mean, before) == (mode == "eval")
        trained = {n for n, p in classifier.named_parameters() if p.grad is not None}
        assert trained == {"head.weight", "head.bias"}


def test_heads_start_as_published() -> None:
    """Standard deviations, and biases of zero."""
    torch.manual_seed(0)
    for start, std in (("normal", 0.01), ("truncated", 0.01), ("tiny", 0.02e-3)):
        head = heads.make("linear", start, 400, 100)
        assert head.weight.std().item() == pytest.approx(std, rel=0.02)  # type: ignore[operator]
        assert not head.bias.any()  # type: ignore[operator]
    norm = heads.make("bn_linear", "normal", 8, 2)[0]  # type: ignore[index]
    assert not list(norm.parameters())


def test_tokens_are_pooled_as_the_originals_do() -> None:
    """Against the blocks called one by one."""
    torch.manual_seed(0)
    network: Any = scenes.untrained("test_vit", 32).network.eval()
    x = torch.rand(2, 3, 32, 32)
    with torch.no_grad():
        tokens, found = network.norm_pre(network._pos_embed(network.patch_embed(x))), []
        for block in network.blocks:
            tokens = block(tokens)
            found.append(tokens)
        wanted = {
            "cls": network.norm(found[-1])[:, 0],
            "cls4": torch.cat([network.norm(t)[:, 0] for t in found[-4:]], dim=1),
            "mean": network.norm(found[-1])[:, 1:].mean(dim=1),
            "mean_norm": F.layer_norm(found[-1][:, 1:].mean(dim=1), (64,), eps=1e-6),
            "backbone": network(x),
        }
        for pool, features in wanted.items():
            pooled = Pooled(network, pool)  # type: ignore[arg-type]
            torch.testing.assert_close(pooled(x), features)
            assert pooled.width == features.shape[1]


def test_data2vecs_network_is_pooled_too() -> None:
    """Its positions are relative ones that all blocks share."""
    network: Any = timm.create_model(
        "beit_base_patch16_224", img_size=32, patch_size=8, in_chans=3, num_classes=0,
        embed_dim=48, depth=4, num_heads=3, use_rel_pos_bias=False, use_shared_rel_pos_bias=True,
        use_fc_norm=False,
    ).eval()  # fmt: skip
    x = torch.rand(2, 3, 32, 32)
    with torch.no_grad():
        raw = network.forward_intermediates(
            x, indices=1, norm=False, output_fmt="NLC", intermediates_only=True
        )[-1]
        wanted = F.layer_norm(raw.mean(dim=1), (48,), eps=1e-6)
        torch.testing.assert_close(Pooled(network, "mean_norm")(x), wanted)


@pytest.mark.parametrize(
    ("method", "arch", "pool"),
    [
        ("dino", "test_vit", "cls4"),
        ("dino", "test_resnet", "backbone"),
        ("data2vec", "test_vit", "mean_norm"),
        ("mae", "test_vit", "backbone"),
        (None, "test_vit", "backbone"),
    ],
)
def test_each_method_has_the_pooling_of_its_authors(
    method: str | None, arch: str, pool: str
) -> None:
    """By method and architecture."""
    import dataclasses

    assert default(dataclasses.replace(scenes.untrained(arch, 32), method=method)) == pool


RUNS = [
    (task, method, mode)
    for task in ("bigearthnet", "eurosat", "so2sat")
    for method in ("moco_v2", "moco_v3", "dino", "mae", "data2vec")
    for mode in published.MODES
]


@pytest.mark.parametrize(("task", "method", "mode"), RUNS)
def test_every_run_of_ssl4eo_s12_is_a_plan(task: str, method: str, mode: str) -> None:
    """Four GPUs, 100 epochs, 8 bits, Resize 256 and CenterCrop 224."""
    found = published.find(task, method, mode, transformer=method not in ("moco_v2",))
    p = found.plan
    assert (p.epochs, p.size, p.resize, p.steps) == (100, 224, 256, "uint8_wrap")
    assert p.batch == (
        1024 if (task, method, mode) == ("bigearthnet", "moco_v2", "linear") else 256
    )
    assert p.crop == ((0.8, 1.0) if task == "bigearthnet" else (0.08, 1.0))
    assert p.report == p.judge == ("test" if task == "eurosat" else "val")
    assert found.told
    # "ft" scripts of MoCo-v2 on EuroSAT and So2Sat, and all of MAE, train the head alone.
    head = mode == "linear" or method == "mae" or (method == "moco_v2" and task != "bigearthnet")
    assert p.trains == ("head" if head else "all")


RATES = {
    ("bigearthnet", "linear"): (8.0, 0.1, 0.1, 1.0, 1e-3),
    ("bigearthnet", "finetune"): (0.1, 0.01, 0.01, 0.1, 1e-3),
    ("eurosat", "linear"): (8.0, 0.1, 0.01, 0.1, 0.1),
    ("eurosat", "finetune"): (0.1, 0.1, 1e-3, 0.1, 1e-3),
    ("so2sat", "linear"): (8.0, 0.1, 0.01, 0.1, 0.1),
    ("so2sat", "finetune"): (0.01, 0.1, 3e-5, 0.1, 1e-3),
}


@pytest.mark.parametrize(("task", "mode"), RATES)
def test_published_rates_are_those_of_the_scripts(task: str, mode: str) -> None:
    """Of MoCo-v2 and v3, DINO, MAE, data2vec; DINO's ResNet has its own on So2Sat."""
    methods = ("moco_v2", "moco_v3", "dino", "mae", "data2vec")
    found = [published.find(task, m, mode, m != "moco_v2").plan.rate for m in methods]
    assert tuple(found) == RATES[task, mode]
    resnet = published.find(task, "dino", mode, False).plan
    assert resnet.rate == (3e-6 if (task, mode) == ("so2sat", "finetune") else found[2])
    assert resnet.pool == "backbone"


def test_fewer_epochs_keep_the_shape_of_the_schedule() -> None:
    """And are said."""
    plan = published.find("eurosat", "moco_v2", "linear", False).plan
    few = published.changed(plan, published.Options(epochs=10, batch=8, image_size=112))
    assert (few.milestones, few.batch, few.size, few.resize) == ((6, 8), 8, 112, 128)
    told = published.differences(plan, few)
    assert "epochs is 10, published 100" in told
    assert published.differences(plan, plan) == []


def test_looks_are_where_the_programs_have_them() -> None:
    """After epochs 5, 10 ...; or 1, 6 ..., and the last."""
    moco = published.find("eurosat", "moco_v2", "linear", False).plan
    mae = published.find("eurosat", "mae", "linear", True).plan
    assert [e for e in range(100) if fit.looks(moco, e)] == list(range(4, 100, 5))
    assert [e for e in range(100) if fit.looks(mae, e)] == [*range(0, 100, 5), 99]
