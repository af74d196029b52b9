"""A store behind a URL."""

import hashlib
import re
import time
import urllib.parse
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from fastload.processors import processors
from fastload.storage.errors import DataError, MachineError, StorageError, is_scarce, scarce
from fastload.storage.native import bytes_at
from fastload.storage.remote.blocks import Blocks
from fastload.storage.remote.bucket import S3, Google
from fastload.storage.remote.client import Asked, Client
from fastload.storage.remote.host import Host, Listing, Page, shown
from fastload.storage.remote.hub import Hub
from fastload.storage.remote.pieces import Piece, pieces
from fastload.storage.remote.reader import Got, Reader
from fastload.storage.remote.retry import retried
from fastload.storage.remote.settings import settings
from fastload.storage.remote.throttle import throttle
from fastload.storage.remote.together import together
from fastload.storage.remote.trouble import Gone, Refused, Trouble
from fastload.storage.remote.web import Web
from fastload.storage.store import Content, Failures, Names, Ranges, Stat, Store

T = TypeVar("T")
SCHEMES = ("https", "http", "s3", "gs", "hf")
_NAMES_LAST_S = 10.0
"""How long the names in a folder are believed, which opening a data set asks for many times."""
_FIRST = 2**20
"""Bytes that are asked for of a file of unknown length."""


class Remote(Store):
    """Files behind a URL, of which byte ranges are read; give it as the `root` of a data set.

    Args:
        url: ``https://`` or ``http://`` of a folder, a query such as a signature's being sent with
            each file; ``s3://BUCKET/PREFIX``; ``gs://BUCKET/PREFIX``;
            ``hf://datasets/ORG/NAME[@REVISION][/PATH]``.
        endpoint: URL of an S3 server other than Amazon's, of a Google Storage, or of a hub.
        region: of an S3 bucket.
        anonymous: True sends no credentials; None: where none are found.
        headers: sent with each request of a web server, to that server alone.
        options: see `settings.Settings`: `cache`, `cache_bytes`, `timeout`, `concurrency`,
            `bytes_per_s` and others; the environment gives what is not given.

    Raises:
        ValueError: where the URL or a setting makes no sense.
    """

    far = True

    def __init__(
        self,
        url: str,
        *,
        endpoint: str | None = None,
        region: str | None = None,
        anonymous: bool | None = None,
        headers: Mapping[str, str] | None = None,
        **options: Any,
    ) -> None:
        self.settings = settings(options)
        host = _host(url, endpoint, region, anonymous, headers)
        self._begin(host, Client(self.settings.timeout, self.settings.concurrency))
        self._blocks = None
        if self.settings.cache is not None:
            self._blocks = Blocks(self.settings.cache, self.settings.cache_bytes)
        self._names: dict[str, tuple[float, Listing]] = {}

    def _begin(self, host: Host, client: Client) -> None:
        server = urllib.parse.urlsplit(host.ask("").url).netloc
        s = self.settings
        limits = (s.bytes_per_s, s.requests_per_s, s.throttle_file)
        self._host, self._client = host, client
        self._reader = Reader(host, client, throttle(server, *limits))
        self._known: dict[str, Stat] = {}

    @property
    def place(self) -> str:
        """The URL without user, password and query."""
        return self._host.place

    def digest(self) -> str:
        """See `Store.digest`; the server belongs to it."""
        return hashlib.sha256(self._host.identity().encode()).hexdigest()[:16]

    def counts(self) -> dict[str, int]:
        """Requests and bytes of this store and those below it, and hits and misses of the cache, in
        this process."""
        found = {"requests": self._client.requests, "bytes": self._client.bytes}
        if self._blocks is not None:
            found |= {"hits": self._blocks.hits, "misses": self._blocks.misses}
        return found

    def close(self) -> None:
        """Close idle connections; the store may be used again."""
        self._client.close()

    # What there is

    def below(self, name: str) -> "Remote":
        """See `Store.below`."""
        other = type(self).__new__(type(self))
        other.__dict__.update(self.__dict__)
        other._begin(self._host.below(name), self._client)
        return other

    def list(self, suffix: str = "") -> dict[str, Stat]:
        """See `Store.list`. The version is the entity tag, else the date of the last change; where
        the server lists names alone, each file is asked for it."""
        listing = self._listing(fresh=True)
        names = sorted(name for name in listing.files if name.endswith(suffix))
        found = {name: listing.files[name] for name in names}
        bare = [name for name, stat in found.items() if stat is None]

        def ask(i: int) -> None:
            found[bare[i]] = self._stat(bare[i])

        together(len(bare), ask, self.settings.concurrency)
        stats = {name: stat for name, stat in found.items() if stat is not None}
        self._known.update(stats)
        return stats

    def filenames(self, suffix: str = "", most: int | None = None) -> Names:
        """See `Store.filenames`; no file is asked for."""
        try:
            files = self._listing().files
        except FileNotFoundError:
            return []
        return sorted(n for n in files if n.endswith(suffix) and not n.startswith("._"))[:most]

    def folders(self) -> Names:
        """See `Store.folders`."""
        try:
            return sorted(self._listing().folders)
        except FileNotFoundError:
            return []

    def walk(self, suffix: str = "") -> Iterator[str]:
        """See `Store.walk`; one list for all depths, where the server has that."""
        found = self._host.walk(self._ask)
        if found is None:
            yield from super().walk(suffix)
            return
        names = (name for name in found if name.endswith(suffix))
        yield from sorted(n for n in names if not n.rpartition("/")[2].startswith("._"))

    def _listing(self, fresh: bool = False) -> Listing:
        """What the folder holds, as of now or of seconds ago."""
        place, now = self._host.identity(), time.monotonic()
        asked_at, listing = self._names.get(place, (0.0, None))
        if fresh or listing is None or now - asked_at > _NAMES_LAST_S:
            listing = self._told("", -1, lambda: self._host.list(self._ask))
            self._names[place] = now, listing
        return listing

    def _ask(self, asked: Asked) -> Page:
        with self._client.slot():
            return retried(lambda end: self._reader.page(asked, end), self.settings)

    def _stat(self, name: str) -> Stat:
        """Length and version of a file, by its first byte: servers that sign allow no other way."""

        def ask() -> Got:
            with self._client.slot():
                byte = memoryview(bytearray(1))
                return retried(
                    lambda end: self._reader.range(name, 0, byte, None, end), self.settings
                )

        got = self._told(name, 0, ask)
        return Stat(self._length(name, got), got.version or "")

    def _length(self, name: str, got: Got) -> int:
        """Bytes of a file."""
        if got.total is None:
            reason = "the server does not say how long the file is"
            raise StorageError(self.path(name), "", 0, reason)
        return got.total

    # Reading

    def read(self, name: str, offset: int, out: memoryview) -> int:
        """See `Store.read`."""
        return self._got(name, offset, out, None, patient=False).size

    def _got(
        self, name: str, offset: int, out: memoryview, size: int | None, patient: bool = True
    ) -> Got:
        """Read a range, asking again where that may help. `size`: what the file must have."""
        known = self._known.get(name)
        version = known.version or None if known else None
        if not len(out):
            return Got(0, None, version)
        with self._client.slot():
            try:
                got = retried(
                    lambda end: self._reader.range(name, offset, out, version, end),
                    self.settings,
                    patient,
                )
            except Gone as error:
                if size is None or error.missing:
                    raise
                raise Gone(f"had {size} bytes when it was indexed and {error.reason}") from error
        if known is None and got.version and got.total is not None:
            self._known[name] = Stat(got.total, got.version)  # what was seen first counts
        if size is not None and got.total not in (None, size):
            raise Gone(f"had {size} bytes when it was indexed, has {got.total} now; open it anew")
        if size is not None and got.size < len(out):
            raise Gone(
                f"{len(out)} bytes are promised but the file ends at {offset + got.size}; "
                f"it had {size} bytes when it was indexed"
            )
        return got

    def _retried(self, name: str, offset: int, out: memoryview, waits: tuple[float, ...]) -> int:
        patient = bool(waits)
        return self._told(name, offset, lambda: self._got(name, offset, out, None, patient)).size

    def _told(self, name: str, offset: int, work: Callable[[], T]) -> T:
        """Do something; what goes wrong is raised as what it is."""
        path = self.path(name) if name else self.place
        try:
            return work()
        except Gone as error:
            raise DataError(path, "", offset, error.reason) from error
        except (DataError, MachineError, FileNotFoundError):
            raise
        except (Trouble, Refused) as error:
            raise StorageError(path, "", offset, f"cannot be read: {error.reason}") from error
        except OSError as error:
            if is_scarce(error):
                raise scarce(error, path) from error
            raise StorageError(path, "", offset, f"cannot be read ({error})") from error

    def content(self, name: str) -> Content:
        """See `Store.content`. It is cached where a listing told the file's version."""
        known = self._known.get(name)
        if known is not None and self._blocks is not None:
            out = np.empty(known.size, np.uint8)
            self.fetch(name, known.size, 0, out)
            return out.tobytes()
        first = bytearray(_FIRST)
        got = self._told(name, 0, lambda: self._got(name, 0, memoryview(first), None))
        if got.size < _FIRST or got.total == _FIRST:
            return bytes(first[: got.size])
        if got.total is None:
            return super().content(name)
        out = np.empty(got.total, np.uint8)
        self.fetch(name, got.total, 0, out)
        return out.tobytes()

    def head(self, name: str, most: int) -> tuple[Content, int]:
        """See `Store.head`; one request."""
        first = bytearray(most)
        got = self._told(name, 0, lambda: self._got(name, 0, memoryview(first), None))
        return bytes(first[: got.size]), self._length(name, got)

    def fetch(
        self, name: str, size: int, offset: int, out: NDArray[np.uint8], patient: bool = True
    ) -> None:
        """See `Store.fetch`."""
        one = [np.array([value], np.int64) for value in (offset, len(out), out.ctypes.data)]
        ranges = Ranges(np.zeros(1, np.int32), *one)
        for error in self.read_ranges([name], np.array([size], np.int64), ranges).values():
            raise error

    def read_ranges(
        self, names: Sequence[str], sizes: NDArray[np.int64], ranges: Ranges
    ) -> Failures:
        """See `Store.read_ranges`: near ranges are joined, and all are asked for together."""
        failures: Failures = {}
        todo = self._not_cached(names, ranges)
        some = ranges.some(todo)
        found = pieces(some, self.settings.gap, self.settings.largest)

        def work(i: int) -> None:
            piece = found[i]
            file = piece.file
            try:
                self._deliver(names[file], int(sizes[file]), some, piece, not failures)
            except DataError as error:
                for k in piece.serves.tolist():
                    offset = int(some.offset[k])
                    alone = type(error)(error.shard, error.member, offset, error.reason)
                    failures[int(todo[k])] = alone

        together(len(found), work, self.settings.concurrency)
        self._keep(names, ranges, [i for i in todo.tolist() if i not in failures])
        return failures

    def _deliver(self, name: str, size: int, ranges: Ranges, piece: Piece, patient: bool) -> None:
        """Read a piece into the memory of the ranges that it serves."""
        start, length = piece.start, piece.stop - piece.start
        first = int(piece.serves[0])
        alone = len(piece.serves) == 1
        if alone:
            at = int(ranges.address[first]) + start - int(ranges.offset[first])
            out = bytes_at(at, length)
        else:
            out = np.empty(length, np.uint8)
        self._told(name, start, lambda: self._got(name, start, out.data, size, patient))
        for k in () if alone else piece.serves.tolist():
            at, nbytes = int(ranges.offset[k]) - start, int(ranges.size[k])
            bytes_at(int(ranges.address[k]), nbytes)[:] = out[at : at + nbytes]

    # The cache

    def _key(self, name: str, offset: int, size: int) -> str | None:
        """What a block is kept by; None where no listing told the file's version."""
        known = self._known.get(name)
        if known is None or not known.version:
            return None
        return f"{self._host.identity()}\n{name}\n{known}\n{offset}\n{size}"

    def _not_cached(self, names: Sequence[str], ranges: Ranges) -> NDArray[np.int64]:
        """Numbers of the ranges that must be read from afar; the others are read."""
        every, blocks = np.arange(len(ranges.file)), self._blocks
        if blocks is None:
            return every
        found = np.zeros(len(every), bool)

        def look(i: int) -> None:
            size = int(ranges.size[i])
            key = self._key(names[int(ranges.file[i])], int(ranges.offset[i]), size)
            found[i] = key is not None and blocks.get(key, bytes_at(int(ranges.address[i]), size))

        together(len(every), look, min(processors(), 8))
        return every[~found]

    def _keep(self, names: Sequence[str], ranges: Ranges, which: Sequence[int]) -> None:
        """Put ranges that were read into the cache."""
        blocks = self._blocks
        if blocks is None:
            return

        def keep(k: int) -> None:
            i = which[k]
            size = int(ranges.size[i])
            key = self._key(names[int(ranges.file[i])], int(ranges.offset[i]), size)
            if key is not None and size:
                blocks.put(key, bytes_at(int(ranges.address[i]), size))

        together(len(which), keep, min(processors(), 8))

    def __repr__(self) -> str:
        return f"Remote({self.place!r})"

    def __getstate__(self) -> dict[str, Any]:
        """Without connections and names; versions of files go along."""
        own = ("settings", "_host", "_blocks", "_known")
        return {name: self.__dict__[name] for name in own}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.settings, self._blocks = state["settings"], state["_blocks"]
        self._begin(state["_host"], Client(self.settings.timeout, self.settings.concurrency))
        self._known, self._names = state["_known"], {}


def _host(
    url: str,
    endpoint: str | None,
    region: str | None,
    anonymous: bool | None,
    headers: Mapping[str, str] | None,
) -> Host:
    """The host of a URL."""
    scheme, _, rest = url.partition("://")
    scheme = {"gcs": "gs"}.get(scheme.lower(), scheme.lower())
    if scheme in ("http", "https"):
        if not urllib.parse.urlsplit(url).hostname:
            raise ValueError(f"root {shown(url)!r}: expected {scheme}://HOST/FOLDER")
        return Web(url, {} if anonymous else headers)
    if scheme == "hf":
        return Hub(url, endpoint, anonymous)
    if scheme not in ("s3", "gs"):
        known = ", ".join(f"{name}://" for name in SCHEMES)
        raise ValueError(f"root {shown(url)!r}: expected a folder of this machine, or {known}")
    bucket, _, prefix = rest.rstrip("/").partition("/")
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]+", bucket):
        raise ValueError(f"root {shown(url)!r}: expected {scheme}://BUCKET/PREFIX")
    prefix = f"{prefix}/" if prefix else ""
    if scheme == "gs":
        return Google(bucket, prefix, endpoint, anonymous)
    return S3(bucket, prefix, endpoint, region, anonymous)
