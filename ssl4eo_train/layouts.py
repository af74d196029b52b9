"""Where a backbone is in a file, by its keys: what others published, and bare backbones."""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from ssl4eo_train import expected, positions
from ssl4eo_train.errors import SetupError
from ssl4eo_train.expected import Expected

CONTAINERS = ("state_dict", "teacher", "student", "model", "module")
"""Where a published checkpoint keeps a network. DINO evaluates its teacher; ``module`` is what
DeepSpeed makes of data2vec's ``model``."""
PREFIXES = ("encoder_q.", "base_encoder.", "backbone.", "")
"""What names the backbone in it: of MoCo-v2 and SeCo, of MoCo-v3, of DINO; MAE, data2vec and bare
backbones have none. Names inside are timm's, which for ResNets are torchvision's."""
CHILDREN = {"0": "conv1", "1": "bn1", **{str(i + 3): f"layer{i}" for i in range(1, 5)}}
"""SeCo's backbone is an `nn.Sequential` of torchvision's children, so its names are numbers."""
FIRST = "conv1.weight", "patch_embed.proj.weight"
"""What sees the bands."""
NO_BACKBONE = re.compile(
    r"(fc|head|lm_head|mask_token|decoder_\w+)(\.|$)|.*relative_position_index$"
)
"""Tensors beside the backbone: heads, MAE's decoder, and a table that timm computes."""
NAMED = (("seco", "seco"), ("data2vec", "data2vec"), ("dino", "dino"), ("mae", "mae"))
"""Methods by what the names of published files have of them; "moco" is one of two."""


@dataclass(frozen=True)
class Weights:
    """What a file says of a backbone."""

    source: str
    """The place in the file, in words."""
    tensors: dict[str, Tensor]
    """In timm's names."""
    left_out: tuple[str, ...]
    """What lay beside them and is no part of a backbone, by the first part of its names."""
    radiometry: Expected | None = None
    """What they want to see; None where neither the file nor its layout or name says so."""
    method: str | None = None
    """That trained them, where that is known."""
    call: Mapping[str, Any] | None = None
    """Arguments of `timm.create_model`, where a run or an export says them."""
    image_size: int | None = None
    """Side of the images that they were trained at, where it is known."""


def find(content: Mapping[str, Any], path: Path) -> Weights:
    """Find the backbone in what a file holds.

    Raises:
        SetupError: where there is none; names some of the keys.
    """
    place = next((c for c in CONTAINERS if isinstance(content.get(c), Mapping)), "")
    state = {
        name.removeprefix("module."): x
        for name, x in (content[place] if place else content).items()
        if isinstance(x, Tensor)
    }
    prefix = next((p for p in PREFIXES if any(name.startswith(p) for name in state)), "")
    inside = {n.removeprefix(prefix): x for n, x in state.items() if n.startswith(prefix)}
    tensors = {_renamed(n): x for n, x in inside.items() if not NO_BACKBONE.match(n)}
    if not tensors:
        raise SetupError(f"{path} holds no backbone; it has {', '.join(list(content)[:8]) or '-'}")
    beside = {n.split(".")[0]: None for n in inside if NO_BACKBONE.match(n)}
    source = "/".join(p for p in (place, prefix.rstrip(".")) if p) or "a bare backbone"
    layout = _layout(content, prefix, beside)
    return Weights(
        source,
        tensors,
        tuple(beside),
        expected.published(path.name, channels(tensors), layout),
        method=_method(prefix, beside, layout) or _named(path.name, tensors),
        image_size=positions.image_size(tensors),
    )


def channels(tensors: Mapping[str, Tensor]) -> int:
    """How many bands a backbone's first layer takes; 0 where its name is not known."""
    first = next((tensors[name] for name in FIRST if name in tensors), None)
    return 0 if first is None or first.ndim < 2 else first.shape[1]


def _layout(content: Mapping[str, Any], prefix: str, beside: Collection[str]) -> str:
    """Whose training program writes such a file: "seco", "ssl4eo", or "" for a bare backbone."""
    if prefix == "encoder_q." and "pytorch-lightning_version" in content:
        return "seco"
    return "ssl4eo" if prefix or not {"mask_token", "lm_head"}.isdisjoint(beside) else ""


def _method(prefix: str, beside: Collection[str], layout: str) -> str | None:
    """The training program that writes such a file."""
    if layout == "seco":
        return "seco"
    if prefix:
        return {"encoder_q.": "moco_v2", "base_encoder.": "moco_v3", "backbone.": "dino"}[prefix]
    if "mask_token" in beside:
        return "mae" if any(name.startswith("decoder_") for name in beside) else "data2vec"
    return None


def _named(file: str, tensors: Mapping[str, Tensor]) -> str | None:
    """What the name of a bare backbone tells, where its files are published."""
    for part, method in NAMED:
        if part in file:
            return method
    if "moco" in file:
        return "moco_v3" if "cls_token" in tensors else "moco_v2"
    return None


def _renamed(name: str) -> str:
    first, dot, rest = name.partition(".")
    return CHILDREN.get(first, first) + dot + rest
