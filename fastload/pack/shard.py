"""Writing one shard: a tar for each modality, all of them or none."""

import contextlib
import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from fastload.pack.job import Job
from fastload.pack.tar import TarWriter
from fastload.storage.errors import DataError, StorageError

PART = ".part"
"""How the names of tars end that are being written."""


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
    finals = [job.tar(layer.name, shard) for layer in job.layers]
    for path in finals:
        path.parent.mkdir(parents=True, exist_ok=True)
    skipped: list[dict[str, Any]] = []
    with _temporary(finals) as parts:
        samples = _write(job, shard, parts, skipped)
        sizes = [part.stat().st_size for part in parts]
        if not samples:
            return Written(shard, 0, {}, skipped)
        for part, path in zip(parts, finals, strict=True):
            os.replace(part, path)
    names = [layer.name for layer in job.layers]
    return Written(shard, samples, dict(zip(names, sizes, strict=True)), skipped)


def _write(job: Job, shard: int, parts: Sequence[Path], skipped: list[dict[str, Any]]) -> int:
    """Write all samples of a shard; how many there are."""
    samples = 0
    with ExitStack() as stack:
        files = [stack.enter_context(part.open("wb")) for part in parts]
        tars = [TarWriter(file) for file in files]
        for sample in job.members(shard).tolist():
            packed = _pack(job, sample, skipped)
            if packed is not None:
                samples += 1
                for tar, layer in zip(tars, job.layers, strict=True):
                    tar.add(job.key(sample), packed[layer.name])
        for tar, file in zip(tars, files, strict=True):
            tar.close()
            _to_disk(file)
    return samples


def _to_disk(file: BinaryIO) -> None:
    """Renaming must not overtake the content."""
    file.flush()
    os.fsync(file.fileno())


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


@contextlib.contextmanager
def _temporary(finals: Sequence[Path]) -> Iterator[list[Path]]:
    """Names to write to beside the final ones, of this thread alone; gone afterwards."""
    own = f"{os.getpid()}.{threading.get_ident()}{PART}"
    parts = [path.with_name(f".{path.name}.{own}") for path in finals]
    try:
        yield parts
    finally:
        for part in parts:
            with contextlib.suppress(OSError):
                part.unlink(missing_ok=True)


def sweep(job: Job) -> None:
    """Remove what processes left behind that were killed while they wrote."""
    for layer in job.layers:
        folder = job.folder / layer.name
        for left in folder.glob(f".{job.options.name}_*{PART}"):
            with contextlib.suppress(OSError):
                left.unlink()
