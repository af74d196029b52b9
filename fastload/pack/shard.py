"""Writing one shard: a tar for each modality, all of them or none."""

import contextlib
from collections.abc import Iterator
from typing import Any, NamedTuple

from fastload.pack.job import Job
from fastload.pack.tars import write_tars
from fastload.storage.errors import DataError, StorageError
from fastload.storage.whole import PART


class Written(NamedTuple):
    """What became of a shard."""

    shard: int
    samples: int
    """How many are in it."""
    sizes: dict[str, int]
    """Bytes of the tar of each modality; none where no sample was left."""
    skipped: list[dict[str, Any]]
    """Samples that were left out, with the reason."""


def write_shard(job: Job, shard: int) -> Written:
    """Write the tars of a shard under other names, and rename them when all are complete.

    Call it in any thread but the main one, see `GroupWriter`.

    Raises:
        DataError: names the sample that cannot be read, if such are not left out.
        StorageError: where the storage failed; nothing is left out for that.
        OSError: as the system has it, such as that the disk is full. What was written is removed.
    """
    names = [layer.name for layer in job.layers]
    skipped: list[dict[str, Any]] = []
    samples = _packed(job, shard, skipped)
    count, sizes = write_tars([job.tar(name, shard) for name in names], names, samples)
    return Written(shard, count, dict(zip(names, sizes, strict=True)) if count else {}, skipped)


def _packed(
    job: Job, shard: int, skipped: list[dict[str, Any]]
) -> Iterator[tuple[str, dict[str, bytes]]]:
    """The samples of a shard but for those that are skipped, each with its key."""
    for sample in job.members(shard).tolist():
        packed = _pack(job, sample, skipped)
        if packed is not None:
            yield job.key(sample), packed


def _pack(job: Job, sample: int, skipped: list[dict[str, Any]]) -> dict[str, bytes] | None:
    try:
        return job.pack(sample)
    except StorageError:
        raise
    except DataError as error:
        if job.options.on_error == "raise":
            raise
        skipped.append({"key": job.key(sample), "reason": str(error)})
        return None


def sweep(job: Job) -> None:
    """Remove what processes left behind that were killed while they wrote."""
    for layer in job.layers:
        folder = job.folder / layer.name
        for left in folder.glob(f".{job.options.name}_*{PART}"):
            with contextlib.suppress(OSError):
                left.unlink()
