"""Uniform by area inside polygons."""

from typing import TYPE_CHECKING, Any

import numpy as np

from fastload.gather.plan.areas import Areas
from fastload.gather.plan.draws import E7, PLACE, Ints, Places, empty_places, fine, words
from fastload.gather.plan.laws.box import degrees_to_sines, sines_to_degrees
from fastload_kernels.philox import uniform

if TYPE_CHECKING:
    from fastload.gather.plan.settings import Settings
    from fastload.gather.say import Say


class Polygons:
    """A part by the area of its box, a place uniformly in the box, and only those inside the part
    are wanted: so all ground in them is as likely. Overlapping polygons count once."""

    names: tuple[str, ...] = ()
    most: int | None = None

    def __init__(self, settings: "Settings", say: "Say") -> None:
        assert settings.places is not None  # the settings have seen to it
        self.areas = Areas.read(settings.places)
        self.sources: dict[str, Any] = {"places": self.areas.source}
        west, south, east, north = self.areas.bounds.T
        self._west, self._width = west, east - west
        self._south, top = np.empty(len(west)), np.empty(len(west))
        degrees_to_sines(south, self._south)
        degrees_to_sines(north, top)
        self._height = top - self._south
        share = np.cumsum(self._width * self._height)
        self._share = share / share[-1]

    def draw(self, seed: int, location: Ints, attempt: Ints) -> Places:
        """Places of these attempts ``[M]``."""
        word = words(seed, PLACE, location, attempt)
        which = uniform(words(seed, PLACE, location, attempt, block=1)[:, 0])
        part = np.searchsorted(self._share, which, side="right")
        out = empty_places(len(location))
        lon = self._west[part] + self._width[part] * fine(word[:, 0], word[:, 1])
        sine = self._south[part] + self._height[part] * fine(word[:, 2], word[:, 3])
        out.lon[:] = np.floor(lon * E7 + 0.5)
        sines_to_degrees(sine, out.lat)
        out.ok[:] = self.areas.inside(part, out.lon / E7, out.lat / E7)
        return out
