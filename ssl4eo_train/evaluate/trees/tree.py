"""A user's copy of a data set: which files are there, and a sentence on what is not."""

from collections.abc import Sequence

from fastload.storage.store import Store

MOST = 12
"""Names that a sentence lists."""


class Tree:
    """The files below a place. A folder is listed once.

    Args:
        store: the place.
    """

    def __init__(self, store: Store) -> None:
        self.store = store
        self._listed: dict[str, dict[str, None]] = {}

    def path(self, name: str) -> str:
        """What messages call a file or folder; "" is the place itself."""
        return self.store.path(name) if name else self.store.place

    def folders(self, folder: str = "") -> list[str]:
        """Names of the folders in one."""
        return [name for name in self._at(folder).folders() if not name.startswith(".")]

    def names(self, folder: str, suffix: str | tuple[str, ...] = "") -> list[str]:
        """Names of the files in a folder that end so, sorted; none where there is no such one."""
        return [name for name in self._files(folder) if name.endswith(suffix)]

    def has(self, path: str) -> bool:
        """Whether there is such a file."""
        folder, _, name = path.rpartition("/")
        return name in self._files(folder)

    def files(self, folder: str, suffix: str | tuple[str, ...]) -> list[str]:
        """As `names`.

        Raises:
            FileNotFoundError: where there is none; says what lies there instead.
        """
        found = self.names(folder, suffix)
        if not found:
            wanted = " or ".join(f"*{s}" for s in ([suffix] if isinstance(suffix, str) else suffix))
            raise FileNotFoundError(
                f"{self.path(folder)}: expected {wanted}, found {self.held(folder)}"
            )
        return found

    def file(self, path: str) -> str:
        """The path of a file.

        Raises:
            FileNotFoundError: where it is not there; says what is.
        """
        if not self.has(path):
            held = self.held(path.rpartition("/")[0])
            raise FileNotFoundError(f"{self.path(path)}: there is no such file, but {held}")
        return path

    def folder(self, names: Sequence[str], what: str, inside: str = "") -> str:
        """The path of the first folder there is of some.

        Raises:
            FileNotFoundError: where there is none; says what lies there instead.
        """
        found = next((name for name in names if name in self.folders(inside)), None)
        if found is None:
            raise FileNotFoundError(
                f"{self.path(inside)}: expected {what} in {' or '.join(names)}, found "
                f"{self.held(inside)}"
            )
        return f"{inside}/{found}" if inside else found

    def held(self, folder: str = "") -> str:
        """What lies in a folder, in words; where there is no such one, what lies above it."""
        there = [*(f"{name}/" for name in self.folders(folder)), *self._files(folder)]
        if there or not folder:
            more = ", ..." if len(there) > MOST else ""
            return f"{', '.join(there[:MOST])}{more}" or "nothing"
        above = folder.rpartition("/")[0]
        return f"nothing; in {self.path(above)} there is {self.held(above)}"

    def _at(self, folder: str) -> Store:
        return self.store.below(folder) if folder else self.store

    def _files(self, folder: str) -> dict[str, None]:
        if folder not in self._listed:
            self._listed[folder] = dict.fromkeys(self._at(folder).filenames())
        return self._listed[folder]
