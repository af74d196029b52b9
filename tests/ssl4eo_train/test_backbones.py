import pytest
import torch
from torch import nn

from ssl4eo_train import backbones
from ssl4eo_train.errors import SetupError

pytestmark = pytest.mark.timeout(60)


@pytest.mark.parametrize("bands", [1, 2, 12, 13])
@pytest.mark.parametrize("arch", ["test_resnet", "test_vit"])
def test_any_band_count(arch: str, bands: int) -> None:
    backbone = backbones.build(arch, bands, 32)
    features = backbone(torch.rand(2, bands, 32, 32))
    assert features.shape == (2, backbones.width(backbone))


def test_resnet_starts_as_the_published_one() -> None:
    torch.manual_seed(0)
    backbone = backbones.build("resnet18", 13, 64)
    first = next(m for m in backbone.modules() if isinstance(m, nn.Conv2d))
    assert first.weight.shape == (64, 13, 7, 7)
    # torch's default: uniform within 1 / sqrt(fan in).
    bound = (13 * 7 * 7) ** -0.5
    assert 0.99 * bound < first.weight.abs().max() <= bound
    norms = [m for m in backbone.modules() if isinstance(m, nn.BatchNorm2d)]
    assert all(torch.equal(m.weight, torch.ones_like(m.weight)) for m in norms)


def test_unknown_arch_names_its_neighbours() -> None:
    with pytest.raises(SetupError, match=r"no model 'resnet5O'; near it are .*resnet50"):
        backbones.build("resnet5O", 13, 224)
    with pytest.raises(SetupError, match=r"no model 'zzzzzz'$"):
        backbones.build("zzzzzz", 13, 224)
