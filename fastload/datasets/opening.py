"""Opening whatever lies at a place."""

import inspect
from collections.abc import Mapping
from typing import Any

from fastload.datasets.base import Dataset
from fastload.datasets.known import LAYOUTS, layout, looks_like, recognised
from fastload.storage.at import Place, at
from fastload.storage.store import Store


def open(root: Place, *, layout_name: str | None = None, **options: Any) -> Dataset:
    """Open the data set at a place with the class of its layout.

    Args:
        root: a folder, ``~`` being the user's home; a URL; or a `Store`.
        layout_name: the layout, a name of `fastload.datasets.LAYOUTS`; by default what lies there
            tells.
        options: arguments of the class, such as `split`, `modalities`, `recipe`, `bands`.

    Raises:
        FileNotFoundError: says what lies there instead of a known layout.
        ValueError: lists the layouts, where the name is unknown.
    """
    store = at(root)
    cls: Any = kind(store, layout_name)
    opened: Dataset = cls(store, **options)
    return opened


def open_as(
    cls: Any, store: Store, asked: Mapping[str, Any], offered: Mapping[str, Any]
) -> Dataset:
    """Open a store by a layout's class.

    Args:
        cls: see `kind`.
        store: where the data lie.
        asked: arguments that the class must have.
        offered: arguments that are left out where it lacks them.

    Raises:
        ValueError: names an argument that the layout does not take.
    """
    known = inspect.signature(cls).parameters
    unknown = [name for name in asked if name not in known]
    if unknown:
        raise ValueError(
            f"{cls.__name__} takes no {unknown[0]!r}; it takes {', '.join([*known][1:])}"
        )
    options = {name: value for name, value in offered.items() if name in known} | dict(asked)
    opened: Dataset = cls(store, **options)
    return opened


def kind(store: Store, layout_name: str | None = None) -> type[Dataset]:
    """The class that `open` opens a store with; arguments and errors are the same."""
    name = layout_name or recognised(store)
    if name is None:
        found = looks_like(store) or _holds(store)
        raise FileNotFoundError(f"{found}; the layouts that are read: {', '.join(LAYOUTS)}")
    if name not in LAYOUTS:
        raise ValueError(f"unknown layout {name!r}, expected one of {list(LAYOUTS)}")
    return layout(name)


def _holds(store: Store) -> str:
    some = [*(f"{name}/" for name in store.folders()), *store.filenames("", 12)][:12]
    if not some:
        return f"{store.place}: there is no such folder, or nothing in it"
    return f"{store.place} is of no known layout; it holds {', '.join(some)}"
