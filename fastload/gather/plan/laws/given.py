"""Places of a user's file, as they are."""

from typing import TYPE_CHECKING, Any

import numpy as np

from fastload.gather.plan import tables
from fastload.gather.plan.draws import E7, Ints, Places, empty_places

if TYPE_CHECKING:
    from fastload.gather.plan.settings import Settings
    from fastload.gather.say import Say


class Given:
    """Row i is location i, whose one candidate it is: such as places that were published."""

    names: tuple[str, ...] = ()

    def __init__(self, settings: "Settings", say: "Say") -> None:
        assert settings.places is not None  # the settings have seen to it
        table = tables.read(settings.places)
        self.lon = table.degrees(tables.LON, 180)
        self.lat = table.degrees(tables.LAT, 90)
        self.most: int | None = len(self.lon)
        self.sources: dict[str, Any] = {"places": tables.source(table)}

    def draw(self, seed: int, location: Ints, attempt: Ints) -> Places:
        """Places of these locations ``[M]``; there are none but of attempt 0."""
        out = empty_places(len(location))
        out.lon[:] = np.floor(self.lon[location] * E7 + 0.5)
        out.lat[:] = np.floor(self.lat[location] * E7 + 0.5)
        out.ok[:] = attempt == 0
        return out
