"""A folder of a web server. HTTP has no list of files: an index page, or a file of names, is it.

The pages that nginx, Apache, lighttpd, Caddy and Python's `http.server` make are understood, and
nginx's in JSON. Where a server makes none, `fastload.files.json` at the root, an array of all
files' paths, stands for them.
"""

import base64
import json
import re
import urllib.parse
from collections.abc import Iterator, Mapping
from html.parser import HTMLParser
from typing import Any

from fastload.storage.remote.client import Asked, Headers
from fastload.storage.remote.host import Ask, Host, Listing, Page, quoted, shown
from fastload.storage.remote.trouble import Denied, Refused

NAMES = "fastload.files.json"
_INDEX = re.compile(rb"<(title|h1)[^>]*>[^<]*(index of|directory listing)", re.IGNORECASE)


class Web(Host):
    """See `Host`."""

    def __init__(self, url: str, headers: Mapping[str, str] | None = None) -> None:
        """`url` may have a user and password, and a query, such as a signature's, which is sent
        with each file. `headers` are sent to this server alone."""
        parts = urllib.parse.urlsplit(url)
        credentials, _, netloc = parts.netloc.rpartition("@")
        path = urllib.parse.quote(parts.path.rstrip("/"), safe="/~%!$&'()*+,;=:@")
        self._base = urllib.parse.urlunsplit((parts.scheme, netloc, path, "", ""))
        self._query, self._headers = parts.query, dict(headers or {})
        if credentials:
            plain = urllib.parse.unquote(credentials).encode()
            token = base64.b64encode(plain if b":" in plain else plain + b":").decode()
            self._headers.setdefault("Authorization", f"Basic {token}")
        self.place = shown(url).rstrip("/")
        self._root, self._inside = self._base, ""
        self._named: list[list[str] | None] = []  # the file of names, once it was looked for

    def below(self, name: str) -> "Web":
        """See `Host.below`."""
        other = Web.__new__(Web)
        other.__dict__.update(self.__dict__)
        other._base = f"{self._base}/{quoted(name)}"
        other._inside = f"{self._inside}{name}/"
        other.place = f"{self.place}/{name}"
        return other

    def ask(self, name: str, method: str = "GET") -> Asked:
        """See `Host.ask`."""
        return self._asked(f"{self._base}/{quoted(name)}", method)

    def _asked(self, url: str, method: str = "GET") -> Asked:
        return Asked(url + (f"?{self._query}" if self._query else ""), self._headers, method)

    def secrets(self, url: str) -> Headers:
        """See `Host.secrets`."""
        mine, other = urllib.parse.urlsplit(self._base), urllib.parse.urlsplit(url)
        return self._headers if (mine.scheme, mine.netloc) == (other.scheme, other.netloc) else {}

    def list(self, ask: Ask) -> Listing:
        """See `Host.list`. Nothing but names is known."""
        names = self._names(ask)
        if names is not None:
            return self._of_names(names)
        try:
            page = ask(self._asked(f"{self._base}/"))
        except Denied as error:  # which nginx answers where it may not list
            raise Refused(f"{error.reason}; {_ADVICE}") from error
        if page.status == 200:
            found = _entries(page, urllib.parse.urlsplit(self._base).path)
            if found is not None:
                return found
            raise Refused(_ADVICE)
        if page.status in (404, 410):
            raise FileNotFoundError(f"{self.place}: there is no such folder (HTTP {page.status})")
        raise Refused(f"HTTP {page.status}; {_ADVICE}")

    def walk(self, ask: Ask) -> Iterator[str] | None:
        """See `Host.walk`."""
        names = self._names(ask)
        if names is None:
            return None
        n = len(self._inside)
        return (name[n:] for name in names if name.startswith(self._inside))

    def _names(self, ask: Ask) -> Any:
        """The paths of all files below the root, where a file there lists them."""
        if not self._named:
            page = ask(self._asked(f"{self._root}/{NAMES}"))
            names = None if page.status != 200 else _array(page.content, f"{self.place}/{NAMES}")
            self._named.append(names)
        return self._named[0]

    def _of_names(self, names: "Iterator[str]") -> Listing:
        found = Listing()
        for name in names:
            if name.startswith(self._inside):
                first, deeper, _ = name[len(self._inside) :].partition("/")
                if deeper:
                    found.folders.add(first)
                else:
                    found.files[first] = None
        if not found.files and not found.folders:
            raise FileNotFoundError(f"{self.place}: {NAMES} names no file there")
        return found


_ADVICE = (
    "the server gives no list of the files, expected an index page (`autoindex on` in nginx) or, "
    f"at the root, a file {NAMES}: a JSON array of all files' paths"
)


def _array(content: bytes, where: str) -> list[str]:
    try:
        names = json.loads(content)
    except ValueError as error:
        raise Refused(f"{where}: expected a JSON array of paths ({error})") from error
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise Refused(f"{where}: expected a JSON array of paths")
    return [name.removeprefix("./") for name in names]


def _entries(page: Page, path: str) -> Listing | None:
    """Files and folders of an index page; None where it is none."""
    if "json" in (page.headers.get("Content-Type") or ""):
        return _of_json(page.content)
    if not _INDEX.search(page.content[:4096]):
        return None
    links = _Links()
    links.feed(page.content.decode("utf-8", "replace"))
    base, found = path.rstrip("/") + "/", Listing()
    for link in links.found:
        target = urllib.parse.urlsplit(urllib.parse.urljoin(base, link)).path
        if link.startswith(("?", "#")) or not target.startswith(base):
            continue
        name = urllib.parse.unquote(target.removeprefix(base))
        if name.endswith("/") and name.count("/") == 1 and name != "/":
            found.folders.add(name[:-1])
        elif name and "/" not in name:
            found.files[name] = None
    return found


def _of_json(content: bytes) -> Listing | None:
    try:
        rows = json.loads(content)
        kinds = {str(row["name"]): row["type"] for row in rows}
    except (ValueError, TypeError, LookupError):
        return None
    files = {name: None for name, kind in kinds.items() if kind == "file"}
    return Listing(dict(files), {name for name, kind in kinds.items() if kind == "directory"})


class _Links(HTMLParser):
    """The targets of a page's links."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Called by the parser."""
        if tag == "a":
            self.found += [value for name, value in attrs if name == "href" and value]
