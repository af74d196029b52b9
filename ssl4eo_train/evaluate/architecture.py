"""Which network a backbone's tensors are of, where their file does not say."""

import re
from collections.abc import Mapping

from torch import Tensor

RESNETS: dict[tuple[bool, tuple[int, ...]], str] = {
    (False, (2, 2, 2, 2)): "resnet18",
    (False, (3, 4, 6, 3)): "resnet34",
    (True, (3, 4, 6, 3)): "resnet50",
    (True, (3, 4, 23, 3)): "resnet101",
    (True, (3, 8, 36, 3)): "resnet152",
}
"""By whether the blocks are bottlenecks, and how many of them the four stages have."""
TRANSFORMERS = {
    (192, 12): "tiny",
    (384, 12): "small",
    (768, 12): "base",
    (1024, 24): "large",
    (1280, 32): "huge",
}
"""By width and blocks; ViT-S has six heads, also in SSL4EO-S12's MoCo-v3."""


def arch_of(tensors: Mapping[str, Tensor]) -> str | None:
    """Name, in timm, of the network that tensors in timm's names are of; None where unknown.

    Of a BEiT, as data2vec has it, the name of the plain transformer that it is made after.
    """
    patch = tensors.get("patch_embed.proj.weight")
    if patch is not None and patch.ndim == 4:
        size = TRANSFORMERS.get((patch.shape[0], _count(tensors, r"blocks\.(\d+)\.")))
        return size and f"vit_{size}_patch{patch.shape[-1]}_224"
    first = tensors.get("layer1.0.conv1.weight")
    stem = tensors.get("conv1.weight")
    if first is None or stem is None or first.shape[0] != 64 or stem.shape[-1] != 7:
        return None
    stages = tuple(_count(tensors, rf"layer{i}\.(\d+)\.") for i in range(1, 5))
    return RESNETS.get(("layer1.0.conv3.weight" in tensors, stages))


def _count(tensors: Mapping[str, Tensor], pattern: str) -> int:
    """How many blocks there are."""
    found = (re.match(pattern, name) for name in tensors)
    return 1 + max((int(m[1]) for m in found if m), default=-1)
