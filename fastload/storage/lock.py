"""A lock that is a courtesy: it spares work, and nothing fails for want of it."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock

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
