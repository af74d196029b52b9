"""Files of an archive by their addresses, and what it takes to read them.

They are read by `fastload.storage.remote`, not by GDAL's own client: it waits and asks again,
throttles, compares each answer with the range that was asked for, and names the URL in its errors.
A server that fails is so never taken for pixels. GDAL decodes what was read.
"""

import threading
import urllib.parse
from collections import OrderedDict
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastload.storage.remote.store import SCHEMES, Remote
from fastload.storage.store import Local, Ranges, Store

_KEPT = 64
"""Servers, each with a signature, whose connections are kept."""


class Cost(NamedTuple):
    """What reading took: requests, those that had to be asked again too, and bytes."""

    requests: int
    nbytes: int

    def since(self, before: "Cost") -> "Cost":
        """What was added since then."""
        return Cost(self.requests - before.requests, self.nbytes - before.nbytes)


class Files:
    """Opens files; for one thread, which may let others read them. Connections are kept.

    Args:
        options: of `fastload.Remote`, such as `attempts`, `timeout` and `requests_per_s`.
    """

    def __init__(self, **options: Any) -> None:
        self._options = options
        self._servers: OrderedDict[str, Remote] = OrderedDict()
        self._past = Cost(0, 0)
        self._lock = threading.Lock()

    def open(self, href: str, first: int) -> "File":
        """A file, of which the first bytes are read.

        Args:
            href: `https://`, `http://`, `s3://`, `gs://` or `file://`, or a path of this machine.
            first: how many.

        Raises:
            ValueError: where the address is of another kind.
            DataError: where it is not there; `StorageError` where it cannot be read for now.
        """
        root, name = _parts(href)
        store: Store = Local(root) if isinstance(root, Path) else self._server(root)
        folder, _, base = name.rpartition("/")
        # A store of its own, which knows no versions of files from before.
        store = store.below(folder) if folder else store
        head, size = store.head(base, first)
        self._count(store, 1, len(head))
        return File(self, store, base, size, {0: head})

    def cost(self) -> Cost:
        """All that was read so far."""
        counts = [server.counts() for server in list(self._servers.values())]
        now = (sum(c[name] for c in counts) for name in ("requests", "bytes"))
        return Cost(*(a + b for a, b in zip(now, self._past, strict=True)))

    def _server(self, root: str) -> Remote:
        with self._lock:
            server = self._servers.pop(root, None) or Remote(root, **self._options)
            self._servers[root] = server
            if len(self._servers) > _KEPT:
                _, old = self._servers.popitem(last=False)
                counts = old.counts()
                self._past = _sum(self._past, Cost(counts["requests"], counts["bytes"]))
        return server

    def _count(self, store: Store, requests: int, nbytes: int) -> None:
        """Remember what was read of this machine; servers count themselves."""
        if not store.far:
            with self._lock:
                self._past = _sum(self._past, Cost(requests, nbytes))


def _sum(a: Cost, b: Cost) -> Cost:
    return Cost(a.requests + b.requests, a.nbytes + b.nbytes)


class File:
    """One file. `known` are the bytes that were read of it, by where they begin."""

    def __init__(
        self, files: Files, store: Store, name: str, size: int, known: dict[int, bytes]
    ) -> None:
        self._files = files
        self.store, self.name, self.size, self.known = store, name, size, known

    @property
    def path(self) -> str:
        """What messages call it; no secret is in it."""
        return self.store.path(self.name)

    def read(self, offsets: NDArray[np.int64], sizes: NDArray[np.int64]) -> None:
        """Read ranges ``[n]`` into `known`, near ones by one request, others at once.

        Raises:
            DataError, StorageError: as of `Files.open`.
        """
        out = [np.empty(size, np.uint8) for size in sizes.tolist()]
        address = np.array([part.ctypes.data for part in out], np.int64)
        ranges = Ranges(np.zeros(len(out), np.int32), offsets, sizes, address)
        failures = self.store.read_ranges([self.name], np.array([self.size], np.int64), ranges)
        for failure in failures.values():
            raise failure
        self._files._count(self.store, 1, int(sizes.sum()))
        self.known.update(zip(offsets.tolist(), (part.tobytes() for part in out), strict=True))


def _parts(href: str) -> tuple[str | Path, str]:
    """The root of an address, with the query that is sent along, and the name below it."""
    scheme, mark, rest = href.partition("://")
    if not mark:
        path = Path(href)
        return path.parent, path.name
    if scheme == "file":
        path = Path(urllib.parse.unquote(urllib.parse.urlsplit(href).path))
        return path.parent, path.name
    if scheme in ("s3", "gs"):
        bucket, _, name = rest.partition("/")
        return f"{scheme}://{bucket}", name
    if scheme not in SCHEMES or scheme == "hf":
        raise ValueError(f"{href!r}: expected https, http, s3, gs or file, or a path")
    parts = urllib.parse.urlsplit(href)
    query = f"?{parts.query}" if parts.query else ""
    name = urllib.parse.unquote(parts.path).lstrip("/")
    return f"{scheme}://{parts.netloc}/{query}", name


_MINE = threading.local()


def files() -> Files:
    """This thread's, with the settings that the environment has."""
    if not hasattr(_MINE, "files"):
        _MINE.files = Files()
    found: Files = _MINE.files
    return found
