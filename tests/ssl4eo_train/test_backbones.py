import pytest
import torch
from torch import nn

from ssl4eo_train import backbones
from ssl4eo_train.errors import SetupError
from ssl4eo_train.methods import METHODS, Settings, moco_v3

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


def first_convolution(method: str, bands: int) -> tuple[float, float]:
    """Its standard deviation, and how large it is as torch draws it by default."""
    torch.manual_seed(0)
    options = METHODS[method].Options(**({"queue": 8} if method in ("moco_v2", "seco") else {}))
    settings = Settings(
        arch="resnet18", bands=bands, image_size=32, batch=4, seed=0, options=options
    )
    weight = METHODS[method].build(settings).backbone.get_parameter("conv1.weight")
    return weight.std().item(), (3 * bands * 7 * 7) ** -0.5


@pytest.mark.parametrize("method", ["moco_v2", "dino"])
def test_ssl4eo_s12_draws_the_first_convolution_anew(method: str) -> None:
    std, default = first_convolution(method, 13)
    assert std == pytest.approx(default, rel=0.02)


@pytest.mark.parametrize("method", ["moco_v2", "moco_v3", "seco"])
def test_of_rgb_it_is_torchvisions(method: str) -> None:
    std, default = first_convolution(method, 3)
    assert std == pytest.approx((2 / (64 * 7 * 7)) ** 0.5, rel=0.02)  # kaiming_normal, fan_out
    assert default / std == pytest.approx(1.9, abs=0.05)


def test_the_last_norm_of_each_block_starts_at_0_in_moco_v3() -> None:
    options = moco_v3.Options(hidden=8, width=4)
    settings = Settings(arch="resnet18", bands=2, image_size=32, batch=4, seed=0, options=options)
    backbone = moco_v3.build(settings).backbone
    for name, parameter in backbone.named_parameters():
        if name.endswith("bn2.weight"):
            assert not parameter.any()
        elif name.endswith("bn1.weight"):
            assert (parameter == 1).all()


def test_unknown_arch_names_its_neighbours() -> None:
    with pytest.raises(SetupError, match=r"no model 'resnet5O'; near it are .*resnet50"):
        backbones.build("resnet5O", 13, 224)
    with pytest.raises(SetupError, match=r"no model 'zzzzzz'$"):
        backbones.build("zzzzzz", 13, 224)
