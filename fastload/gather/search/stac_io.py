"""How pystac-client reads: over our own connections, and nothing but what is sound.

By itself it takes an answer without "features" for the end of a search, which would make a failure
of the server "no scene".
"""

import json
import urllib.parse
from collections.abc import Iterator
from typing import Any

from pystac import Link
from pystac_client.stac_api_io import StacApiIO

from fastload.gather.search.asking import Server, beginning
from fastload.gather.search.services.service import Service
from fastload.storage.remote.settings import Settings
from fastload.storage.remote.trouble import Trouble


class ServiceIO(StacApiIO):
    """Requests to a service.

    Attributes:
        server: its connections.
    """

    def __init__(self, service: Service, patience: Settings) -> None:
        super().__init__()
        self.server, self._service = Server(service.url, patience), service

    def request(
        self,
        href: str,
        method: str | None = None,
        headers: dict[str, str] | None = None,
        parameters: dict[str, Any] | None = None,
    ) -> str:
        """See `StacApiIO.request`. Headers that a page's link asks for are not sent: none of the
        services needs any, and they could be any.

        Raises:
            Trouble, Refused: see `Server.ask`.
        """
        secrets = self._service.secrets()
        if method == "POST":
            return self.server.ask(href, _sound, secrets, json.dumps(parameters).encode())
        if parameters:
            mark = "&" if urllib.parse.urlsplit(href).query else "?"
            href = f"{href}{mark}{urllib.parse.urlencode(parameters)}"
        return self.server.ask(href, _sound, secrets)

    def get_pages(
        self, url: str, method: str | None = None, parameters: dict[str, Any] | None = None
    ) -> Iterator[dict[str, Any]]:
        """All pages of a search, also such as have no items: what they promise is still looked at.

        Raises:
            Trouble, Refused: see `Server.ask`.
        """
        page = self.read_json(url, method=method, parameters=parameters)
        yield page
        while links := [link for link in page.get("links") or [] if link.get("rel") == "next"]:
            page = self.read_json(Link.from_dict(links[0]), parameters=parameters)
            yield page


def _sound(content: bytes) -> str:
    """The text of a landing page, or of a page of items."""
    try:
        text = content.decode("utf-8")
        page = json.loads(text)
    except ValueError as error:
        raise Trouble(f"expected JSON, got{beginning(content) or ' nothing'}") from error
    kind = page.get("type") if isinstance(page, dict) else None
    if kind == "FeatureCollection" and isinstance(page.get("features"), list):
        _check_page(page)
    elif kind != "Catalog":
        raise Trouble(f"expected a FeatureCollection with features, got{beginning(content)}")
    return text


def _check_page(page: dict[str, Any]) -> None:
    returned, has = page.get("numberReturned"), len(page["features"])
    if isinstance(returned, int) and returned != has:
        raise Trouble(f"says that it has {returned} items, and has {has}")
    for link in page.get("links") or []:
        if not isinstance(link, dict) or not isinstance(link.get("href"), str):
            raise Trouble(f"has a link without a href ({str(link)[:100]})")
