"""One sample as the published `.zarr.zip`: a stored zip of a zarr v2 group, zarr not needed."""

import io
import json
import zipfile
from collections.abc import Sequence
from typing import Any

import numpy as np
from numcodecs import Blosc
from numpy.typing import NDArray

_CODEC = Blosc(cname="lz4", clevel=5, shuffle=Blosc.SHUFFLE)
_DATE = (2026, 2, 17, 0, 0, 0)
_UNIX, _MODE = 3, 0o644


def _json(x: object) -> bytes:
    return json.dumps(x, indent=4, sort_keys=True).encode()


class _Group:
    """A zip that is filled array by array and remembers the metadata."""

    def __init__(self) -> None:
        self.buffer = io.BytesIO()
        self.zip = zipfile.ZipFile(self.buffer, "w", zipfile.ZIP_STORED)
        self.metadata: dict[str, Any] = {}
        self.describe(".zgroup", {"zarr_format": 2})

    def put(self, name: str, payload: bytes) -> None:
        info = zipfile.ZipInfo(name, _DATE)
        info.create_system, info.external_attr = _UNIX, _MODE << 16
        self.zip.writestr(info, payload)

    def describe(self, name: str, content: dict[str, Any]) -> None:
        self.metadata[name] = content
        self.put(name, _json(content))

    def array(
        self, name: str, x: NDArray[Any], dimensions: Sequence[str], by_timestamp: bool
    ) -> None:
        """Add an array, one chunk a timestamp or one in all; scalars stay uncompressed."""
        chunks = [1, *x.shape[1:]] if by_timestamp else list(x.shape)
        codec = _CODEC if x.ndim else None
        self.describe(
            f"{name}/.zarray",
            {
                "chunks": chunks,
                "compressor": codec and codec.get_config(),
                "dtype": x.dtype.str,
                "fill_value": np.zeros((), x.dtype).item(),
                "filters": None,
                "order": "C",
                "shape": list(x.shape),
                "zarr_format": 2,
            },
        )
        rest = ".0" * (x.ndim - 1)
        for t in range(x.shape[0] if by_timestamp else 1):
            chunk = np.ascontiguousarray(x[t] if by_timestamp else x)
            self.put(f"{name}/{t}{rest}", codec.encode(chunk) if codec else chunk.tobytes())
        self.describe(f"{name}/.zattrs", {"_ARRAY_DIMENSIONS": list(dimensions)})

    def close(self) -> bytes:
        consolidated = {"metadata": self.metadata, "zarr_consolidated_format": 1}
        self.put(".zmetadata", _json(consolidated))
        self.zip.close()
        return self.buffer.getvalue()


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
    group = _Group()
    group.array("bands", bands, ("time", "band", "y", "x"), by_timestamp=True)
    group.array("band", np.array(names), ("band",), by_timestamp=False)
    group.array("center_lon", np.array(lon, np.float64), (), by_timestamp=False)
    group.array("center_lat", np.array(lat, np.float64), (), by_timestamp=False)
    group.array("time", time, ("time",), by_timestamp=False)
    group.array("crs", np.array(crs, np.int64), (), by_timestamp=False)
    if cloud_mask is not None:
        group.array("cloud_mask", cloud_mask, ("time", "y", "x"), by_timestamp=True)
    return group.close()
