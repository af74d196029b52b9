"""A scene as the manifest has it: plain values, from which it can be read again."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from fastload.gather.patch import Patch
from fastload.gather.pixels.clouds import cloud_share
from fastload.gather.scene import Scene

_SAME = ("id", "collection", "cloud", "offset", "why_offset")


def record(scene: Scene, patch: Patch) -> dict[str, Any]:
    """What is known of a scene and its patch, as JSON has it.

    Its keys: id, collection, time (UTC), cloud (of the scene, 0 to 1), cloud_patch (under cloud, 0
    to 1), crs and transform (of the patch), scene_crs (what the item says), offset, why_offset,
    hrefs (by band, unsigned), footprint, properties. None where something is not known.
    """
    mask = patch.cloud_mask
    return {
        **{name: getattr(scene, name) for name in _SAME},
        "time": str(scene.time.astype("datetime64[ns]")),
        "cloud_patch": None if mask is None else cloud_share(mask),
        "crs": patch.crs,
        "transform": list(patch.transform),
        "scene_crs": scene.crs,
        "hrefs": dict(scene.hrefs),
        "footprint": scene.footprint,
        "properties": dict(scene.properties),
    }


def scene_of(modality: str, told: Mapping[str, Any]) -> Scene:
    """The scene of a record."""
    return Scene(
        modality=modality,
        time=np.datetime64(told["time"], "ns"),
        footprint=told["footprint"],
        crs=told["scene_crs"],
        hrefs=told["hrefs"],
        properties=told["properties"],
        **{name: told[name] for name in _SAME},
    )
