"""One range of one file: asked for, sent on, compared with what was asked, and put into memory."""

import re
import urllib.parse
from typing import NamedTuple

from fastload.storage.remote.client import Answer, Asked, Client, Headers
from fastload.storage.remote.host import Host, Page
from fastload.storage.remote.retry import seconds_of
from fastload.storage.remote.throttle import Throttle
from fastload.storage.remote.trouble import Denied, Gone, Refused, Trouble

MOST_SENT_ON = 5
SENT_ON = (301, 302, 303, 307, 308)
AGAIN = (408, 425, 429, 500, 502, 503, 504)
_SPAN = re.compile(r"bytes (?:(\d+)-(\d+)|\*)/(\d+|\*)")


class Got(NamedTuple):
    """What came: so many bytes of a file of `total` (None: the server does not say)."""

    size: int
    total: int | None
    version: str | None


class Reader:
    """Reads ranges of a host's files. It knows where files were sent on to."""

    def __init__(self, host: Host, client: Client, throttle: Throttle) -> None:
        self._host, self._client, self._throttle = host, client, throttle
        self._moved: dict[str, str] = {}

    def range(
        self, name: str, offset: int, out: memoryview, expected: str | None, deadline: float
    ) -> Got:
        """Read from `offset` on into `out`, up to the file's end; one attempt.

        Args:
            name, offset, out: as of `Store.read`, `out` of one byte at least.
            expected: the version that the file must have; None: any.
            deadline: as of `Client.open`.

        Raises:
            Trouble, Refused, Gone: see there.
            OSError: of this machine.
        """
        self._throttle.pass_(len(out))
        if name in self._moved:
            try:
                return self._follow(name, offset, out, expected, deadline)
            except (Refused, Gone):  # the signature may have expired, or the place moved
                self._moved.pop(name, None)
        return self._follow(name, offset, out, expected, deadline)

    def _follow(
        self, name: str, offset: int, out: memoryview, expected: str | None, deadline: float
    ) -> Got:
        asked, span = self._host.ask(name), {"Range": f"bytes={offset}-{offset + len(out) - 1}"}
        url, found = self._moved.get(name, asked.url), None
        headers = asked.headers if url == asked.url else self._host.secrets(url)
        for _ in range(MOST_SENT_ON):
            with self._client.open(Asked(url, {**headers, **span}), deadline) as answer:
                if answer.status not in SENT_ON or "Location" not in answer.headers:
                    at_end = self._host.sends_on and url != asked.url
                    found = found if at_end else self._host.version(answer.headers)
                    _compare(found, expected)
                    return _taken(answer, offset, out, found)
                if self._host.sends_on:
                    found = self._host.version(answer.headers)
                    _compare(found, expected)
                url = urllib.parse.urljoin(url, answer.headers["Location"])
                headers = self._host.secrets(url)
            self._moved[name] = url
        raise Refused(f"the server sends the request on more than {MOST_SENT_ON} times")

    def page(self, asked: Asked, deadline: float) -> Page:
        """A whole answer of a server that was found, such as a listing; one attempt.

        Raises:
            Trouble, Refused: see there. "Not found" is an answer.
        """
        self._throttle.pass_(0)
        for _ in range(MOST_SENT_ON):
            with self._client.open(asked, deadline) as answer:
                if answer.status in SENT_ON and "Location" in answer.headers:
                    url = urllib.parse.urljoin(asked.url, answer.headers["Location"])
                    asked = Asked(url, self._host.secrets(url))
                    continue
                if answer.status not in (404, 410):
                    _refuse(answer)
                return Page(answer.status, answer.headers, answer.content())
        raise Refused(f"the server sends the request on more than {MOST_SENT_ON} times")


def _compare(found: str | None, expected: str | None) -> None:
    if expected is not None and found is not None and found != expected:
        raise Gone(f"has changed since (it was {expected}, is {found}); open it anew")


def _refuse(answer: Answer) -> None:
    """Raise what a status says, unless it is that of an answer."""
    status, headers = answer.status, answer.headers
    if status in AGAIN:
        raise Trouble(f"the server answers HTTP {status}", seconds_of(headers.get("Retry-After")))
    region = headers.get("x-amz-bucket-region")
    if region and status in (301, 307, 400):
        raise Refused(f"HTTP {status}: the bucket is in region {region}; give region={region!r}, "
                      "or set AWS_REGION")  # fmt: skip
    if status in (401, 403, 407):
        raise Denied(f"no access (HTTP {status}); see docs/remote.md for how to give credentials")
    if status in (404, 410):
        raise Gone(f"there is no such file (HTTP {status})", missing=True)
    if status not in (200, 206):
        raise Refused(f"the server answers HTTP {status}")


def _taken(answer: Answer, offset: int, out: memoryview, version: str | None) -> Got:
    """Put an answer's bytes where they belong, after its headers were compared with the request."""
    if answer.status == 416:
        found = _SPAN.fullmatch(answer.headers.get("Content-Range") or "")
        total = int(found[3]) if found and found[3] != "*" else None
        if total is not None and offset < total:
            raise Trouble(f"the server has no bytes from {offset} on of a file of {total}")
        return Got(0, total, version)
    _refuse(answer)
    if answer.headers.get("Content-Encoding", "identity") != "identity":
        raise Refused(f"the server sends bytes coded as {answer.headers['Content-Encoding']}, "
                      "expected the file's own")  # fmt: skip
    size, total = _whole(answer, offset, out) if answer.status == 200 else _part(
        answer.headers, offset, len(out))  # fmt: skip
    if answer.length is not None and answer.length != size:
        raise Trouble(f"the answer has {answer.length} bytes, its Content-Range promises {size}")
    answer.read_into(out[:size])
    return Got(size, total, version)


def _part(headers: Headers, offset: int, asked: int) -> tuple[int, int | None]:
    """Bytes of an answer 206, and of its file."""
    text = headers.get("Content-Range") or ""
    found = _SPAN.fullmatch(text.strip())
    if found is None or found[1] is None:
        raise Trouble(f"the server does not say which range it sends (Content-Range {text!r})")
    first, last = int(found[1]), int(found[2])
    total = None if found[3] == "*" else int(found[3])
    size = last + 1 - first
    ends = total is not None and last + 1 == total
    if first != offset or not (size == asked or (ends and 0 < size < asked)):
        raise Trouble(f"asked for bytes {offset} to {offset + asked - 1}, the server sends {text}")
    return size, total


def _whole(answer: Answer, offset: int, out: memoryview) -> tuple[int, int | None]:
    """Bytes of an answer 200, which is the whole file: it serves where that is what was asked."""
    length = answer.length
    if offset or length is None or length > len(out):
        raise Refused("the server knows no byte ranges: it sends the whole file instead")
    return length, length
