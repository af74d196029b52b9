"""Locks: one is a courtesy, which spares work, and nothing fails for want of it; the other keeps a
folder for one process."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock, Timeout

from fastload.storage.errors import is_scarce, scarce


@contextlib.contextmanager
def locked(path: Path | None) -> Iterator[bool]:
    """Hold the lock of a file as long as the block runs; gives whether it is held.

    It is not held where the file system knows no locks, the file is another user's, or a link, or
    no file can be made. The file is neither truncated nor removed, and no link is followed.

    Raises:
        MachineError: where no file handle is left.
    """
    lock = None if path is None else FileLock(path, fallback_to_soft=False)
    try:
        if lock is not None:
            lock.acquire()
    except (OSError, NotImplementedError) as error:
        if isinstance(error, OSError) and is_scarce(error):
            raise scarce(error, str(path)) from error
        lock = None
    try:
        yield lock is not None
    finally:
        if lock is not None:
            with contextlib.suppress(OSError):
                lock.release()


@contextlib.contextmanager
def alone(path: Path, does: str) -> Iterator[None]:
    """No other process does the same, such as "packs", in a file's folder. The lock goes with the
    process.

    Raises:
        FileExistsError: where one does.
    """
    lock = FileLock(path)
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        raise FileExistsError(f"{path.parent}: another process {does} here") from error
    try:
        yield
    finally:
        lock.release()
