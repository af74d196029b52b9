"""The folders of a split: each is indexed once, whatever is read from it."""

from collections.abc import Sequence
from concurrent.futures import Executor
from typing import ClassVar

from fastload.datasets.known import MOST
from fastload.datasets.zarrs.locate import shards
from fastload.datasets.zarrs.side_by_side import SideBySide, advice
from fastload.datasets.zarrs.unlike_dates import Dates, settled
from fastload.datasets.zarrs.zarr_source import ZarrSource
from fastload.storage.errors import DataError
from fastload.storage.group import BANDS, CLOUD_MASK, specs_of
from fastload.storage.index import TARS, Index, Kind, open_index
from fastload.storage.index_part import modalities, part_of
from fastload.storage.store import Store

OPTICAL = ("S2L2A", "S2L1C", "S2RGB")
"""Modalities whose samples have a cloud mask."""


class Folders:
    """Opens sources of a split.

    Args:
        root, split: where the folders of modalities are.
        executor, progress: see `open_index`.
        bad: receives the errors of shards that are left out; None: they are raised.
        together: where modalities lie side by side, see `SideBySide`.
        dates: see `fastload.SSL4EOS12`.
        own: the layout that is being opened.
    """

    kind: ClassVar[Kind] = TARS
    made: ClassVar[type[ZarrSource]] = ZarrSource

    def __init__(
        self,
        root: Store,
        split: str,
        executor: Executor | None,
        progress: bool,
        bad: list[DataError] | None,
        together: str | None = None,
        dates: Dates = "mask",
        own: str = "ssl4eo_s12",
    ) -> None:
        self._own = own
        self.root, self.split_name, self.split = root, split, root.below(split)
        self._executor, self._progress, self._bad = executor, progress, bad
        self._beside, self._together = SideBySide(self.split, together), together
        self._dates: Dates = dates
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
        try:
            source = self.made(name, store, index, check_crc, array or BANDS, bands)
        except DataError as error:
            found = modalities(index.key)
            if index.ending or not 1 < len(found) < MOST:
                raise
            raise DataError(error.shard, "", -1, advice(folder, found)) from error
        return settled(source, self._dates)

    def _open(self, modality: str) -> tuple[Store, Index]:
        """Store and index of a modality, in tars of its own or beside others."""
        own = self._together is None and modality in self.split.folders()
        folder = None if own else self._together or self._beside.holds(modality)
        if folder is None:
            return self._indexed(modality, self.shards(modality))
        store, index = self._indexed(f"./{folder}", self._beside.store(folder))
        return store, part_of(index, modality, store.place)

    def shards(self, modality: str) -> Store:
        """The store of a modality that has a folder of its own."""
        return shards(self.root, self.split_name, modality, self._own)

    def _indexed(self, name: str, store: Store) -> tuple[Store, Index]:
        if name not in self._opened:
            suffix, scanner = self.kind
            index = open_index(
                store, self._executor, self._progress, print, self._bad, scanner, suffix
            )
            self._opened[name] = store, index
        return self._opened[name]

    def _with_mask(self, names: Sequence[str]) -> str:
        """The first folder whose samples have a cloud mask."""
        given = [name.partition("/")[0] for name in names if name != CLOUD_MASK]
        folders = [] if self._together else self.split.folders()
        every = dict.fromkeys((*given, *OPTICAL))
        there = [f for f in every if f in folders or self._beside.holds(f) is not None]
        for folder in there:
            _, index = self._open(folder)
            if any(CLOUD_MASK in specs_of(layout) for layout in index.layouts):
                return folder
        looked = ", ".join(there) or f"{self.split.place}, where no optical modality is"
        raise FileNotFoundError(
            f"{self.split.place}: there is no '{CLOUD_MASK}', looked into {looked}"
        )
