"""Items of one acquisition: archives keep several processings of it, of which the newest counts."""

import re
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from fastload.gather.scene import Scene

_DATATAKE = re.compile(r"G(S2[A-Z])_(\d{8}T\d{6})_\d+(_N\d\d\.\d\d)?")
_S2 = re.compile(r"(S2[A-Z])_MSIL(?:1C|2A)_(\d{8}T\d{6})_(?:N\d{4}_)?R\d{3}_T(\d{2}[A-Z]{3})")
_S1 = re.compile(r"S1[A-Z]_\w\w_\w{4}_\w{4}_\d{8}T\d{6}_\d{8}T\d{6}_\d{6}(_[0-9A-F]{6})?")
_TILE = re.compile(r"(?:MGRS-|T)?(\d{1,2})([C-HJ-NP-X])([A-HJ-NP-Z]{2})")
_IN_NAME = re.compile(r"_T?(\d{2}[C-HJ-NP-X][A-HJ-NP-Z]{2})_")


def tile(said: Any, names: Iterable[Any]) -> str:
    """The tile of an item, such as "32TQM": what it says, else what is in a name; else ""."""
    if match := _TILE.fullmatch(said) if isinstance(said, str) else None:
        return f"{int(match[1]):02d}{match[2]}{match[3]}"
    found = (_IN_NAME.search(name) for name in names if isinstance(name, str))
    return next((match[1] for match in found if match), "")


def crs_of_tile(name: str) -> int | None:
    """EPSG code of a tile's UTM zone; rows from N on lie north of the equator."""
    return (32600 if name[2] >= "N" else 32700) + int(name[:2]) if name else None


def acquisition(
    item: str, datatake: Any, names: Iterable[Any], where: str, properties: Mapping[str, Any]
) -> str:
    """What the processings of one acquisition have in common, also those to another level.

    A datatake's id ends in the baseline, and differs between processings by that alone.

    Args:
        item: its id, which is the answer where nothing else tells.
        datatake: what the item says.
        names: of the product.
        where: its tile.
        properties: of the item.
    """
    if match := _DATATAKE.fullmatch(datatake) if isinstance(datatake, str) else None:
        return f"{match[1]} {match[2]} {where}"
    for name in (item, *names):
        if match := _S2.match(name) if isinstance(name, str) else None:
            return f"{match[1]} {match[2]} {match[3]}"
        if match := _S1.match(name) if isinstance(name, str) else None:
            return match[0]
    platform, time = properties.get("platform"), properties.get("datetime")
    if where and isinstance(platform, str) and isinstance(time, str):
        return f"{platform} {time[:19]} {where}"
    return item


def newest(scenes: Iterable[tuple[bool, Scene]]) -> list[Scene]:
    """The newest processing of each acquisition.

    One that covers the patch goes before one that does not, whatever its age: where two strips of a
    datatake meet, two items of one acquisition have a part of the tile each, and neither is a new
    processing of the other.

    Args:
        scenes: each with whether it covers the patch.
    """
    best: dict[str, tuple[Any, Scene]] = {}
    for covers, scene in scenes:
        rank = (covers, *_age(scene))
        key = scene.properties["acquisition"]
        if key not in best or rank > best[key][0]:
            best[key] = rank, scene
    return [scene for _, scene in best.values()]


def _age(scene: Scene) -> tuple[Any, ...]:
    """Grows with the processing: baseline, sequence, time of processing; then the id."""
    of = scene.properties
    version = tuple(int(part) for part in re.findall(r"\d+", str(of.get("baseline") or "")))
    sequence = str(of.get("sequence"))
    number = int(sequence) if sequence.isdecimal() else -1
    return version, number, str(of.get("processed") or ""), scene.id


def newest_first(scenes: Iterable[Scene]) -> list[Scene]:
    """Scenes by their time, the newest first, and by id where times are the same."""
    return sorted(scenes, key=lambda scene: (-int(scene.time.astype(np.int64)), scene.id))
