"""What a kind of server must tell: where a file is asked for, what files there are."""

import urllib.parse
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from fastload.storage.remote.client import Asked, Headers
from fastload.storage.store import Stat


class Page(NamedTuple):
    """A whole answer."""

    status: int
    headers: Headers
    content: bytes


Ask = Callable[[Asked], Page]
"""Asks, also again where that may help.

Raises:
    Trouble, Refused: where there is no answer, or no access. "Not found" is an answer.
"""


@dataclass
class Listing:
    """What a folder holds: files, with what is known of them, and names of folders."""

    files: dict[str, Stat | None] = field(default_factory=dict)
    folders: set[str] = field(default_factory=set)


class Host(ABC):
    """A folder of a server. It holds no connection, and pickles.

    Attributes:
        place: its URL for people, without secrets.
        sends_on: whether files are sent on to servers that do not know its versions.
    """

    place: str
    sends_on = False

    @abstractmethod
    def below(self, name: str) -> "Host":
        """A folder in it."""

    @abstractmethod
    def ask(self, name: str, method: str = "GET") -> Asked:
        """The request for a file, signed where it must be."""

    @abstractmethod
    def list(self, ask: Ask) -> Listing:
        """What it holds.

        Raises:
            FileNotFoundError: where there is no such place, or the server does not tell.
        """

    def walk(self, ask: Ask) -> Iterator[str] | None:
        """Names of files at any depth, in any order; None where the server gives no such list."""
        return None

    def version(self, headers: Headers) -> str | None:
        """The version of a file, as `list` has it, by an answer's headers."""
        return version(headers)

    def secrets(self, url: str) -> Headers:
        """Headers with secrets for a URL that the server sent one to; none for other servers."""
        return {}

    def identity(self) -> str:
        """What tells one place from another; `place`, and what that does not say."""
        return self.place


def version(headers: Mapping[str, str]) -> str | None:
    """The entity tag, else the date of the last change."""
    tag = headers.get("ETag")
    return tag.strip().removeprefix('"').removesuffix('"') if tag else headers.get("Last-Modified")


def quoted(name: str) -> str:
    """A name as a path of URLs."""
    return urllib.parse.quote(name, safe="/~")


def shown(url: str) -> str:
    """A URL without user, password, query and fragment."""
    parts = urllib.parse.urlsplit(url)
    return urllib.parse.urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path,
                                    "", ""))  # fmt: skip
