"""A source in memory with everything that columns can hold, to pack."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastload.datasets.base import Dataset
from fastload.datasets.source import Columns, Modality, Source
from fastload.profile import Stages
from fastload.statistics import Statistics, statistics
from fastload.storage.dates import NO_TIME
from fastload.storage.errors import DataError

T, C, H, W = 3, 2, 16, 20
DAY = 86_400_000_000_000
START = 1_600_000_000_000_000_000


class InMemory(Source):
    """Samples of given pixels ``[N, T, C, H, W]``.

    Args:
        pixels: of all samples.
        keys: of them.
        broken: rows that raise an error, by row.
        modality, columns: fields of `Modality` and `Columns` that differ from plain ones.
    """

    def __init__(
        self,
        pixels: NDArray[Any],
        keys: Sequence[str],
        broken: Mapping[int, Exception] | None = None,
        modality: Mapping[str, Any] | None = None,
        columns: Mapping[str, Any] | None = None,
    ) -> None:
        self.pixels, self.broken = pixels, dict(broken or {})
        N, T, C, H, W = pixels.shape
        plain = {
            "name": "S2L1C", "timestamps": T, "bands": C, "height": H, "width": W,
            "dtype": pixels.dtype, "band_names": tuple(f"B0{c + 1}" for c in range(C)),
            "fill_value": 0.0,
        }  # fmt: skip
        self.modality = Modality(**(plain | dict(modality or {})))
        known = {
            "key": np.array([key.encode() for key in keys]),
            "lon": np.linspace(-179, 179, N),
            "lat": np.linspace(-60, 60, N),
            "time": START + DAY * (90 * np.arange(T) + np.arange(N)[:, None]),
            "cloud": np.full((N, T), np.nan, np.float32),
            "group": np.zeros(N, np.uint32),
        }
        self.columns = Columns(**(known | dict(columns or {})))

    def read(
        self, sample: int, timestamps: Sequence[int], out: NDArray[Any], stages: Stages
    ) -> None:
        if sample in self.broken:
            raise self.broken[sample]
        out[...] = self.pixels[sample, list(timestamps)]


def pixels(samples: int, dtype: Any = np.int16, shape: tuple[int, ...] = (T, C, H, W)) -> Any:
    """Smooth values with some noise."""
    rng = np.random.default_rng(5)
    smooth = np.cumsum(rng.integers(-9, 10, (samples, *shape)), axis=-1)
    return (smooth + rng.integers(0, 4, smooth.shape)).astype(dtype)


def source(samples: int = 6, **options: Any) -> InMemory:
    """Plain samples."""
    keys = options.pop("keys", [f"{i:07d}" for i in range(samples)])
    values = options.pop("pixels", None)
    return InMemory(pixels(len(keys)) if values is None else values, keys, **options)


def everything(samples: int = 6) -> InMemory:
    """Every kind of column, places and dates that are unknown among them."""
    lon, time = np.linspace(-10, 10, samples), np.full((samples, T), START)
    lon[1], time[2, 1] = np.nan, NO_TIME
    cloud = np.linspace(0, 1, samples * T, dtype=np.float32).reshape(samples, T)
    cloud[3, 0] = np.nan
    extra = {
        "crs": np.arange(samples) + 32600,
        "label": np.array([f"Grünland {i}".encode() for i in range(samples)]),
        "angle": np.arange(samples * T, dtype=np.float64).reshape(samples, T),
        "product": np.array([[f"S2A_{i}_{t}".encode() for t in range(T)] for i in range(samples)]),
        "level": np.arange(samples * T).reshape(samples, T),
    }
    columns = {"lon": lon, "time": time, "cloud": cloud, "extra": extra}
    return source(samples, columns=columns)


def dataset(
    sources: Source | Mapping[str, Source],
    what: str | Statistics = "v1.1-webdataset",
    **options: Any,
) -> Dataset:
    """Sources as a dataset."""
    found = sources if isinstance(sources, Mapping) else {sources.modality.name: sources}
    return Dataset(found, None, statistics(what), 0, **options)


def damage(row: int) -> dict[int, Exception]:
    """A sample that cannot be read."""
    return {row: DataError("made.bin", f"sample {row}", 77, "a byte is wrong")}
