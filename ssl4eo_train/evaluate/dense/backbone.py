"""A backbone as a pyramid of maps, with weights that are checked by name."""

import copy
from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from ssl4eo_train.errors import SetupError
from ssl4eo_train.evaluate.classify.pooling import is_transformer
from ssl4eo_train.evaluate.pretrained import Pretrained

LEVELS = 4
"""Of a transformer's pyramid: so many of its blocks are looked at."""
STAGES = ("layer1", "layer2", "layer3", "layer4")


def is_resnet(network: nn.Module) -> bool:
    """Whether a network of timm has the stem and the stages of a ResNet."""
    return all(hasattr(network, name) for name in ("conv1", "maxpool", *STAGES))


class Stages(nn.Module):
    """A ResNet in segmentation-models-pytorch's manner: maps at strides 1 (the image), 2, 4, ...

    Its weights are those of the backbone, every one of them.

    Args:
        pretrained: the backbone, which stays as it is.
        stride: of the last maps: 32, or 16 or 8 by dilation.

    Attributes:
        channels: of the maps, the image's first.

    Raises:
        SetupError: where the backbone has other tensors.
    """

    def __init__(self, pretrained: Pretrained, stride: int = 32) -> None:
        super().__init__()
        from segmentation_models_pytorch.encoders import get_encoder  # Here: it takes seconds.

        named = ("model_name", "in_chans", "num_classes", "pretrained")
        more = {name: value for name, value in pretrained.call.items() if name not in named}
        self.encoder = get_encoder(
            f"tu-{pretrained.arch}",
            in_channels=len(pretrained.channels),
            weights=None,
            output_stride=stride,
            **more,
        )
        load(self.encoder.model, pretrained.network)
        self.channels: list[int] = list(self.encoder.out_channels)

    def forward(self, images: Tensor) -> list[Tensor]:
        """Six maps ``[N, channels[i], h, w]`` of ``[N, C, H, W]``."""
        found: list[Tensor] = self.encoder(images)
        return found


def load(into: nn.Module, network: nn.Module) -> None:
    """Copy all tensors of a network into one that has tensors of the same names.

    Raises:
        SetupError: names those that one of both has alone.
    """
    mine, theirs = network.state_dict(), into.state_dict()
    odd = sorted(set(mine) ^ set(theirs))
    odd += [n for n in mine if n in theirs and mine[n].shape != theirs[n].shape]
    if odd:
        raise SetupError(f"the backbone does not fit its pyramid: {', '.join(odd[:8])}")
    into.load_state_dict(mine)


class Blocks(nn.Module):
    """A vision transformer's patches after some of its blocks, as maps ``[N, D, h, w]``.

    Those of BEiT (arXiv:2106.08254) and MAE: a quarter, a half, three quarters and all of the way.

    Args:
        pretrained: the backbone, which stays as it is.

    Raises:
        SetupError: where it is no transformer, or has too few blocks.
    """

    def __init__(self, pretrained: Pretrained) -> None:
        super().__init__()
        if not is_transformer(pretrained.network):
            raise SetupError(
                f"expected a ResNet or a vision transformer for maps, got {pretrained.arch}"
            )
        self.network = copy.deepcopy(pretrained.network)
        blocks: Any = self.network.blocks
        if len(blocks) < LEVELS:
            raise SetupError(f"{pretrained.arch} has {len(blocks)} blocks, expected {LEVELS}")
        self.which = [len(blocks) * (i + 1) // LEVELS - 1 for i in range(LEVELS)]
        self.channels = [int(self.network.num_features)] * LEVELS  # type: ignore[arg-type]

    def forward(self, images: Tensor) -> list[Tensor]:
        """Maps of one size, a patch a pixel."""
        look: Any = self.network.forward_intermediates
        found: list[Tensor] = look(images, indices=self.which, intermediates_only=True)
        return found


class Neck(nn.Module):
    """A transformer's maps at a quarter, a half, one and two patches a pixel, as BEiT and MAE have
    it for UPerNet: two transposed convolutions, one, none, and a pooling."""

    def __init__(self, width: int) -> None:
        super().__init__()

        def up() -> nn.Module:
            return nn.ConvTranspose2d(width, width, kernel_size=2, stride=2)

        self.levels = nn.ModuleList(
            [
                nn.Sequential(up(), nn.BatchNorm2d(width), nn.GELU(), up()),
                up(),
                nn.Identity(),
                nn.MaxPool2d(kernel_size=2, stride=2),
            ]
        )

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """``[N, D, h, w]`` each, to sides 4h, 2h, h and h / 2."""
        return [level(x) for level, x in zip(self.levels, maps, strict=True)]


class Taps(nn.Module):
    """A ResNet's stem and stages, ``[N, C, H, W]`` to five maps at strides 2 to 32.

    Args:
        pretrained: the backbone, which stays as it is.
        stem: the first map: ``conv1``, the stem's convolution (SeCo's tap 0), or ``act1``, behind
            its norm and activation (SSL4EO-S12's tap 2).
    """

    def __init__(self, pretrained: Pretrained, stem: str) -> None:
        super().__init__()
        self.network, self.stem = copy.deepcopy(pretrained.network), stem
        info: Any = self.network.feature_info
        self.channels = [int(level["num_chs"]) for level in info]

    def forward(self, images: Tensor) -> list[Tensor]:
        """See the class."""
        n: Any = self.network
        convolved = n.conv1(images)
        # The activation works in place, on what the norm made, so that `convolved` stays.
        x = n.act1(n.bn1(convolved))
        maps = [convolved if self.stem == "conv1" else x]
        x = n.maxpool(x)
        for name in STAGES:
            x = getattr(n, name)(x)
            maps.append(x)
        return maps
