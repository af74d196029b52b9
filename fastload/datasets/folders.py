"""The folders of a split: each is indexed once, whatever is read from it."""

from collections.abc import Sequence
from concurrent.futures import Executor

from fastload.datasets.locate import shards
from fastload.datasets.zarr_source import ZarrSource
from fastload.storage.errors import DataError
from fastload.storage.group import BANDS, CLOUD_MASK, specs_of
from fastload.storage.index import Index, open_index
from fastload.storage.store import Store

OPTICAL = ("S2L2A", "S2L1C", "S2RGB")
"""Modalities whose samples have a cloud mask."""


class Folders:
    """Opens sources of a split.

    Args:
        root, split: where the folders of modalities are.
        executor, progress: see `open_index`.
        bad: receives the errors of shards that are left out; None: they are raised.
        own: the layout that is being opened.
    """

    def __init__(
        self,
        root: Store,
        split: str,
        executor: Executor | None,
        progress: bool,
        bad: list[DataError] | None,
        own: str = "ssl4eo_s12",
    ) -> None:
        self._own = own
        self._root, self._split, self.split = root, split, root.below(split)
        self._executor, self._progress, self._bad = executor, progress, bad
        self._opened: dict[str, tuple[Store, Index]] = {}

    def source(
        self, name: str, names: Sequence[str], check_crc: bool, bands: Sequence[str] | None
    ) -> ZarrSource:
        """The source of a modality.

        Args:
            name: FOLDER, FOLDER/ARRAY, or `cloud_mask`.
            names: of all modalities that are asked for.
            check_crc, bands: see `ZarrSource`.
        """
        folder, _, array = name.partition("/")
        if name == CLOUD_MASK:
            folder, array = self._with_mask(names), CLOUD_MASK
        store, index = self._open(folder)
        return ZarrSource(name, store, index, check_crc, array or BANDS, bands)

    def _open(self, folder: str) -> tuple[Store, Index]:
        if folder not in self._opened:
            store = shards(self._root, self._split, folder, self._own)
            index = open_index(store, self._executor, self._progress, print, self._bad)
            self._opened[folder] = store, index
        return self._opened[folder]

    def _with_mask(self, names: Sequence[str]) -> str:
        """The first folder whose samples have a cloud mask."""
        given = [name.partition("/")[0] for name in names if name != CLOUD_MASK]
        folders = self.split.folders()
        there = [f for f in dict.fromkeys((*given, *OPTICAL)) if f in folders]
        for folder in there:
            _, index = self._open(folder)
            if any(CLOUD_MASK in specs_of(layout) for layout in index.layouts):
                return folder
        looked = ", ".join(there) or f"{self.split.place}, where no optical modality is"
        raise FileNotFoundError(
            f"{self.split.place}: there is no '{CLOUD_MASK}', looked into {looked}"
        )
