"""The patches of a location as the bytes of v1.1's `.zarr.zip`, one for each modality.

Arrays are those of v1.1: `bands` ``[T, C, 264, 264]``, `band`, `center_lon`, `center_lat`, `crs`,
`time`, and `cloud_mask` for Sentinel-2. Beside them stand, in arrays that readers of v1.1 pass
over: `transform` ``[T, 6]`` (affine's six numbers), `file_id` ``[T]`` (the item's), `offset`
``[T]`` (DN that were taken away), `cloud_share` (of the patch) and `scene_cloud` (of the scene, NaN
where unknown), both ``[T]`` and 0 to 1; `location` and `attempt` of the plan. They are arrays and
no attributes, for headers that are the same in all samples are read once.
"""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np
from numcodecs import Blosc
from numpy.typing import NDArray

from fastload.gather.candidate import Candidate
from fastload.gather.patch import Patch
from fastload.gather.pixels.clouds import cloud_share
from fastload.gather.pixels.elevation import DEM
from fastload.gather.pixels.grid import grid_of_transform
from fastload.pack.tar import member_of
from fastload.storage.formats.zarr_write import GroupWriter
from fastload.storage.group import CLOUD_SHARE, KEY, OURS

_CODEC = Blosc(cname="lz4", clevel=5, shuffle=Blosc.SHUFFLE)
DTYPES = {
    "S2L1C": np.int16, "S2L2A": np.int16, "S1GRD": np.float16, "S1RTC": np.float16,
    DEM: np.float32,
}  # fmt: skip
"""On disk by modality, as v1.1 has them; its elevation is not known to us."""
_ID_STEP = 32
"""Texts are as wide as a multiple of this, so that most samples' headers are the same."""
_APART = np.timedelta64(60, "s")
"""Between the times that L1C and L2A of one acquisition give."""
Patches = Mapping[str, Sequence[Patch]]


class _Place(NamedTuple):
    """What all modalities of a sample have in common."""

    key: str
    candidate: Candidate
    centre: tuple[float, float]


def sample_bytes(patches: Patches, candidate: Candidate, key: str) -> dict[str, bytes]:
    """A location's sample: the bytes of its zip for each modality.

    Dates are in ascending order. `center_lon` and `center_lat` are the middle of the pixels, the
    same in all modalities. The bytes are a function of the patches: Blosc is called beside the main
    thread, where the order of its blocks does not depend on chance.

    Args:
        patches: by modality, one a date, in any order; on one grid, but for radar's shift by less
            than a pixel.
        candidate: whose.
        key: the sample's.

    Raises:
        ValueError: where there are no patches, or they are of several grids or sizes.
    """
    ordered = {name: _by_date(name, some) for name, some in patches.items()}
    first = next((some[0] for name, some in ordered.items()), None)
    if first is None:
        raise ValueError(f"sample {key}: expected patches of a modality at least, got none")
    for name, some in ordered.items():
        _check(name, some, first)
    place = _Place(key, candidate, grid_of_transform(first.crs, first.transform).centre)
    masks = {name: _masks(name, ordered) for name in ordered}
    with ThreadPoolExecutor(1, "sample") as one:
        work = [one.submit(_zip, name, some, masks[name], place)
                for name, some in ordered.items()]  # fmt: skip
        return {name: found.result() for name, found in zip(ordered, work, strict=True)}


def _by_date(name: str, patches: Sequence[Patch]) -> list[Patch]:
    if name not in DTYPES:
        raise ValueError(f"modality {name!r}: expected one of {list(DTYPES)}")
    if not patches:
        raise ValueError(f"{name}: expected a patch at least, got none")
    return sorted(patches, key=lambda patch: (patch.scene.time, patch.scene.id))


def _check(name: str, patches: Sequence[Patch], first: Patch) -> None:
    """Compare the grids of patches with the sample's."""
    for patch in patches:
        apart = np.abs(np.subtract(patch.transform, first.transform))
        same = patch.crs == first.crs and apart.max() < first.transform[0]
        if not same or patch.bands.shape[1:] != first.bands.shape[1:]:
            raise ValueError(
                f"{name} {patch.scene.id}: on EPSG:{patch.crs} {patch.transform} "
                f"{patch.bands.shape[1:]}, the sample on EPSG:{first.crs} {first.transform} "
                f"{first.bands.shape[1:]}; expected one grid"
            )


def _masks(name: str, patches: Patches) -> list[NDArray[np.uint8]] | None:
    """Cloud masks of an optical modality: its own, or those of L2A where it is of the same
    acquisitions; None where some date has none."""
    found = []
    for patch in patches[name]:
        mask = patch.cloud_mask
        if mask is None and name.startswith("S2"):
            mask = next((other.cloud_mask for other in patches.get("S2L2A", ())
                         if abs(other.scene.time - patch.scene.time) < _APART), None)  # fmt: skip
        if mask is None:
            return None
        found.append(mask)
    return found


def _zip(
    name: str,
    patches: Sequence[Patch],
    masks: Sequence[NDArray[np.uint8]] | None,
    place: _Place,
) -> bytes:
    key = place.key
    group = GroupWriter({OURS: {KEY: key}} if member_of(key) != key else None)

    def put(name: str, x: Any, *axes: str, by_date: bool = False) -> None:
        group.array(name, np.asarray(x), axes, _CODEC if axes else None, by_date)

    bands = np.stack([patch.bands for patch in patches]).astype(DTYPES[name])
    put("bands", bands, "time", "band", "y", "x", by_date=True)
    put("band", patches[0].names, "band")
    put("center_lon", place.centre[0])
    put("center_lat", place.centre[1])
    put("time", [_ns(patch) for patch in patches], "time")
    put("crs", np.int64(patches[0].crs))
    if masks is not None:
        put("cloud_mask", np.stack(masks), "time", "y", "x", by_date=True)
        put(CLOUD_SHARE, [cloud_share(mask) for mask in masks], "time")
    put("location", np.int64(place.candidate.location))
    put("attempt", np.int64(place.candidate.attempt))
    put("file_id", _texts([patch.scene.id for patch in patches]), "time")
    put("transform", [patch.transform for patch in patches], "time", "number")
    if name.startswith("S2"):
        put("offset", np.array([patch.scene.offset for patch in patches], np.int64), "time")
        put("scene_cloud", [_share(patch.scene.cloud) for patch in patches], "time")
    return group.close()


def _ns(patch: Patch) -> int:
    """The date as v1.1 has it, ns since 1970; elevation has none, which is 0 there."""
    if patch.scene.modality == DEM:
        return 0
    return int(patch.scene.time.astype("datetime64[ns]").astype(np.int64))


def _share(cloud: float | None) -> float:
    return np.nan if cloud is None else cloud


def _texts(texts: Sequence[str]) -> NDArray[np.str_]:
    width = -(-max(map(len, texts)) // _ID_STEP) * _ID_STEP
    return np.array(texts, f"U{width}")
