"""Made items, and servers on the loopback that are searched for them: rustac's, and one of our own
that does what rustac cannot: extensions, small pages, and faults."""

import contextlib
import datetime
import gzip
import http.server
import json
import subprocess
import sys
import threading
import urllib.parse
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import shapely

from fastload.gather.candidate import Candidate, Window
from tests.remote.servers import free_port, running

LON, LAT = 10.5, 50.0
"""Of the places that tests look for; in UTM zone 32."""
TILE = (10.0, 49.5, 11.2, 50.4)
EXTENSIONS = ("query", "filter", "sort", "fields")
Item = dict[str, Any]


def window(start: str = "2021-03-01", end: str = "2021-03-31") -> Window:
    return Window(np.datetime64(start, "D"), np.datetime64(end, "D"))


def candidate(lon: float = LON, lat: float = LAT, *windows: Window) -> Candidate:
    return Candidate(0, 0, lon, lat, windows or (window(),))


def box(west: float, south: float, east: float, north: float) -> Item:
    return dict(shapely.geometry.mapping(shapely.box(west, south, east, north)))


_PARTS = box(179.6, -18, 180, -17), box(-180, -18, -179.5, -17)
SPLIT: Item = {"type": "MultiPolygon", "coordinates": [part["coordinates"] for part in _PARTS]}
"""A footprint across the antimeridian, as RFC 7946 has it."""


def item(
    name: str, time: str, collection: str, assets: Sequence[str], footprint: Any, **properties: Any
) -> Item:
    geometry = box(*footprint) if isinstance(footprint, tuple) else footprint
    bounds = list(shapely.geometry.shape(geometry).bounds)
    files = {key: {"href": f"https://files.example/{name}/{key}.tif"} for key in assets}
    return {
        "type": "Feature", "stac_version": "1.0.0", "stac_extensions": [], "id": name,
        "collection": collection, "geometry": geometry, "bbox": bounds, "links": [],
        "properties": {"datetime": time, **properties}, "assets": files,
    }  # fmt: skip


NAMES = ("coastal", "blue", "green", "red", "rededge1", "rededge2", "rededge3", "nir", "nir08",
         "nir09", "swir16", "swir22", "scl")  # fmt: skip


def s2(
    day: str, cloud: float | None = 5.0, *, tile: str = "32UPA", footprint: Any = TILE,
    baseline: str | None = "02.14", applied: bool | None = None, sequence: int = 0,
    satellite: str = "A", at: str = "10:20:30", level: str = "2A", **more: Any,
) -> Item:  # fmt: skip
    """An item as Earth Search has it, of sentinel-2-l2a or -l1c."""
    stamp = f"{day}T{at}".replace("-", "").replace(":", "")
    properties: Item = {
        "platform": f"sentinel-2{satellite.lower()}", "proj:epsg": 32600 + int(tile[:2]),
        "grid:code": f"MGRS-{tile}", "s2:sequence": str(sequence), "updated": f"{day}T23:00:00Z",
        "s2:datatake_id": f"GS2{satellite}_{stamp}_012345_N{baseline or '00.00'}",
        "s2:processing_baseline": baseline, "eo:cloud_cover": cloud,
        "earthsearch:boa_offset_applied": applied,
    }  # fmt: skip
    if baseline is None:
        del properties["s2:datatake_id"]
    properties = {key: value for key, value in {**properties, **more}.items() if value is not None}
    name = f"S2{satellite}_{tile}_{stamp[:8]}_{sequence}_L{level}"
    names = NAMES if level == "2A" else (*NAMES[:-1], "cirrus")
    return item(name, f"{day}T{at}.500Z", f"sentinel-2-l{level.lower()}", names, footprint,
                **properties)  # fmt: skip


def s1(day: str, *, unique: str = "A1B2", footprint: Any = TILE, zone: int = 32,
       pols: Sequence[str] = ("VV", "VH"), mode: str = "IW", **more: Any) -> Item:  # fmt: skip
    """An item as Planetary Computer has it, of sentinel-1-rtc."""
    stamp = day.replace("-", "")
    name = f"S1A_{mode}_GRDH_1SDV_{stamp}T052000_{stamp}T052025_036000_0430AB_{unique}_rtc"
    return item(name, f"{day}T05:20:12Z", "sentinel-1-rtc", [p.lower() for p in pols], footprint,
                **{"sar:instrument_mode": mode, "sar:polarizations": list(pols),
                   "proj:epsg": 32600 + zone, "platform": "SENTINEL-1A", **more})  # fmt: skip


class Api(http.server.ThreadingHTTPServer):
    """A STAC API over items in memory, in the order in which they are.

    Attributes:
        items: what there is.
        largest: items of a page at most.
        behave: gets the handler and the number of the request, from 1 on; True: it has answered.
        asked: path and body of each request; headers likewise.
    """

    daemon_threads = True

    def __init__(self, items: Sequence[Item], conforms: Sequence[str] = EXTENSIONS) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.items, self.conforms, self.largest = list(items), conforms, 1000
        self.behave: Callable[[Any, int], bool] = lambda handler, number: False
        self.asked: list[tuple[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.matched: int | None = None
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True).start()

    def landing(self) -> Item:
        base = "https://api.stacspec.org/v1."
        kinds = ["0.0/core", "0.0/item-search"]
        kinds += [f"{name == 'sort':d}.0/item-search#{name}" for name in self.conforms]
        links = [{"rel": "self", "href": self.url}, {"rel": "root", "href": self.url},
                 {"rel": "search", "href": f"{self.url}/search", "method": "POST",
                  "type": "application/geo+json"}]  # fmt: skip
        return {"type": "Catalog", "id": "made", "description": "made", "stac_version": "1.0.0",
                "links": links, "conformsTo": [base + kind for kind in kinds]}  # fmt: skip

    def search(self, body: Item) -> Item:
        place = shapely.geometry.shape(body["intersects"])
        found = [i for i in self.items if _matches(i, body, place)]
        if "sort" in self.conforms:
            for rule in reversed(body.get("sortby", [])):
                found.sort(key=lambda i: _at(i, rule["field"]), reverse=rule["direction"] == "desc")
        start, size = body.get("token", 0), min(body.get("limit", 10), self.largest)
        page = found[start : start + size]
        links = []
        if start + size < len(found):
            links.append({"rel": "next", "href": f"{self.url}/search", "method": "POST",
                          "body": {**body, "token": start + size}})  # fmt: skip
        return {"type": "FeatureCollection", "links": links, "numberReturned": len(page),
                "numberMatched": self.matched or len(found),
                "features": [_trimmed(i, body) for i in page]}  # fmt: skip

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self.server_close()


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Api

    def log_message(self, *_: Any) -> None:
        pass

    def do_GET(self) -> None:
        self._answer(None)

    def do_POST(self) -> None:
        self._answer(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))

    def _answer(self, body: Any) -> None:
        path = urllib.parse.urlsplit(self.path).path
        self.server.asked.append((path, body))
        self.server.headers.append(dict(self.headers))
        if self.server.behave(self, len(self.server.asked)):
            return
        if body is None and path == "/":
            self.say(200, self.server.landing())
        elif body is not None and path == "/search":
            self.say(200, self.server.search(body))
        else:
            self.say(404, {"code": "NotFound"})

    def say(self, status: int, content: Any, cut: int = 0, **headers: str) -> None:
        """Answer with JSON, or bytes as they are; `cut` bytes of them are not sent."""
        data = content if isinstance(content, bytes) else json.dumps(content).encode()
        if "gzip" in self.headers.get("Accept-Encoding", "") and not cut:
            data, headers = gzip.compress(data), headers | {"Content_Encoding": "gzip"}
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data[: len(data) - cut])
        self.close_connection = bool(cut)


def _at(entry: Item, field: str) -> Any:
    for part in field.split(".", 1):
        entry = entry[part]
    return entry


def _matches(entry: Item, body: Item, place: Any) -> bool:
    """Whether an item is one of those that are searched for; filters are obeyed where sent."""
    if entry["collection"] not in body["collections"]:
        return False
    west, south, east, north = place.bounds
    held = entry["bbox"]
    if east < held[0] or held[2] < west or north < held[1] or held[3] < south:
        return False
    if "datetime" in body:
        time, start, end = (
            datetime.datetime.fromisoformat(text)
            for text in (entry["properties"]["datetime"], *body["datetime"].split("/"))
        )
        if not start <= time <= end:
            return False
    equal = {name: rule["eq"] for name, rule in body.get("query", {}).items()}
    if rule := body.get("filter"):
        assert rule["op"] == "="
        equal[rule["args"][0]["property"]] = rule["args"][1]
    if any(entry["properties"][name] != value for name, value in equal.items()):
        return False
    return bool(shapely.geometry.shape(entry["geometry"]).intersects(place))


def _trimmed(entry: Item, body: Item) -> Item:
    """An item with the fields that are asked for alone."""
    if "fields" not in body:
        return entry
    kept: Item = {}
    for field in body["fields"]["include"]:
        top, _, below = field.partition(".")
        if not below and top in entry:
            kept[top] = entry[top]
        elif below in entry.get(top, {}):
            kept.setdefault(top, {})[below] = entry[top][below]
    return kept


@contextlib.contextmanager
def rustac(items: Sequence[Item], folder: Path) -> Iterator[str]:
    """Serve items by `rustac serve`; gives the URL."""
    pytest.importorskip("rustac", reason="needs rustac (pip install rustac)")
    paths = []
    for name in sorted({i["collection"] for i in items}):
        paths.append(folder / f"{name}.json")
        paths[-1].write_text(json.dumps({
            "type": "Collection", "id": name, "stac_version": "1.0.0", "description": name,
            "license": "other", "links": [],
            "extent": {"spatial": {"bbox": [[-180, -90, 180, 90]]},
                       "temporal": {"interval": [["2015-01-01T00:00:00Z", None]]}},
        }))  # fmt: skip
    paths.append(folder / "items.json")
    paths[-1].write_text(json.dumps({"type": "FeatureCollection", "features": list(items)}))
    port = free_port()
    command = [Path(sys.executable).with_name("rustac"), "serve", "--addr", f"127.0.0.1:{port}"]
    process = subprocess.Popen(
        [*map(str, command), *map(str, paths)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    with running(process, port) as url:
        yield url
