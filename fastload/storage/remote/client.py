"""One HTTP request: connections that are kept, time-outs, redirects, and the body into memory."""

import contextlib
import http.client
import os
import ssl
import threading
import time
import urllib.parse
import urllib.request
import weakref
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any, NamedTuple, cast

from fastload.storage.errors import is_scarce
from fastload.storage.remote.trouble import Trouble, of_connection

Headers = Mapping[str, str]
_FAULTS = (OSError, http.client.HTTPException, ValueError)
_MOST_BODY = 2**28
"""Bytes of a listing that are believed."""
_SENT = {"User-Agent": "fastload", "Accept-Encoding": "identity"}


class Asked(NamedTuple):
    """A request: `url` with its query, headers, and a body where it has one."""

    url: str
    headers: Headers
    method: str = "GET"
    body: bytes | None = None


class Answer:
    """A server's answer, of which the body is still to be read.

    Attributes:
        status, headers: as the server sent them; the headers' names may be asked in any case.
        length: bytes of the body; None where the server does not say.
    """

    def __init__(self, response: http.client.HTTPResponse, sock: Any, deadline: float) -> None:
        self.status = response.status
        self.headers: Headers = cast(Any, response.headers)
        self.length = response.length
        self._response, self._sock, self._deadline = response, sock, deadline
        self.ended = False

    def read_into(self, out: memoryview) -> None:
        """Read the whole body, which must be as long as `out`.

        Raises:
            Trouble: where it ends before, or takes too long.
        """
        done, stream = 0, self._response.fp
        while done < len(out):
            self._arm()
            got = stream.readinto1(out[done:])
            if not got:
                raise Trouble(f"the answer ended after {done} of {len(out)} bytes")
            done += got
        self._response.close()
        self.ended = True

    def content(self) -> bytes:
        """All of a body of any kind, such as a listing."""
        parts, total = list[bytes](), 0
        while True:
            self._arm()
            part = self._response.read1(2**20)
            if not part:
                break
            parts.append(part)
            total += len(part)
            if total > _MOST_BODY:
                raise Trouble(f"the answer is longer than {_MOST_BODY} bytes")
        if self.length is not None and total != self.length:
            raise Trouble(f"the answer ended after {total} of {self.length} bytes")
        self._response.close()
        self.ended = True
        return b"".join(parts)

    def _arm(self) -> None:
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise Trouble("the server took too long to answer")
        self._sock.settimeout(min(left, self._sock.gettimeout() or left))


@cache
def _context() -> ssl.SSLContext:
    return ssl.create_default_context()


class Client:
    """Connections to servers, each used again by whoever asks next; safe in threads.

    In a forked child it starts without any. `timeout`: seconds without a byte; `most`: requests
    in flight at a time.
    """

    def __init__(self, timeout: float, most: int) -> None:
        self._timeout, self._most = timeout, most
        self._slots = threading.BoundedSemaphore(most)
        self._idle: dict[tuple[str, str], list[http.client.HTTPConnection]] = {}
        self.requests = self.bytes = 0
        self._lock = threading.Lock()
        _ALL.add(self)

    def slot(self) -> threading.BoundedSemaphore:
        """What is held while something is asked for."""
        return self._slots

    @contextlib.contextmanager
    def open(self, asked: Asked, deadline: float) -> Iterator[Answer]:
        """Send a request; the block reads the answer. Redirects are the caller's.

        Raises:
            Trouble, Refused: where the server cannot be asked, or does not answer.
            OSError: where the machine has no handle or memory for that.
        """
        url = urllib.parse.urlsplit(asked.url)
        place = (url.scheme, url.netloc.rpartition("@")[2])
        target = (url.path or "/") + (f"?{url.query}" if url.query else "")
        connection = None
        try:
            connection, sock, response = self._send(place, target, asked, deadline)
            answer = Answer(response, sock, deadline)
            yield answer
            self._keep(place, connection, response, answer)
            connection = None
        except _FAULTS as error:
            raise _told(error) from error
        finally:
            if connection is not None:
                connection.close()

    def _send(
        self, place: tuple[str, str], target: str, asked: Asked, deadline: float
    ) -> tuple[http.client.HTTPConnection, Any, http.client.HTTPResponse]:
        """Ask over an idle connection, which the server may have closed, or over a new one."""
        while True:
            with self._lock:
                idle = self._idle.get(place) or []
                connection = idle.pop() if idle else None
            fresh = connection is None
            left = min(self._timeout, deadline - time.monotonic())
            if left <= 0:
                raise Trouble("no time was left to ask")
            connection = connection or _connection(place, left)
            try:
                if connection.sock is not None:
                    connection.sock.settimeout(left)
                path = _absolute(place, target) if _is_plain_proxy(connection) else target
                headers = {**_SENT, **asked.headers}
                connection.request(asked.method, path, asked.body, headers)
                sock = connection.sock  # which the connection forgets where the server closes it
                self.requests += 1
                return connection, sock, connection.getresponse()
            except BaseException as error:
                connection.close()
                if fresh or not isinstance(error, (ConnectionError, http.client.BadStatusLine)):
                    raise

    def _keep(
        self,
        place: tuple[str, str],
        connection: http.client.HTTPConnection,
        response: http.client.HTTPResponse,
        answer: Answer,
    ) -> None:
        """Keep a connection whose answer was read to its end."""
        if not answer.ended and (answer.length or 0) <= 2**16 and answer.status != 200:
            answer.content()
        self.bytes += answer.length or 0
        if response.will_close or not (answer.ended or response.isclosed()):
            connection.close()
            return
        with self._lock:
            self._idle.setdefault(place, []).append(connection)

    def close(self) -> None:
        """Close what is idle."""
        with self._lock:
            idle, self._idle = self._idle, {}
        for connection in (c for some in idle.values() for c in some):
            connection.close()

    def __del__(self) -> None:
        for connection in [c for some in self._idle.values() for c in some]:
            connection.close()


def _told(error: BaseException) -> BaseException:
    """What went wrong, as an error of this package where it is the server's or the way's."""
    if isinstance(error, Trouble) or (isinstance(error, OSError) and is_scarce(error)):
        return error
    if isinstance(error, OSError) and type(error).__module__ == Trouble.__module__:
        return error
    return of_connection(error)


def _connection(place: tuple[str, str], timeout: float) -> http.client.HTTPConnection:
    """A connection to a server, through the proxy that the environment names."""
    scheme, host = place
    proxies = urllib.request.getproxies()
    proxy = proxies.get(scheme) or proxies.get("all")
    if proxy and not urllib.request.proxy_bypass(host.partition(":")[0]):
        via = urllib.parse.urlsplit(proxy if "//" in proxy else f"//{proxy}").netloc
        via = via.rpartition("@")[2]
        if scheme == "https":
            tunnel = http.client.HTTPSConnection(via, timeout=timeout, context=_context())
            tunnel.set_tunnel(host)
            return tunnel
        plain = http.client.HTTPConnection(via, timeout=timeout)
        plain.fastload_proxy = True  # type: ignore[attr-defined]
        return plain
    if scheme == "https":
        return http.client.HTTPSConnection(host, timeout=timeout, context=_context())
    return http.client.HTTPConnection(host, timeout=timeout)


def _is_plain_proxy(connection: http.client.HTTPConnection) -> bool:
    return hasattr(connection, "fastload_proxy")


def _absolute(place: tuple[str, str], target: str) -> str:
    return f"{place[0]}://{place[1]}{target}"


_ALL: "weakref.WeakSet[Client]" = weakref.WeakSet()


def _after_fork() -> None:
    """In a child: connections are the parent's, and no thread is left that could hold a lock."""
    for client in list(_ALL):
        client._lock = threading.Lock()
        client._slots = threading.BoundedSemaphore(client._most)
        client.close()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
