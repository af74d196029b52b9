"""Do all ranks see the same data? Told as far as it is known, and never waited for."""

import hashlib
from typing import Any

import torch.distributed

from fastload.datasets.base import Dataset
from fastload.datasets.source import ChunkedSource
from fastload.position import has_group

_KEY = "fastload/data"


def compare_over_ranks(dataset: Dataset) -> None:
    """Tell the other ranks what this one found where the data lie, and compare it with theirs.

    Ranks that open a folder while files still arrive would go different ways, and at last wait for
    each other.

    Raises:
        ValueError: names the place and both ranks.
    """
    store = _store()
    if store is None:
        return
    rank, ranks = torch.distributed.get_rank(), torch.distributed.get_world_size()
    for name, source in dataset.sources.items():
        if not isinstance(source, ChunkedSource):
            continue
        keys = source.columns.key
        digest = hashlib.blake2b(b"\0".join(keys.tolist()), digest_size=8).hexdigest()
        found = f"{len(keys)} samples (digest {digest})"
        place = f"{_KEY}/{source.store.place}/{name}"
        store.set(f"{place}/{rank}", found)
        for other in range(ranks):
            theirs = f"{place}/{other}"
            if other != rank and store.check([theirs]) and store.get(theirs).decode() != found:
                raise ValueError(
                    f"{source.store.place}: rank {rank} found {found} of {name}, rank {other} "
                    f"{store.get(theirs).decode()}; open the data when all of it is there"
                )


def _store() -> Any:
    """The key-value store of torch.distributed; None without a group, or where torch hides it."""
    if not has_group() or torch.distributed.get_world_size() == 1:
        return None
    get = getattr(torch.distributed.distributed_c10d, "_get_default_store", None)
    return None if get is None else get()
