"""File handles, within one budget for the process.

A handle lives in the store that opened it and is closed when the store dies. All of them stand in
one list, the least recently used first, so that many stores together stay within the budget.
"""

import contextlib
import os
import threading
import weakref
from collections import OrderedDict
from collections.abc import Iterator, Sequence

from fastload.storage.errors import is_scarce, scarce

MOST = 4096
"""Handles at most, however many the process may have."""
_LEASES = 16
"""Leases of the largest size that fit into the budget at a time."""


def budget() -> int:
    """How many handles all stores together may hold: half of what the process may have."""
    try:
        import resource

        soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    except (ImportError, OSError):  # no such limit on this system
        return 128
    return MOST if soft < 0 else max(_LEASES, min(soft // 2, MOST))


class Handle:
    """An open file. `users` is how many reads go on; 0 means that it may be closed."""

    __slots__ = ("__weakref__", "fd", "name", "store", "users")

    def __init__(self, fd: int, name: str, store: "weakref.ref[Opened]") -> None:
        self.fd, self.name, self.store, self.users = fd, name, store, 0

    def __del__(self) -> None:
        with contextlib.suppress(OSError):
            os.close(self.fd)


class Opened(dict[str, Handle]):
    """The open files of a store, by name."""

    __slots__ = ("__weakref__",)


class Handles:
    """All handles of the process. Nothing here is called by a finaliser, so the lock is safe."""

    def __init__(self) -> None:
        self._by_age: OrderedDict[int, weakref.ref[Handle]] = OrderedDict()
        self._lock = threading.Lock()

    @property
    def most_at_once(self) -> int:
        """Files that one lease may ask for."""
        return max(1, budget() // _LEASES)

    @contextlib.contextmanager
    def lease(self, opened: Opened, paths: Sequence[tuple[str, str]]) -> Iterator[list[int]]:
        """Descriptors of files, which stay open within this context.

        Args:
            opened: the store's.
            paths: name and path of at most `most_at_once` files, each once.

        Raises:
            MachineError: where the machine gives no handle even after the idle ones were closed.
            OSError: where a file cannot be opened.
        """
        leased: list[Handle] = []
        try:
            for name, path in paths:
                leased.append(self.take(opened, name, path))
            yield [handle.fd for handle in leased]
        finally:
            for handle in leased:
                self.give(handle)

    def take(self, opened: Opened, name: str, path: str) -> Handle:
        """As `lease`, of one file, until it is given back."""
        with self._lock:
            handle = opened.get(name)
            if handle is None:
                self._close_idle(budget() - 1)
                handle = opened[name] = Handle(self._open(path), name, weakref.ref(opened))
                self._by_age.pop(id(handle), None)  # of one that is gone
                self._by_age[id(handle)] = weakref.ref(handle)
            else:
                self._by_age.move_to_end(id(handle))
            handle.users += 1
        return handle

    def give(self, handle: Handle) -> None:
        """Give a handle back."""
        with self._lock:
            handle.users -= 1

    def _open(self, path: str) -> int:
        flags = os.O_RDONLY | getattr(os, "O_CLOEXEC", 0)
        try:
            return os.open(path, flags)
        except OSError as error:
            if not is_scarce(error):
                raise
        self._close_idle(0)
        try:
            return os.open(path, flags)
        except OSError as error:
            raise (scarce(error, path) if is_scarce(error) else error) from error

    def _close_idle(self, keep: int) -> None:
        """Close idle handles, the oldest first, until `keep` are left or all are in use.

        Where all are in use, more are opened than the budget says: leases are small and end soon,
        and waiting for each other could last for ever.
        """
        for _ in range(len(self._by_age)):
            if len(self._by_age) <= keep:
                return
            key, ref = next(iter(self._by_age.items()))
            handle = ref()
            if handle is not None and handle.users:
                self._by_age.move_to_end(key)
                continue
            self._by_age.pop(key)
            store = None if handle is None else handle.store()
            if handle is not None and store is not None:
                store.pop(handle.name, None)

    def held(self) -> int:
        """How many files are open."""
        with self._lock:
            return sum(ref() is not None for ref in self._by_age.values())

    def after_fork(self) -> None:
        """In a child: no other thread is left that could hold the lock or use a file."""
        self._lock = threading.Lock()
        for ref in list(self._by_age.values()):
            handle = ref()
            if handle is not None:
                handle.users = 0


HANDLES = Handles()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=HANDLES.after_fork)
