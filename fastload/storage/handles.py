"""File handles, within one budget for the process.

The open files of a store stand in tables of its own and are closed when the store dies. All stores
together stay within the budget: where another file must be opened, the one that was not used for
the longest time is closed, whichever store it is of.
"""

import contextlib
import os
import threading
import weakref

import numpy as np
from numpy.typing import NDArray

from fastload.storage.errors import is_scarce, scarce

MOST = 4096
"""Handles at most, however many the process may have."""
_LEASES = 16
"""Leases of the largest size that fit into the budget at a time."""
_CLOSED = -1

Numbers = NDArray[np.int64]


def budget() -> int:
    """How many handles all stores together may hold: half of what the process may have."""
    try:
        import resource

        soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    except (ImportError, OSError):  # no such limit on this system
        return 128
    return MOST if soft < 0 else max(_LEASES, min(soft // 2, MOST))


class Opened:
    """The files of a store, by numbers from 0, and which of them are open."""

    def __init__(self) -> None:
        self.numbers: dict[str, int] = {}
        self.paths: list[str] = []
        self.fd = np.empty(0, np.int32)
        """Descriptors; `_CLOSED` for what is not open."""
        self.users = np.empty(0, np.int32)
        """How many leases each has; 0 means that it may be closed."""
        self.used = np.empty(0, np.int64)
        """When each was leased last."""

    def add(self, name: str, path: str) -> int:
        """The number of a file, which may be new."""
        found = self.numbers.get(name)
        if found is None:
            found = len(self.paths)
            self.paths.append(path)
            if found >= len(self.fd):
                more = max(64, found)
                self.fd = np.append(self.fd, np.full(more, _CLOSED, np.int32))
                self.users = np.append(self.users, np.zeros(more, np.int32))
                self.used = np.append(self.used, np.zeros(more, np.int64))
            self.numbers[name] = found  # last: whoever finds it finds its place
        return found

    def __len__(self) -> int:
        """How many are open."""
        return int(np.count_nonzero(self.fd != _CLOSED))

    def close(self, number: int) -> None:
        """Close one."""
        fd, self.fd[number] = int(self.fd[number]), _CLOSED
        with contextlib.suppress(OSError):
            os.close(fd)

    def __del__(self) -> None:
        for number in np.flatnonzero(self.fd != _CLOSED).tolist():
            self.close(number)


class Handles:
    """All handles of the process. Nothing here is called by a finaliser, so the lock is safe."""

    def __init__(self) -> None:
        self._stores: weakref.WeakSet[Opened] = weakref.WeakSet()
        self._lock = threading.Lock()
        self._now = 0

    @property
    def most_at_once(self) -> int:
        """Files that a lease may have to open."""
        return max(1, budget() // _LEASES)

    def add(self, opened: Opened, name: str, path: str) -> int:
        """The number of a store's file, for leases."""
        with self._lock:
            self._stores.add(opened)
            return opened.add(name, path)

    def all_open(self, opened: Opened, numbers: Numbers) -> bool:
        """Whether a lease of these would open none, if it came now."""
        return bool((opened.fd[numbers] != _CLOSED).all())

    def lease(self, opened: Opened, numbers: Numbers) -> NDArray[np.int32]:
        """Descriptors of files, each once, which stay open until they are given back; -1 for what
        cannot be opened."""
        with self._lock:
            self._now += 1
            opened.users[numbers] += 1
            opened.used[numbers] = self._now
            for number in numbers[opened.fd[numbers] == _CLOSED].tolist():
                with contextlib.suppress(OSError):
                    opened.fd[number] = self._open(opened.paths[number])
            return opened.fd[numbers]

    def give(self, opened: Opened, numbers: Numbers) -> None:
        """Give files back."""
        with self._lock:
            opened.users[numbers] -= 1

    def take(self, opened: Opened, number: int) -> int:
        """The descriptor of one file, until it is given back by `put`.

        Raises:
            MachineError: where the machine gives no handle even after the idle ones were closed.
            OSError: where the file cannot be opened.
        """
        with self._lock:
            self._now += 1
            fd = int(opened.fd[number])
            if fd == _CLOSED:
                fd = opened.fd[number] = self._open(opened.paths[number])
            opened.users[number] += 1
            opened.used[number] = self._now
        return fd

    def put(self, opened: Opened, number: int) -> None:
        """Give one file back."""
        with self._lock:
            opened.users[number] -= 1

    def _open(self, path: str) -> int:
        self._close_idle(budget() - 1)
        try:
            return os.open(path, os.O_RDONLY)
        except OSError as error:
            if not is_scarce(error):
                raise
        self._close_idle(0)
        try:
            return os.open(path, os.O_RDONLY)
        except OSError as error:
            raise (scarce(error, path) if is_scarce(error) else error) from error

    def _close_idle(self, keep: int) -> None:
        """Close idle files, the oldest first, until `keep` are left or all are in use.

        Where all are in use, more are opened than the budget says: leases are small and end soon,
        and waiting for each other could last for ever.
        """
        stores = list(self._stores)
        excess = sum(map(len, stores)) - keep
        if excess <= 0:
            return
        idle = [np.flatnonzero((s.fd != _CLOSED) & (s.users == 0)) for s in stores]
        ages = np.concatenate([s.used[found] for s, found in zip(stores, idle, strict=True)])
        owners = np.repeat(np.arange(len(stores)), [len(found) for found in idle])
        numbers = np.concatenate(idle)
        for i in np.argsort(ages, kind="stable")[:excess].tolist():
            stores[owners[i]].close(int(numbers[i]))

    def held(self) -> int:
        """How many files are open."""
        with self._lock:
            return sum(map(len, self._stores))

    def after_fork(self) -> None:
        """In a child: no other thread is left that could hold the lock or use a file."""
        self._lock = threading.Lock()
        for opened in list(self._stores):
            opened.users[:] = 0


HANDLES = Handles()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=HANDLES.after_fork)
