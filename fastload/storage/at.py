"""Where a data set lies: a folder of this machine, or a URL."""

import re
from pathlib import Path
from typing import Union

from fastload.storage.store import Local, Store

Place = Union[str, Path, Store]  # noqa: UP007  # evaluated where the package is imported
"""A folder, ``~`` being the user's home; a URL; or a store."""
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:/")


def at(place: Place) -> Store:
    """The store of a place, which need not be there.

    Raises:
        ValueError: where it is a URL of an unknown kind.
    """
    if isinstance(place, Store):
        return place
    if _URL.match(str(place)):
        raise ValueError(
            f"root {str(place)!r}: URLs are not read, expected a folder of this machine: download "
            "the data first, such as by `hf download`"
        )
    return Local(Path(place).expanduser())
