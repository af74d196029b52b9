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

    A URL is read with the settings that the environment has; `fastload.Remote` takes others.

    Raises:
        ValueError: where it is a URL of an unknown kind.
    """
    if isinstance(place, Store):
        return place
    if isinstance(place, str) and _URL.match(place):
        from fastload.storage.remote.store import Remote

        return Remote(place)
    if _URL.match(str(place)):
        kind = str(place).partition(":")[0]
        raise ValueError(f"root is a URL ({kind}:) inside a Path, which drops a '/': give a str")
    return Local(Path(place).expanduser())
