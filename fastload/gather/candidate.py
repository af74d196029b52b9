"""A place and the windows of dates in which it is looked for."""

from typing import NamedTuple

import numpy as np

PATCH_M = 2640.0
"""Side of a patch in metres: 264 pixels of 10 m, as published."""


class Window(NamedTuple):
    """Days in which one date of a sample may lie.

    Attributes:
        start: the first day, "datetime64[D]", UTC.
        end: the day after the last one.
    """

    start: np.datetime64
    end: np.datetime64


class Candidate(NamedTuple):
    """One try at a location: a function of the plan's settings, its seed, location and attempt.

    A location has several, which are tried in turn; the first that has a scene for every window and
    modality is the location's sample. Those of all locations keep apart from each other, so that
    each location's outcome is its own affair (but for the laws that reproduce published plans).

    Attributes:
        location: number of the location, from 0 on.
        attempt: number of the draw in the location's own sequence; those that came too near to
            others were left out, so that attempts have gaps.
        lon: degrees east of the patch's centre, -180 to 180.
        lat: degrees north of it.
        windows: one a date, in ascending order.
    """

    location: int
    attempt: int
    lon: float
    lat: float
    windows: tuple[Window, ...]
