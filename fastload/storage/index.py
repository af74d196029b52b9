"""The index of a folder of shards: built once per tar, loaded by memory map.

One file per modality folder holds a row per sample and a row per chunk, as columns; opening it
touches only the columns that are used. A tar whose size or version changed is scanned again, the
others keep their rows.
"""

import contextlib
import fcntl
import os
import time
import warnings
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from copy import copy
from itertools import repeat
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm.auto import tqdm

from fastload.cache import folder
from fastload.storage.errors import DataError, is_scarce, scarce
from fastload.storage.index_file import Index, Shard, load, save
from fastload.storage.scan import CHUNK, NO_TIME, Sample, scan
from fastload.storage.store import Stat, Store

__all__ = ["FILE", "Index", "Shard", "load", "merge", "open_index", "part", "save"]

FILE = "fastload.index"
_SAVE_EVERY_S = 60.0


def open_index(
    store: Store,
    executor: Executor | None = None,
    progress: bool = False,
    say: Callable[[str], None] | None = None,
) -> Index:
    """Load the index of a store of tars, after scanning those that it lacks.

    Args:
        store: holds the tars.
        executor: runs the scans, anything in the manner of `concurrent.futures`; threads if None.
        progress: show a bar.
        say: called with a sentence if a scan is needed.

    Raises:
        FileNotFoundError: where there is no such store or no tar in it.
        DataError: names the damaged shard.
    """
    tars = store.list(".tar")
    if not tars:
        raise FileNotFoundError(f"{store.place}: expected shards named *.tar, found none")
    for path in _places(store):
        index = _load_if_sound(path)
        if index is not None and _stale(index, tars) == []:
            return index
    path = _writable_place(store)
    with _locked(path):
        index = _load_if_sound(path)
        todo = _stale(index, tars)
        if index is None or todo:
            if say:
                say(f"indexing {len(todo)} of {len(tars)} shards in {store.place}")
            index = _update(index, store, tars, todo, path, executor, progress)
            save(index, path)
    return load(path)


def _places(store: Store) -> list[Path]:
    """Where an index may lie: beside the shards, or in the cache."""
    name = f"{Path(store.place).name}-{store.digest()}.index"
    cached = folder() / "index" / name
    return [cached] if store.folder is None else [store.folder / FILE, cached]


def _writable_place(store: Store) -> Path:
    *_, cached = _places(store)
    beside = store.folder
    # Nobody may write where no write bit is set, though a superuser could.
    if beside is not None and beside.stat().st_mode & 0o222 and os.access(beside, os.W_OK):
        return beside / FILE
    cached.parent.mkdir(parents=True, exist_ok=True)
    return cached


def _load_if_sound(path: Path) -> Index | None:
    try:
        return load(path)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError) as error:
        if isinstance(error, OSError) and is_scarce(error):
            raise scarce(error, str(path)) from error
        warnings.warn(f"{path}: is not a sound index ({error}); built anew", stacklevel=3)
        return None


def _stale(index: Index | None, tars: dict[str, Stat]) -> list[str]:
    """Tars to scan; where one vanished, something is stale too, so its name is listed."""
    known = {s.name: Stat(s.size, s.version) for s in index.shards} if index else {}
    gone = [name for name in known if name not in tars]
    return [name for name, stat in tars.items() if known.get(name) != stat] + gone


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    """One process scans; the others wait, then find the index."""
    with path.with_suffix(".lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _update(
    old: Index | None,
    store: Store,
    tars: dict[str, Stat],
    todo: list[str],
    path: Path,
    executor: Executor | None,
    progress: bool,
) -> Index:
    """Scan what is stale; save now and then, so that an interruption loses little."""
    parts = {} if old is None else _split(old)
    parts = {name: part for name, part in parts.items() if name in tars and name not in todo}
    names = [name for name in todo if name in tars]
    pool = executor or ThreadPoolExecutor(min(8, os.cpu_count() or 1))
    saved = time.monotonic()
    try:
        results: Iterable[list[Sample]] = pool.map(
            # A copy, whose handles close when the scan ends.
            scan,
            repeat(copy(store)),
            names,
            [tars[name].size for name in names],
        )
        bar = tqdm(
            zip(names, results, strict=True), total=len(names), unit="shard", disable=not progress
        )
        for name, samples in bar:
            parts[name] = part(name, tars[name], samples)
            if len(parts) < len(tars) and time.monotonic() - saved > _SAVE_EVERY_S:
                save(merge([parts[n] for n in sorted(parts)]), path)
                saved = time.monotonic()
    finally:
        if executor is None:
            pool.shutdown(cancel_futures=True)
    index = merge([parts[name] for name in sorted(parts)])
    _refuse_duplicates(index, store)
    return index


def part(name: str, stat: Stat, samples: list[Sample]) -> Index:
    """The index of one tar."""
    layouts = sorted({s.layout for s in samples})
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
        np.array([layouts.index(s.layout) for s in samples], np.uint32),
        np.cumsum([0, *counts])[: len(samples)].astype(np.int64),
        np.array([s.lon for s in samples], np.float64),
        np.array([s.lat for s in samples], np.float64),
        times,
        cloud,
        chunks,
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
        _join([p.key for p in parts], np.bytes_),
        _join([p.shard + np.uint32(b) for p, b in zip(parts, shard_base, strict=False)], np.uint32),
        _join([m[p.layout] for p, m in zip(parts, remap, strict=True)], np.uint32),
        _join([p.first + b for p, b in zip(parts, chunk_base, strict=False)], np.int64),
        _join([p.lon for p in parts], np.float64),
        _join([p.lat for p in parts], np.float64),
        _join([_padded(p.time, T, NO_TIME) for p in parts], np.int64),
        _join([_padded(p.cloud, T, np.nan) for p in parts], np.float32),
        _join([_of_file(p.chunks, b) for p, b in zip(parts, shard_base, strict=False)], CHUNK),
    )


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
