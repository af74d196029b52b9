"""What was looked at to choose scenes is not read again for the sample."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from fastload.gather.pixels.files import File, Files


class LookedAt(Files):
    """Files that remember which were opened while scenes were chosen; for one thread."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._looked_at: dict[str, File] = {}
        self._remembers = False

    def open(self, href: str, first: int) -> File:
        """See `Files.open`."""
        found = self._looked_at.get(href) or super().open(href, first)
        if self._remembers:
            self._looked_at[href] = found
        return found

    @contextmanager
    def remembering(self) -> Iterator[None]:
        """Scenes are chosen; files of an earlier choice are forgotten."""
        self._looked_at.clear()
        self._remembers = True
        try:
            yield
        finally:
            self._remembers = False

    @contextmanager
    def forgetting(self) -> Iterator[None]:
        """The sample is made, after which nothing is remembered."""
        try:
            yield
        finally:
            self._looked_at.clear()
