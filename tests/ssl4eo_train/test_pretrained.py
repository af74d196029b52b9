"""Backbones for the evaluation, from files that say what they are and files that do not."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from torch import nn

from fastload.statistics import statistics
from ssl4eo_train import expected
from ssl4eo_train.errors import SetupError
from ssl4eo_train.evaluate.architecture import arch_of
from ssl4eo_train.evaluate.inputs import match
from ssl4eo_train.evaluate.pretrained import Channel, load
from ssl4eo_train.export import export_folder
from tests.ssl4eo_train.test_export import features, made
from tests.ssl4eo_train.test_full_checkpoints import data2vec, dino_resnet, seco

pytestmark = pytest.mark.timeout(180)

RGB = tuple(Channel(modality="S2L1C", band=band) for band in ("B04", "B03", "B02"))


def kept(tmp_path: Path, content: Any, name: str = "checkpoint.pth") -> str:
    torch.save(content, tmp_path / name)
    return str(tmp_path / name)


def test_a_published_file_says_enough(tmp_path: Path) -> None:
    content, theirs, _ = dino_resnet()
    found = load(kept(tmp_path, content))
    assert (found.arch, found.method, found.wanted) == ("resnet18", "dino", "reflectance")
    assert [c.band for c in found.channels] == list(expected.BANDS["S2L1C"])
    torch.testing.assert_close(features(found.network), features(theirs))
    assert len(found.digest) == 64


def test_seco_says_enough(tmp_path: Path) -> None:
    found = load(kept(tmp_path, seco()[0]))
    assert (found.arch, found.method, found.wanted) == ("resnet18", "seco", "seco")
    assert [c.band for c in found.channels] == ["B4", "B3", "B2"]


def test_runs_and_folders_of_the_hub(tmp_path: Path) -> None:
    learner = made(tmp_path, "mae", "test_vit", 32)
    export_folder(tmp_path, tmp_path / "hub")
    for path in (tmp_path, tmp_path / "hub"):
        found = load(str(path))
        torch.testing.assert_close(features(found.network), features(learner.backbone))
        assert (found.method, found.wanted, found.image_size) == ("mae", "reflectance", 32)
        larger = load(str(path), image_size=48)
        assert "positions resampled from 2 x 2 to 3 x 3 patches" in larger.source
        assert features(larger.network, size=48).shape == (2, 64)


def test_what_a_bare_backbone_does_not_say_is_asked_for(tmp_path: Path) -> None:
    model: nn.Module = timm.create_model("test_resnet", num_classes=0)
    path = kept(tmp_path, model.state_dict(), "x.pth")
    with pytest.raises(SetupError, match=r"does not say which .* give --modality and --bands"):
        load(path)
    with pytest.raises(SetupError, match=r"of no network that is known .* give --arch"):
        load(path, channels=RGB)
    with pytest.raises(SetupError, match=r"does not say what was made .* give --radiometry"):
        load(path, channels=RGB, arch="test_resnet")
    found = load(path, channels=RGB, arch="test_resnet", wanted="imagenet")
    assert (found.channels, found.wanted, found.expected) == (RGB, "imagenet", None)
    with pytest.raises(SetupError, match=r"--checkpoint: .*x\.pth .* does not fit: missing "):
        load(path, channels=RGB, arch="resnet18", wanted="imagenet")


def test_what_contradicts_the_file_is_refused(tmp_path: Path) -> None:
    path = kept(tmp_path, seco()[0])
    with pytest.raises(SetupError, match=r"takes 3 channels, but --bands names 2"):
        load(path, channels=RGB[:2])
    with pytest.raises(SetupError, match=r"is of B4, B3, B2, not of --bands B02, B03, B04"):
        load(path, channels=RGB[::-1])
    made(tmp_path, "moco_v2", "test_resnet", 32)
    with pytest.raises(SetupError, match="is of test_resnet, not of --arch resnet50"):
        load(str(tmp_path), arch="resnet50")


def test_architectures_are_known_by_their_tensors() -> None:
    names = ("resnet18", "resnet34", "resnet50", "resnet101", "vit_small_patch16_224")
    for name in (*names, "vit_tiny_patch16_224", "vit_large_patch16_224"):
        with torch.device("meta"):
            assert arch_of(timm.create_model(name).state_dict()) == name
    for name in ("wide_resnet50_2", "convnext_tiny", "vit_small_patch14_dinov2", "test_vit"):
        with torch.device("meta"):
            state = timm.create_model(name).state_dict()
        assert arch_of(state) in (None, "vit_small_patch14_224")
    assert arch_of(data2vec()[0]["model"]) is None


def test_seco_is_shown_stretched_and_standardised() -> None:
    offered = {"S2L1C": ("B02", "B03", "B04")}
    inputs = match(RGB, offered, False, "seco")
    made_of = inputs.radiometry("S2L1C", statistics("v1.0"))
    scaling = made_of.scaling("S2L1C", 3, statistics("v1.0"))
    dn = np.array([129.0, 52.5, 3.0]) * 10000 / 255  # Top, middle and bottom of B4, B3 and B2.
    x = np.clip((dn - scaling.offset) * scaling.scale, scaling.low, scaling.high)
    batch = {"S2L1C": [torch.from_numpy(x.astype(np.float32))[None, :, None, None]]}
    shown = inputs.channels(batch).flatten()
    mean, std = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    assert shown.tolist() == pytest.approx(((np.array([1, 0.5, 0]) - mean) / std), abs=1e-4)
    infrared = match((Channel(modality="S2L1C", band="B08"),), {"S2L1C": ("B08",)}, False, "seco")
    with pytest.raises(SetupError, match="are of red, green and blue; S2L1C B08 is none"):
        infrared.radiometry("S2L1C", statistics("v1.0"))
