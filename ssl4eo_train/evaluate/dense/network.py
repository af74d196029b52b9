"""Networks that say something of each pixel: a backbone with a decoder that is new."""

from abc import abstractmethod
from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ssl4eo_train.errors import SetupError
from ssl4eo_train.evaluate.classify.pooling import is_transformer
from ssl4eo_train.evaluate.dense.backbone import Blocks, Neck, Stages, is_resnet
from ssl4eo_train.evaluate.dense.plan import Plan
from ssl4eo_train.evaluate.pretrained import Pretrained

STRIDE, DILATED = 32, 8
"""Of a ResNet's last maps; of those of DeepLabV3+."""
RATES = (12, 24, 36)
"""Dilations of DeepLabV3+ at stride 8 (arXiv:1802.02611)."""
THIRD = 4
"""Of a ResNet's six maps the third stage's."""
AUXILIARY = 256


class DenseNetwork(nn.Module):
    """A copy of a backbone and a decoder.

    Attributes:
        backbone: images to maps.
        inner: side that images are resampled to, and scores back from; 0 for their own.
    """

    backbone: nn.Module
    inner: int

    def __init__(self, plan: Plan) -> None:
        super().__init__()
        self.plan = plan

    def learn(self) -> None:
        """Modules in the mode that they are trained in."""
        self.train()
        mode = self.plan.backbone_mode
        trains = self.plan.train == "all" if mode == "auto" else mode == "train"
        self.backbone.train(trains)

    def fix(self) -> None:
        """No gradients for a frozen backbone's parameters."""
        for parameter in self.backbone.parameters():
            parameter.requires_grad_(self.plan.train == "all")

    def looked(self, images: Tensor) -> list[Tensor]:
        """The backbone's maps; without gradients where it is frozen."""
        with torch.set_grad_enabled(torch.is_grad_enabled() and self.plan.train == "all"):
            found: list[Tensor] = self.backbone(resampled(images, self.inner))
            return found

    @abstractmethod
    def forward(self, images: Tensor) -> list[Tensor]:
        """Scores ``[N, K, H, W]``, and in training those of an auxiliary head behind them."""

    @abstractmethod
    def said(self, scores: Tensor) -> Tensor:
        """Class numbers ``[N, H, W]``, int64, by scores."""


def resampled(images: Tensor, side: int) -> Tensor:
    """``[N, C, H, W]`` to a side, bilinear; as they are for 0."""
    if not side or images.shape[-2:] == (side, side):
        return images
    return F.interpolate(images, (side, side), mode="bilinear", align_corners=False)


def inner_side(pretrained: Pretrained, plan: Plan) -> int:
    """Side of what the backbone sees; 0 for the images' own.

    Raises:
        SetupError: where the backbone cannot see that.
    """
    if is_resnet(pretrained.network):
        return plan.size
    if plan.size not in (0, pretrained.image_size):
        raise SetupError(
            f"size is {plan.size}, but {pretrained.arch} sees images of {pretrained.image_size} "
            f"pixels; --image-size {plan.size} makes it for others"
        )
    return pretrained.image_size


class Segmenter(DenseNetwork):
    """A decoder of segmentation-models-pytorch: ``[N, C, H, W]`` to ``[N, K, H, W]``.

    Args:
        pretrained: the backbone, which stays as it is.
        plan: says which decoder, and what is trained.
        classes: K.

    Raises:
        SetupError: where backbone and plan do not fit.
    """

    def __init__(self, pretrained: Pretrained, plan: Plan, classes: int) -> None:
        super().__init__(plan)
        self.inner = inner_side(pretrained, plan)
        dilated = plan.decoder == "deeplabv3plus"
        if is_resnet(pretrained.network):
            self.backbone, self.neck = Stages(pretrained, DILATED if dilated else STRIDE), None
            channels = self.backbone.channels
        else:
            if dilated and is_transformer(pretrained.network):
                raise SetupError(f"deeplabv3plus dilates ResNets, got {pretrained.arch}")
            self.backbone = Blocks(pretrained)
            channels = [0, 0, *self.backbone.channels]
            self.neck = Neck(channels[-1])
        self.decoder = _decoder(plan, channels)
        self.head = _head(plan.channels, plan.dropout, classes)
        self.auxiliary = _auxiliary(channels[THIRD], plan, classes) if plan.auxiliary else None
        self._start()
        self.fix()

    def _start(self) -> None:
        """Initialise what is new as the library does."""
        from segmentation_models_pytorch.base import initialization

        initialization.initialize_decoder(self.decoder)
        initialization.initialize_head(self.head)
        if self.auxiliary is not None:
            initialization.initialize_decoder(self.auxiliary)

    def forward(self, images: Tensor) -> list[Tensor]:
        """See `DenseNetwork.forward`."""
        self._check(self.inner or images.shape[-2], self.inner or images.shape[-1])
        maps = self.looked(images)
        if self.neck is not None:
            maps = [images, images, *self.neck(maps)]  # The decoder passes the first two over.
        scores = [self.head(self.decoder(list(maps)))]
        if self.auxiliary is not None and self.training:
            scores.append(self.auxiliary(maps[THIRD]))
        size = images.shape[-2:]
        return [F.interpolate(s, size, mode="bilinear", align_corners=False) for s in scores]

    def _check(self, height: int, width: int) -> None:
        """Refuse sides at which the decoder's maps do not meet."""
        decoder = self.plan.decoder
        multiple = {"deeplabv3plus": DILATED, "fpn": STRIDE}.get(decoder, 1)
        if height % multiple or width % multiple:
            raise SetupError(
                f"{decoder} takes images whose sides are multiples of {multiple}, got {height} x "
                f"{width}; size=N resamples them"
            )

    def said(self, scores: Tensor) -> Tensor:
        """See `DenseNetwork.said`."""
        return scores.argmax(dim=1)


def _decoder(plan: Plan, channels: Sequence[int]) -> nn.Module:
    """Maps to maps ``[N, plan.channels, h, w]``."""
    from segmentation_models_pytorch.decoders.deeplabv3.decoder import DeepLabV3PlusDecoder
    from segmentation_models_pytorch.decoders.fpn.decoder import FPNDecoder
    from segmentation_models_pytorch.decoders.upernet.decoder import UPerNetDecoder

    make: dict[str, Callable[[], nn.Module]] = {
        "upernet": lambda: UPerNetDecoder(channels, decoder_channels=plan.channels),
        "deeplabv3plus": lambda: DeepLabV3PlusDecoder(
            encoder_channels=channels,
            encoder_depth=5,
            out_channels=plan.channels,
            atrous_rates=RATES,
            output_stride=DILATED,
            aspp_separable=True,
            # mmsegmentation leaves maps out before they are classified, as `_head` does.
            aspp_dropout=0.0,
        ),
        "fpn": lambda: FPNDecoder(
            encoder_channels=list(channels),
            pyramid_channels=2 * plan.channels,
            segmentation_channels=plan.channels,
            dropout=0.0,
        ),
    }
    if plan.decoder not in make:
        raise SetupError(f"decoder is {plan.decoder}, expected one of {', '.join(make)}")
    return make[plan.decoder]()


def _head(width: int, dropout: float, classes: int) -> nn.Module:
    return nn.Sequential(nn.Dropout2d(dropout), nn.Conv2d(width, classes, kernel_size=1))


def _auxiliary(width: int, plan: Plan, classes: int) -> nn.Module:
    """The fully convolutional head of mmsegmentation's FCNHead with one convolution."""
    return nn.Sequential(
        nn.Conv2d(width, AUXILIARY, kernel_size=3, padding=1, bias=False),
        nn.BatchNorm2d(AUXILIARY),
        nn.ReLU(),
        _head(AUXILIARY, plan.dropout, classes),
    )
