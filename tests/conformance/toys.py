"""What lies in the toys' places."""

import io
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tests.fastload import shardmaker

N, T, C, H, W = 9, 3, 2, 24, 20


def tars() -> dict[str, bytes]:
    """Shards in the published layout, by name."""
    return dict(_tars())


@cache
def _tars() -> dict[str, bytes]:
    with tempfile.TemporaryDirectory() as folder:
        root = shardmaker.write(Path(folder))
        return {path.name: path.read_bytes() for path in sorted(root.rglob("*.tar"))}


@cache
def pixels() -> NDArray[np.int16]:
    """The pixels of all arrays ``[N, T, C, H, W]``."""
    values = np.random.default_rng(0).integers(0, 4000, (N, T, C, H, W))
    return values.astype(np.int16)


def file(values: NDArray[Any]) -> bytes:
    """An array as `numpy.save` writes it."""
    content = io.BytesIO()
    np.save(content, values)
    return content.getvalue()


def arrays() -> dict[str, bytes]:
    """One `.npy` file a sample."""
    return {f"{i:03d}.npy": file(value) for i, value in enumerate(pixels())}
