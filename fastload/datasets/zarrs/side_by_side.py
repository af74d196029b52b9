"""Tars that hold several modalities side by side: ``{key}.{modality}.zarr.zip``."""

from collections.abc import Sequence
from itertools import islice
from posixpath import basename

from fastload.datasets.known import MOST
from fastload.storage.errors import DataError
from fastload.storage.formats.tar import members
from fastload.storage.index_part import modality_of
from fastload.storage.scan import SUFFIX
from fastload.storage.store import Store

_MOST_TARS, _MOST_MEMBERS = 3, 1024
"""How many tars of a folder are looked into, and how many of their members."""


class SideBySide:
    """Where in a split the modalities lie side by side.

    Args:
        split: the store of a split.
        together: the folder of the tars, "." for the split's own; None: found by the names of
            members, in the split's folder and the first of those in it.
    """

    def __init__(self, split: Store, together: str | None) -> None:
        self._split, self._together = split, together
        self._known: dict[str, frozenset[str]] = {}

    def holds(self, modality: str) -> str | None:
        """The folder of tars with such members, "." for the split's own; None where none is found.

        Raises:
            ValueError: where there are several.
        """
        if self._together is not None:
            return self._together if modality in self.modalities(self._together) else None
        folders = [".", *self._split.folders()[:MOST]]
        found = [name for name in folders if modality in self.modalities(name)]
        if len(found) > 1:
            raise ValueError(
                f"{self._split.place}: members of {modality} lie in the tars of {found}; choose "
                f"one, as in together={found[0]!r}"
            )
        return found[0] if found else None

    def store(self, folder: str) -> Store:
        """The store of a folder's tars."""
        return self._split if folder == "." else self._split.below(folder)

    def modalities(self, folder: str) -> frozenset[str]:
        """The modalities that the first members of a folder's tars are of."""
        if folder not in self._known:
            self._known[folder] = frozenset(self._look(self.store(folder)))
        return self._known[folder]

    def _look(self, store: Store) -> set[str]:
        if not (tars := store.filenames(".tar", _MOST_TARS)):
            return set()
        sizes = store.list(".tar")
        found: set[str] = set()
        for tar in tars:
            try:
                names = [n for n, *_ in islice(members(store, tar, sizes[tar].size, SUFFIX),
                                               _MOST_MEMBERS)]  # fmt: skip
            except DataError:
                continue  # indexing names what is wrong with it
            found |= {modality_of(basename(name).removesuffix(SUFFIX)) for name in names}
            if found:
                break
        return found - {""}


def advice(folder: str, found: Sequence[str]) -> str:
    """What to do about a folder that was taken for one modality's."""
    return (
        f"its tars hold several modalities side by side, {', '.join(found)}: give "
        f"modalities={list(found)} and together={folder!r}"
    )
