"""What a search says, as far as a server understands it.

A server that does not say that it conforms to an extension may answer with nothing, or take no
notice; so nothing is sent that it does not claim, and all of it is done again with what it sends.
"""

from typing import Any

from fastload.gather.candidate import Window
from fastload.gather.services.service import OPTICAL, PROPERTIES, RADAR, Served

ALWAYS = ("id", "type", "geometry", "bbox", "collection", "links")


def question(
    client: Any, served: Served, window: Window | None, cloud: float | None
) -> dict[str, Any]:
    """Arguments of `pystac_client.Client.search` beside the place and the collection.

    Args:
        client: of pystac-client; tells what the server conforms to.
        served: how it holds the modality.
        window: when; None: at any time.
        cloud: share of a scene, 0 to 1, that it must be below; None: any.
    """
    from pystac_client import ConformanceClasses as Conforms

    said: dict[str, Any] = {}
    if window is not None:
        # A day later than needed would do: the end is left out of what comes back.
        said["datetime"] = f"{window.start}T00:00:00Z/{window.end}T00:00:00Z"
    wanted = _wanted(served, cloud)
    if wanted and client.conforms_to(Conforms.QUERY):
        said["query"] = {name: {sign: value} for name, sign, value in wanted}
    elif wanted and client.conforms_to(Conforms.FILTER):
        said["filter"] = _cql2(wanted)
        said["filter_lang"] = "cql2-json"
    if client.conforms_to(Conforms.SORT):
        said["sortby"] = [{"field": "properties.datetime", "direction": "desc"},
                          {"field": "id", "direction": "asc"}]  # fmt: skip
    if client.conforms_to(Conforms.FIELDS):
        said["fields"] = {"include": _fields(served), "exclude": []}
    return said


def _wanted(served: Served, cloud: float | None) -> list[tuple[str, str, Any]]:
    if served.modality in RADAR:
        return [("sar:instrument_mode", "eq", "IW")]
    if served.modality in OPTICAL and cloud is not None:
        return [(served.names("cloud")[0], "lt", 100 * cloud)]
    return []


def _cql2(wanted: list[tuple[str, str, Any]]) -> dict[str, Any]:
    """Source: OGC 21-065r2, Common Query Language, JSON encoding."""
    parts = [
        {"op": {"eq": "=", "lt": "<"}[sign], "args": [{"property": name}, value]}
        for name, sign, value in wanted
    ]
    return parts[0] if len(parts) == 1 else {"op": "and", "args": parts}


def _fields(served: Served) -> list[str]:
    """What is read of an item; the rest of it is some 20 kB that nobody needs."""
    names = [name for what in PROPERTIES for name in served.names(what)]
    names += ["datetime", "start_datetime", "platform", "proj:code", "proj:epsg",
              "sat:orbit_state", "sat:relative_orbit", "sar:instrument_mode",
              "sar:polarizations"]  # fmt: skip
    return [*ALWAYS, *(f"properties.{name}" for name in names),
            *(f"assets.{key}" for key in served.bands.values())]  # fmt: skip
