"""The pixels of scenes on a candidate's ground.

Files are read by `fastload.storage.remote` and decoded by GDAL (rasterio), see
`fastload.gather.pixels.cog`: GDAL's own client cannot be asked how often it tried, or to compare
what a server sends with what was asked for, and takes a block that is cut off for a damaged file;
ours waits, asks again, throttles, has credentials, and names the URL. What comes of it is either
pixels as the archive has them, or an error, or `Unfit`, which only whole answers can say.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from fastload.gather.candidate import Candidate
from fastload.gather.patch import Patch
from fastload.gather.pixels.cog import read_all
from fastload.gather.pixels.elevation import DEM, read_elevation
from fastload.gather.pixels.files import Files
from fastload.gather.pixels.files import files as own_files
from fastload.gather.pixels.grid import Grid, grid_of, grid_of_transform, utm_zone
from fastload.gather.pixels.optical import read_classes, read_optical
from fastload.gather.pixels.radar import read_radar
from fastload.gather.pixels.reading import OpenHref, Reading, href_of
from fastload.gather.scene import Scene

OPTICAL, RADAR = ("S2L1C", "S2L2A"), ("S1RTC", "S1GRD")
READ = (*OPTICAL, *RADAR, DEM)
"""Modalities that can be read."""


def read_patch(
    scene: Scene,
    candidate: Candidate,
    open_href: OpenHref = str,
    *,
    grid: Grid | None = None,
    max_missing: float = 0.0,
    files: Files | None = None,
) -> Patch:
    """The patch of a scene about a candidate's place.

    Its grid is that of whole pixels of 60 m whose middle is nearest to the place, at most 30 m away
    along each axis; Sentinel-2's pixels are never resampled.

    Args:
        scene: one of `READ`.
        candidate: the place.
        open_href: gives the address by which a file is asked for, such as a signed one.
        grid: of the sample's other patches; None: that of the place, in the scene's own zone.
        max_missing: share of pixels that may be without data; 1 is the published rule of v1.0,
            which fills them with 0.
        files: opens files; None: this thread's own.

    Raises:
        Unfit: where the patch has too many pixels without data, or is on another zone's grid.
        DataError: names the file, where it is not there, damaged, or not what is expected.
        StorageError: names the URL, where it cannot be read for now.
        ValueError: where the modality cannot be read.
    """
    return read_scenes([scene], candidate, open_href, grid=grid, max_missing=max_missing,
                       files=files)[0]  # fmt: skip


def read_scenes(
    scenes: Sequence[Scene],
    candidate: Candidate,
    open_href: OpenHref = str,
    *,
    grid: Grid | None = None,
    max_missing: float = 0.0,
    files: Files | None = None,
) -> list[Patch]:
    """The patches of the scenes of one modality, as `read_patch` reads each: one a date; those of
    elevation are one patch of all tiles. Errors and arguments are those of `read_patch`."""
    files = files or own_files()
    before = files.cost()
    grid = grid or _grid(scenes[0], candidate, open_href, files)
    reading = Reading(files, open_href, grid, max_missing)
    found = []
    for some in [scenes] if scenes[0].modality == DEM else [[scene] for scene in scenes]:
        patch, now = _READERS[_known(some[0])](some, reading), files.cost()
        cost, before = now.since(before), now
        found.append(replace(patch, bytes_read=cost.nbytes, requests=cost.requests))
    return found


def read_sample(
    scenes: Mapping[str, Sequence[Scene]],
    candidate: Candidate,
    open_href: OpenHref = str,
    *,
    max_missing: float = 0.0,
    files: Files | None = None,
) -> dict[str, list[Patch]]:
    """The patches of all modalities of a location, on one ground: that of the first optical one,
    else of the first radar one. Arguments and errors are those of `read_patch`."""
    first = sorted(scenes, key=lambda name: READ.index(name) if name in READ else len(READ))
    grid: Grid | None = None
    out = {}
    for name in first:
        out[name] = read_scenes(
            scenes[name], candidate, open_href, grid=grid, max_missing=max_missing, files=files
        )
        grid = grid or grid_of_transform(out[name][0].crs, out[name][0].transform)
    return {name: out[name] for name in scenes}


def read_scl(
    scene: Scene,
    candidate: Candidate,
    open_href: OpenHref = str,
    *,
    files: Files | None = None,
) -> NDArray[np.uint8]:
    """Scene classes of a patch ``[132, 132]`` as ESA has them, see `fastload.gather.pixels.clouds`,
    on their own grid of 20 m, 0 where the patch is beyond the image. Arguments and errors are those
    of `read_patch`."""
    files = files or own_files()
    grid = _grid(scene, candidate, open_href, files)
    return read_classes(scene, Reading(files, open_href, grid, 1.0))


def _grid(scene: Scene, candidate: Candidate, open_href: OpenHref, files: Files) -> Grid:
    """The patch's grid in the zone of a scene, which its first file says where the item does not;
    elevation takes the place's own zone."""
    lon, lat = candidate.lon, candidate.lat
    if scene.modality == DEM:
        return grid_of(utm_zone(lon, lat), lon, lat)
    if scene.crs is not None:
        return grid_of(scene.crs, lon, lat)
    found = list[int]()
    read_all(files, [open_href(href_of(scene, min(scene.hrefs)))], lambda _, i: found.append(i.crs))
    return grid_of(found[0], lon, lat)


def _known(scene: Scene) -> str:
    if scene.modality not in _READERS:
        raise ValueError(f"modality {scene.modality!r}: expected one of {list(READ)}")
    return scene.modality


_READERS: dict[str, Callable[[Sequence[Scene], Reading], Patch]] = {
    **dict.fromkeys(OPTICAL, lambda scenes, reading: read_optical(scenes[0], reading)),
    **dict.fromkeys(RADAR, lambda scenes, reading: read_radar(scenes[0], reading)),
    DEM: read_elevation,
}
