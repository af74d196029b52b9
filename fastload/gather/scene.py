"""A scene as a catalogue has it, in our terms."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Scene:
    """One image of a place by one modality.

    Attributes:
        modality: such as "S2L2A".
        id: the item's.
        collection: the item's.
        time: of acquisition, "datetime64[ns]", UTC.
        cloud: share of the whole scene under clouds, 0 to 1; None where the item does not say.
        footprint: GeoJSON geometry, longitude and latitude.
        crs: EPSG code of the pixels' grid; None where the item does not say.
        hrefs: where the file of each band lies, by our names ("B02", "vv", "SCL"), unsigned.
        offset: DN of zero reflectance in the file, 0 or 1000; see `fastload.gather.search.offsets`.
        why_offset: which rule said so, such as "baseline 04.00".
        properties: what else the item says that choosing or the manifest needs.
    """

    modality: str
    id: str
    collection: str
    time: np.datetime64
    cloud: float | None
    footprint: Mapping[str, Any]
    crs: int | None
    hrefs: Mapping[str, str]
    offset: int = 0
    why_offset: str = ""
    properties: Mapping[str, Any] = field(default_factory=dict)
