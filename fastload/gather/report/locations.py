"""What became of every location of a plan, as arrays."""

from collections import Counter
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from fastload.gather.plan.plan import Plan
from fastload.gather.report.dates import Dates
from fastload.gather.report.squares import Squares

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
WHOLE, ABSENT, OPEN = range(3)
STATES = ("whole", "absent", "open")
"""As manifests have them: the sample is there; no candidate fits; not decided yet."""


@dataclass
class Locations:
    """All locations of a plan ``[N]``.

    Attributes:
        lon, lat: degrees; of the patch where one was gathered, else of the first candidate.
        state: a number of `STATES`.
        tries: candidates that were looked at.
        crs, west, north: grid and upper left corner of the patch; 0 and NaN where there is none.
        failed_lat, failed: of each candidate that did not fit ``[F]``, its latitude and reason.
        dates: by modality.
        scenes: how many by modality, collection, processing baseline, rule of the offset and
            offset.
        bytes: of the samples by modality.
        bytes_read, requests: what all of it took.
        left_out: locations that are absent since somebody gave them up.
        trouble: why some are open.
    """

    lon: Floats
    lat: Floats
    state: NDArray[np.uint8]
    tries: Ints
    crs: Ints
    west: Floats
    north: Floats
    failed_lat: list[float] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    dates: dict[str, Dates] = field(default_factory=dict)
    scenes: Counter[tuple[str, str, str, str, int]] = field(default_factory=Counter)
    bytes: Counter[str] = field(default_factory=Counter)
    bytes_read: int = 0
    requests: int = 0
    left_out: int = 0
    trouble: dict[int, str] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.lon)

    def squares(self, which: Ints, side: float) -> Squares:
        """The patches of some that were gathered, of a side in metres."""
        return Squares(self.crs[which], self.west[which], self.north[which], side)


def located(plan: Plan) -> Locations:
    """All locations, open, where their first candidates are."""
    N = len(plan)
    state, zeros = np.full(N, OPEN, np.uint8), np.zeros(N, np.int64)
    nothing = np.full(N, np.nan)
    lon, lat = plan.lon[:, 0].copy(), plan.lat[:, 0].copy()
    return Locations(lon, lat, state, zeros, zeros.copy(), nothing, nothing.copy())
