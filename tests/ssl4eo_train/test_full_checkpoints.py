"""Whole checkpoints as the originals' own loops save them, real optimisers' states among them."""

import argparse
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from pytorch_lightning.callbacks import ModelCheckpoint
from torch import Tensor, nn

from ssl4eo_train import backbones, layouts, weights
from ssl4eo_train.errors import SetupError
from ssl4eo_train.unpickling import unpickle

pytestmark = pytest.mark.timeout(120)

State = dict[str, Any]
VIT = "test_vit"
SIZE = 160  # That of timm's small transformer.


def schedule(first: float, last: float, steps: int = 10) -> Any:
    """A NumPy array, as `cosine_scheduler` of DINO and data2vec returns."""
    iters = np.arange(steps)
    return last + 0.5 * (first - last) * (1 + np.cos(np.pi * iters / len(iters)))


def vit(seed: int, bands: int = 13, **more: Any) -> nn.Module:
    torch.manual_seed(seed)
    return backbones.build(VIT, bands, SIZE, **more)


def resnet(seed: int, bands: int = 13) -> nn.Module:
    torch.manual_seed(seed)
    return backbones.build("resnet18", bands, 32)


def beit(seed: int) -> nn.Module:
    torch.manual_seed(seed)
    made: nn.Module = timm.create_model(
        "beit_base_patch16_224",
        in_chans=13,
        num_classes=0,
        img_size=32,
        use_rel_pos_bias=False,
        use_shared_rel_pos_bias=True,
        use_fc_norm=False,
        embed_dim=48,
        depth=2,
        num_heads=3,
        init_values=1e-4,
    )
    return made


def split(model: nn.Module) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
    """What decays and what does not, as DINO, MAE and data2vec tell them apart."""
    trained = [(n, p) for n, p in model.named_parameters() if p.requires_grad]
    spared = [p.ndim <= 1 or n.endswith(".bias") for n, p in trained]
    decays = [p for (_, p), s in zip(trained, spared, strict=True) if not s]
    return decays, [p for (_, p), s in zip(trained, spared, strict=True) if s]


def stepped(model: nn.Module, optimizer: torch.optim.Optimizer, side: int, bands: int = 13) -> None:
    model.train()
    model(torch.rand(2, bands, side, side)).square().mean().backward()
    optimizer.step()
    model.eval()


def prefixed(prefix: str, state: State) -> State:
    return {prefix + name: x for name, x in state.items()}


def moco_v2() -> tuple[State, nn.Module, nn.Module]:
    model = resnet(1)
    optimizer = torch.optim.SGD(model.parameters(), 0.03, momentum=0.9, weight_decay=1e-4)
    for group in optimizer.param_groups:  # adjust_learning_rate
        group["lr"] = 0.03 * 0.5 * (1.0 + math.cos(math.pi * 3 / 100))
    stepped(model, optimizer, 32)
    state = {
        **prefixed("module.encoder_q.", model.state_dict()),
        **prefixed("module.encoder_q.fc.", nn.Linear(512, 128).state_dict()),
        **prefixed("module.encoder_k.", resnet(2).state_dict()),
        "module.queue": torch.rand(128, 16),
        "module.queue_ptr": torch.zeros(1, dtype=torch.long),
    }
    content = {"epoch": 4, "arch": "resnet18", "state_dict": state}
    return {**content, "optimizer": optimizer.state_dict()}, model, resnet(3)


def moco_v3() -> tuple[State, nn.Module, nn.Module]:
    model = vit(1)
    optimizer = torch.optim.AdamW(model.parameters(), 1.5e-4, weight_decay=0.1)
    stepped(model, optimizer, SIZE)
    state = {
        **prefixed("module.base_encoder.", model.state_dict()),
        **prefixed("module.base_encoder.head.", nn.Linear(64, 8).state_dict()),
        **prefixed("module.momentum_encoder.", vit(2).state_dict()),
        **prefixed("module.predictor.", nn.Linear(8, 8).state_dict()),
    }
    scaler = {"scale": 65536.0, "growth_factor": 2.0, "growth_interval": 2000, "_growth_tracker": 1}
    content = {"epoch": 4, "arch": "vit_small", "state_dict": state, "scaler": scaler}
    return {**content, "optimizer": optimizer.state_dict()}, model, vit(3)


def dino(
    student: nn.Module, teacher: nn.Module, optimizer: torch.optim.Optimizer, side: int
) -> State:
    rates, decays = schedule(5e-4, 1e-6), schedule(0.04, 0.4)
    for i, group in enumerate(optimizer.param_groups):
        group["lr"] = rates[3]
        if i == 0:
            group["weight_decay"] = decays[3]
    stepped(student, optimizer, side)
    head = {"head.mlp.0.weight": torch.rand(8, 4), "head.last_layer.weight_g": torch.ones(4, 1)}
    return {
        "student": prefixed("module.", {**prefixed("backbone.", student.state_dict()), **head}),
        "teacher": {**prefixed("backbone.", teacher.state_dict()), **head},
        "optimizer": optimizer.state_dict(),
        "epoch": 4,
        "args": argparse.Namespace(arch="vit_small", bands="B13", global_crops_scale=(0.4, 1.0)),
        "dino_loss": {"center": torch.zeros(1, 4)},
        "fp16_scaler": {"scale": 65536.0},
    }


def dino_vit() -> tuple[State, nn.Module, nn.Module]:
    student, teacher = vit(1, drop_path_rate=0.1), vit(2)
    regular, spared = split(student)
    groups = [{"params": regular}, {"params": spared, "weight_decay": 0.0}]
    return dino(student, teacher, torch.optim.AdamW(groups), SIZE), teacher, vit(3)


def dino_resnet() -> tuple[State, nn.Module, nn.Module]:
    student, teacher = resnet(1), resnet(2)
    regular, spared = split(student)
    groups: list[State] = [{"params": regular}, {"params": spared, "weight_decay": 0.0}]
    return dino(student, teacher, torch.optim.SGD(groups, 0, 0.9), 32), teacher, resnet(3)


def mae() -> tuple[State, nn.Module, nn.Module]:
    model = vit(1)
    decays, spared = split(model)
    groups = [{"params": spared, "weight_decay": 0.0}, {"params": decays, "weight_decay": 0.05}]
    optimizer = torch.optim.AdamW(groups, lr=1e-4, betas=(0.9, 0.95))
    for group in optimizer.param_groups:  # lr_sched.adjust_learning_rate
        group["lr"] = 1e-4 * 0.5 * (1.0 + math.cos(math.pi * 0.3))
    stepped(model, optimizer, SIZE)
    decoder = {
        "mask_token": torch.rand(1, 1, 16),
        "decoder_pos_embed": torch.rand(1, 101, 16),
        "decoder_embed.weight": torch.rand(16, 64),
    }
    content = {
        "model": {**model.state_dict(), **decoder},
        "optimizer": optimizer.state_dict(),
        "epoch": 99,
        "scaler": {"scale": 65536.0},
        "args": argparse.Namespace(blr=1.5e-4, lr=1e-4, mode=["s2c"], dtype="uint8", gpu=0),
    }
    return content, model, vit(3)


def data2vec() -> tuple[State, nn.Module, nn.Module]:
    model = beit(1)
    decays, spared = split(model)
    groups = [
        {"weight_decay": 0.05, "params": decays, "lr_scale": 1.0},
        {"weight_decay": 0.0, "params": spared, "lr_scale": 1.0},
    ]
    optimizer = torch.optim.AdamW(groups, lr=1e-3, betas=(0.9, 0.98), eps=1e-8)
    rates, weight_decays = schedule(1e-3, 1e-5), schedule(0.05, 0.05)
    for group in optimizer.param_groups:
        group["lr"] = rates[3] * group["lr_scale"]
        if group["weight_decay"] > 0:
            group["weight_decay"] = weight_decays[3]
    stepped(model, optimizer, 32)
    beside = {
        "mask_token": torch.rand(1, 1, 48),
        "lm_head.weight": torch.rand(48, 48),
        "rel_pos_bias.relative_position_index": torch.zeros(5, 5, dtype=torch.long),
    }
    content = {
        "model": {**model.state_dict(), **beside},
        "optimizer": optimizer.state_dict(),
        "epoch": 4,
        "scaler": {"scale": 65536.0},
        "args": argparse.Namespace(lr=1e-3, opt_betas=[0.9, 0.98], layer_results="end"),
        "model_ema": {**beit(2).state_dict(), **beside},
    }
    ours = beit(3)
    with torch.no_grad():  # Zero at the start, in timm as well.
        ours.rel_pos_bias.relative_position_bias_table.fill_(1.0)
    return content, model, ours


def seco() -> tuple[State, nn.Module, nn.Module]:
    """Lightning 1.1.8's `dump_checkpoint`."""
    model = resnet(1, bands=3)
    optimizer = torch.optim.SGD(model.parameters(), 0.03, momentum=0.9, weight_decay=1e-4)
    stepped(model, optimizer, 32, bands=3)
    order = ("conv1", "bn1", "act1", "maxpool", "layer1", "layer2", "layer3", "layer4")
    children = nn.Sequential(*(getattr(model, name) for name in order))
    content = {
        "epoch": 199,
        "global_step": 200,
        "pytorch-lightning_version": "1.1.8",
        "callbacks": {
            ModelCheckpoint: {
                "monitor": None,
                "best_model_score": None,
                "best_model_path": "",
                "current_score": None,
                "dirpath": "checkpoints",
            }
        },
        "optimizer_states": [optimizer.state_dict()],
        "lr_schedulers": [],
        "state_dict": {
            **prefixed("encoder_q.", children.state_dict()),
            **prefixed("encoder_k.", children.state_dict()),
            "heads_q.0.0.weight": torch.rand(4, 4),
            "queue": torch.rand(3, 128, 16),
            "queue_ptr": torch.zeros(3, 1, dtype=torch.long),
        },
        "hparams_name": "kwargs",
        "hyper_parameters": {"base_encoder": "resnet18", "schedule": [120, 160], "emb_spaces": 3},
    }
    return content, model, resnet(3, bands=3)


Maker = Callable[[], tuple[State, nn.Module, nn.Module]]
MAKERS: Sequence[Maker] = (moco_v2, moco_v3, dino_vit, dino_resnet, mae, data2vec, seco)
NUMPY: Sequence[Maker] = (dino_vit, dino_resnet, data2vec)


def features(model: nn.Module) -> Tensor:
    state = model.state_dict()
    bands = layouts.channels(state)
    side = 32 if "pos_embed" not in state else SIZE
    with torch.no_grad():
        y: Tensor = model.eval()(torch.rand(2, bands, side, side, generator=torch.manual_seed(7)))
    return y


@pytest.mark.parametrize("make", MAKERS, ids=lambda make: make.__name__)
def test_the_backbone_is_found(tmp_path: Path, make: Maker) -> None:
    content, theirs, ours = make()
    held = [type(g["lr"]) for g in content.get("optimizer", {"param_groups": []})["param_groups"]]
    assert (np.float64 in held) == (make in NUMPY)
    path = tmp_path / "checkpoint.pth"
    torch.save(content, path)
    assert not torch.allclose(features(ours), features(theirs))
    said = weights.init(ours, path).splitlines()
    torch.testing.assert_close(features(ours), features(theirs))
    assert "SeCo's code" in said[1] if make is seco else "S2L1C: reflectance, clipped" in said[1]


def as_numpy_1(path: Path) -> None:
    """Name NumPy's numbers as its version 1 does, or as 2 does where this is 1."""
    names = [b"cnumpy._core.multiarray\n", b"cnumpy.core.multiarray\n"]
    old, new = names if np.__version__ >= "2" else names[::-1]
    content = path.read_bytes()
    assert content.count(old) == 1
    path.write_bytes(content.replace(old, new))


def test_numbers_of_either_numpy_are_read(tmp_path: Path) -> None:
    content, theirs, _ = data2vec()
    path = tmp_path / "checkpoint.pth"
    torch.save(content, path, _use_new_zipfile_serialization=False)
    as_numpy_1(path)
    rates = [g["lr"] for g in unpickle(path)["optimizer"]["param_groups"]]
    assert rates == [schedule(1e-3, 1e-5)[3]] * 2
    tensors = weights.load_backbone(path)
    torch.testing.assert_close(tensors["norm.weight"], theirs.state_dict()["norm.weight"])


@pytest.mark.parametrize("value", [np.zeros(3), np.array(["x"], dtype=object)])
def test_other_things_of_numpy_are_refused(tmp_path: Path, value: Any) -> None:
    path = tmp_path / "checkpoint.pth"
    torch.save({"state_dict": {"conv1.weight": torch.zeros(1)}, "x": value}, path)
    with pytest.raises(SetupError, match=r"it names numpy\.(_core|core)\.multiarray\._reconstruct"):
        weights.read(path)
