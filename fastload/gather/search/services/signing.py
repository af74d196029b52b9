"""Signatures for files in Azure's storage, as Planetary Computer gives them out.

`{token URL}/{account}/{container}` answers with JSON: "token", a query that opens the container's
files, and "msft:expiry", until when. Source: https://planetarycomputer.microsoft.com/docs/concepts/sas/
"""

import datetime
import json
import os
import threading
import time
import urllib.parse
from collections.abc import Mapping
from functools import cache

from fastload.gather.search.asking import Server
from fastload.storage.remote.settings import settings
from fastload.storage.remote.trouble import Trouble

STORAGE = ".blob.core.windows.net"
EARLY = 300.0
"""Seconds before its end at which a token is replaced: a patch is read within them."""


def signed(href: str, token: str, headers: Mapping[str, str]) -> str:
    """A href with the token of its container; as it is where it lies elsewhere or has one.

    Args:
        href: of a file.
        token: URL of the tokens.
        headers: to ask for one with.

    Raises:
        OSError: where no token is to be had; names the URL and what came back.
    """
    parts = urllib.parse.urlsplit(href)
    account = (parts.hostname or "").removesuffix(STORAGE)
    container = parts.path.lstrip("/").partition("/")[0]
    elsewhere = not (parts.hostname or "").endswith(STORAGE) or not account or not container
    if elsewhere or "sig" in urllib.parse.parse_qs(parts.query):
        return href
    query = _tokens(token).of(account, container, headers)
    query = f"{parts.query}&{query}" if parts.query else query
    return urllib.parse.urlunsplit(parts._replace(query=query))


class _Tokens:
    """Tokens of this process, by container; safe in threads."""

    def __init__(self, url: str) -> None:
        self._url, self._lock = url.rstrip("/"), threading.Lock()
        self._known: dict[tuple[str, str], tuple[str, float]] = {}
        self._server = Server(url, settings({}))

    def of(self, account: str, container: str, headers: Mapping[str, str]) -> str:
        with self._lock:
            token, end = self._known.get((account, container), ("", 0.0))
            if time.time() >= end - EARLY:
                place = f"{self._url}/{urllib.parse.quote(account)}/{urllib.parse.quote(container)}"
                token, end = self._server.ask(place, _read, headers)
                self._known[account, container] = token, end
            return token

    def after_fork(self) -> None:
        self._lock = threading.Lock()


@cache
def _tokens(url: str) -> _Tokens:
    made = _Tokens(url)
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=made.after_fork)
    return made


def _read(content: bytes) -> tuple[str, float]:
    """A token, and when it ends in seconds since 1970."""
    try:
        said = json.loads(content)
        end = datetime.datetime.fromisoformat(said["msft:expiry"])
        token = said["token"].lstrip("?")
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise Trouble("expected JSON with token and msft:expiry") from error
    if end.tzinfo is None:
        end = end.replace(tzinfo=datetime.UTC)
    return token, end.timestamp()
