"""A dataset of as many shard files as are published, which takes the room of one."""

import os
from pathlib import Path

from fastload.storage.index import FILE, merge, part, save
from fastload.storage.scan import scan
from fastload.storage.store import Local
from fastload.synth import synth

SHARDS = 477
MODALITY = "S2L1C"


def many_shards(root: Path, shards: int = SHARDS, samples: int = 8, size: int = 264) -> Path:
    """Write one tar, give it many names, and index each name with keys of its own.

    Returns:
        The root.
    """
    synth(root, samples, modalities=[MODALITY], size=size, samples_per_shard=samples, seed=1)
    folder = root / "train" / MODALITY
    [tar] = folder.glob("*.tar")
    for n in range(2, shards + 1):
        os.link(tar, folder / f"ssl4eos12_shard_{n:06d}.tar")
    store = Local(folder)
    stats = store.list(".tar")
    found = scan(store, tar.name, stats[tar.name].size)
    keys = [sample.key for sample in found]
    parts = []
    for n, (name, stat) in enumerate(stats.items()):
        for sample, key in zip(found, keys, strict=True):
            sample.key = f"{n:03d}{key}"
        parts.append(part(name, stat, found))
    save(merge(parts), folder / FILE)
    return root
