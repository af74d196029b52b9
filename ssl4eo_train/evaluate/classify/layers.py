"""Parameter groups whose rates fall from layer to layer, as BEiT's and MAE's code has them.

Bao et al., arXiv:2106.08254, appendix; `get_parameter_groups` of BEiT's optim_factory.py, and
util/lr_decay.py of MAE, which agree.
"""

from typing import Any

from torch import nn

from ssl4eo_train.errors import SetupError
from ssl4eo_train.evaluate.classify.classifier import Classifier
from ssl4eo_train.evaluate.classify.pooling import is_transformer

_FIRST = ("cls_token", "mask_token", "pos_embed", "reg_token")
_NEVER_DECAY = ("cls_token", "pos_embed", "dist_token")


def groups(classifier: Classifier, weight_decay: float, layer_decay: float) -> list[dict[str, Any]]:
    """Parameters that are trained, by layer and by whether weight decay is for them.

    Embeddings are layer 0, blocks 1 to n, norms and heads n + 1; the rate of layer i is
    ``layer_decay ** (n + 1 - i)`` of the whole, which is the group's `share`. No weight decay on
    vectors, on positions and on the class token. Without layer decay all layers are one.

    Raises:
        SetupError: where there is layer decay for a network without blocks.
    """
    network = classifier.pooled.network
    if layer_decay != 1 and not is_transformer(network):
        raise SetupError(f"layer_decay is {layer_decay}, expected 1: the network has no blocks")
    last = len(getattr(network, "blocks", ())) + 1
    found: dict[tuple[float, bool], dict[str, Any]] = {}
    for name, parameter in classifier.named_parameters():
        if not parameter.requires_grad:
            continue
        inner = name.removeprefix("pooled.network.")
        spared = parameter.ndim <= 1 or name.endswith(".bias") or inner in _NEVER_DECAY
        depth = layer(inner, last) if inner != name else last
        share = layer_decay ** (last - depth)
        group: dict[str, Any] = {
            "params": [],
            "weight_decay": 0.0 if spared else weight_decay,
            "share": share,
            "names": [],
        }
        group = found.setdefault((share, spared), group)
        group["params"].append(parameter)
        group["names"].append(inner)
    return list(found.values())


def layer(name: str, last: int) -> int:
    """Layer of a parameter of a transformer, by its name in timm: 0 to `last`."""
    if name in _FIRST or name.startswith("patch_embed"):
        return 0
    return int(name.split(".")[1]) + 1 if name.startswith("blocks.") else last


def drop_paths(network: nn.Module, greatest: float) -> None:
    """Let a network skip its blocks' branches at random, from never at the first to `greatest`.

    Raises:
        SetupError: where it has no blocks.
    """
    from timm.layers.drop import DropPath

    if greatest == 0:
        return
    if not is_transformer(network):
        raise SetupError(f"drop_path is {greatest}, expected 0: the network has no blocks")
    blocks: Any = network.blocks
    for i, block in enumerate(blocks):
        share = greatest * i / max(1, len(blocks) - 1)
        for name in ("drop_path1", "drop_path2"):
            setattr(block, name, DropPath(share) if share else nn.Identity())
