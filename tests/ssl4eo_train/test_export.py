import dataclasses
import json
import os
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor

from fastload.statistics import STATISTICS
from fastload.synth import synth
from fastload.synth.spectra import BANDS
from ssl4eo_train import backbones, checkpoint, export, weights
from ssl4eo_train.__main__ import main
from ssl4eo_train.config import resolve
from ssl4eo_train.distributed import World
from ssl4eo_train.errors import SetupError
from ssl4eo_train.methods import METHODS, Learner, Settings
from tests import nursery

pytestmark = pytest.mark.timeout(180)

SMALL = {"queue": 8, "outputs": 64, "hidden": 32, "bottleneck": 16, "decoder_depth": 1}
"""Options, of the methods that have them."""


def small(method: str) -> dict[str, Any]:
    fields = {f.name for f in dataclasses.fields(METHODS[method].Options)}
    return {name: value for name, value in SMALL.items() if name in fields}


def made(
    folder: Path, method: str, arch: str, size: int = 32, modality: str = "S2L1C", bands: int = 13
) -> Learner:
    """A learner with weights of its own, and its checkpoint as the loop leaves it."""
    options = small(method)
    given = {"method": method, "arch": arch, "image_size": size, "data": "x", "device": "cpu"}
    words = [f"{name}={value}" for name, value in options.items()]
    config = resolve({**given, "set": words, "modality": [modality], "out": "x"}, None, World())
    settings = Settings(
        arch=arch,
        bands=bands,
        image_size=size,
        batch=8,
        accumulate=2,
        seed=3,
        options=METHODS[method].Options(**options),
    )
    torch.manual_seed(5)
    learner = METHODS[method].build(settings)
    with torch.no_grad():
        for x in learner.backbone.state_dict().values():
            if x.is_floating_point():
                x.add_(0.02 * torch.rand(x.shape) - 0.01)
    content = {
        "config": dataclasses.asdict(config),
        "run": {
            "method": method,
            "modality": [modality],
            "band_names": {modality: list(BANDS[modality])},
            **dataclasses.asdict(settings),
        },
        "step": 7,
        "model": learner.state_dict(),
    }
    checkpoint.save(folder, content)
    return learner


def features(model: torch.nn.Module, bands: int = 13, size: int = 32) -> Tensor:
    images = torch.rand(2, bands, size, size, generator=torch.Generator().manual_seed(7))
    with torch.no_grad():
        y: Tensor = model.eval()(images)
    return y


def about(path: Path) -> dict[str, Any]:
    """The metadata of a file, parsed."""
    with safe_open(path, framework="pt") as file:
        texts = file.metadata()
    plain = ("format", "method", "arch")
    return {name: x if name in plain else json.loads(x) for name, x in texts.items()}


def arch_of(method: str) -> str:
    published = METHODS[method].PUBLISHED.arch
    return "resnet18" if published.startswith("resnet") else "vit_tiny_patch16_224"


@pytest.mark.parametrize("method", METHODS)
def test_timm_makes_the_backbone_again(tmp_path: Path, method: str) -> None:
    learner, to = made(tmp_path, method, arch_of(method)), tmp_path / "backbone.safetensors"
    export.export(tmp_path, to)
    model = timm.create_model(**about(to)["timm"])
    model.load_state_dict(load_file(to))
    torch.testing.assert_close(features(model), features(learner.backbone))
    assert sorted(os.listdir(tmp_path)) == ["backbone.safetensors", checkpoint.NAME]


@pytest.mark.parametrize("method", METHODS)
def test_init_takes_runs_and_exports(tmp_path: Path, method: str) -> None:
    learner, to = made(tmp_path, method, arch_of(method)), tmp_path / "backbone.safetensors"
    export.export(tmp_path / checkpoint.NAME, to)
    for path in (tmp_path, tmp_path / checkpoint.NAME, to):
        settings = weights.settings_of(checkpoint.load(tmp_path)["run"])
        other = METHODS[method].build(settings)
        assert not torch.allclose(features(other.backbone), features(learner.backbone))
        said = weights.init(other.backbone, path)
        assert f"tensors of {path}" in said
        torch.testing.assert_close(features(other.backbone), features(learner.backbone))


def as_torchgeo(arch: str, state: dict[str, Tensor], **more: Any) -> torch.nn.Module:
    """What torchgeo's constructors of the same names do with weights.

    Source: torchgeo/models/resnet.py and vit.py at 6100eb4b and 0402db0b.
    """
    model: torch.nn.Module = timm.create_model(arch, **more)
    missing, unexpected = model.load_state_dict(state, strict=False)
    head = "fc" if arch.startswith("resnet") else "head"
    assert set(missing) <= {f"{head}.weight", f"{head}.bias"}
    assert not unexpected
    return model


@pytest.mark.parametrize("arch", ["resnet18", "resnet50", "vit_small_patch16_224"])
@pytest.mark.parametrize("classes", [0, 19])
def test_torchgeo_loads_it(tmp_path: Path, arch: str, classes: int) -> None:
    learner = made(tmp_path, "moco_v2", arch, 224, "S2L2A", 12)
    to = tmp_path / "backbone.safetensors"
    export.export(tmp_path, to)
    model = as_torchgeo(arch, load_file(to), in_chans=12, num_classes=classes)
    if classes:
        assert features(model, 12, 224).shape == (2, classes)
        model.reset_classifier(0)  # type: ignore[operator]
    torch.testing.assert_close(features(model, 12, 224), features(learner.backbone, 12, 224))


def test_metadata_say_what_the_weights_are(tmp_path: Path) -> None:
    made(tmp_path, "moco_v2", "vit_tiny_patch16_224")
    to = tmp_path / "backbone.safetensors"
    said = export.export(tmp_path, to)
    found = about(to)
    assert found["timm"] == {
        "model_name": "vit_tiny_patch16_224",
        "in_chans": 13,
        "num_classes": 0,
        "img_size": 32,
    }
    assert (found["method"], found["arch"], found["step"]) == ("moco_v2", "vit_tiny_patch16_224", 7)
    assert (found["format"], found["modality"], found["dates"]) == ("pt", ["S2L1C"], 1)
    assert found["band_names"]["S2L1C"] == [
        *("B01", "B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B09", "B10", "B11"),
        "B12",
    ]
    statistics = STATISTICS["v1.1-webdataset"]
    assert found["statistics"]["name"] == "v1.1-webdataset"
    assert found["statistics"]["mean"]["S2L1C"] == list(statistics.mean["S2L1C"])
    assert found["radiometry"]["formula"] == "clip((x - offset) * scale, low, high)"
    assert found["radiometry"]["S2L1C"] == {
        "offset": [0.0] * 13,
        "scale": [1e-4] * 13,
        "low": [0.0] * 13,
        "high": [1.0] * 13,
    }
    assert found["config"]["image_size"] == found["run"]["image_size"] == 32
    assert found["run"]["options"]["queue"] == 8
    assert said.splitlines()[1] == (
        "model = timm.create_model(model_name='vit_tiny_patch16_224', in_chans=13, num_classes=0, "
        "img_size=32)"
    )


@pytest.mark.long
def test_what_was_said_can_be_run(tmp_path: Path) -> None:
    made(tmp_path, "moco_v2", "resnet18")
    to = tmp_path / "backbone.safetensors"
    done = nursery.python(
        "-m", "ssl4eo_train.export", tmp_path, "--to", to, imported=nursery.TRAINING
    )
    printed, errors = done.communicate(timeout=100)
    assert done.returncode == 0, errors
    program = "import safetensors.torch, timm\n" + "\n".join(printed.splitlines()[1:])
    names: dict[str, Any] = {}
    exec(program, names)
    state = checkpoint.load(tmp_path)["model"]
    assert torch.equal(names["model"].conv1.weight, state["query.backbone.conv1.weight"])


def test_a_real_run_is_exported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two modalities stacked, two steps in two parts, as the loop saves them."""
    monkeypatch.setenv("FASTLOAD_CACHE", str(tmp_path / "cache"))
    root = synth(tmp_path / "scenes", 10, modalities=["S1GRD", "S2L2A"], size=32)
    out, to = tmp_path / "run", tmp_path / "backbone.safetensors"
    words = [
        *("--data", str(root), "--out", str(out), "--modality", "S1GRD", "S2L2A"),
        *("--method", "moco_v2", "--arch", "test_resnet", "--image-size", "24"),
        *("--batch-size", "4", "--accumulate", "2", "--set", "queue=8", "--steps", "2"),
        *("--loader", "threads", "--workers", "1", "--device", "cpu"),
    ]
    assert main(words) == 0
    assert export.main([str(out), "--to", str(to)]) == 0
    found = about(to)
    assert (found["timm"]["in_chans"], found["step"]) == (14, 2)
    assert {name: len(bands) for name, bands in found["band_names"].items()} == {
        "S1GRD": 2,
        "S2L2A": 12,
    }
    state = checkpoint.load(out)["model"]
    for name, x in load_file(to).items():
        assert torch.equal(x, state[f"query.backbone.{name}"])
    again = tmp_path / "again"
    changed = [str(again) if word == str(out) else word for word in words]
    assert main([*changed, "--init", str(to)]) == 0


def test_channels_last_weights_are_written(tmp_path: Path) -> None:
    """As a run on a GPU has them."""
    made(tmp_path, "moco_v2", "resnet18")
    saved = checkpoint.load(tmp_path)
    name = "query.backbone.layer1.0.conv1.weight"
    weight = saved["model"][name].to(memory_format=torch.channels_last)
    assert not weight.is_contiguous()
    checkpoint.save(tmp_path, {**saved, "model": {**saved["model"], name: weight}})
    to = tmp_path / "backbone.safetensors"
    export.export(tmp_path, to)
    assert torch.equal(load_file(to)["layer1.0.conv1.weight"], weight)


def test_what_cannot_be_exported_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made(tmp_path, "moco_v2", "resnet18")
    to = tmp_path / "backbone.safetensors"
    with pytest.raises(SetupError, match=r"--to: expected a name that ends in \.safetensors"):
        export.export(tmp_path, tmp_path / "backbone.pt")
    with pytest.raises(SetupError, match="--to: cannot write"):
        export.export(tmp_path, tmp_path / "absent" / "backbone.safetensors")
    plain = tmp_path / "plain.pt"
    torch.save(backbones.build("resnet18", 13, 32).state_dict(), plain)
    with pytest.raises(SetupError, match="is not a checkpoint of a run"):
        export.export(plain, to)
    with pytest.raises(SetupError, match="--to: cannot write"):
        export.export_folder(tmp_path, plain / "hub")
    assert export.main([str(tmp_path / "nowhere"), "--to", str(to)]) == 2
    assert "nowhere cannot be read as weights" in capsys.readouterr().err
    assert not to.exists()
