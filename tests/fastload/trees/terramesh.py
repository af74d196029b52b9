"""Tiny shards in the layout of TerraMesh, written by zarr and tarfile."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tests.fastload import shardmaker

KINDS = {"S2L2A": (12, "i2"), "S1GRD": (2, "f2"), "S1RTC": (2, "f2"), "DEM": (1, "f4")}
MAJORTOM = tuple(f"majortom_train_{i:07d}" for i in range(5))
SSL4EO = tuple(f"ssl4eos12_train_{i:07d}_1" for i in range(4))
KEYS = MAJORTOM + SSL4EO
SIZE = 16


def pixels(key: str, modality: str, size: int = SIZE) -> NDArray[Any]:
    """``[1, C, size, size]``, other ones for each key and modality."""
    C, dtype = KINDS[modality]
    made = shardmaker.pixels(f"{key} {modality}", (1, C, size, size))
    if dtype == "f2":
        return (made / 32 - 30).astype(np.float16)  # exact in halves, as dB are stored
    return made.astype(dtype)


def sample(key: str, modality: str, **options: Any) -> bytes:
    """The `.zarr.zip` of a sample."""
    number = KEYS.index(key)
    return shardmaker.zipped(
        shardmaker.group(pixels(key, modality), number=number, lon=number / 10, **options)
    )


def modalities_of(key: str) -> set[str]:
    """A sample of Major TOM has S1RTC, one of SSL4EO-S12 S1GRD."""
    return {"S2L2A", "DEM", "S1RTC" if key in MAJORTOM else "S1GRD"}


def write(root: Path, split: str = "train", keys: tuple[str, ...] = KEYS) -> Path:
    """Shards of both names in the folders of all modalities."""
    for modality in KINDS:
        folder = root / split / modality
        mine = [key for key in keys if modality in modalities_of(key)]
        shards = {
            "majortom_shard_000001": [k for k in mine if k in MAJORTOM[:3]],
            "majortom_shard_000002": [k for k in mine if k in MAJORTOM[3:]],
            "ssl4eos12_shard_000794": [k for k in mine if k in SSL4EO],
        }
        for name, some in shards.items():
            if some:
                shardmaker.write_tar(folder / f"{name}.tar", {k: sample(k, modality) for k in some})
    return root
