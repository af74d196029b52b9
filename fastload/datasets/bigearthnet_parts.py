"""What both versions of BigEarthNet have in common: folders, names and dates of patches."""

import re
from collections.abc import Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastload.datasets.rasters.scenes import Scenes
from fastload.storage.dates import NO_TIME
from fastload.storage.store import Store

FILES: Mapping[str, tuple[str, ...]] = {
    "S2L2A": ("B01", "B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B09", "B11", "B12"),
    "S1GRD": ("VV", "VH"),
    "LULC": ("reference_map",),
}
"""What the files of a patch are called, behind its name, by modality; in the order of the bands."""
_FOLDERS = {
    "S2L2A": r"BigEarthNet-(v1\.0|S2.*)",
    "S1GRD": r"BigEarthNet-S1.*",
    "LULC": r"Reference_Maps",
}
_DATE = re.compile(r"S[12][ABC]_.*?_(\d{8})T(\d{1,2})(\d\d)(\d\d)_")
_OF_V2 = re.compile(r"S[12][ABC]_.*_(N\d{4}_R\d{3}_T\w{5}|\d{8}T\d{6})")


class Options(NamedTuple):
    """Arguments of `BigEarthNet` that say which patches there are."""

    split: str | None
    split_file: str | None
    clear: bool
    missing: str
    coordinates: bool
    executor: Executor | None
    progress: bool


class Opened(NamedTuple):
    """The patches of a version.

    Attributes:
        scenes: by modality, of the same N patches in the same order, by the names of Sentinel-2's.
        extras: their labels and other columns, see `Dataset`.
    """

    scenes: dict[str, Scenes]
    extras: dict[str, NDArray[Any]]


def folder_of(root: Store, modality: str) -> Store:
    """Where the patches of a modality lie.

    Raises:
        FileNotFoundError: names what is there instead.
    """
    there = root.folders()
    found = [name for name in there if re.fullmatch(_FOLDERS[modality], name)]
    if not found:
        held = ", ".join(there[:12]) or "no folders"
        expected = _FOLDERS[modality].replace("\\", "")
        raise FileNotFoundError(
            f"{root.place}: expected a folder {expected} for {modality}, found {held}"
        )
    return root.below(found[0])


def names_of_v2(folder: Store) -> bool:
    """Whether folders are tiles, with patches in them, as version 2 has them."""
    names = [name for name in folder.folders() if not name.startswith(".")]
    return bool(names) and re.fullmatch(_OF_V2, names[0]) is not None


def time_of(patch: str) -> int:
    """When a patch was seen, ns since 1970; `NO_TIME` where its name has no date.

    In version 1 an hour before ten has one digit, and seconds may be beyond 59, since the names are
    those of ESA's products.
    """
    found = _DATE.match(patch)
    if found is None:
        return NO_TIME
    day, *clock = found.groups()
    hours, minutes, seconds = map(int, clock)
    try:
        date = datetime.strptime(day, "%Y%m%d").replace(tzinfo=UTC)
    except ValueError:
        return NO_TIME
    passed = timedelta(hours=hours, minutes=minutes, seconds=seconds)
    return int((date + passed).timestamp()) * 10**9


def renamed(scenes: Scenes, rows: Sequence[int] | NDArray[np.int64], key: Any) -> Scenes:
    """Some patches by other keys."""
    return replace(scenes.some(np.asarray(rows, np.int64)), key=key)


def told(what: str, lacking: Sequence[str], of: int, missing: str) -> None:
    """Say that patches are not there, or refuse that.

    Raises:
        ValueError: where `missing` is "error", or all are not there.
    """
    if not lacking:
        return
    report = f"{what}: {len(lacking)} of {of} patches, such as {', '.join(lacking[:3])}"
    if missing == "error" or len(lacking) == of:
        raise ValueError(f"{report} (missing='drop' leaves them out)")
    print(f"{report}; dropped")
