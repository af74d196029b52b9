"""Weights of another image size; of another patch size they do not fit."""

from pathlib import Path
from typing import Any

import pytest
import timm
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ssl4eo_train import backbones, weights
from ssl4eo_train.errors import SetupError

pytestmark = pytest.mark.timeout(120)


def vit(size: int, bands: int = 2, **more: Any) -> nn.Module:
    torch.manual_seed(size)
    return backbones.build("test_vit", bands, size, **more)


def beit(size: int, **more: Any) -> nn.Module:
    torch.manual_seed(size)
    options = {"img_size": size, "in_chans": 2, "embed_dim": 48, "depth": 2, "num_heads": 3}
    shared = {"use_rel_pos_bias": False, "use_shared_rel_pos_bias": True, "use_fc_norm": False}
    made: nn.Module = timm.create_model(
        "beit_base_patch16_224", num_classes=0, **{**options, **shared, **more}
    )
    return made


def kept(model: nn.Module, tmp_path: Path) -> Path:
    path = tmp_path / "backbone.pth"
    torch.save(model.state_dict(), path)
    return path


def test_absolute_positions_are_resampled(tmp_path: Path) -> None:
    theirs, ours = vit(32), vit(64)
    path = kept(theirs, tmp_path)
    said = weights.init(ours, path).splitlines()[0]
    assert said.endswith("; positions resampled from 2 x 2 to 4 x 4 patches")
    old: Tensor = theirs.state_dict()["pos_embed"]
    new: Tensor = ours.state_dict()["pos_embed"]
    assert torch.equal(new[:, 0], old[:, 0])  # The class token's.
    grid = old[:, 1:].reshape(1, 2, 2, -1).permute(0, 3, 1, 2)
    wanted = F.interpolate(grid, size=(4, 4), mode="bicubic").flatten(2).transpose(1, 2)
    torch.testing.assert_close(new[:, 1:], wanted)
    for name, x in theirs.state_dict().items():
        assert name == "pos_embed" or torch.equal(x, ours.state_dict()[name])


def test_a_ramp_stays_one(tmp_path: Path) -> None:
    theirs, ours = vit(160), vit(80)
    ramp = torch.arange(10.0).repeat(10, 1).flatten()
    with torch.no_grad():
        theirs.pos_embed[0, 1:] = ramp[:, None]  # type: ignore[index, operator]
    weights.init(ours, kept(theirs, tmp_path))
    row = ours.state_dict()["pos_embed"][0, 1:, 0].reshape(5, 5)
    torch.testing.assert_close(row[2, 1:4], torch.tensor([2.5, 4.5, 6.5]))


@pytest.mark.parametrize("more", [{}, {"use_rel_pos_bias": True, "use_shared_rel_pos_bias": False}])
def test_relative_positions_are_resampled(tmp_path: Path, more: dict[str, bool]) -> None:
    theirs, ours = beit(32, **more), beit(64, **more)
    tables = [n for n in theirs.state_dict() if n.endswith("relative_position_bias_table")]
    assert len(tables) == (2 if more else 1)
    with torch.no_grad():
        for name in tables:
            theirs.get_parameter(name).normal_()
    said = weights.init(ours, kept(theirs, tmp_path)).splitlines()[0]
    assert said.endswith("; relative positions resampled from 2 x 2 to 4 x 4 patches")
    for name in tables:
        old, new = theirs.state_dict()[name], ours.state_dict()[name]
        assert torch.equal(new[-3:], old[-3:])  # Those of the class token.
        # What is nothing or one patch away, and the far corner, which the last one of old becomes.
        near, far = new[:-3].reshape(7, 7, 3), old[:-3].reshape(3, 3, 3)
        torch.testing.assert_close(near[2:5, 2:5], far)


def test_what_is_no_image_size_is_refused(tmp_path: Path) -> None:
    path, ours = kept(vit(32), tmp_path), vit(64, patch_size=8)
    with pytest.raises(SetupError, match=r"patch_embed\.proj\.weight is \[64, 2, 16, 16\] in"):
        weights.init(ours, path)
    state = vit(32).state_dict()
    for positions in (torch.zeros(1, 4, 64), torch.zeros(1, 5, 32), torch.zeros(5, 64)):
        torch.save({**state, "pos_embed": positions}, path)
        with pytest.raises(SetupError, match=r"pos_embed is \[.*\] in the file and \[1, 17, 64\]"):
            weights.init(vit(64), path)
    table = "rel_pos_bias.relative_position_bias_table"
    for entries in (torch.zeros(11, 3), torch.zeros(12, 2), torch.zeros(7, 3)):
        torch.save({**beit(32).state_dict(), table: entries}, path)
        with pytest.raises(SetupError, match=rf"{table} is \[.*\] in the file and \[52, 3\]"):
            weights.init(beit(64), path)
