"""Uniform on the globe."""

from typing import TYPE_CHECKING, Any

import numpy as np

from fastload.gather.plan.draws import E7, PLACE, Ints, Places, empty_places, fine, words
from fastload.gather.plan.laws.box import sines_to_degrees

if TYPE_CHECKING:
    from fastload.gather.plan.settings import Settings
    from fastload.gather.say import Say


class Uniform:
    """Equal areas are as likely, on a sphere with the latitudes of WGS 84: a longitude, and the
    sine of a latitude. On the ellipsoid that is 0.7 % off at the equator and the poles."""

    names: tuple[str, ...] = ()
    most: int | None = None

    def __init__(self, settings: "Settings", say: "Say") -> None:
        self.sources: dict[str, Any] = {}

    def draw(self, seed: int, location: Ints, attempt: Ints) -> Places:
        """Places of these attempts ``[M]``."""
        word = words(seed, PLACE, location, attempt)
        out = empty_places(len(location))
        lon = 360 * fine(word[:, 0], word[:, 1]) - 180
        out.lon[:] = np.floor(lon * E7 + 0.5)
        sines_to_degrees(2 * fine(word[:, 2], word[:, 3]) - 1, out.lat)
        out.lon[out.lon >= 180 * E7] -= np.int64(360 * E7)
        return out
