"""Where an index is kept: beside the shards, else in the cache, else in memory alone."""

import contextlib
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from fastload.cache import below
from fastload.storage.errors import is_scarce, scarce
from fastload.storage.index_file import load, save
from fastload.storage.notice import once
from fastload.storage.store import Store

FILE = "fastload.index"
Kept = TypeVar("Kept")
_LEFT_OVER_S = 24 * 3600.0
"""Age of a temporary file that nobody is writing any more."""


class Places:
    """The places of one store's index, or of what else is kept like it.

    Args:
        store: whose.
        name: of the file beside the data, with one dot.
        save, load: write and read such a file, in the manner of `index_file`.

    Attributes:
        all: where an index may lie.
        trusted: ids of the users whose index is believed: this one, root, and whoever owns the
            shards; None where there is no such thing as a user.
    """

    def __init__(
        self,
        store: Store,
        name: str = FILE,
        save: Callable[[Any, Path], None] = save,
        load: Callable[[Path, set[int] | None], Any] = load,
    ) -> None:
        self.place, self._save, self._load = store.place, save, load
        kind = name.partition(".")[2]
        cached = below("index", f"{Path(store.place).name}-{store.digest()}.{kind}")
        beside = None if store.folder is None else store.folder / name
        self.all = [path for path in (beside, cached) if path is not None]
        self.trusted = None
        if hasattr(os, "geteuid"):
            self.trusted = {os.geteuid(), 0} | store.owners()
        self._left = [path for path in self.all if _may_write(path, make=path == cached)]

    @property
    def first(self) -> Path | None:
        """Where an index is to be kept, as far as is known; None if nowhere."""
        return self._left[0] if self._left else None

    @property
    def lock(self) -> Path | None:
        """The file that is locked while it is built."""
        return self.first and self.first.with_suffix(".lock")

    def keep(self, index: Kept, by_the_way: bool = False) -> Kept:
        """Save an index at the first place that takes it.

        Args:
            index: of all shards or, `by_the_way`, of some; then the outcome is not told.

        Returns:
            The index as it was loaded from there; the same one where no place takes it.
        """
        why = "neither its folder nor a cache can be written"
        while (path := self.first) is not None:
            try:
                self._save(index, path)
                _sweep(path)
                kept: Kept = index if by_the_way else self._load(path, self.trusted)
            except OSError as error:
                if is_scarce(error):
                    raise scarce(error, str(path)) from error
                why = str(error)
                self._left.pop(0)
                continue
            if not by_the_way:
                self._tell(path)
            return kept
        if not by_the_way:
            self._say(f"cannot be kept and is built anew each time ({why})")
        return index

    def _tell(self, path: Path) -> None:
        if path != self.all[0]:
            self._say(f"is kept in {path.parent}, since {self.all[0].parent} cannot be written")

    def _say(self, what: str) -> None:
        advice = "; set FASTLOAD_CACHE to choose a cache folder"
        once("index", str(Path(self.place).parent), f"the index of {self.place} {what}{advice}")


def _may_write(path: Path, make: bool) -> bool:
    """Whether files may be made beside a path, as far as can be told; `make` its folder."""
    folder = path.parent
    try:
        if make:
            folder.mkdir(parents=True, exist_ok=True)
        # Nobody may write where no write bit is set, though a superuser could.
        return bool(folder.stat().st_mode & 0o222) and os.access(folder, os.W_OK)
    except OSError:
        return False


def _sweep(path: Path) -> None:
    """Remove what processes left behind that were killed while they wrote, if it is old."""
    for left in path.parent.glob(f"{path.stem}.*.tmp"):
        with contextlib.suppress(OSError):
            if time.time() - left.lstat().st_mtime > _LEFT_OVER_S:
                left.unlink()
