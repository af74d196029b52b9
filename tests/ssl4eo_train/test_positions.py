"""Positions for small views, against slow loops; what is exported stays timm's."""

import math
from typing import Any

import numpy as np
import pytest
import timm
import torch
from numpy.typing import NDArray
from timm.models import VisionTransformer

from ssl4eo_train import weights
from ssl4eo_train.methods import METHODS, Settings, dino
from ssl4eo_train.methods.positions import resampled

pytestmark = pytest.mark.timeout(60)


def cubic(distance: float, a: float = -0.75) -> float:
    """Keys's kernel, with the slope that OpenCV and torch have."""
    d = abs(distance)
    if d <= 1:
        return (a + 2) * d**3 - (a + 3) * d**2 + 1
    return a * (d**3 - 5 * d**2 + 8 * d - 4) if d < 2 else 0.0


def matrix(old: int, new: int) -> NDArray[np.float64]:
    """Weights ``[new, old]`` of one axis, sampled by the factor (new + 0.1) / old."""
    weights = np.zeros((new, old))
    for i in range(new):
        place = (i + 0.5) * old / (new + 0.1) - 0.5
        first = math.floor(place)
        for tap in range(first - 1, first + 3):
            weights[i, min(max(tap, 0), old - 1)] += cubic(place - tap)
    return weights


@pytest.mark.parametrize(("old", "new"), [((14, 14), (6, 6)), ((6, 4), (3, 8)), ((4, 4), (5, 4))])
def test_as_slow_loops(old: tuple[int, int], new: tuple[int, int]) -> None:
    patches = torch.randn(1, old[0] * old[1], 5, dtype=torch.float64)
    down, across = (matrix(o, n) for o, n in zip(old, new, strict=True))
    image = patches.numpy().reshape(*old, 5)
    expected = np.einsum("ia,jb,abd->ijd", down, across, image).reshape(1, -1, 5)
    np.testing.assert_allclose(resampled(patches, old, new).numpy(), expected, atol=1e-12)


def test_the_same_grid_is_left_as_it_is() -> None:
    patches = torch.randn(1, 12, 3)
    assert resampled(patches, (4, 3), (4, 3)) is patches


def built(published: bool) -> dino.DINO:
    options = dino.Options(published_positions=published, outputs=32, hidden=16, bottleneck=8)
    torch.manual_seed(0)
    settings = Settings(arch="test_vit", bands=3, image_size=64, batch=4, seed=0, options=options)
    made = METHODS["dino"].build(settings)
    assert isinstance(made, dino.DINO)
    return made


def test_small_views_alone_see_other_positions() -> None:
    """And how much other ones: those of timm are smoothed."""
    ours, plain = built(True), built(False)
    backbone: Any = ours.backbone
    assert isinstance(backbone, VisionTransformer)
    ours.eval()
    plain.eval()
    large, small = torch.rand(2, 3, 64, 64), torch.rand(2, 3, 32, 32)
    assert torch.equal(ours.backbone(large), plain.backbone(large))
    assert not torch.allclose(ours.backbone(small), plain.backbone(small), rtol=1e-3)
    grid = backbone.patch_embed.grid_size
    expected = resampled(backbone.pos_embed[:, 1:], grid, (2, 2)) + backbone.patch_embed(
        small
    ).flatten(1, 2)
    tokens = backbone._pos_embed(backbone.patch_embed(small))
    torch.testing.assert_close(tokens[:, 1:], expected)
    first = backbone.cls_token + backbone.pos_embed[:, :1]
    torch.testing.assert_close(tokens[:, :1], first.expand(2, -1, -1))


@pytest.mark.parametrize("arch", ["test_vit", "test_vit4", "vit_tiny_patch16_224"])
def test_at_the_size_of_training_all_kinds_are_timms(arch: str) -> None:
    from ssl4eo_train import backbones
    from ssl4eo_train.methods.positions import resample_as_published

    if not timm.is_model(arch):
        pytest.skip(f"this timm has no {arch}")
    more = {"dynamic_img_size": True, "reg_tokens": 2}
    vit: Any = backbones.build(arch, 2, 64, **more)
    images = torch.rand(2, 2, 64, 64)
    expected = vit.eval()(images)
    resample_as_published(vit)
    torch.testing.assert_close(vit(images), expected)
    assert vit(torch.rand(2, 2, 32, 32)).shape == expected.shape


def test_what_is_exported_is_timms() -> None:
    model = built(True)
    settings = Settings(
        arch="test_vit", bands=3, image_size=64, batch=4, seed=0, options=dino.Options()
    )
    other = timm.create_model(**weights.constructor("dino", settings))
    other.load_state_dict(model.backbone.state_dict())
    images = torch.rand(2, 3, 64, 64)
    torch.testing.assert_close(other.eval()(images), model.eval().backbone(images))


def test_the_class_token_is_as_wide_as_positions() -> None:
    backbone: Any = built(True).backbone
    assert 0.012 < backbone.cls_token.std().item() < 0.03
    assert backbone.cls_token.abs().max() <= 2
