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
_VIT: dict[str, Any] = {**_RESNET, "arch": "test_vit", "image_size": 64}  # 6 blocks of width 64
SETTINGS: dict[str, dict[str, Any]] = {
    "moco_v2": {**_RESNET, "options": {"queue": 64, "momentum": 0.99}},
    "moco_v3": {**_RESNET, "lr": 3e-3, "options": {"hidden": 128, "width": 32, "warmup": 4.0}},
    "seco": {**_RESNET, "options": {"queue": 64, "momentum": 0.99}},
    "dino": {
        **_VIT,
        "lr": 2e-3,
        "options": {
            "local_views": 2,
            "outputs": 256,
            "hidden": 128,
            "bottleneck": 32,
            "teacher_temperature": 0.02,
            "momentum": 0.99,
            "warmup": 4.0,
        },
    },
    "mae": {
        **_VIT,
        "image_size": 128,
        "lr": 4e-3,
        "options": {"decoder_width": 64, "decoder_depth": 2, "decoder_heads": 4, "warmup": 4.0},
    },
    "data2vec": {
        **_VIT,
        "lr": 5e-4,
        "options": {"momentum": 0.999, "drop_path": 0.0, "layer_scale": 0.1, "warmup": 4.0},
    },
}
"""By method: a size that shows progress on two CPU cores in about a minute.

In so few steps a network that followed as slowly as the published one would hardly move, a long
queue would hold all the data, and the published rates, which are scaled to small batches, would
change little. A warm-up takes a tenth of the schedule, as published.
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
