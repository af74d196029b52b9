"""The patches of BigEarthNet's first version: folders side by side, labels in JSON files."""

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastload.datasets.bigearthnet_parts import Opened, Options, folder_of, renamed, time_of, told
from fastload.datasets.labels.corine import CLASSES_19, CLASSES_43, multi_hot, of_43
from fastload.datasets.labels.listed import names_in, rows_of
from fastload.datasets.labels.patch_labels import open_labels
from fastload.datasets.rasters.open_scenes import Found, open_scenes
from fastload.datasets.rasters.scenes import BAND, Scene, Scenes
from fastload.storage.dates import NO_TIME
from fastload.storage.errors import DataError
from fastload.storage.store import Store

_SPLITS = ("bigearthnet-{split}.csv", "{split}.csv", "{split}.txt")
LISTS = {"snow": "patches_with_seasonal_snow.csv", "cloud": "patches_with_cloud_and_shadow.csv"}
"""Lists of patches to leave out, by the column that tells of them."""
Pairs = dict[str, str]
"""Patches of Sentinel-1 by those of Sentinel-2; "" where a list does not say it."""


class _Patches(NamedTuple):
    """All patches of a folder: by the names of Sentinel-2's, and their labels of 43 classes."""

    key: NDArray[np.bytes_]
    scenes: Scenes
    labels: NDArray[np.uint64]


def opened(root: Store, names: Sequence[str], options: Options) -> Opened:
    """See `Opened`.

    Raises:
        FileNotFoundError, ValueError, DataError: see `BigEarthNet`.
    """
    if "LULC" in names:
        raise ValueError("modality LULC: reference maps come with version 2 of BigEarthNet")
    first, *others = names
    patches, pairs = _patches(root, first, options), Pairs()
    rows = np.arange(len(patches.key))
    if options.split is not None:
        file, pairs = _split(root, options.split, options.split_file)
        rows = rows_of(patches.key, list(pairs), root.path(file), options.missing)
    flags = _flags(root, patches.key)
    if options.clear:
        rows = rows[~_hazy(root, flags)[rows]]
    scenes = {first: renamed(patches.scenes, rows, patches.key[rows])}
    for name in others:
        scenes[name] = _partners(root, name, patches.key[rows], pairs, options)
    some = patches.labels[rows]
    extras = {
        "label": multi_hot(of_43(some), len(CLASSES_19))[:, None],
        "label_43": multi_hot(some, len(CLASSES_43))[:, None],
        **{name: flag[rows] for name, flag in flags.items()},
    }
    return Opened(scenes, extras)


def _scenes(folder: Store, options: Options) -> Scenes:
    names = [name for name in folder.folders() if not name.startswith(".")]
    settings = {"layout": "bigearthnet-1"}
    return open_scenes(folder, names, _look, settings, options.executor, options.progress)


def _look(_: Store, names: Sequence[str]) -> Found:
    """See `open_scenes.Look`."""
    dates = {name: time_of(name) for name in names}
    scenes = [
        Scene(name, time, f"{name}/{name}_{BAND}.tif")
        for name, time in dates.items()
        if time != NO_TIME
    ]
    return Found(scenes, [name for name, time in dates.items() if time == NO_TIME])


def _patches(root: Store, modality: str, options: Options) -> _Patches:
    folder = folder_of(root, modality)
    scenes = _scenes(folder, options)
    names = [key.decode() for key in scenes.key.tolist()]
    found = open_labels(folder, names, options.executor, options.progress)
    key = scenes.key if modality == "S2L2A" else found.partner
    for i in np.flatnonzero(key == b"")[:1].tolist():
        reason = "its file of labels names no patch of Sentinel-2 (corresponding_s2_patch)"
        raise DataError(folder.path(names[i]), "", -1, reason)
    unique, counts = np.unique(key, return_counts=True)
    for twice in unique[counts > 1][:1].tolist():
        reason = f"{twice.decode()} is the patch of Sentinel-2 of more than one of Sentinel-1"
        raise DataError(folder.place, "", -1, reason)
    return _Patches(key, replace(scenes, lon=found.lon, lat=found.lat), found.labels)


def _partners(
    root: Store, modality: str, key: NDArray[np.bytes_], pairs: Pairs, options: Options
) -> Scenes:
    """The scenes of a further modality of patches ``[N]`` of Sentinel-2; fewer, if some are not
    there and may be dropped."""
    folder = folder_of(root, modality)
    scenes, names = _scenes(folder, options), key.tolist()
    if modality == "S1GRD":
        known = {a.encode(): b.encode() for a, b in pairs.items() if b}
        if not known:
            all_names = [name.decode() for name in scenes.key.tolist()]
            found = open_labels(folder, all_names, options.executor, options.progress)
            known = dict(zip(found.partner.tolist(), scenes.key.tolist(), strict=True))
        names = [known.get(name, b"") for name in names]
    at = {name: i for i, name in enumerate(scenes.key.tolist())}
    rows = np.array([at.get(name, -1) for name in names])
    lacking = [name.decode() for name in key[rows < 0].tolist()]
    told(f"{folder.place} lacks the partners", lacking, len(key), options.missing)
    return renamed(scenes, rows[rows >= 0], key[rows >= 0])


def _split(root: Store, split: str, file: str | None) -> tuple[str, Pairs]:
    """The list of a split, and its patches."""
    known = [name.format(split=split) for name in ((file,) if file else _SPLITS)]
    known += [] if file else [f"splits/{name}" for name in known]
    there = {*root.filenames("", 1000)}
    there |= {f"splits/{name}" for name in root.below("splits").filenames("", 1000)}
    found = next((name for name in known if name in there), None)
    if found is None:
        lists = sorted(name for name in there if name.endswith((".csv", ".txt")))
        raise FileNotFoundError(
            f"{root.place}: there is no list of split {split!r}, expected {', '.join(known)}; "
            f"there are {', '.join(lists[:12]) or 'no lists'}"
        )
    rows = names_in(root, found, split)
    return found, {row[0]: row[1] if len(row) > 1 else "" for row in rows}


def _flags(root: Store, key: NDArray[np.bytes_]) -> dict[str, NDArray[np.bool_]]:
    """Which patches ``[N]`` stand in the lists that there are."""
    there = root.filenames(".csv", 1000)
    return {
        name: np.isin(key, [row[0].encode() for row in names_in(root, file, "")])
        for name, file in LISTS.items()
        if file in there
    }


def _hazy(root: Store, flags: dict[str, NDArray[np.bool_]]) -> NDArray[np.bool_]:
    lacking = [file for name, file in LISTS.items() if name not in flags]
    if lacking:
        raise FileNotFoundError(f"{root.place}: clear=True needs {' and '.join(lacking)} there")
    return np.asarray(np.any(list(flags.values()), axis=0))
