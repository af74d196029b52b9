"""The default data: scenes made on the spot, so that a run needs nothing but this package."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fastload.cache import folder
from fastload.synth import synth

_RESNET: dict[str, Any] = {
    "arch": "resnet18",
    "image_size": 32,
    "batch_size": 32,
    "epochs": 40,
}
_VIT: dict[str, Any] = {
    "arch": "vit_tiny_patch16_224",
    "image_size": 64,
    "batch_size": 32,
    "epochs": 40,
}
SETTINGS: dict[str, dict[str, Any]] = {
    "moco_v2": {**_RESNET, "options": {"queue": 64, "momentum": 0.99}},
    "moco_v3": {**_RESNET, "options": {"hidden": 128, "width": 32}},
    "seco": {**_RESNET, "options": {"queue": 64, "momentum": 0.99}},
    "dino": {
        **_RESNET,
        "options": {"local_views": 2, "outputs": 256, "hidden": 128, "bottleneck": 32},
    },
    "mae": {**_VIT, "options": {"decoder_width": 64, "decoder_depth": 2, "decoder_heads": 4}},
    "data2vec": {**_VIT, "options": {"momentum": 0.99}},
}
"""By method: a size that shows progress on two CPU cores in about a minute.

In so few steps a network that followed as slowly as the published one would hardly move, and a long
queue would hold all the data.
"""
LOCATIONS = 256
SIZE = 96
"""Height and width of the scenes in pixels."""


def folder_of(modalities: Sequence[str]) -> Path:
    """Where the made scenes of some modalities lie, or will."""
    return folder() / f"made-{'-'.join(sorted(modalities))}-{LOCATIONS}x{SIZE}"


def scenes(modalities: Sequence[str]) -> Path:
    """Make the scenes, unless the cache has them, and return their root folder."""
    print(
        f"No --data, so this run uses {LOCATIONS} made scenes of {SIZE} x {SIZE} px, kept in "
        f"{folder()}. Nothing learned from them says anything about the Earth.",
        flush=True,
    )
    return synth(
        folder_of(modalities), LOCATIONS, modalities=sorted(modalities), size=SIZE, progress=True
    )
