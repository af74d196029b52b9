"""What a search says, as far as a server understands it.

A server that does not say that it conforms to an extension may answer with nothing, or take no
notice; so nothing is sent that it does not claim, and all of it is done again with what it sends.
"""

from typing import Any

from fastload.gather.candidate import Window
from fastload.gather.search.items import KEPT
from fastload.gather.search.services.service import PROPERTIES, RADAR, Served

MODE = "sar:instrument_mode"
ALWAYS = ("id", "type", "geometry", "bbox", "collection", "links")


def question(client: Any, served: Served, window: Window) -> dict[str, Any]:
    """Arguments of `pystac_client.Client.search` beside the place and the collection.

    Args:
        client: of pystac-client; tells what the server conforms to.
        served: how it holds the modality.
        window: when, for what has dates.
    """
    from pystac_client import ConformanceClasses as Conforms

    said: dict[str, Any] = {}
    if served.dated:
        # Whether a server has the end in the range or not, it is left out of what comes back.
        said["datetime"] = f"{window.start}T00:00:00Z/{window.end}T00:00:00Z"
    if served.modality in RADAR and client.conforms_to(Conforms.QUERY):
        said["query"] = {MODE: {"eq": "IW"}}
    elif served.modality in RADAR and client.conforms_to(Conforms.FILTER):
        # OGC 21-065r2, Common Query Language, as JSON.
        said["filter"] = {"op": "=", "args": [{"property": MODE}, "IW"]}
        said["filter_lang"] = "cql2-json"
    if client.conforms_to(Conforms.SORT):
        said["sortby"] = [{"field": "properties.datetime", "direction": "desc"},
                          {"field": "id", "direction": "asc"}]  # fmt: skip
    if client.conforms_to(Conforms.FIELDS):
        said["fields"] = {"include": _fields(served), "exclude": []}
    return said


def _fields(served: Served) -> list[str]:
    """What is read of an item; the rest of it is some 20 kB that nobody needs."""
    names = [name for what in PROPERTIES for name in served.names(what)]
    names += ["datetime", "start_datetime", "proj:code", "proj:epsg", MODE, "sar:polarizations"]
    names += KEPT
    return [*ALWAYS, *(f"properties.{name}" for name in names),
            *(f"assets.{key}" for key in served.bands.values())]  # fmt: skip
