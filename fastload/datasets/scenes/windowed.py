"""A dataset of windows of scenes, from lists of files."""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastload.datasets.rasters.raster_dataset import UNKNOWN, RasterDataset
from fastload.datasets.scenes.cut import Border, Windows, cut
from fastload.datasets.scenes.pictures import Pictures
from fastload.datasets.scenes.window_source import Layer, WindowSource
from fastload.datasets.source import Columns
from fastload.statistics import What
from fastload.statistics import statistics as found_statistics
from fastload.storage.dates import NO_TIME
from fastload.storage.store import Store

_THREADS = 16
"""That read headers; they wait for storage more than they work."""


def windowed(
    store: Store,
    keys: Sequence[str],
    layers: Mapping[str, Layer],
    size: int | tuple[int, int] | None = None,
    stride: int | tuple[int, int] | None = None,
    border: Border = "refuse",
    *,
    sizes: NDArray[np.int64] | tuple[int, int] | None = None,
    extras: Mapping[str, NDArray[Any]] | None = None,
    statistics: What = UNKNOWN,
    most_bytes: int = 2**28,
) -> RasterDataset:
    """Cut scenes into windows; modalities share them.

    A window's key is that of its scene, with row and column where scenes have several windows:
    ``key_0_512``. Samples of a scene lie together (`Columns.group`).

    Args:
        store: holds the files.
        keys: of each of S scenes, each once.
        layers: by modality, the first being the reference for dates and views; masks of classes
            have `Layer.classes` and are best called "mask".
        size: height and width of a window in pixels; by default scenes of one size are windows.
        stride, border: see `cut`.
        sizes: height and width ``[S, 2]`` of the scenes, or of all; by default the first layer's
            files are asked, whose headers are read.
        extras: further columns of scenes, ``[S]``, which their windows get.
        statistics: of the modalities, see `fastload.statistics`.
        most_bytes: of decoded files that are kept for the next windows.

    Raises:
        DataError: names a file that cannot be read, or a scene whose size does not fit.
        ValueError: where an argument does not fit.
    """
    S = len(keys)
    _check(keys, layers)
    pictures = Pictures(store, most_bytes)
    known = _sizes(pictures, next(iter(layers.values())), S, sizes)
    window = (int(known[0, 0]), int(known[0, 1])) if size is None else size
    windows = cut(known, window, stride, border, keys)
    sources = {}
    for name, layer in layers.items():
        columns = _columns(keys, windows, len(layer.files[0]))
        sources[name] = WindowSource(name, pictures, layer, windows, columns, known)
    own = {n: np.asarray(v)[windows.scene] for n, v in (extras or {}).items()}
    return RasterDataset(sources, None, found_statistics(statistics), 0, None, own)


def _check(keys: Sequence[str], layers: Mapping[str, Layer]) -> None:
    if not keys or not layers:
        raise ValueError(f"expected scenes and layers, got {len(keys)} and {len(layers)}")
    if len(set(keys)) < len(keys):
        twice = next(key for i, key in enumerate(keys) if key in keys[:i])
        raise ValueError(f"keys of scenes must differ, {twice!r} is there twice")
    for name, layer in layers.items():
        if len(layer.files) != len(keys):
            raise ValueError(
                f"{name}: expected files of {len(keys)} scenes, got {len(layer.files)}"
            )


def _sizes(
    pictures: Pictures, layer: Layer, S: int, given: NDArray[np.int64] | tuple[int, int] | None
) -> NDArray[np.int64]:
    """Height and width of each scene ``[S, 2]``."""
    if given is not None:
        return np.broadcast_to(np.asarray(given, np.int64), (S, 2))
    with ThreadPoolExecutor(_THREADS) as pool:
        looks = list(pool.map(lambda scene: pictures.look(scene[0][0]), layer.files))
    return np.array([(look.height, look.width) for look in looks], np.int64)


def _columns(keys: Sequence[str], windows: Windows, T: int) -> Columns:
    N = len(windows)
    single = len(keys) == N and (np.diff(windows.scene) == 1).all()
    places = zip(windows.scene.tolist(), windows.top.tolist(), windows.left.tolist(), strict=True)
    named = [keys[s] if single else f"{keys[s]}_{row}_{column}" for s, row, column in places]
    nowhere = np.full(N, np.nan)
    return Columns(
        np.array([key.encode() for key in named], np.bytes_), nowhere, nowhere,
        np.full((N, T), NO_TIME, np.int64), np.full((N, T), np.nan, np.float32),
        windows.scene.astype(np.uint32),
    )  # fmt: skip
