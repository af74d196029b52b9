"""Whose a folder is: `gather.json` says by which settings its shards come about."""

import json
from collections.abc import Callable, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from fastload import __version__
from fastload.pack.manifest import differences
from fastload.storage.whole import write_whole

FILE = "gather.json"
FORMAT = "fastload gather 1"
_LIBRARIES = ("numcodecs", "numpy", "pyproj", "pystac-client", "rasterio", "shapely")
Say = Callable[[str], object]


def versions() -> dict[str, str]:
    """Of the libraries that made the bytes."""
    found = {"fastload": __version__}
    for name in _LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def claim(folder: Path, split: str, wanted: Mapping[str, Any], say: Say) -> dict[str, Any]:
    """Write the file, or compare with the one that lies there; gives what it says.

    Other versions of libraries are told, not refused: what they read and compress is as good.

    Raises:
        FileExistsError: where the folder holds something else; nothing has been changed then.
    """
    path = folder / FILE
    content: dict[str, Any] = json.loads(
        json.dumps({"format": FORMAT, **wanted, "versions": [versions()]})
    )
    if not path.exists():
        strangers = sorted((folder / split).glob("*/*.tar"))
        if strangers:
            raise FileExistsError(
                f"{strangers[0]} exists, but no {path} says that it was gathered; choose another "
                "folder, since existing shards are never overwritten"
            )
    else:
        content["versions"] = _compare(path, content, say)
    write_whole(path, json.dumps(content, indent=1) + "\n")
    return content


def _compare(path: Path, content: Mapping[str, Any], say: Say) -> list[dict[str, str]]:
    """The versions of all runs."""
    try:
        found = json.loads(path.read_text())
        known = list(found.pop("versions"))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise FileExistsError(
            f"{path} cannot be read ({error!r}); choose another folder"
        ) from error
    mine = dict(content)
    [now] = mine.pop("versions")
    differ = differences(mine, found)
    if differ:
        raise FileExistsError(
            f"{path.parent} is gathered otherwise: {differ}. Choose another folder, or delete that "
            "one"
        )
    if now in known:
        return known
    say(f"{path.parent} was begun with other libraries: {differences(now, known[-1])}")
    return [*known, now]
