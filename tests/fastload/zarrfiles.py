"""Tiny zarr files of many samples in the published layout, written and read by zarr."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numcodecs
import numpy as np
import zarr
from numpy.typing import NDArray

from tests.fastload import shardmaker as make

S, T, C, H, W = 3, 4, 2, 16, 18
IDS = tuple(f"{7 * i:07d}_{i % 2}" for i in range(2 * S - 1))
"""Of all samples; the last file is short."""


def pixels(modality: str, samples: Sequence[int], dtype: Any = np.int16) -> NDArray[Any]:
    """Pixels ``[S, T, C, H, W]`` of samples by their numbers."""
    return np.stack([make.pixels(f"{modality} {i}", (T, C, H, W), dtype) for i in samples])


def mask(i: int) -> NDArray[np.uint8]:
    """A cloud mask ``[T, H, W]``."""
    return np.random.default_rng(i).integers(0, 7, (T, H, W), dtype=np.uint8)


def group(
    modality: str,
    samples: Sequence[int],
    *,
    chunks: Sequence[int] | None = None,
    mask_chunks: Sequence[int] | None = None,
    dtype: Any = np.int16,
    ids: bool = True,
    as_text: bool = True,
    time: str = "time_",
    clouds: bool = True,
    **options: Any,
) -> dict[str, bytes]:
    """A group as names and bytes."""
    store: dict[str, Any] = {}
    root = zarr.group(store=store)
    values, N = pixels(modality, samples, dtype), len(samples)
    options = {"compressor": make.LZ4, "fill_value": 0, **options}
    root.create_dataset("bands", data=values, chunks=tuple(chunks or (1, 1, C, H, W)), **options)
    root.create_dataset("band", data=np.array(["B04", "B8A"]))
    for k, name in enumerate(("center_lon", "center_lat")):
        root.create_dataset(name, data=np.array([10.0 + i + 40 * k for i in samples]))
    root.create_dataset("crs", data=np.array([32600 + i for i in samples]))
    files = np.array([[f"S2A_{i}_{t}" for t in range(T)] for i in samples], object)
    texts: dict[str, Any] = {"object_codec": numcodecs.VLenUTF8(), "dtype": object}
    root.create_dataset("file_id", data=files, **texts)
    if ids:
        names = np.array([IDS[i] for i in samples])
        root.create_dataset("sample", data=names, **(texts if as_text else {}))
    dates = np.stack([make.dates(i, T) for i in samples])
    if time == "days":
        root.create_dataset("time", data=dates // make.DAY).attrs["units"] = "days since 1970-01-01"
    else:
        root.create_dataset(time, data=dates.astype("datetime64[ns]" if time == "time" else "i8"))
        root.create_dataset("x", data=np.arange(N * W).reshape(N, W))
    if time == "time_":
        root.create_dataset("time", data=np.arange(T))
    if clouds:
        masks = np.stack([mask(i) for i in samples])
        root.create_dataset("cloud_mask", data=masks, chunks=mask_chunks or (1, 1, H, W))
    zarr.consolidate_metadata(store)
    return {name: bytes(content) for name, content in store.items()}


def path(root: Path, modality: str = "S2L2A", number: int = 1, split: str = "train") -> Path:
    """Where a file lies."""
    name = f"ssl4eos12_{split}_seasonal_data_{number:06d}.zarr.zip"
    return root / split / modality / name


def write(root: Path, modalities: Sequence[str] = ("S2L2A",), **options: Any) -> Path:
    """Two files a modality, of which the second is one short."""
    for modality in modalities:
        for number, samples in enumerate((range(S), range(S, 2 * S - 1))):
            target = path(root, modality, number + 1)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(make.zipped(group(modality, samples, **options)))
    return root


def by_zarr(root: Path, modality: str = "S2L2A", array: str = "bands") -> NDArray[Any]:
    """An array of all samples, as the zarr library reads it from the zips."""
    parts = []
    for number in (1, 2):
        with zarr.ZipStore(str(path(root, modality, number)), mode="r") as store:
            parts.append(zarr.open_consolidated(store)[array][...])
    return np.concatenate(parts)
