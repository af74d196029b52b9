"""Change by the difference of two dates' maps, and a UNet's decoder on it.

As SeCo and SSL4EO-S12 have it for OSCD (ServiceNow/seasonal-contrast @8285173, and
SSL4EO-S12/src/benchmark/transfer_change_detection @2156913, models/segmentation.py): both dates go
through one backbone, one after the other, and levels are ``|f1 - f2|``.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ssl4eo_train.errors import SetupError
from ssl4eo_train.evaluate.dense.backbone import Blocks, Neck, Taps, is_resnet
from ssl4eo_train.evaluate.dense.network import DenseNetwork, inner_side
from ssl4eo_train.evaluate.dense.plan import Plan
from ssl4eo_train.evaluate.pretrained import Pretrained


class Level(nn.Module):
    """One level up: nearest x 2, a convolution, the skipped maps beside it, a convolution without
    bias, batch norm, ReLU, and maps left out at random.

    Args:
        below: channels of what comes from below.
        width: channels of the skipped maps, and of the result.
        dropout: see `Plan`.
    """

    def __init__(self, below: int, width: int, dropout: float) -> None:
        super().__init__()
        self.shrink = nn.Conv2d(below, width, kernel_size=3, padding=1)
        self.merge = nn.Conv2d(2 * width, width, kernel_size=3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(width)
        self.dropout = nn.Dropout2d(dropout)

    def forward(self, x: Tensor, skipped: Tensor) -> Tensor:
        """``[N, below, h / 2, w / 2]`` and ``[N, width, h, w]`` to ``[N, width, h, w]``."""
        # By size and not by the factor, so that odd sides, which halve with a rest, fit as well.
        x = self.shrink(F.interpolate(x, skipped.shape[-2:], mode="nearest"))
        x = self.merge(torch.cat([x, skipped], dim=1))
        found: Tensor = self.dropout(F.relu(self.norm(x)))
        return found


class UNetDecoder(nn.Module):
    """Maps, each of half the side of the one before, to a score a pixel of twice the first's side.

    Args:
        channels: of the maps.
        dropout: see `Plan`.
    """

    def __init__(self, channels: Sequence[int], dropout: float) -> None:
        super().__init__()
        pairs = zip(channels[1:], channels, strict=False)
        self.levels = nn.ModuleList([Level(below, width, dropout) for below, width in pairs])
        self.out = nn.Conv2d(channels[0], 1, kernel_size=1)

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """``[N, 1, H, W]``."""
        x = maps[-1]
        for level, skipped in zip(reversed(self.levels), reversed(maps[:-1]), strict=True):
            x = level(x, skipped)
        scores: Tensor = self.out(F.interpolate(x, scale_factor=2, mode="nearest"))
        return scores


class Difference(DenseNetwork):
    """A siamese backbone and a UNet's decoder: ``[N, 2, C, H, W]`` to ``[N, 1, H, W]``.

    Of a transformer the differences of four blocks' patches go through the neck that it has for
    UPerNet, which no paper has.

    Args:
        pretrained: the backbone, which stays as it is.
        plan: says what is trained.

    Raises:
        SetupError: where backbone and plan do not fit.
    """

    def __init__(self, pretrained: Pretrained, plan: Plan) -> None:
        super().__init__(plan)
        if plan.decoder != "difference" or plan.auxiliary:
            raise SetupError("change has the decoder difference alone, without an auxiliary head")
        self.inner = inner_side(pretrained, plan)
        self.neck: Neck | None = None
        if is_resnet(pretrained.network):
            self.backbone = Taps(pretrained, plan.stem)
            channels = self.backbone.channels
        else:
            self.backbone = Blocks(pretrained)
            channels = self.backbone.channels
            self.neck = Neck(channels[0])
        self.decoder = UNetDecoder(channels, plan.dropout)
        self.fix()

    def forward(self, images: Tensor) -> list[Tensor]:
        """See `DenseNetwork.forward`."""
        first, second = (self.looked(images[:, date]) for date in range(2))
        maps = [(a - b).abs() for a, b in zip(first, second, strict=True)]
        scores: Tensor = self.decoder(maps if self.neck is None else self.neck(maps))
        if scores.shape[-2:] != images.shape[-2:]:
            size = images.shape[-2:]
            scores = F.interpolate(scores, size, mode="bilinear", align_corners=False)
        return [scores]

    def said(self, scores: Tensor) -> Tensor:
        """Where the probability is above one half."""
        return (scores[:, 0] > 0).long()
