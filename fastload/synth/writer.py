"""A made dataset on disk, in the published layout."""

import io
import os
import tarfile
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import TypeVar

from tqdm.auto import tqdm

from fastload.processors import processors
from fastload.storage.whole import all_whole, write_whole
from fastload.synth.config import Config, claim, shard_path
from fastload.synth.labels import label_row, table
from fastload.synth.scene import draw_land, draw_scene
from fastload.synth.spectra import BANDS, OPTICAL
from fastload.synth.zarrzip import zarr_zip

_MTIME = 1771286400  # 17 February 2026, as in the published release; fixed, so that bytes repeat
_MODE = 0o644
_MOST_THREADS = 16

Made = tuple[int, dict[str, bytes], str]
T = TypeVar("T")
R = TypeVar("R")


def synth(
    directory: str | os.PathLike[str],
    locations: int,
    *,
    split: str = "train",
    modalities: Sequence[str] = ("S2L1C", "S2L2A", "S1GRD", "S2RGB"),
    timestamps: int = 4,
    size: int = 264,
    samples_per_shard: int = 512,
    seed: int = 0,
    dn_offset: int = 0,
    workers: int | None = None,
    progress: bool = False,
) -> Path:
    """Make a dataset of invented locations in the published layout.

    Writes ``{directory}/{split}/{modality}/ssl4eos12_shard_000001.tar`` and so on,
    ``labels.csv`` (key, dominant land cover, lon, lat, share of each cover) and ``synth.json``
    (the configuration). A location is a function of (seed, split, number, size, timestamps); the
    bytes on disk do not depend on `workers`, and repeat on machines with the same NumPy. Shards
    appear whole: after an interruption the same call goes on with the missing ones, and where
    nothing is missing it returns at once.

    Args:
        directory: root of the dataset; made if missing.
        locations: how many.
        split: folder below the root; splits share no location.
        modalities: any of S2L1C, S2L2A, S2RGB, S1GRD.
        timestamps: dates of each location, one a quarter, ascending.
        size: height and width in 10 m pixels, 16 or more; published data have 264.
        samples_per_shard: locations in a tar; the last one may be short.
        seed: of the invented world.
        dn_offset: DN of zero reflectance in S2L1C and S2L2A: 0 as in the published WebDataset
            release, 1000 as in its Zarr release.
        workers: threads; None: one for each processor that this process may use.
        progress: show a bar on standard error.

    Returns:
        The root.

    Raises:
        ValueError: where an argument is out of range.
        FileExistsError: where the split's folder holds another dataset; nothing is overwritten.
    """
    config = Config(
        locations, split, tuple(modalities), timestamps, size, samples_per_shard, seed, dn_offset
    )
    if workers is not None and workers < 1:
        raise ValueError(f"workers: expected 1 or more, or None, got {workers}")
    root = Path(directory)
    claim(root, config)
    labels = root / split / "labels.csv"
    missing = [
        s for s in range(config.shards) if not all(p.exists() for p in _tars(root, config, s))
    ]
    if not missing and labels.exists():
        return root
    threads = workers or min(processors(), _MOST_THREADS)
    rows: dict[int, str] = {}
    total = sum(len(config.members(s)) for s in missing)
    with (
        ThreadPoolExecutor(threads, "synth") as pool,
        tqdm(total=total, desc="synth", unit="location", disable=not progress) as bar,
    ):
        for shard in missing:
            made = _in_order(pool, lambda i: _make(config, i), config.members(shard), 2 * threads)
            rows.update(_write_shard(_tars(root, config, shard), config, made, bar.update))
        unknown = [i for i in range(locations) if i not in rows]
        rows.update(_in_order(pool, lambda i: (i, _label(config, i)), unknown, 2 * threads))
    write_whole(labels, table(rows[i] for i in range(locations)))
    return root


def _tars(root: Path, config: Config, shard: int) -> list[Path]:
    return [shard_path(root, config.split, m, shard) for m in config.modalities]


def _label(config: Config, location: int) -> str:
    place, land = draw_land(config.seed, config.split, location, config.size)
    return label_row(location, place, land)


def _make(config: Config, location: int) -> Made:
    """Make one location: its zips by modality, and its row of labels."""
    scene = draw_scene(
        config.seed,
        location,
        split=config.split,
        modalities=config.modalities,
        timestamps=config.timestamps,
        size=config.size,
        dn_offset=config.dn_offset,
    )
    place = scene.place
    zips = {
        name: zarr_zip(
            bands,
            BANDS[name],
            scene.time(name),
            place.lon,
            place.lat,
            place.crs,
            scene.cloud_mask if name in OPTICAL else None,
        )
        for name, bands in scene.bands.items()
    }
    return location, zips, label_row(location, place, scene.land)


def _in_order(
    pool: ThreadPoolExecutor, work: Callable[[T], R], items: Iterable[T], ahead: int
) -> Iterator[R]:
    """Map in order, with at most `ahead` results waiting, so that memory stays bounded."""
    waiting: deque[Future[R]] = deque()
    try:
        for item in items:
            waiting.append(pool.submit(work, item))
            if len(waiting) >= ahead:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        for future in waiting:
            future.cancel()


def _write_shard(
    paths: list[Path], config: Config, made: Iterable[Made], done: Callable[[], object]
) -> dict[int, str]:
    """Write the tars of one shard, all modalities side by side; return the rows of labels."""
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
    rows = {}
    with all_whole(paths) as parts, ExitStack() as stack:
        tars = [
            stack.enter_context(tarfile.open(p, "w", format=tarfile.USTAR_FORMAT)) for p in parts
        ]
        for location, zips, row in made:
            for tar, modality in zip(tars, config.modalities, strict=True):
                info = tarfile.TarInfo(f"{location:07d}.zarr.zip")
                info.size, info.mtime, info.mode = len(zips[modality]), _MTIME, _MODE
                tar.addfile(info, io.BytesIO(zips[modality]))
            rows[location] = row
            done()
    return rows
