"""From an item of a catalogue, as JSON has it, to a scene in our terms."""

import datetime
import urllib.parse
from collections.abc import Mapping
from typing import Any

import numpy as np

from fastload.gather.scene import Scene
from fastload.gather.search.acquisitions import acquisition, crs_of_tile, tile
from fastload.gather.search.offsets import ItemError, baseline, offset_of
from fastload.gather.search.services.service import OPTICAL, RADAR, Served

SCHEMES = ("http", "https", "s3", "gs", "file")
KEPT = ("platform", "sat:orbit_state", "sat:relative_orbit")
"""What goes along to the manifest as it is."""
_EARLIEST, _LATEST = datetime.datetime(1678, 1, 1), datetime.datetime(2262, 1, 1)


def scene_of(item: Mapping[str, Any], served: Served, offset: int | None = None) -> Scene:
    """A scene.

    Args:
        item: GeoJSON; see `checked`.
        served: how the service holds its modality.
        offset: DN of zero reflectance that is asked for, see `fastload.gather.search.offsets`.

    Raises:
        ItemError: where the item lacks something; names the item and the field.
    """
    name, properties = item["id"], item["properties"]
    where = tile(served.value(properties, "tile"), (name, *_products(properties, served)))
    optical = served.modality in OPTICAL
    zero, why = offset_of(name, properties, served, offset) if optical else (0, "")
    return Scene(
        modality=served.modality,
        id=name,
        collection=str(item.get("collection") or served.collection),
        # SSL4EO-S12 v1.1 has 0 for what has no date.
        time=time_of(item) if served.dated else np.datetime64(0, "ns"),
        cloud=_cloud(name, properties, served) if optical else None,
        footprint=item["geometry"],
        crs=_crs(item, served, where),
        hrefs=_hrefs(item, served),
        offset=zero,
        why_offset=why,
        properties=_properties(item, served, where),
    )


def checked(item: Any, url: str) -> Mapping[str, Any]:
    """An item that has an id, geometry and properties at all.

    Raises:
        ItemError: says which it lacks.
    """
    if not isinstance(item, dict) or not isinstance(item.get("id"), str):
        raise ItemError(f"{url} gives an item without id, expected a GeoJSON feature")
    for key in ("geometry", "properties"):
        if not isinstance(item.get(key), dict):
            raise ItemError(f"item {item['id']} of {url}: {key} is not there")
    return item


def time_of(item: Mapping[str, Any]) -> np.datetime64:
    """When it was taken, UTC, "datetime64[ns]": its datetime, or else start_datetime.

    Raises:
        ItemError: where it has neither.
    """
    properties = item["properties"]
    key = "datetime" if properties.get("datetime") is not None else "start_datetime"
    text = properties.get(key)
    try:
        time = datetime.datetime.fromisoformat(text)
        if time.tzinfo is not None:
            time = time.astimezone(datetime.UTC).replace(tzinfo=None)
    except (TypeError, ValueError, OverflowError) as error:
        raise ItemError(
            f"item {item['id']}, properties.{key}: expected a time such as 2021-03-20T10:20:30Z, "
            f"got {text!r}"
        ) from error
    if not _EARLIEST <= time < _LATEST:
        raise ItemError(f"item {item['id']}, properties.{key}: {text!r} is no time of a scene")
    return np.datetime64(time, "ns")


def _products(properties: Mapping[str, Any], served: Served) -> list[Any]:
    return [properties.get(name) for name in served.names("product")]


def _cloud(name: str, properties: Mapping[str, Any], served: Served) -> float | None:
    said = served.value(properties, "cloud")
    if said is None:
        return None
    if isinstance(said, bool) or not isinstance(said, int | float) or not 0 <= said <= 100:
        field = served.names("cloud")[0]
        raise ItemError(f"item {name}, properties.{field}: expected 0 to 100, got {said!r}")
    return said / 100


def _crs(item: Mapping[str, Any], served: Served, where: str) -> int | None:
    """EPSG code: of the item, else of a band, else of the tile."""
    for said in (item["properties"], *(_asset(item, key) for key in served.bands.values())):
        code = said.get("proj:code") or said.get("proj:epsg")
        text = str(code).upper().removeprefix("EPSG:")
        if text.isdecimal():
            return int(text)
    return crs_of_tile(where)


def _asset(item: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    """An asset; an empty one where there is none, as where a server was asked for such alone."""
    assets = item.get("assets")
    asset = assets.get(key) if isinstance(assets, dict) else None
    return asset if isinstance(asset, dict) else {}


def _hrefs(item: Mapping[str, Any], served: Served) -> dict[str, str]:
    found = {}
    links = [link for link in item.get("links") or [] if isinstance(link, dict)]
    base = next((str(link.get("href")) for link in links if link.get("rel") == "self"), "")
    for band, key in served.bands.items():
        href = _asset(item, key).get("href")
        if not isinstance(href, str) or not href:
            raise ItemError(f"item {item['id']}, assets.{key}: has no href, which {band} needs")
        found[band] = urllib.parse.urljoin(base, href) if base and "://" not in href else href
        if urllib.parse.urlsplit(found[band]).scheme not in SCHEMES:
            raise ItemError(
                f"item {item['id']}, assets.{key}.href: expected a URL of one of "
                f"{', '.join(SCHEMES)}, got {href[:200]!r}"
            )
    return found


def _properties(item: Mapping[str, Any], served: Served, where: str) -> dict[str, Any]:
    """What choosing and the manifest need beside."""
    name, properties = item["id"], item["properties"]
    found = {key: properties[key] for key in KEPT if properties.get(key) is not None}
    taken = served.value(properties, "datatake")
    names = _products(properties, served)
    found["acquisition"] = acquisition(name, taken, names, where, properties)
    if served.modality in RADAR or served.modality in OPTICAL:
        found["sequence"] = served.value(properties, "sequence")
        found["processed"] = served.value(properties, "processed")
    if served.modality in OPTICAL:
        found["tile"] = where
        try:
            number, _ = baseline(name, properties, served)
            found["baseline"] = f"{number[0]:02d}.{number[1]:02d}"
        except ItemError:  # the offset was told otherwise
            found["baseline"] = None
    return found
