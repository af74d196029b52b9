"""Files in the layouts of the published ones, made of randomly initialised networks."""

import argparse
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
import torchvision
from pytorch_lightning.callbacks import ModelCheckpoint
from safetensors.torch import save_file
from torch import Tensor, nn

from ssl4eo_train import backbones, weights
from ssl4eo_train.errors import SetupError

pytestmark = pytest.mark.timeout(120)

State = dict[str, Any]


def prefixed(prefix: str, state: State) -> State:
    return {prefix + name: x for name, x in state.items()}


def lived(model: nn.Module) -> nn.Module:
    """A network whose every parameter and running statistic is its own."""
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for name, x in model.state_dict().items():
            if x.is_floating_point():
                noise = torch.rand(x.shape, generator=generator)
                x.copy_(0.5 + noise if "var" in name else 0.1 * (noise - 0.5) + x)
    return model.eval()


def torchvision_resnet(arch: str = "resnet18", bands: int = 13) -> nn.Module:
    torch.manual_seed(1)
    model = torchvision.models.get_model(arch)
    model.conv1 = nn.Conv2d(bands, 64, 7, 2, 3, bias=False)
    return lived(model)


def vit(bands: int = 13) -> nn.Module:
    torch.manual_seed(1)
    return lived(backbones.build("vit_tiny_patch16_224", bands, 32))


def beit() -> nn.Module:
    options = {"embed_dim": 48, "depth": 2, "num_heads": 3, "init_values": 1e-4}
    torch.manual_seed(1)
    return lived(
        timm.create_model(
            "beit_base_patch16_224",
            in_chans=13,
            num_classes=0,
            img_size=32,
            use_rel_pos_bias=False,
            use_shared_rel_pos_bias=True,
            use_fc_norm=False,
            **options,
        )
    )


def features(model: nn.Module, bands: int = 13) -> Tensor:
    images = torch.rand(2, bands, 32, 32, generator=torch.Generator().manual_seed(7))
    with torch.no_grad():
        y: Tensor = model.eval()(images)
    return y


def same(path: Path, ours: nn.Module, theirs: nn.Module, bands: int = 13) -> str:
    """Give ours the file's weights, and see that both networks are one; returns what was said."""
    expected = features(theirs, bands)
    assert not torch.allclose(features(ours, bands), expected)
    said = weights.init(ours, path).splitlines()[0]
    torch.testing.assert_close(features(ours, bands), expected, rtol=1e-4, atol=1e-5)
    return said


def saved(tmp_path: Path, content: Any) -> Path:
    path = tmp_path / "checkpoint_0099.pth.tar"
    torch.save(content, path)
    return path


@pytest.mark.parametrize("arch", ["resnet18", "resnet50"])
def test_moco_v2(tmp_path: Path, arch: str) -> None:
    model = torchvision_resnet(arch)
    width = model.fc.in_features
    model.fc = nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 128))
    state = {
        **prefixed("module.encoder_q.", model.state_dict()),
        **prefixed("module.encoder_k.", torchvision_resnet(arch).state_dict()),
        "module.queue": torch.rand(128, 16),
        "module.queue_ptr": torch.zeros(1, dtype=torch.long),
    }
    path = saved(tmp_path, {"epoch": 100, "arch": arch, "state_dict": state, "optimizer": {}})
    model.fc = nn.Identity()
    said = same(path, backbones.build(arch, 13, 32), model)
    assert said.endswith("(state_dict/encoder_q); left out fc")


def test_moco_v3(tmp_path: Path) -> None:
    model = vit()
    head = nn.Sequential(nn.Linear(192, 64, bias=False), nn.BatchNorm1d(64))
    state = {
        **prefixed("module.base_encoder.", model.state_dict()),
        **prefixed("module.base_encoder.head.", head.state_dict()),
        **prefixed("module.momentum_encoder.", vit().state_dict()),
        **prefixed("module.predictor.", head.state_dict()),
    }
    path = saved(tmp_path, {"epoch": 100, "state_dict": state, "scaler": {"scale": 65536.0}})
    said = same(path, backbones.build("vit_tiny_patch16_224", 13, 32), model)
    assert said.endswith("(state_dict/base_encoder); left out head")
    assert weights.load_backbone(path)["pos_embed"].shape == (1, 5, 192)


@pytest.mark.parametrize("wrapped", ["", "module."])
def test_dino_takes_the_teacher(tmp_path: Path, wrapped: str) -> None:
    model, student = vit(), backbones.build("vit_tiny_patch16_224", 13, 32)
    head = {"head.mlp.0.weight": torch.rand(8, 192), "head.last_layer.weight_g": torch.ones(4, 1)}
    arguments = argparse.Namespace(arch="vit_small", patch_size=16, global_crops_scale=[0.4, 1.0])
    content = {
        "student": prefixed("module.", {**prefixed("backbone.", student.state_dict()), **head}),
        "teacher": prefixed(wrapped, {**prefixed("backbone.", model.state_dict()), **head}),
        "epoch": 100,
        "args": arguments,
        "dino_loss": {"center": torch.zeros(1, 4)},
    }
    said = same(saved(tmp_path, content), backbones.build("vit_tiny_patch16_224", 13, 32), model)
    assert said.endswith("(teacher/backbone)")
    del content["teacher"]
    path = saved(tmp_path, content)
    said = same(path, backbones.build("vit_tiny_patch16_224", 13, 32), student)
    assert said.endswith("(student/backbone)")


def test_dino_resnet(tmp_path: Path) -> None:
    model = torchvision_resnet()
    model.fc = nn.Identity()
    state = prefixed("module.backbone.", model.state_dict())
    path = saved(tmp_path, {"teacher": state, "args": argparse.Namespace()})
    same(path, backbones.build("resnet18", 13, 32), model)


def test_mae(tmp_path: Path) -> None:
    model = vit()
    decoder = {
        "mask_token": torch.rand(1, 1, 16),
        "decoder_pos_embed": torch.rand(1, 5, 16),
        "decoder_embed.weight": torch.rand(16, 192),
        "decoder_blocks.0.attn.qkv.weight": torch.rand(48, 16),
        "decoder_norm.weight": torch.rand(16),
        "decoder_pred.weight": torch.rand(3328, 16),
    }
    content = {"model": {**model.state_dict(), **decoder}, "args": argparse.Namespace(lr=1e-4)}
    path = saved(tmp_path, content)
    said = same(path, backbones.build("vit_tiny_patch16_224", 13, 32), model)
    assert said.endswith(
        "(model); left out mask_token, decoder_pos_embed, decoder_embed, decoder_blocks, "
        "decoder_norm, decoder_pred"
    )


def test_data2vec(tmp_path: Path) -> None:
    model = beit()
    beside = {
        "mask_token": torch.rand(1, 1, 48),
        "lm_head.weight": torch.rand(48, 48),
        "rel_pos_bias.relative_position_index": torch.zeros(5, 5, dtype=torch.long),
    }
    assert {"blocks.0.attn.q_bias", "blocks.0.attn.v_bias", "blocks.1.gamma_1", "norm.weight"} <= {
        *model.state_dict()
    }
    path = saved(tmp_path, {"model": {**model.state_dict(), **beside}})
    ours = beit()
    with torch.no_grad():
        ours.rel_pos_bias.relative_position_bias_table.zero_()
        ours.blocks[0].gamma_1.zero_()
    said = same(path, ours, model)
    assert said.endswith("(model); left out mask_token, lm_head, rel_pos_bias")


@pytest.mark.parametrize("arch", ["resnet18", "resnet50"])
def test_seco(tmp_path: Path, arch: str) -> None:
    model = torchvision_resnet(arch, bands=3)
    children = nn.Sequential(*list(model.children())[:-1], nn.Flatten())
    state = {
        **prefixed("encoder_q.", children.state_dict()),
        **prefixed("encoder_k.", children.state_dict()),
        "heads_q.0.0.weight": torch.rand(4, 4),
        "queue": torch.rand(3, 128, 16),
    }
    content = {
        "epoch": 199,
        "pytorch-lightning_version": "1.1.8",
        "callbacks": {ModelCheckpoint: {"monitor": None, "best_model_path": ""}},
        "state_dict": state,
        "hparams_name": "kwargs",
        "hyper_parameters": {"base_encoder": arch, "schedule": [120, 160]},
    }
    said = same(saved(tmp_path, content), backbones.build(arch, 3, 32), children, bands=3)
    assert said.endswith("(state_dict/encoder_q)")


def test_bare_backbones(tmp_path: Path) -> None:
    model = torchvision_resnet()
    flat, held = saved(tmp_path, model.state_dict()), tmp_path / "b.pt"
    torch.save({"state_dict": model.state_dict()}, held)
    safe = tmp_path / "c.safetensors"
    save_file(model.state_dict(), safe)
    model.fc = nn.Identity()
    for path, source in (
        (flat, "a bare backbone"),
        (held, "state_dict"),
        (safe, "a bare backbone"),
    ):
        said = same(path, backbones.build("resnet18", 13, 32), model)
        assert said == f"init   120 tensors of {path} ({source}); left out fc"


def test_what_does_not_fit_is_refused_and_changes_nothing(tmp_path: Path) -> None:
    state = torchvision_resnet(bands=3).state_dict()
    state["layer5.weight"] = state.pop("layer4.1.bn2.weight")
    path = saved(tmp_path, {"state_dict": prefixed("module.encoder_q.", state)})
    backbone = backbones.build("resnet18", 13, 32)
    before = {name: x.clone() for name, x in backbone.state_dict().items()}
    with pytest.raises(SetupError) as caught:
        weights.init(backbone, path)
    message = str(caught.value)
    assert message.startswith(f"--init: {path} (state_dict/encoder_q) does not fit: ")
    assert "missing layer4.1.bn2.weight; unexpected layer5.weight; " in message
    assert "conv1.weight is [64, 3, 7, 7] in the file and [64, 13, 7, 7] here" in message
    assert all(torch.equal(x, before[name]) for name, x in backbone.state_dict().items())


class Evil:
    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.folder / "ran"),)


def test_no_code_of_a_file_is_run(tmp_path: Path) -> None:
    state = torchvision_resnet().state_dict()
    with pytest.raises(SetupError, match=r"plain values: it names \w+\.mkdir$"):
        weights.read(saved(tmp_path, {"state_dict": state, "x": Evil(tmp_path)}))
    assert not (tmp_path / "ran").exists()


def nothing(path: Path) -> None:
    torch.save({"state_dict": {"queue": 3}, "epoch": 1}, path)


def no_mapping(path: Path) -> None:
    torch.save([1, 2], path)


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (nothing, "holds no backbone; it has state_dict, epoch"),
        (no_mapping, "expected tensors by name, found a list"),
        (lambda path: path.write_bytes(b"not weights"), "it is damaged, or of another kind"),
        (lambda path: path.write_bytes(b""), "cannot be read as weights: "),
        (lambda path: None, "cannot be read as weights: .*No such file"),
    ],
)
def test_what_is_no_weights_is_refused(
    tmp_path: Path, make: Callable[[Path], Any], sentence: str
) -> None:
    path = tmp_path / "x.pth"
    make(path)
    with pytest.raises(SetupError, match=sentence):
        weights.read(path)


def test_broken_safetensors_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    for make in (lambda: None, lambda: path.write_bytes(b"")):
        make()
        with pytest.raises(SetupError, match=r"x\.safetensors cannot be read"):
            weights.read(path)


def test_lightning_is_not_needed_to_read_its_files(tmp_path: Path) -> None:
    state = prefixed("encoder_q.", nn.Sequential(nn.Conv2d(3, 4, 1)).state_dict())
    path = saved(tmp_path, {"callbacks": {ModelCheckpoint: {}}, "state_dict": state})
    program = (
        "import sys; from pathlib import Path; from ssl4eo_train import weights\n"
        "print(*weights.load_backbone(Path(sys.argv[1])))\n"
        "assert not any('lightning' in name for name in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(path)], capture_output=True, text=True, timeout=100
    )
    assert done.stdout.split() == ["conv1.weight", "conv1.bias"], done.stderr
    assert done.returncode == 0, done.stderr
