"""The index of a folder of shards: built once per tar, loaded by memory map.

One file per modality folder holds a row per sample and a row per chunk, as columns; opening it
touches only the columns that are used. A tar whose size or modification time changed is scanned
again, the others keep their rows.
"""

import contextlib
import fcntl
import hashlib
import os
import time
import warnings
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from fastload.cache import folder
from fastload.storage.errors import DataError
from fastload.storage.index_file import Index, Shard, load, save
from fastload.storage.scan import CHUNK, NO_TIME, Sample, scan

__all__ = ["FILE", "Index", "Shard", "load", "merge", "open_index", "part", "save"]

FILE = "fastload.index"
_SAVE_EVERY_S = 60.0


def open_index(
    directory: Path,
    executor: Executor | None = None,
    progress: bool = False,
    say: Callable[[str], None] | None = None,
) -> Index:
    """Load the index of a modality folder, after scanning the tars that it lacks.

    Args:
        directory: folder of tars.
        executor: runs the scans, anything in the manner of `concurrent.futures`; threads if None.
        progress: show a bar.
        say: called with a sentence if a scan is needed.

    Raises:
        FileNotFoundError: where there is no folder or no tar in it.
        DataError: names the damaged shard.
    """
    tars = _tars(directory)
    for path in _places(directory):
        index = _load_if_sound(path)
        if index is not None and _stale(index, tars) == []:
            return index
    path = _writable_place(directory)
    with _locked(path):
        index = _load_if_sound(path)
        todo = _stale(index, tars)
        if index is None or todo:
            if say:
                say(f"indexing {len(todo)} of {len(tars)} shards in {directory}")
            index = _update(index, directory, tars, todo, path, executor, progress)
            save(index, path)
    return load(path)


def _tars(directory: Path) -> dict[str, tuple[int, int]]:
    """Size and mtime of every tar, by name, sorted."""
    if not directory.is_dir():
        raise FileNotFoundError(f"{directory}: there is no such folder of shards")
    with os.scandir(directory) as entries:
        stats = {e.name: e.stat() for e in entries if e.name.endswith(".tar")}
    if not stats:
        raise FileNotFoundError(f"{directory}: expected shards named *.tar, found none")
    return {name: (stats[name].st_size, stats[name].st_mtime_ns) for name in sorted(stats)}


def _places(directory: Path) -> list[Path]:
    """Where an index may lie: beside the shards, or in the cache."""
    resolved = directory.resolve()
    digest = hashlib.sha256(str(resolved).encode()).hexdigest()[:16]
    return [directory / FILE, folder() / "index" / f"{resolved.name}-{digest}.index"]


def _writable_place(directory: Path) -> Path:
    beside, cached = _places(directory)
    # Nobody may write where no write bit is set, though a superuser could.
    if directory.stat().st_mode & 0o222 and os.access(directory, os.W_OK):
        return beside
    cached.parent.mkdir(parents=True, exist_ok=True)
    return cached


def _load_if_sound(path: Path) -> Index | None:
    try:
        return load(path)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError) as error:
        warnings.warn(f"{path}: is not a sound index ({error}); built anew", stacklevel=3)
        return None


def _stale(index: Index | None, tars: dict[str, tuple[int, int]]) -> list[str]:
    """Tars to scan; where one vanished, something is stale too, so its name is listed."""
    known = {s.name: (s.size, s.mtime_ns) for s in index.shards} if index else {}
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
    directory: Path,
    tars: dict[str, tuple[int, int]],
    todo: list[str],
    path: Path,
    executor: Executor | None,
    progress: bool,
) -> Index:
    """Scan what is stale; save now and then, so that an interruption loses little."""
    parts = {} if old is None else _split(old)
    parts = {name: part for name, part in parts.items() if name in tars and name not in todo}
    paths = [directory / name for name in todo if name in tars]
    pool = executor or ThreadPoolExecutor(min(8, os.cpu_count() or 1))
    saved = time.monotonic()
    try:
        results: Iterable[list[Sample]] = pool.map(scan, paths)
        bar = tqdm(
            zip(paths, results, strict=True), total=len(paths), unit="shard", disable=not progress
        )
        for tar, samples in bar:
            parts[tar.name] = part(Shard(tar.name, *tars[tar.name], len(samples)), samples)
            if len(parts) < len(tars) and time.monotonic() - saved > _SAVE_EVERY_S:
                save(merge([parts[n] for n in sorted(parts)]), path)
                saved = time.monotonic()
    finally:
        if executor is None:
            pool.shutdown(cancel_futures=True)
    index = merge([parts[name] for name in sorted(parts)])
    _refuse_duplicates(index, directory)
    return index


def part(shard: Shard, samples: list[Sample]) -> Index:
    """The index of one tar."""
    layouts = sorted({s.layout for s in samples})
    steps = max((len(s.time) for s in samples), default=0)
    times = np.full((len(samples), steps), NO_TIME, np.int64)
    cloud = np.full((len(samples), steps), np.nan, np.float32)
    for i, s in enumerate(samples):
        times[i, : len(s.time)], cloud[i, : len(s.time)] = s.time, s.cloud
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
        np.concatenate([s.chunks for s in samples]) if samples else np.empty(0, CHUNK),
    )


def merge(parts: list[Index]) -> Index:
    """Join indexes of different tars, in the order given."""
    # A tar that was scanned again may have left a layout behind that no sample has any more.
    layouts = sorted({p.layouts[i] for p in parts for i in np.unique(p.layout)})
    steps = max((p.time.shape[1] for p in parts), default=0)
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
        _join([_padded(p.time, steps, NO_TIME) for p in parts], np.int64),
        _join([_padded(p.cloud, steps, np.nan) for p in parts], np.float32),
        _join([p.chunks for p in parts], CHUNK),
    )


def _join(arrays: list[Any], dtype: Any) -> NDArray[Any]:
    return np.concatenate(arrays) if arrays else np.empty(0, dtype)


def _padded(values: NDArray[Any], steps: int, fill: Any) -> NDArray[Any]:
    missing = steps - values.shape[1]
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
            index.chunks[ends[start] : ends[stop]],
        )
    return parts


def _refuse_duplicates(index: Index, directory: Path) -> None:
    keys, counts = np.unique(index.key, return_counts=True)
    if len(keys) < len(index):
        twice = keys[counts > 1]
        rows = np.flatnonzero(index.key == twice[0])
        shards = sorted({index.shards[index.shard[r]].name for r in rows})
        raise DataError(
            str(directory / shards[0]),
            twice[0].decode(),
            -1,
            f"{len(twice)} keys stand more than once, this one in {', '.join(shards)}",
        )
