"""The pixels of one scene on a candidate's ground, and what became of a location."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastload.gather.scene import Scene


@dataclass(frozen=True)
class Patch:
    """What was read of one scene.

    Attributes:
        scene: whose.
        bands: ``[C, H, W]`` on the 10 m grid; int16 DN with zero reflectance at 0 for Sentinel-2,
            float32 dB for Sentinel-1, float32 metres for elevation.
        names: of the C bands.
        crs: EPSG code of the grid.
        transform: of its pixels, as affine's six numbers (a, b, c, d, e, f).
        cloud_mask: ``[H, W]`` uint8 in the classes of v1.1, for optical modalities.
        bytes_read, requests: what it took.
    """

    scene: Scene
    bands: NDArray[Any]
    names: tuple[str, ...]
    crs: int
    transform: tuple[float, float, float, float, float, float]
    cloud_mask: NDArray[np.uint8] | None = None
    bytes_read: int = 0
    requests: int = 0


class Unfit(Exception):  # noqa: N818 (it is no error: the next candidate is tried)
    """A candidate that the archive has no sample for, now and whenever it is asked.

    Never raised for what may go away (a server that is down, a file that is truncated): such is an
    error, and the location is left unfinished.

    Attributes:
        reason: one of `REASONS`.
        detail: a sentence.
    """

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason, self.detail = reason, detail


LEFT_OUT = "left out"
REASONS = {
    "no scene": "no scene in a window covers the place",
    "cloud": "those that do are above the cloud bound",
    "no data": "the patch has pixels without data",
    "grids": "no grid has a scene for each date",
    LEFT_OUT: "whoever ran the command gave it up",
}


@dataclass(frozen=True)
class Outcome:
    """What became of a location; one line of the manifest.

    Attributes:
        location: its number.
        key: of its sample in the shards.
        attempt: of the candidate that fitted; None where none did.
        lon, lat: of that candidate, degrees; None likewise.
        failed: for each candidate before that: attempt, reason, detail.
        scenes: by modality, for each date: id, collection, time, cloud of the scene and of the
            patch, crs, transform, offset with its reason, hrefs.
        sizes: bytes of the sample by modality, and its sha256.
        bytes_read, requests: what all of it took.
    """

    location: int
    key: str
    attempt: int | None
    lon: float | None = None
    lat: float | None = None
    failed: list[dict[str, Any]] = field(default_factory=list)
    scenes: Mapping[str, list[dict[str, Any]]] = field(default_factory=dict)
    sizes: Mapping[str, dict[str, Any]] = field(default_factory=dict)
    bytes_read: int = 0
    requests: int = 0
