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


def folder_of(modality: str) -> Path:
    """Where the made scenes of a modality lie, or will."""
    return folder() / f"made-{modality}-{LOCATIONS}x{SIZE}"


def scenes(modality: str) -> Path:
    """Make the scenes, unless the cache has them, and return their root folder."""
    print(
        f"No --data, so this run uses {LOCATIONS} made scenes of {SIZE} x {SIZE} px, kept in "
        f"{folder()}. Nothing learned from them says anything about the Earth.",
        flush=True,
    )
    return synth(folder_of(modality), LOCATIONS, modalities=[modality], size=SIZE, progress=True)
