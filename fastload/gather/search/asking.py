"""Questions to a service over HTTP, asked again where that may help."""

import urllib.parse
import zlib
from collections.abc import Callable
from typing import TypeVar

from fastload.storage.remote.client import Answer, Asked, Client, Headers
from fastload.storage.remote.host import shown
from fastload.storage.remote.reader import AGAIN, MOST_SENT_ON, SENT_ON
from fastload.storage.remote.retry import retried, seconds_of
from fastload.storage.remote.settings import Settings
from fastload.storage.remote.throttle import throttle
from fastload.storage.remote.trouble import Refused, Trouble

T = TypeVar("T")
MOST = 2**28
"""Bytes of an answer that are believed."""
_SHOWN = 200


class Server:
    """A service's connections; safe in threads.

    Attributes:
        client: counts requests and bytes.
    """

    def __init__(self, url: str, patience: Settings) -> None:
        """`url`: of the service, whose server alone is sent secrets."""
        self.client, self._patience = Client(patience.timeout, patience.concurrency), patience
        self._origin = _origin(url)
        self._throttle = throttle(
            self._origin[1], 0.0, patience.requests_per_s, patience.throttle_file
        )

    def ask(
        self, url: str, check: Callable[[bytes], T], secrets: Headers, body: bytes | None = None
    ) -> T:
        """What is at a URL.

        Args:
            url: where to ask.
            check: takes the answer; raises Trouble where it is not sound.
            secrets: headers for the service's own server.
            body: JSON to post.

        Raises:
            Trouble: where none came that was sound, though it was asked for again.
            Refused: where asking again does not help. Both name the URL and what came back.
        """

        def attempt(deadline: float) -> T:
            self._throttle.pass_(0)
            return check(self._content(url, secrets, body, deadline))

        try:
            return retried(attempt, self._patience)
        except Trouble as error:
            raise Trouble(f"{shown(url)}: {_without(secrets, error.reason)}", error.wait) from error
        except Refused as error:
            raise Refused(f"{shown(url)}: {_without(secrets, error.reason)}") from error

    def _content(self, url: str, secrets: Headers, body: bytes | None, deadline: float) -> bytes:
        for _ in range(MOST_SENT_ON):
            headers = {"Accept": "application/geo+json, application/json",
                       "Accept-Encoding": "gzip"}  # fmt: skip
            if body is not None:
                headers["Content-Type"] = "application/json"
            if _origin(url) == self._origin:
                headers |= secrets
            method = "GET" if body is None else "POST"
            with self.client.open(Asked(url, headers, method, body), deadline) as answer:
                content = _plain(answer)
                if answer.status in SENT_ON and "Location" in answer.headers:
                    url = urllib.parse.urljoin(url, answer.headers["Location"])
                    continue
                _refuse(answer, content)
                return content
        raise Refused(f"the request is sent on more than {MOST_SENT_ON} times")


def _origin(url: str) -> tuple[str, str]:
    parts = urllib.parse.urlsplit(url)
    return parts.scheme, parts.netloc


def _plain(answer: Answer) -> bytes:
    """The body, without compression."""
    content = answer.content()
    if answer.headers.get("Content-Encoding") != "gzip":
        return content
    inflate = zlib.decompressobj(wbits=31)
    try:
        plain = inflate.decompress(content, MOST)
    except zlib.error as error:
        raise Trouble(f"the answer is no gzip ({error})") from error
    if not inflate.eof:
        raise Trouble(f"the answer ends too early, or is longer than {MOST} bytes")
    return plain


def _refuse(answer: Answer, content: bytes) -> None:
    if answer.status == 200:
        return
    said = f"HTTP {answer.status}{beginning(content)}"
    if answer.status in AGAIN:
        raise Trouble(said, seconds_of(answer.headers.get("Retry-After")))
    raise Refused(said)


def beginning(content: bytes) -> str:
    """The beginning of an answer, for a sentence; nothing of an empty one."""
    text = " ".join(content[: 4 * _SHOWN].decode("utf-8", "replace").split())
    return f" ({text[:_SHOWN]})" if text else ""


def _without(secrets: Headers, text: str) -> str:
    """A sentence without secrets that an answer may repeat."""
    for secret in secrets.values():
        text = text.replace(secret, "***")
    return text
