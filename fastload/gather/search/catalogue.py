"""Searching a STAC catalogue for the scenes of a place and a time."""

import threading
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from fastload.extras import missing
from fastload.gather.candidate import Candidate, Window
from fastload.gather.scene import Scene
from fastload.gather.search.acquisitions import newest, newest_first
from fastload.gather.search.footprint import MARGIN_M, asked, centre, ground, near
from fastload.gather.search.items import checked, scene_of, time_of
from fastload.gather.search.offsets import ItemError
from fastload.gather.search.question import question
from fastload.gather.search.services.service import RADAR, Served, Service
from fastload.gather.search.tiles import joined
from fastload.storage.remote.host import shown
from fastload.storage.remote.settings import settings
from fastload.storage.remote.trouble import Refused, Trouble

PAGE = 100
"""Items of a page that are asked for; more than a place has in a month."""
MOST_PAGES = 10_000


class Catalogue:
    """A service's catalogue; safe in threads. It pickles, without its connections."""

    def __init__(
        self, service: Service, *, offset: int | None = None, page: int = PAGE, **given: Any
    ) -> None:
        """Nothing is asked for yet.

        Args:
            service: see there.
            offset: DN of zero reflectance of all optical scenes, 0 or 1000; None: each item tells.
            page: items of a page.
            given: settings of `fastload.storage.remote.settings`, such as attempts, patience and
                requests_per_s.
        """
        if offset not in (None, 0, 1000):
            raise ValueError(f"offset must be 0 or 1000, got {offset!r}")
        self.service, self._offset, self._page, self._given = service, offset, page, given
        self._patience, self._lock = settings(given), threading.Lock()
        self._opened: Any = None

    def __reduce__(self) -> Any:
        return _again, (self.service, self._offset, self._page, self._given)

    @property
    def requests(self) -> int:
        """Requests that were sent, those that failed among them."""
        return 0 if self._opened is None else int(self._opened[1].server.client.requests)

    def scenes(self, modality: str, candidate: Candidate, window: Window) -> list[Scene]:
        """Scenes of a modality that have the candidate's centre, the newest first.

        Of each acquisition the newest processing is given. What has no dates is looked for without
        the window, and is one scene, of several files where the patch lies on several. No bound on
        clouds is asked for: a server would give the older processing of a scene whose newer one has
        more cloud, and nobody could say why there is no other.

        Args:
            modality: which the service must have.
            candidate: where.
            window: when; its end is not in it.

        Raises:
            ValueError: where the service does not have the modality.
            ItemError: where an item lacks something; names the item and the field.
            OSError: where no sound answer came, though it was asked for again; names the URL and
                what came back. Never taken for "no scene".
        """
        served = self.service.served(modality)
        items = self._items(served, candidate, window)
        if not served.dated:
            whole = ground(candidate)
            some = [i for i in items if _shape(i, candidate).intersects(whole)]
            return joined([scene_of(item, served) for item in some], candidate)
        fit = [item for item in items if _fits(item, served, candidate, window)]
        whole = ground(candidate, MARGIN_M)
        scenes = ((_shape(i, candidate).covers(whole), scene_of(i, served, self._offset))
                  for i in fit)  # fmt: skip
        return newest_first(newest(scenes))

    def _items(
        self, served: Served, candidate: Candidate, window: Window
    ) -> list[Mapping[str, Any]]:
        """Items of the collection, each once, in any order."""
        client, reads = self._client()
        parts = question(client, served, window)
        search = client.search(
            method="POST", collections=[served.collection], intersects=asked(candidate),
            limit=self._page, **parts,
        )  # fmt: skip
        url = shown(str(search.url))
        # Not by `pages_as_dicts`, which takes a page without items for the end.
        pages = reads.get_pages(search.url, search.method, search.get_parameters())
        found = {item["id"]: item for item in _every(pages, url)}
        return [i for i in found.values() if i.get("collection") in (None, served.collection)]

    def _client(self) -> tuple[Any, Any]:
        with self._lock:
            if self._opened is None:
                self._opened = _open(self.service, self._patience)
            return self._opened  # type: ignore[no-any-return]


def _again(service: Service, offset: int | None, page: int, given: Mapping[str, Any]) -> Catalogue:
    return Catalogue(service, offset=offset, page=page, **given)


def _open(service: Service, patience: Any) -> tuple[Any, Any]:
    """pystac-client's view of the service, and how it reads."""
    try:
        from pystac_client import Client, ConformanceClasses

        from fastload.gather.search.stac_io import ServiceIO
    except ImportError as error:
        raise missing("searching a catalogue needs pystac-client", "gather") from error
    reads = ServiceIO(service, patience)
    try:
        client = Client.open(service.url, stac_io=reads)
        for known in ConformanceClasses:
            # pystac-client knows version 1.0 alone, and stac-fastapi's extensions say 1.1.
            said = (uri for uri in client.get_conforms_to() if uri.endswith(known.value))
            if any(uri.startswith("https://api.stacspec.org/v1.") for uri in said):
                client.add_conforms_to(known.name)
        searched = client.conforms_to(ConformanceClasses.ITEM_SEARCH)
    except OSError:
        raise
    except Exception as error:  # pystac has many for pages that are none
        raise Refused(f"{shown(service.url)}: is no STAC API's landing page ({error})") from error
    if not searched:
        raise Refused(f"{shown(service.url)}: does not say that it can be searched (conformsTo has "
                      "no item-search), expected a STAC API")  # fmt: skip
    return client, reads


def _every(pages: Iterable[Mapping[str, Any]], url: str) -> Iterator[Mapping[str, Any]]:
    """Items of all pages, until the server gives no further one."""
    seen, matched = set[str](), None
    for number, page in enumerate(pages):
        items = [checked(item, url) for item in page["features"]]
        if number == 0:
            matched = page.get("numberMatched")
        fresh = {item["id"] for item in items} - seen
        if number >= MOST_PAGES:
            raise Refused(f"{url}: has no end after {number} pages")
        if items and not fresh:
            raise Refused(f"{url}: page {number + 1} has the items of pages before it, and there "
                          "would be no end")  # fmt: skip
        seen |= fresh
        yield from items
    if isinstance(matched, int) and len(seen) < matched:
        raise Trouble(f"{url}: says that it has {matched} items, and gave {len(seen)}")


def _shape(item: Mapping[str, Any], candidate: Candidate) -> Any:
    try:
        return near(item["geometry"], candidate.lon)
    except ValueError as error:
        raise ItemError(f"item {item['id']}, geometry: {error}") from error


def _fits(item: Mapping[str, Any], served: Served, candidate: Candidate, window: Window) -> bool:
    """Whether the item is what was asked for, which servers take differently."""
    time = time_of(item)
    if not window.start <= time < window.end:
        return False
    if not _shape(item, candidate).covers(centre(candidate)):
        return False
    return served.modality not in RADAR or _is_dual(item)


def _is_dual(item: Mapping[str, Any]) -> bool:
    """Whether radar was in the mode and the polarisations that were gathered."""
    properties = item["properties"]
    for key, kind in (("sar:instrument_mode", str), ("sar:polarizations", list)):
        if not isinstance(properties.get(key), kind):
            raise ItemError(f"item {item['id']}, properties.{key}: is not there")
    return properties["sar:instrument_mode"] == "IW" and {"VV", "VH"} <= set(
        properties["sar:polarizations"]
    )
