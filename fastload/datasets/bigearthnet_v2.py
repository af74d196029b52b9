"""The patches of BigEarthNet's second version: folders by tile, all else in parquet."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastload.datasets.bigearthnet_parts import Opened, Options, folder_of, renamed, time_of, told
from fastload.datasets.labels.corine import CLASSES_19, bits, multi_hot
from fastload.datasets.rasters.open_scenes import Found, open_scenes
from fastload.datasets.rasters.scenes import BAND, Scene, Scenes
from fastload.extras import missing
from fastload.storage.dates import NO_TIME
from fastload.storage.errors import DataError
from fastload.storage.store import Store

_COLUMNS = ("patch_id", "labels", "split", "country", "s1_name")
_FLAGS = {"snow": "contains_seasonal_snow", "cloud": "contains_cloud_or_shadow"}
_SPLITS = {"train": "train", "val": "validation", "validation": "validation", "test": "test"}
_BY = {"S2L2A": "B01", "S1GRD": "VV", "LULC": "reference_map"}
"""Which of a patch's files says where it lies."""


def opened(root: Store, names: Sequence[str], tables: Sequence[str], options: Options) -> Opened:
    """See `Opened`; `tables` are the parquet files' names.

    Raises:
        FileNotFoundError, ValueError, DataError, ImportError: see `BigEarthNet`.
    """
    table = _chosen(_table(root, tables), options)
    folders = {name: folder_of(root, name) for name in names}
    all_scenes = {name: _scenes(folder, name, options) for name, folder in folders.items()}
    own = {name: table["s1_name" if name == "S1GRD" else "patch_id"] for name in names}
    rows = {name: _rows(all_scenes[name], own[name]) for name in names}
    for name, found in rows.items():
        lacking = [str(n) for n in np.array(own[name])[found < 0]]
        told(f"{folders[name].place} lacks", lacking, len(found), options.missing)
    some = np.flatnonzero(np.all([found >= 0 for found in rows.values()], axis=0))
    key = np.array([str(table["patch_id"][i]).encode() for i in some], np.bytes_)
    scenes = {name: renamed(all_scenes[name], rows[name][some], key) for name in names}
    extras: dict[str, NDArray[Any]] = {
        "label": multi_hot(np.array(table["labels"], np.uint64)[some], len(CLASSES_19))[:, None],
        "country": np.array(table["country"], np.str_)[some],
        **{n: np.array(table[c], np.bool_)[some] for n, c in _FLAGS.items() if c in table},
    }
    return Opened(scenes, extras)


def _rows(scenes: Scenes, names: Sequence[str]) -> NDArray[np.int64]:
    at = {key: i for i, key in enumerate(scenes.key.tolist())}
    return np.array([at.get(str(name).encode(), -1) for name in names], np.int64)


def _scenes(folder: Store, modality: str, options: Options) -> Scenes:
    tiles = [name for name in folder.folders() if not name.startswith(".")]
    settings = {"layout": "bigearthnet-2", "located": options.coordinates}
    by = _BY[modality] if options.coordinates else None
    return open_scenes(folder, tiles, _look, settings, options.executor, options.progress, by)


def _look(store: Store, names: Sequence[str]) -> Found:
    """See `open_scenes.Look`: the patches of some tiles."""
    scenes, odd = list[Scene](), list[str]()
    for tile in names:
        for patch in store.below(tile).folders():
            time = time_of(patch)
            if time == NO_TIME:
                odd.append(f"{tile}/{patch}")
            else:
                scenes.append(Scene(patch, time, f"{tile}/{patch}/{patch}_{BAND}.tif"))
    return Found(scenes, odd)


def _table(root: Store, files: Sequence[str]) -> dict[str, list[Any]]:
    """The columns of the tables, one after the other; `labels` as bits."""
    parts = [_read(root, file) for file in files]
    if not parts:
        raise ValueError("metadata: expected one table at least, such as 'metadata.parquet'")
    shared = [name for name in parts[0] if all(name in part for part in parts)]
    table = {name: [value for part in parts for value in part[name]] for name in shared}
    if len(set(table["patch_id"])) < len(table["patch_id"]):
        raise DataError(root.place, "", -1, f"{', '.join(files)}: a patch_id stands there twice")
    return table


def _read(root: Store, file: str) -> dict[str, list[Any]]:
    try:
        import pyarrow as arrow
        import pyarrow.parquet as parquet
    except ImportError as error:
        raise missing("BigEarthNet v2's metadata need pyarrow", "labels") from error
    if file not in root.filenames(".parquet", 1000):
        there = ", ".join(root.filenames("", 12)) or "no file"
        raise FileNotFoundError(f"{root.path(file)}: there is no such file, but {there}")
    try:
        found = parquet.read_table(arrow.BufferReader(root.content(file)))
    except arrow.ArrowException as error:
        raise DataError(root.path(file), "", -1, f"is no sound parquet file ({error})") from error
    lacking = [name for name in _COLUMNS if name not in found.column_names]
    if lacking:
        reason = f"has no column {lacking[0]!r}, only {found.column_names}"
        raise DataError(root.path(file), "", -1, reason)
    names = [n for n in (*_COLUMNS, *_FLAGS.values()) if n in found.column_names]
    table = {name: found.column(name).to_pylist() for name in names}
    try:
        table["labels"] = [bits(labels, CLASSES_19) for labels in table["labels"]]
    except (ValueError, TypeError) as error:
        raise DataError(root.path(file), "", -1, f"column 'labels': {error}") from error
    return table


def _chosen(table: dict[str, list[Any]], options: Options) -> dict[str, list[Any]]:
    """The rows of a split, without snow and clouds if these are not wanted."""
    keep = np.ones(len(table["patch_id"]), bool)
    if options.split is not None:
        if options.split not in _SPLITS:
            raise ValueError(f"split must be one of {list(_SPLITS)}, got {options.split!r}")
        keep &= np.array(table["split"]) == _SPLITS[options.split]
    if options.clear:
        lacking = [column for column in _FLAGS.values() if column not in table]
        if lacking:
            raise ValueError(f"clear=True needs column {lacking[0]!r} in the metadata")
        keep &= ~np.any([np.array(table[column], bool) for column in _FLAGS.values()], axis=0)
    if not keep.any():
        raise ValueError(f"no patch is left of split {options.split!r}, clear={options.clear}")
    rows = np.flatnonzero(keep).tolist()
    return {name: [values[i] for i in rows] for name, values in table.items()}
