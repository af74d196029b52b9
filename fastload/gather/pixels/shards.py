"""Finished samples as the tars of v1.1: one for each modality, all of them or none."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from fastload.pack.tars import write_tars

SAMPLES = 512
"""Samples of a tar, as published; the last one may be short."""
NAME = "ssl4eos12_shard"


def paths(folder: Path, name: str, number: int, modalities: Sequence[str]) -> list[Path]:
    """Where the tars of a shard lie: ``{folder}/{modality}/{name}_{number}.tar``, numbers from 1
    on."""
    return [folder / modality / f"{name}_{number:06d}.tar" for modality in modalities]


def write(
    folder: Path,
    name: str,
    number: int,
    samples: Iterable[tuple[str, Mapping[str, bytes]]],
    modalities: Sequence[str],
) -> dict[str, int]:
    """Write the tars of a shard under other names, on to the disk, and rename them when all are
    complete. Their bytes are a function of the samples.

    Args:
        folder: of the split.
        name: of the shards, such as `NAME`.
        number: of this one, from 1 on.
        samples: keys and, by modality, the bytes of the zip, in the order in which they shall be.
        modalities: what is written of each sample.

    Returns:
        Bytes of each tar by modality; none where there are no samples, and so no tars.

    Raises:
        ValueError: names the sample that lacks a modality, or whose key was there before.
        OSError: as the system has it, such as that the disk is full. What was written is removed.
    """
    finals = paths(folder, name, number, modalities)
    count, sizes = write_tars(finals, modalities, _checked(samples, modalities))
    return dict(zip(modalities, sizes, strict=True)) if count else {}


def _checked(
    samples: Iterable[tuple[str, Mapping[str, bytes]]], modalities: Sequence[str]
) -> Iterable[tuple[str, Mapping[str, bytes]]]:
    seen = set[str]()
    for key, zips in samples:
        lacking = [modality for modality in modalities if modality not in zips]
        if lacking or key in seen:
            fault = f"has no {lacking[0]}" if lacking else "stands there twice"
            raise ValueError(f"sample {key} {fault}; expected each key once, in all modalities")
        seen.add(key)
        yield key, zips
