"""Tars side by side, one for each modality: all of them appear, whole, or none."""

import contextlib
import os
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import BinaryIO

from fastload.pack.tar import TarWriter

PART = ".part"
"""How the names of tars end that are being written."""


def write_tars(
    finals: Sequence[Path],
    names: Sequence[str],
    samples: Iterable[tuple[str, Mapping[str, bytes]]],
) -> tuple[int, list[int]]:
    """Write tars under other names, and rename them when all are complete.

    Args:
        finals: paths of the tars; folders are made.
        names: by which each finds its part of a sample.
        samples: keys, and their parts by name.

    Returns:
        How many samples there were, and the bytes of each tar; without samples there are no tars.

    Raises:
        OSError: as the system has it, such as that the disk is full. What was written is removed.
    """
    for path in finals:
        path.parent.mkdir(parents=True, exist_ok=True)
    with _temporary(finals) as parts:
        count = _write(parts, names, samples)
        if not count:
            return 0, []
        sizes = [part.stat().st_size for part in parts]
        for part, path in zip(parts, finals, strict=True):
            os.replace(part, path)
    return count, sizes


def _write(
    parts: Sequence[Path],
    names: Sequence[str],
    samples: Iterable[tuple[str, Mapping[str, bytes]]],
) -> int:
    """Write all samples; how many there are."""
    count = 0
    with ExitStack() as stack:
        files = [stack.enter_context(part.open("wb")) for part in parts]
        tars = [TarWriter(file) for file in files]
        for key, zips in samples:
            count += 1
            for tar, name in zip(tars, names, strict=True):
                tar.add(key, zips[name])
        for tar, file in zip(tars, files, strict=True):
            tar.close()
            _to_disk(file)
    return count


def _to_disk(file: BinaryIO) -> None:
    """Renaming must not overtake the content."""
    file.flush()
    os.fsync(file.fileno())


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
