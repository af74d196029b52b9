"""Writing one sample: a stored zip of a zarr v2 group with consolidated metadata, without zarr."""

import io
import json
import math
import zipfile
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

_DATE = (2026, 2, 17, 0, 0, 0)
_UNIX, _MODE = 3, 0o644
_NAMES = {math.inf: "Infinity", -math.inf: "-Infinity"}


class GroupWriter:
    """A zip that is filled array by array and remembers the metadata.

    Its bytes are a function of what is written alone, if the codecs' are: Blosc's are in any thread
    but the main one, where it compresses with several threads, in the order in which they end.

    Args:
        attributes: of the group; none by default.
    """

    def __init__(self, attributes: Mapping[str, Any] | None = None) -> None:
        self._members: list[tuple[str, bytes]] = []
        self._metadata: dict[str, Any] = {}
        self._describe(".zgroup", {"zarr_format": 2})
        if attributes:
            self._describe(".zattrs", attributes)

    def array(
        self,
        name: str,
        x: NDArray[Any],
        dimensions: Sequence[str],
        codec: Any = None,
        by_timestamp: bool = False,
        fill_value: Any = 0,
    ) -> None:
        """Add an array.

        Args:
            name: of the array.
            x: of any shape; numbers or text of a fixed width, in native byte order.
            dimensions: names of the axes.
            codec: of numcodecs; None stores what has no axis, or is not to be compressed, as it is.
            by_timestamp: one chunk for each entry of the first axis, and not one in all.
            fill_value: what a chunk that is absent would hold; text has none.
        """
        chunks = [1, *x.shape[1:]] if by_timestamp else list(x.shape)
        self._describe(
            f"{name}/.zarray",
            {
                "chunks": chunks,
                "compressor": codec and codec.get_config(),
                "dtype": x.dtype.str,
                "fill_value": _fill_value(x.dtype, fill_value),
                "filters": None,
                "order": "C",
                "shape": list(x.shape),
                "zarr_format": 2,
            },
        )
        rest = ".0" * (x.ndim - 1)
        for t in range(x.shape[0] if by_timestamp else 1):
            chunk = np.ascontiguousarray(x[t] if by_timestamp else x)
            self._put(f"{name}/{t}{rest}", codec.encode(chunk) if codec else chunk.tobytes())
        self._describe(f"{name}/.zattrs", {"_ARRAY_DIMENSIONS": list(dimensions)})

    def close(self) -> bytes:
        """The bytes of the zip."""
        consolidated = {"metadata": self._metadata, "zarr_consolidated_format": 1}
        self._put(".zmetadata", _json(consolidated))
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
            for name, payload in self._members:
                info = zipfile.ZipInfo(name, _DATE)
                info.create_system, info.external_attr = _UNIX, _MODE << 16
                archive.writestr(info, payload)
        return buffer.getvalue()

    def _describe(self, name: str, content: Mapping[str, Any]) -> None:
        self._metadata[name] = content
        self._put(name, _json(content))

    def _put(self, name: str, payload: bytes) -> None:
        self._members.append((name, payload))


def _json(x: object) -> bytes:
    return json.dumps(x, indent=4, sort_keys=True, allow_nan=False).encode()


def _fill_value(dtype: np.dtype[Any], value: Any) -> Any:
    """As a header has it, which knows no NaN. Source: the zarr v2 specification."""
    if dtype.kind == "U":
        return ""
    if dtype.kind == "S":
        return None
    plain = np.asarray(value).astype(dtype).item()
    if isinstance(plain, float) and not math.isfinite(plain):
        return "NaN" if math.isnan(plain) else _NAMES[plain]
    return plain
