"""Opening whatever lies at a place."""

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
    opened: Dataset = kind(store, layout_name)(store, **options)
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
