"""One sample as the published `.zarr.zip`."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numcodecs import Blosc
from numpy.typing import NDArray

from fastload.storage.formats.zarr_write import GroupWriter

_CODEC = Blosc(cname="lz4", clevel=5, shuffle=Blosc.SHUFFLE)


def zarr_zip(
    bands: NDArray[np.generic],
    names: Sequence[str],
    time: NDArray[np.int64],
    lon: float,
    lat: float,
    crs: int,
    cloud_mask: NDArray[np.uint8] | None,
) -> bytes:
    """Pack one modality of one sample.

    Call this from a thread other than the main one: there Blosc compresses with a single thread,
    and the order of its blocks, and so every byte, is the same on each run.

    Args:
        bands: ``[T, C, H, W]``, any dtype.
        names: of the C bands.
        time: ``[T]`` int64, nanoseconds since 1970.
        lon: degrees east of the centre.
        lat: degrees north of the centre.
        crs: EPSG code.
        cloud_mask: ``[T, H, W]`` uint8 or None.

    Returns:
        The bytes of the zip.
    """
    group = GroupWriter()

    def put(name: str, x: NDArray[Any], dimensions: Sequence[str], chunked: bool = False) -> None:
        group.array(name, x, dimensions, _CODEC if x.ndim else None, chunked)

    put("bands", bands, ("time", "band", "y", "x"), chunked=True)
    put("band", np.array(names), ("band",))
    put("center_lon", np.array(lon, np.float64), ())
    put("center_lat", np.array(lat, np.float64), ())
    put("time", time, ("time",))
    put("crs", np.array(crs, np.int64), ())
    if cloud_mask is not None:
        put("cloud_mask", cloud_mask, ("time", "y", "x"), chunked=True)
    return group.close()
