"""Which tensor of ours is which of an original's."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TypeVar

Value = TypeVar("Value")

RESNET = {"query.backbone.": "", "query.projector.": "fc."}
# SeCo's encoder is a sequence of torchvision's children.
CHILDREN = {"conv1.": "0.", "bn1.": "1.", **{f"layer{i}.": f"{i + 3}." for i in range(1, 5)}}
WEIGHT = "student.head.last.parametrizations.weight.original"
LEADERS: dict[str, dict[str, str]] = {
    "moco_v2": RESNET,
    "moco_v3": {
        "query.backbone.": "",
        "query.projector.": "head.",
        "predictor.": "predictor.",
    },
    "dino": {
        WEIGHT + "0": "head.last_layer.weight_g",
        WEIGHT + "1": "head.last_layer.weight_v",
        "student.": "",
    },
    "mae": {
        "encoder.backbone.": "",
        "decoder.removed": "mask_token",
        "decoder.positions": "decoder_pos_embed",
        "decoder.predict.": "decoder_pred.",
        "decoder.": "decoder_",
    },
    "data2vec": {
        "student.backbone.": "",
        "student.hidden": "mask_token",
        "student.predict.": "lm_head.",
    },
    "seco": {
        **{"query.backbone." + ours: theirs for ours, theirs in CHILDREN.items()},
        "query.heads.": "heads.",
    },
}
"""By method: beginnings of names of what learns, and what they are in the original."""
FOLLOWERS = {"query.": "key.", "student.": "teacher."}
NO_COUNTERPART = ("attn.k_bias",)
"""Ends of the names of constants: timm's BEiT has its bias of keys, 0, as a tensor."""


@dataclass(frozen=True)
class Names:
    """Translates the names of a method's tensors into those of its original."""

    leading: Mapping[str, str]
    following: Mapping[str, str]

    def leader(self, named: Iterable[tuple[str, Value]]) -> dict[str, Value]:
        """What learns, by the original's names."""
        return translated(self.leading, named)

    def follower(self, named: Iterable[tuple[str, Value]]) -> dict[str, Value]:
        """Its moving average, by the original's names."""
        return translated(self.following, named)


def names(case: str) -> Names:
    """The names of a case's method."""
    method = next(name for name in LEADERS if case.startswith(name))
    leading = LEADERS[method]
    following = {
        start.replace(old, new, 1): theirs
        for old, new in FOLLOWERS.items()
        for start, theirs in leading.items()
        if start.startswith(old)
    }
    return Names(leading, following)


def translated(rules: Mapping[str, str], named: Iterable[tuple[str, Value]]) -> dict[str, Value]:
    """Those that a rule knows, by their names in the original; the first rule that fits holds."""
    found = {}
    for name, value in named:
        start = next((start for start in rules if name.startswith(start)), None)
        if start is not None and not name.endswith(NO_COUNTERPART):
            found[rules[start] + name.removeprefix(start)] = value
    return found
