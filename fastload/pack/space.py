"""How large packed shards will be, told by packing a few samples, and whether they fit."""

import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import fmean

import numpy as np

from fastload.pack.job import Job
from fastload.storage.errors import DataError, StorageError

PROBES = 5
_BLOCK, _TAIL = 512, 10240
_SLACK = 1.02
"""Few samples stand for all; a little more is asked for."""


def estimate(job: Job) -> dict[str, float]:
    """Bytes of a sample in a tar, by modality: the mean of a few, spread over all.

    Raises:
        DataError: where none of them can be read, or the first that cannot, if that ends packing.
    """
    some = np.unique(np.linspace(0, len(job.order) - 1, PROBES).astype(int))
    with ThreadPoolExecutor(1) as one:
        found = list(one.map(lambda i: _sizes(job, int(job.order[i])), some))
    sound = [sizes for sizes in found if not isinstance(sizes, DataError)]
    if not sound:
        raise next(sizes for sizes in found if isinstance(sizes, DataError))
    return {name: fmean(sizes[name] for sizes in sound) for name in sound[0]}


def _sizes(job: Job, sample: int) -> dict[str, int] | DataError:
    try:
        packed = job.pack(sample)
    except StorageError:
        raise
    except DataError as error:
        if job.options.on_error == "raise":
            raise
        return error
    return {name: _BLOCK + -(-len(content) // _BLOCK) * _BLOCK for name, content in packed.items()}


def per_shard(sizes: dict[str, float], shard_bytes: int) -> int:
    """How many samples make a tar of about so many bytes of the largest modality."""
    return max(1, int(shard_bytes / max(sizes.values())))


def check_space(job: Job, sizes: dict[str, float], left: int) -> None:
    """Compare what the samples of `left` shards will take with what is free.

    Raises:
        OSError: says how much is missing.
    """
    samples = min(len(job.order), left * job.options.samples_per_shard)
    wanted = _SLACK * samples * sum(sizes.values()) + left * len(sizes) * _TAIL
    free = shutil.disk_usage(_there(job.folder)).free
    if wanted > free:
        raise OSError(
            f"{job.folder}: about {_readable(wanted)} are needed for {samples} samples, but "
            f"{_readable(free)} are free; pack fewer samples or modalities, or do without this "
            "check (--no-space-check)"
        )


def _there(folder: Path) -> Path:
    """The nearest folder that exists."""
    folder = Path(os.path.abspath(folder))
    return next(path for path in (folder, *folder.parents) if path.exists())


def _readable(count: float) -> str:
    for unit in ("bytes", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} TB"
