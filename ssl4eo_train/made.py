"""The default data: scenes made on the spot, so that a run needs nothing but this package."""

from pathlib import Path
from typing import Any

from fastload.cache import folder
from fastload.synth import synth

# A size that shows progress on two CPU cores in about a minute. In so few steps a key encoder that
# followed as slowly as the published one would hardly move; a long queue would hold all the data.
SETTING: dict[str, Any] = {
    "arch": "resnet18",
    "image_size": 32,
    "batch_size": 32,
    "epochs": 40,
    "queue": 64,
    "momentum": 0.99,
}
LOCATIONS = 256
SIZE = 96
"""Height and width of the scenes in pixels."""


def scenes(modality: str) -> Path:
    """Root folder of the made scenes; they are made at the first call and kept in the cache."""
    root = folder() / f"made-{modality}-{LOCATIONS}x{SIZE}"
    return synth(root, LOCATIONS, modalities=[modality], size=SIZE, progress=True)
