"""An export as torchgeo's constructors and trainers take weights: a member of a `WeightsEnum`.

    import torchgeo.models
    from ssl4eo_train.torchgeo import exported

    model = torchgeo.models.resnet50(weights=exported("backbone.safetensors"))

torchgeo itself is not needed here.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torchvision.models import Weights, WeightsEnum

from fastload.statistics import statistics
from ssl4eo_train import layouts, weights
from ssl4eo_train.errors import SetupError
from ssl4eo_train.expected import Expected

CONSTRUCTORS = (
    "resnet18",
    "resnet50",
    "resnet152",
    "vit_small_patch16_224",
    "vit_base_patch16_224",
    "vit_large_patch16_224",
    "vit_huge_patch14_224",
)
"""Of torchgeo 0.8, for networks of timm of the same names."""


def constructor(arch: str) -> str | None:
    """The function of `torchgeo.models` that makes a network of timm; None where there is none."""
    return arch if arch in CONSTRUCTORS else None


class Transform(nn.Module):
    """What weights want to see: ``clip((x - offset) * scale, low, high)``, by channel.

    Args:
        wants: of the weights.
        channels: C; more than there are bands where a view shows several dates.
    """

    def __init__(self, wants: Expected, channels: int) -> None:
        super().__init__()
        # DN without an offset, as torchgeo's own weights are of.
        known = statistics("v1.0")
        found = [wants.scaling(name, known) for name in wants.bands]
        for name in ("offset", "scale", "low", "high"):
            of_bands = torch.from_numpy(np.concatenate([getattr(s, name) for s in found]))
            values = of_bands.repeat(channels // len(of_bands))[:, None, None]
            self.register_buffer(name, values, persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        """Change images ``[..., C, h, w]``: digital numbers, of radar dB; gives float32."""
        offset, scale, low, high = (
            self.get_buffer(name) for name in ("offset", "scale", "low", "high")
        )
        return torch.clamp((images - offset) * scale, low, high)


class _Kept(WeightsEnum):  # type: ignore[misc]
    """Weights of a file; an Enum without members of its own may be subclassed."""

    def get_state_dict(self, *args: Any, **kwargs: Any) -> Mapping[str, Any]:
        """Read the file. No argument of torch's downloads has a meaning here."""
        return weights.load_backbone(Path(self.meta["file"]))


def exported(path: str | Path) -> WeightsEnum:
    """Make weights for torchgeo of an export, or of the folder of a run.

    Args:
        path: of a safetensors file or of a folder.

    Raises:
        SetupError: where it cannot be read, does not say what it wants to see, or is of a network
            that torchgeo has no constructor of, such as data2vec's BEiT.
    """
    found = weights.read(Path(path))
    if found.call is None or found.radiometry is None:
        raise SetupError(
            f"{path} is neither an export nor a run: its metadata do not say its bands"
        )
    arch = str(found.call["model_name"])
    if constructor(arch) is None:
        raise SetupError(
            f"{path} is of {arch}, which torchgeo has no constructor of, only of "
            f"{', '.join(CONSTRUCTORS)}; load it by timm"
        )
    channels = layouts.channels(found.tensors)
    meta = {
        "file": str(path),
        "model": arch,
        "in_chans": channels,
        "img_size": found.image_size,
        "ssl_method": found.method,
        "bands": [band for names in found.radiometry.bands.values() for band in names],
    }
    entry = Weights(f"file:{path}", Transform(found.radiometry, channels), meta)
    return _Kept("Exported", {"BACKBONE": entry}).BACKBONE
