"""Tars side by side, one for each modality: all of them appear, whole, or none."""

from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from itertools import chain
from pathlib import Path

from fastload.pack.tar import TarWriter
from fastload.storage.whole import all_whole


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
    rest = iter(samples)
    first = next(rest, None)
    if first is None:
        return 0, []
    for path in finals:
        path.parent.mkdir(parents=True, exist_ok=True)
    with all_whole(finals) as parts:
        count = _write(parts, names, chain([first], rest))
        sizes = [part.stat().st_size for part in parts]
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
        for tar in tars:
            tar.close()
    return count
