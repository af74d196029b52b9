"""What a plan is a function of."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from datetime import date
from typing import Any, get_args

from fastload.gather.candidate import PATCH_M
from fastload.gather.plan.laws import LAWS
from fastload.gather.plan.windows import DATES, SHORTEST_SEASON


def _said(default: Any, help: str, **more: Any) -> Any:
    """A setting with its help, from which the command line is made."""
    return field(default=default, metadata={"help": help, **more})


@dataclass(frozen=True)
class Settings:
    """Everything that a plan depends on, but for the files that it names.

    What is None is what goes with the law; it is filled in at once.

    Raises:
        ValueError: a sentence with the setting, its value and what was expected.
    """

    law: str = _said("cities", "; ".join(f"{n}: {k.help}" for n, k in LAWS.items()), choices=LAWS)
    locations: int | None = _said(None, "how many locations (csv: all rows)", kind=int)
    seed: int = _said(0, "of all that is drawn", kind=int)
    candidates: int | None = _said(None, "places that each location may try (8; csv: 1)", kind=int)
    apart: bool | None = _said(
        None, "no two patches share ground; for published laws no", kind=bool
    )
    side: float = _said(PATCH_M, "of a patch, metres", kind=float)
    spread_km: float = _said(50.0, "standard deviation around a city, on each axis", kind=float)
    cities: int = _said(10_000, "how many of the most populous cities", kind=int)
    city_list: str | None = _said(
        None, "geonames, shipped, or a csv or GeoJSON file with lng, lat, population (geonames "
        "where it is installed)", metavar="NAME|FILE",
    )  # fmt: skip
    delete_dots: bool = _said(False, "read populations as published, without dots", kind=bool)
    places: str | None = _said(None, "csv with lon, lat, or polygons", metavar="FILE")
    land: str | None = _said(
        None, "only centres on land: mask (of global-land-mask), or polygons", metavar="mask|FILE"
    )  # fmt: skip
    dates: str | None = _said(None, "rule of dates (the law's own, or seasons)", choices=DATES)
    today: str | None = _said(None, "day to which SeCo's dates are relative", metavar="YYYY-MM-DD")
    years: tuple[int, int] = _said(
        (2019, 2024), "of seasons; a northern winter is of its January's", kind=int,
        metavar=("FIRST", "LAST"),
    )  # fmt: skip
    window_days: int = _said(30, "length of the windows of seasons and generalised", kind=int)

    def __post_init__(self) -> None:
        _check_types(self)
        if self.law not in LAWS:
            raise ValueError(f"law: expected one of {', '.join(LAWS)}, got {self.law!r}")
        kind = LAWS[self.law]
        for name in ("candidates", "apart", "dates"):
            if getattr(self, name) is None:
                object.__setattr__(self, name, getattr(kind, name))
        object.__setattr__(self, "years", tuple(self.years))
        _check_numbers(self)
        _check_files(self)
        _check_dates(self)

    def describe(self) -> dict[str, Any]:
        """All settings as JSON has them; ``Settings.of`` takes it back."""
        return {**asdict(self), "years": list(self.years)}

    @classmethod
    def of(cls, told: Mapping[str, Any]) -> "Settings":
        """Settings from what `describe` gave.

        Raises:
            ValueError: where one is unknown or not as it must be.
        """
        unknown = sorted(set(told) - {f.name for f in fields(cls)})
        if unknown:
            raise ValueError(f"settings: {', '.join(unknown)} is unknown")
        return cls(**told)


def _check_types(s: Settings) -> None:
    """As the annotations say; true and false are no numbers."""
    for f in fields(s):
        value, kind = getattr(s, f.name), Settings.__annotations__[f.name]
        if f.name == "years":
            right = isinstance(value, (tuple, list)) and [type(year) for year in value] == [
                int,
                int,
            ]
            kind = "a first and a last year"
        else:
            right = isinstance(value, kind | int if kind is float else kind)
            right = right and (not isinstance(value, bool) or bool in (kind, *get_args(kind)))
        if not right:
            raise ValueError(f"{f.name}: expected {_name(kind)}, got {value!r}")


def _name(kind: Any) -> str:
    return kind.__name__ if kind in (int, float, str, bool) else str(kind)


def _check_numbers(s: Settings) -> None:
    limits = {
        "locations": (1, 2**31 - 1), "seed": (0, 2**64 - 1), "candidates": (1, 1000),
        "side": (10, 100_000), "spread_km": (0.001, 5000), "cities": (1, 10**7),
        "window_days": (1, 366),
    }  # fmt: skip
    for name, (least, most) in limits.items():
        value = getattr(s, name)
        if value is not None and not least <= value <= most:
            raise ValueError(f"{name}: expected {least} to {most}, got {value}")
    if s.locations is None and s.law != "csv":
        raise ValueError("locations: expected how many, got none; only law csv has as many as rows")
    if s.law == "csv" and (s.candidates != 1 or s.apart):
        raise ValueError(
            "law csv takes places as they are, one a location: leave candidates and apart out"
        )


def _check_files(s: Settings) -> None:
    kind = LAWS[s.law]
    if kind.places and not s.places:
        raise ValueError(f"places: law {s.law} needs a file, got none")
    unused = {
        "places": bool(s.places) and not kind.places,
        "city_list": bool(s.city_list) and not kind.cities,
        "delete_dots": s.delete_dots and (s.city_list in (None, "geonames", "shipped")),
        "land": bool(s.land) and s.law == "csv",
    }
    for name, vain in unused.items():
        if vain:
            raise ValueError(f"{name}: of no use with law {s.law}, got {getattr(s, name)!r}")


def _check_dates(s: Settings) -> None:
    if s.dates not in DATES:
        raise ValueError(f"dates: expected one of {', '.join(DATES)}, got {s.dates!r}")
    if (s.today is not None) != (s.dates == "seco"):
        raise ValueError(
            f"today: expected a day with dates seco and none with others, got {s.today!r} with "
            f"dates {s.dates}"
        )
    if s.today is not None:
        try:
            right = str(date.fromisoformat(s.today)) == s.today
        except ValueError:
            right = False
        if not right:
            raise ValueError(f"today: expected a day such as 2021-05-31, got {s.today!r}")
    first, last = s.years
    if not 1970 <= first <= last <= 2200:
        raise ValueError(f"years: expected a first and a last of 1970 to 2200, got {first}, {last}")
    if s.dates == "seasons" and s.window_days > SHORTEST_SEASON:
        raise ValueError(
            f"window_days: a season has {SHORTEST_SEASON} days at the least, got {s.window_days}"
        )
