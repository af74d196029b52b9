"""A folder of a data set on the Hugging Face hub.

The hub answers a request for a file by sending it on, to a place that is signed for some time.
Interfaces: `/api/datasets/{id}/tree/{revision}/{path}` and `/datasets/{id}/resolve/{revision}/...`,
as in the hub's API documentation.
"""

import json
import os
import re
import urllib.parse
from collections.abc import Iterator
from typing import Any

from fastload.storage.remote.client import Asked, Headers
from fastload.storage.remote.credentials import hub_token
from fastload.storage.remote.host import Ask, Host, Listing, quoted, version
from fastload.storage.remote.trouble import Refused, Trouble
from fastload.storage.store import Stat

_URL = re.compile(r"hf://datasets/(?P<id>[^/@]+/[^/@]+)(@(?P<revision>[^/]+))?(?P<path>(/.*)?)")
_NEXT = re.compile(r'<([^>]+)>\s*;\s*rel="?next"?')


class Hub(Host):
    """See `Host`."""

    sends_on = True

    def __init__(self, url: str, endpoint: str | None, anonymous: bool | None) -> None:
        """`url`: ``hf://datasets/ORG/NAME[@REVISION][/PATH]``, "/" in a revision as %2F.

        Raises:
            ValueError: where it is none.
        """
        found = _URL.fullmatch(url.rstrip("/"))
        if found is None:
            raise ValueError(
                f"root {url!r}: expected hf://datasets/ORG/NAME[@REVISION][/PATH]; a revision's "
                "'/' is written %2F"
            )
        self._id, revision = found["id"], urllib.parse.unquote(found["revision"] or "main")
        self._revision = urllib.parse.quote(revision, safe="")
        self._endpoint = endpoint or os.environ.get("HF_ENDPOINT") or "https://huggingface.co"
        self._endpoint = self._endpoint.rstrip("/")
        path = found["path"].strip("/")
        self._path = f"{path}/" if path else ""
        self._anonymous = bool(anonymous)
        self.place = url.rstrip("/")

    def below(self, name: str) -> "Hub":
        """See `Host.below`."""
        other = Hub.__new__(Hub)
        other.__dict__.update(self.__dict__)
        other._path, other.place = f"{self._path}{name}/", f"{self.place}/{name}"
        return other

    def identity(self) -> str:
        """See `Host.identity`."""
        return f"{self.place} at {self._endpoint}"

    def ask(self, name: str, method: str = "GET") -> Asked:
        """See `Host.ask`."""
        path = quoted(self._path + name)
        url = f"{self._endpoint}/datasets/{self._id}/resolve/{self._revision}/{path}"
        return Asked(url, self.secrets(url), method)

    def secrets(self, url: str) -> Headers:
        """See `Host.secrets`. The token is the environment's of the moment, and never pickled."""
        token = None if self._anonymous else hub_token()
        if token is None or not url.startswith(f"{self._endpoint}/"):
            return {}
        return {"Authorization": f"Bearer {token}"}

    def version(self, headers: Headers) -> str | None:
        """See `Host.version`: of the file, not of the place that it is sent on to."""
        linked = headers.get("X-Linked-ETag")
        return version({"ETag": linked.removeprefix("W/")}) if linked else version(headers)

    def list(self, ask: Ask) -> Listing:
        """See `Host.list`."""
        found, n = Listing(), len(self._path)
        for item in self._tree(ask, recursive=False):
            name = str(item["path"])[n:]
            if item.get("type") == "directory":
                found.folders.add(name)
            else:
                found.files[name] = _stat(item)
        if not found.files and not found.folders:
            raise FileNotFoundError(f"{self.place}: there is nothing there")
        return found

    def walk(self, ask: Ask) -> Iterator[str] | None:
        """See `Host.walk`."""
        n = len(self._path)
        tree = self._tree(ask, recursive=True)
        return (str(item["path"])[n:] for item in tree if item.get("type") == "file")

    def _tree(self, ask: Ask, recursive: bool) -> Iterator[dict[str, Any]]:
        path = quoted(self._path.rstrip("/"))
        url = f"{self._endpoint}/api/datasets/{self._id}/tree/{self._revision}"
        url += (f"/{path}" if path else "") + f"?recursive={str(recursive).lower()}"
        while url:
            page = ask(Asked(url, self.secrets(url)))
            if page.status in (404, 410):
                raise FileNotFoundError(
                    f"{self.place}: there is no such data set, revision or folder, or no access "
                    "to it (HTTP 404); HF_TOKEN gives access to what is not public"
                )
            if page.status != 200:
                raise Refused(f"it cannot be listed (HTTP {page.status})")
            try:
                yield from json.loads(page.content)
            except ValueError as error:
                raise Trouble("the list of files makes no sense") from error
            following = _NEXT.search(page.headers.get("Link") or "")
            url = urllib.parse.urljoin(url, following[1]) if following else ""


def _stat(item: dict[str, Any]) -> Stat:
    large = item.get("lfs") or {}
    return Stat(int(large.get("size", item["size"])), str(large.get("oid") or item["oid"]))
