"""Torch's wrappers of our datasets, resolved to a dataset of ours; what cannot be is named."""

import inspect
import warnings
from typing import Any

import torch.utils.data

from fastload.datasets.base import Dataset
from fastload.datasets.joined import concat

_OWN = ("__getitem__", "__getitems__", "__len__")


def resolved(dataset: object) -> Dataset | None:
    """The dataset that a chain of `Subset`, `random_split` and `ConcatDataset` is; None where a
    link of the chain is a stranger, or joins what cannot stand in one batch."""
    if isinstance(dataset, Dataset):
        return None if overridden(dataset) else dataset
    if type(dataset) is torch.utils.data.Subset:
        inner = resolved(dataset.dataset)
        try:
            return None if inner is None else inner.subset(dataset.indices)
        except ValueError:  # empty, or of a mixture
            return None
    if type(dataset) is torch.utils.data.ConcatDataset:
        parts = [resolved(part) for part in dataset.datasets]
        known = [part for part in parts if part is not None]
        try:
            return concat(*known) if len(known) == len(parts) else None
        except ValueError:
            return None
    return None


def overridden(dataset: Dataset) -> str:
    """Which method that says what a sample is a subclass has of its own; "" for none."""
    mine = next(c for c in type(dataset).__mro__ if c.__module__.startswith("fastload."))
    return next((n for n in _OWN if getattr(type(dataset), n) is not getattr(mine, n)), "")


def warn_of_torchs_way(dataset: object) -> None:
    """Say that a dataset of ours is loaded as torch would, and why."""
    if isinstance(dataset, Dataset):
        why = f"{type(dataset).__name__} has a {overridden(dataset)} of its own"
    elif ours_inside(dataset) is not None:
        why = f"{type(dataset).__name__} holds a fastload dataset"
    else:
        return
    warnings.warn(
        f"{why}, so torch's loader asks it for one sample after the other: views are drawn by "
        "torch's generator and made slowly, and there is no state. dataset.subset, split, filter, "
        "with_labels, fastload.concat and DataLoader(transform=) stay on the fast path",
        stacklevel=3,
    )


def ours_inside(dataset: object, depth: int = 4) -> Dataset | None:
    """A dataset of ours that a stranger holds, as far as its attributes and the names in its
    ``__getitem__`` tell."""
    if isinstance(dataset, Dataset) or depth == 0:
        return dataset if isinstance(dataset, Dataset) else None
    held: list[Any] = list(getattr(dataset, "__dict__", {}).values())
    held += [x for values in held if isinstance(values, list | tuple) for x in values[:8]]
    get = getattr(type(dataset), "__getitem__", None)
    if inspect.isfunction(get):
        names = inspect.getclosurevars(get)
        held += [*names.globals.values(), *names.nonlocals.values()]
    found = (ours_inside(x, depth - 1) for x in held if isinstance(x, torch.utils.data.Dataset))
    return next((x for x in found if x is not None), None)
