"""The folder of a run: made, seen to be writable, and held by one run at a time."""

import errno
import os
import socket
import tempfile
from contextlib import suppress
from pathlib import Path
from types import TracebackType

from filelock import FileLock, Timeout

from ssl4eo_train import checkpoint, distributed
from ssl4eo_train.errors import SetupError

LOCK = ".lock"
"""Locked while a run lasts, and tells who holds it. It stays, since waiters may have it open."""
UNSUPPORTED = {errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOTSUP, errno.EINVAL}


class RunFolder:
    """Within this context the folder is this run's alone.

    The system holds the lock for the process, so that it ends with it, however that ends. What was
    made for a run that then left nothing is removed again.

    Args:
        path: the folder; made with its parents.
        first: whether this process writes for all; the others only hear of its success.
        resumed: whether a run that is there already is continued.

    Raises:
        SetupError: where it cannot be written to, another run holds it, or it holds a run that is
            not to be continued. In all processes.
    """

    def __init__(self, path: Path, first: bool, resumed: bool) -> None:
        self._path, self._first, self._resumed = path, first, resumed
        self._made: list[Path] = []
        self._lock: FileLock | None = None

    def __enter__(self) -> "RunFolder":
        try:
            with distributed.together():
                if self._first:
                    self._claim()
        except BaseException:
            self._leave()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._leave()

    def _claim(self) -> None:
        try:
            self._make()
            with tempfile.TemporaryFile(dir=self._path) as file:
                file.write(b"x")
        except OSError as error:
            why = error.strerror
            raise SetupError(f"--out: cannot write to {self._path}: {why}") from error
        self._take()
        if not self._resumed and (self._path / checkpoint.NAME).exists():
            raise SetupError(
                f"--out: {self._path} holds a run; continue it with --resume or name another"
            )
        if self._lock is not None:
            checkpoint.sweep(self._path)

    def _make(self) -> None:
        missing = [p for p in (self._path, *self._path.parents) if not p.exists()]
        for path in reversed(missing):
            with suppress(FileExistsError):  # Another run made it just now; then it is not ours.
                path.mkdir()
                self._made.insert(0, path)

    def _take(self) -> None:
        lock = FileLock(self._path / LOCK, fallback_to_soft=False)
        try:
            lock.acquire(blocking=False)
        except Timeout:
            raise SetupError(
                f"--out: {self._path} is in use by another run ({holder(self._path)}); wait for "
                "its end, or name another folder"
            ) from None
        except OSError as error:
            if error.errno not in UNSUPPORTED:
                raise SetupError(f"--out: cannot lock {self._path / LOCK}: {error}") from error
            print(f"--out: {self._path} cannot be locked ({error.strerror}), so see to it that no "
                  "other run uses it", flush=True)  # fmt: skip
            return
        self._lock = lock
        with suppress(OSError):  # Whoever is refused then learns less.
            (self._path / LOCK).write_text(f"process {os.getpid()} on {socket.gethostname()}\n")

    def _leave(self) -> None:
        """Give the folder free; where nothing else is in it and it is ours, remove it."""
        made, self._made = self._made, []
        lock, self._lock = self._lock, None
        if lock is not None:
            with suppress(OSError):  # It is gone already.
                if made and os.listdir(self._path) == [LOCK]:
                    (self._path / LOCK).unlink()  # While it is held, so that no other run has it.
            lock.release()
        with suppress(OSError):
            for path in made:
                path.rmdir()


def holder(folder: Path) -> str:
    """Who holds a folder, as far as its lock file tells."""
    try:
        return (folder / LOCK).read_text(encoding="utf-8", errors="replace").strip() or "unknown"
    except OSError:
        return "unknown"
