"""Backbones from timm, for any number of bands."""

import difflib
from typing import Any, cast

from torch import nn

from ssl4eo_train.errors import SetupError


def build(
    arch: str,
    bands: int,
    image_size: int,
    *,
    redrawn_conv1: bool = True,
    zero_last: bool = False,
    **more: Any,
) -> nn.Module:
    """Make a randomly initialised backbone: ``[N, bands, h, w]`` to features ``[N, F]``.

    Args:
        arch: name in timm.
        bands: input channels C.
        image_size: side of the input in pixels; only transformers depend on it.
        redrawn_conv1: draw a ResNet's first convolution as torch does by default, as SSL4EO-S12,
            which replaces it; for 3 bands 1.9 times as wide as torchvision draws it otherwise.
        zero_last: start the last norm of each of a ResNet's blocks at 0 instead of 1, torchvision's
            ``zero_init_residual``.
        more: further options of timm's constructor.

    Raises:
        SetupError: where timm has no such model, with the nearest names.
    """
    import timm  # Here, since it takes seconds.

    if not timm.is_model(arch):
        near = difflib.get_close_matches(arch, timm.list_models(), n=5)
        hint = f"; near it are {', '.join(near)}" if near else ""
        raise SetupError(f"--arch: timm has no model {arch!r}{hint}")
    options: dict[str, Any] = {"in_chans": bands, "num_classes": 0, **more}
    resnet = timm.models.is_model_in_modules(arch, ["resnet"])
    if resnet:
        # By default timm starts it at 0, torchvision, which SSL4EO-S12 and SeCo used, at 1.
        options["zero_init_last"] = zero_last
    elif timm.models.is_model_in_modules(arch, ["vision_transformer"]):
        options["img_size"] = image_size
    model: nn.Module = timm.create_model(arch, pretrained=False, **options)
    if resnet and redrawn_conv1:
        first = next(m for m in model.modules() if isinstance(m, nn.Conv2d))
        first.reset_parameters()
    return model


def width(backbone: nn.Module) -> int:
    """Features that a backbone of `build` gives for one image."""
    return int(cast(int, backbone.num_features))
