"""Clouds of a patch, from the scene classes (SCL) that come with Sentinel-2 L2A.

v1.1's own masks are another network's work; nothing is published on how ESA's classes map to its
seven, so the table below is ours.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

LAND, WATER, SNOW, THIN_CLOUD, THICK_CLOUD, SHADOW, NO_DATA = range(7)
"""Classes of v1.1's `cloud_mask`, as its card has them."""
CLASSES = {
    0: NO_DATA,  # no data
    1: NO_DATA,  # saturated or defective: there are numbers, but they mean nothing
    2: LAND,  # dark areas, shadows of mountains: no shadow of a cloud
    3: SHADOW,  # shadows of clouds
    4: LAND,  # vegetation
    5: LAND,  # bare soil
    6: WATER,
    7: LAND,  # unclassified; later versions: low probability of clouds
    8: THICK_CLOUD,  # clouds of medium probability: not known to be thin
    9: THICK_CLOUD,  # clouds of high probability
    10: THIN_CLOUD,  # thin cirrus
    11: SNOW,
}
"""By scene class, as of ESA's Level-2A algorithm description."""
_TABLE = np.full(256, 255, np.uint8)
_TABLE[[*CLASSES]] = [*CLASSES.values()]


def cloud_mask(scl: NDArray[Any]) -> NDArray[np.uint8]:
    """Classes of v1.1 of scene classes, any shape.

    Raises:
        ValueError: where a number is no scene class.
    """
    if scl.dtype != np.uint8:
        raise ValueError(f"scene classes must be uint8, got {scl.dtype}")
    found: NDArray[np.uint8] = _TABLE[scl]
    if (found == 255).any():
        strange = np.unique(scl[found == 255]).tolist()
        raise ValueError(f"scene classes must be 0 to 11, got {strange}")
    return found


def cloud_share(mask: NDArray[np.uint8]) -> float:
    """Share of a mask's pixels under thin or thick cloud, 0 to 1; shadows are none."""
    return float(((mask == THIN_CLOUD) | (mask == THICK_CLOUD)).mean())
