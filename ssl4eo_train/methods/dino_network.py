"""The networks of DINO: a backbone that takes images of several sizes, and a head on top."""

from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

from ssl4eo_train import backbones
from ssl4eo_train.methods import positions
from ssl4eo_train.methods.method import Settings
from ssl4eo_train.methods.vit import is_transformer


class Head(nn.Module):
    """Features ``[N, F]`` to logits ``[N, K]``: cosines of a bottleneck with K directions.

    Source: Caron et al., arXiv:2104.14294, section 3.1, and their code.

    Args:
        features: F.
        hidden: width of the two hidden layers, without batch norm.
        bottleneck: width of what is compared with the directions.
        outputs: K.
    """

    def __init__(self, features: int, hidden: int, bottleneck: int, outputs: int) -> None:
        super().__init__()
        layers = [nn.Linear(a, b) for a, b in ((features, hidden), (hidden, hidden))]
        layers.append(nn.Linear(hidden, bottleneck))
        for layer in layers:
            nn.init.trunc_normal_(layer.weight, std=0.02)
            nn.init.zeros_(layer.bias)
        self.mlp = nn.Sequential(layers[0], nn.GELU(), layers[1], nn.GELU(), layers[2])
        self.last = weight_norm(nn.Linear(bottleneck, outputs, bias=False))
        # The norm keeps length [K, 1] and direction [K, bottleneck] apart. All lengths stay 1, so
        # that no output wins by its length alone.
        length = self.last.get_parameter("parametrizations.weight.original0")
        nn.init.ones_(length).requires_grad_(False)

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        logits: Tensor = self.last(F.normalize(self.mlp(x), dim=1))
        return logits


def network(settings: Settings, drop_path: float) -> nn.Module:
    """Make images ``[N, C, h, w]`` to logits ``[N, K]``, by children ``backbone`` and ``head``.

    A transformer takes images of any size, and drops paths.

    Raises:
        SetupError: where patches do not tile the large views.
    """
    more: dict[str, Any] = {}
    if is_transformer(settings.arch, settings.image_size):
        more = {"dynamic_img_size": True, "drop_path_rate": drop_path}
    backbone: Any = backbones.build(settings.arch, settings.bands, settings.image_size, **more)
    if more:
        nn.init.trunc_normal_(backbone.cls_token, std=0.02)  # As FB; timm starts it near 0.
        if settings.options.published_positions:
            positions.resample_as_published(backbone)
    backbone.set_grad_checkpointing(settings.checkpointing)
    options = settings.options
    head = Head(backbones.width(backbone), options.hidden, options.bottleneck, options.outputs)
    whole = nn.Sequential()
    whole.add_module("backbone", backbone)
    whole.add_module("head", head)
    return whole
