"""The index of a folder of shards: built once per tar, loaded by memory map.

One file per modality folder holds a row per sample and a row per chunk, as columns; opening it
touches only the columns that are used. A tar whose size or version changed is scanned again, the
others keep their rows.
"""

import os
import time
import warnings
from collections.abc import Callable, Iterable
from concurrent.futures import Executor, ThreadPoolExecutor
from copy import copy
from itertools import repeat
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from tqdm.auto import tqdm

from fastload.storage.adopt import FAR_AT_ONCE, Ahead, adopted
from fastload.storage.errors import DataError, is_scarce, scarce
from fastload.storage.extra import stack
from fastload.storage.formats.tar import TWIN
from fastload.storage.index_file import Index, Shard, load, save
from fastload.storage.index_place import FILE, Places
from fastload.storage.lock import locked
from fastload.storage.scan import CHUNK, NO_TIME, SUFFIX, Sample, scan
from fastload.storage.scan_zip import scan_zip
from fastload.storage.store import Stat, Store

__all__ = ["FILE", "Index", "Shard", "load", "merge", "open_index", "part", "save"]

_SAVE_EVERY_S = 60.0
Scanner = Callable[[Store, str, int], list[Sample]]
"""What a shard holds, by store, name and size; it raises `DataError` where it is damaged."""


class Kind(NamedTuple):
    """A kind of shards: how their names end, and what says what one holds."""

    suffix: str
    scanner: Scanner


TARS = Kind(".tar", scan)
ZIPS = Kind(SUFFIX, scan_zip)
"""Tars of samples, and zips that are groups of many samples."""


def open_index(
    store: Store,
    executor: Executor | None = None,
    progress: bool = False,
    say: Callable[[str], None] | None = None,
    bad: list[DataError] | None = None,
    scanner: Scanner = scan,
    suffix: str = ".tar",
) -> Index:
    """Load the index of a store of shards, after scanning those that it lacks.

    It is kept beside the tars, else in the cache, else in memory alone; where it is not kept beside
    them a warning says so, once. Of several processes one scans, as far as the place knows locks.

    Args:
        store: holds the tars.
        executor: runs the scans, anything in the manner of `concurrent.futures`; threads if None.
        progress: show a bar.
        say: called with a sentence if a scan is needed.
        bad: receives the errors of shards that cannot be indexed, which are left out; None: the
            first one is raised.
        scanner: reads what a shard holds; a function that pickles by name.
        suffix: how the shards' names end.

    Raises:
        FileNotFoundError: where there is no such store or no shard in it.
        DataError: names the damaged shard; also where all are.
    """
    tars = _shards(store, suffix)
    places = Places(store)
    for path in places.all:
        index = _load_if_sound(path, places)
        if index is not None and _stale(index, tars) == []:
            return index
    with locked(places.lock):
        index = None if places.first is None else _load_if_sound(places.first, places)
        if index is None and store.far:
            index = adopted(store, tars)
        todo = _stale(index, tars)
        if index is not None and not todo:
            return index
        if say:
            say(f"indexing {len(todo)} of {len(tars)} shards in {store.place}")
        found = _update(index, store, tars, todo, places, executor, progress, bad, scanner)
        return found if found is index else places.keep(found)


def _shards(store: Store, suffix: str) -> dict[str, Stat]:
    """The shards; what macOS leaves beside a file is none."""
    listed = store.list(suffix).items()
    shards = {name: stat for name, stat in listed if not name.startswith(TWIN)}
    if not shards:
        raise FileNotFoundError(f"{store.place}: expected shards named *{suffix}, found none")
    return shards


def _load_if_sound(path: Path, places: "Places") -> Index | None:
    try:
        return load(path, places.trusted)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        if isinstance(error, OSError) and is_scarce(error):
            raise scarce(error, str(path)) from error
        warnings.warn(f"{path}: is not a sound index ({error}); built anew", stacklevel=4)
        return None


def _stale(index: Index | None, tars: dict[str, Stat]) -> list[str]:
    """Tars to scan; where one vanished, something is stale too, so its name is listed."""
    known = {s.name: Stat(s.size, s.version) for s in index.shards} if index else {}
    gone = [name for name in known if name not in tars]
    return [name for name, stat in tars.items() if known.get(name) != stat] + gone


def _update(
    old: Index | None,
    store: Store,
    tars: dict[str, Stat],
    todo: list[str],
    places: Places,
    executor: Executor | None,
    progress: bool,
    bad: list[DataError] | None,
    scanner: Scanner,
) -> Index:
    """Scan what is stale; save now and then, so that an interruption loses little. The old index
    itself where nothing came of that."""
    parts = {} if old is None else _split(old)
    parts = {name: part for name, part in parts.items() if name in tars and name not in todo}
    names = [name for name in todo if name in tars]
    most = FAR_AT_ONCE if store.far else min(8, os.cpu_count() or 1)
    pool = executor or ThreadPoolExecutor(most)
    saved, fresh = time.monotonic(), False
    try:
        results: Iterable[list[Sample] | DataError] = pool.map(
            # A copy, whose handles close when the scan ends.
            _scan_or_error,
            repeat(copy(store)),
            names,
            [tars[name].size for name in names],
            repeat(scanner),
        )
        bar = tqdm(
            zip(names, results, strict=True), total=len(names), unit="shard", disable=not progress
        )
        for name, samples in bar:
            if isinstance(samples, DataError):
                if bad is None:
                    raise samples
                bad.append(samples)
                continue
            parts[name] = part(name, tars[name], samples)
            fresh = True
            if len(parts) < len(tars) and time.monotonic() - saved > _SAVE_EVERY_S:
                places.keep(merge([parts[n] for n in sorted(parts)]), by_the_way=True)
                saved = time.monotonic()
    finally:
        if executor is None:
            pool.shutdown(cancel_futures=True)
    if bad and not parts:
        raise bad[0]
    if old is not None and not fresh and len(parts) == len(old.shards):
        return old
    index = merge([parts[name] for name in sorted(parts)])
    _refuse_duplicates(index, store)
    return index


def _scan_or_error(
    store: Store, name: str, size: int, scanner: Scanner
) -> list[Sample] | DataError:
    try:
        return scanner(Ahead(store) if store.far else store, name, size)
    except DataError as error:
        return error


def part(name: str, stat: Stat, samples: list[Sample]) -> Index:
    """The index of one tar."""
    layouts = sorted({s.layout for s in samples})
    number = {layout: i for i, layout in enumerate(layouts)}
    T = max((len(s.time) for s in samples), default=0)
    times = np.full((len(samples), T), NO_TIME, np.int64)
    cloud = np.full((len(samples), T), np.nan, np.float32)
    for i, s in enumerate(samples):
        times[i, : len(s.time)], cloud[i, : len(s.time)] = s.time, s.cloud
    chunks = np.concatenate([s.chunks for s in samples]) if samples else np.empty(0, CHUNK)
    shard = Shard(name, *stat, len(samples), int(chunks["stored"].max(initial=0)))
    counts = [len(s.chunks) for s in samples]
    return Index(
        [shard],
        layouts,
        np.array([s.key.encode() for s in samples], np.bytes_),
        np.zeros(len(samples), np.uint32),
        np.array([number[s.layout] for s in samples], np.uint32),
        np.cumsum([0, *counts])[: len(samples)].astype(np.int64),
        np.array([s.lon for s in samples], np.float64),
        np.array([s.lat for s in samples], np.float64),
        times,
        cloud,
        chunks,
        stack([s.extra for s in samples], [1] * len(samples)),
    )


def merge(parts: list[Index]) -> Index:
    """Join indexes of different tars, in the order given."""
    # A tar that was scanned again may have left a layout behind that no sample has any more.
    layouts = sorted({p.layouts[i] for p in parts for i in np.unique(p.layout)})
    T = max((p.time.shape[1] for p in parts), default=0)
    number = {layout: i for i, layout in enumerate(layouts)}
    remap = [np.array([number.get(x, 0) for x in p.layouts] or [0], np.uint32) for p in parts]
    shard_base = np.cumsum([0, *(len(p.shards) for p in parts)])
    chunk_base = np.cumsum([0, *(len(p.chunks) for p in parts)])
    return Index(
        [s for p in parts for s in p.shards],
        layouts,
        _narrow(_join([p.key for p in parts], np.bytes_)),
        _join([p.shard + np.uint32(b) for p, b in zip(parts, shard_base, strict=False)], np.uint32),
        _join([m[p.layout] for p, m in zip(parts, remap, strict=True)], np.uint32),
        _join([p.first + b for p, b in zip(parts, chunk_base, strict=False)], np.int64),
        _join([p.lon for p in parts], np.float64),
        _join([p.lat for p in parts], np.float64),
        _join([_padded(p.time, T, NO_TIME) for p in parts], np.int64),
        _join([_padded(p.cloud, T, np.nan) for p in parts], np.float32),
        _join([_of_file(p.chunks, b) for p, b in zip(parts, shard_base, strict=False)], CHUNK),
        stack([p.extra for p in parts], [len(p) for p in parts]),
    )


def _narrow(keys: NDArray[np.bytes_]) -> NDArray[np.bytes_]:
    """Keys in as many bytes as the longest has, whatever rows there were before."""
    longest = int(np.char.str_len(keys).max(initial=1))
    return keys if keys.dtype.itemsize == longest else keys.astype(f"S{longest}")


def _join(arrays: list[Any], dtype: Any) -> NDArray[Any]:
    return np.concatenate(arrays) if arrays else np.empty(0, dtype)


def _of_file(chunks: NDArray[np.void], file: int) -> NDArray[np.void]:
    """Chunks of one tar, as chunks of a file that has another number."""
    if not (chunks["file"] == file).all():
        chunks = chunks.copy()
        chunks["file"] = file
    return chunks


def _padded(values: NDArray[Any], T: int, fill: Any) -> NDArray[Any]:
    missing = T - values.shape[1]
    return np.pad(values, ((0, 0), (0, missing)), constant_values=fill) if missing else values


def _split(index: Index) -> dict[str, Index]:
    """Undo `merge`: one index per tar."""
    parts = {}
    ends = np.append(index.first, len(index.chunks))
    stop = 0
    for shard in index.shards:
        start, stop = stop, stop + shard.samples
        rows = slice(start, stop)
        parts[shard.name] = Index(
            [shard],
            index.layouts,
            index.key[rows],
            np.zeros(shard.samples, np.uint32),
            index.layout[rows],
            index.first[rows] - ends[start],
            index.lon[rows],
            index.lat[rows],
            index.time[rows],
            index.cloud[rows],
            _of_file(index.chunks[ends[start] : ends[stop]], 0),
            {name: column[rows] for name, column in index.extra.items()},
        )
    return parts


def _refuse_duplicates(index: Index, store: Store) -> None:
    keys, counts = np.unique(index.key, return_counts=True)
    if len(keys) < len(index):
        twice = keys[counts > 1]
        rows = np.flatnonzero(index.key == twice[0])
        shards = sorted({index.shards[index.shard[r]].name for r in rows})
        raise DataError(
            store.path(shards[0]),
            twice[0].decode(),
            -1,
            f"{len(twice)} keys stand more than once, this one in {', '.join(shards)}",
        )
