"""Laws of sampling: where candidates lie. A new one is a file and a line in `LAWS`."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from fastload.gather.plan.draws import Ints, Places
from fastload.gather.plan.laws.cities import Cities
from fastload.gather.plan.laws.given import Given
from fastload.gather.plan.laws.polygons import Polygons
from fastload.gather.plan.laws.published import Published
from fastload.gather.plan.laws.uniform import Uniform

if TYPE_CHECKING:
    from fastload.gather.plan.settings import Settings
    from fastload.gather.say import Say


class Law(Protocol):
    """A law with all that it needs.

    Attributes:
        sources: what it was made from, with names, licences and checksums, for the plan's file.
        names: of its cities, by number; empty where there are none.
        most: how many locations it has at most; None where it has as many as one likes.
    """

    sources: dict[str, Any]
    names: tuple[str, ...]
    most: int | None

    def draw(self, seed: int, location: Ints, attempt: Ints) -> Places:
        """Places of these attempts ``[M]``, each a function of its own three numbers alone, by
        IEEE 754's own operations, so that it is the same on every machine."""
        ...


class Kind(NamedTuple):
    """A law by name.

    Attributes:
        make: of the settings and of a function that is told what a user should know.
        help: a phrase.
        dates: the rule of dates that goes with it.
        apart: whether its candidates keep apart.
        candidates: how many a location has.
        cities, places: whether it takes a list of cities, a file of places.
    """

    make: Callable[["Settings", "Say"], Law]
    help: str
    dates: str = "seasons"
    apart: bool = True
    candidates: int = 8
    cities: bool = False
    places: bool = False


LAWS = {
    "cities": Kind(Cities, "normal around cities, in metres", cities=True),
    "seco": Kind(Published, "as SeCo, in degrees", "seco", False, cities=True),
    "ssl4eo-v1": Kind(Published, "as SSL4EO-S12, in degrees", "ssl4eo-v1", False, cities=True),
    "uniform": Kind(Uniform, "uniform on the globe"),
    "polygons": Kind(Polygons, "uniform by area in the polygons of --places", places=True),
    "csv": Kind(Given, "lon, lat of --places", apart=False, candidates=1, places=True),
}
