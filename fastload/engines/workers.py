"""Threads that share out the pieces of a task, and end when they are told to.

They are daemons, and nothing joins them but `close`: a process that ends does not wait for what is
queued, and a finaliser only cancels.
"""

import itertools
import threading
import time
import traceback
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any

from fastload.storage.errors import DataError, MachineError

THREAD_NAME = "fastload"


class Flag:
    """Raised once, by whoever; no lock, so that a finaliser may raise it."""

    raised = False


class Cancelled(RuntimeError):  # noqa: N818
    """Pieces of a task were skipped: nobody wants it any more."""


class Task:
    """Pieces of work, numbered from 0, that any number of threads do together."""

    def __init__(
        self,
        pieces: int,
        work: Callable[[int], None],
        cancelled: Flag,
        end: Callable[[], Any] | None = None,
    ) -> None:
        """`end` gives the task's result; it runs once, after all pieces, if none failed."""
        self._pieces, self._work, self._end, self._cancelled = pieces, work, end, cancelled
        self._next, self._ended = itertools.count(), itertools.count(1)
        self._running = threading.Lock()
        self._running.acquire()
        self._result: Any = None
        self.errors: dict[int, BaseException] = {}
        if not pieces:
            self._finish()

    def help(self, by_caller: bool = False) -> None:
        """Do pieces until none is left. An error of a piece is kept; nothing is raised.

        `by_caller`: in the thread that will wait. An interrupt is then the end of the others, too.
        """
        # `next` on a counter is atomic, so no two threads get the same number.
        while (piece := next(self._next)) < self._pieces:
            try:
                if self._cancelled.raised:
                    self.errors[piece] = Cancelled()
                else:
                    self._work(piece)
            except BaseException as error:
                self.errors[piece] = error if by_caller and not _tells(error) else alone(error)
                if by_caller and not isinstance(error, Exception):
                    self._cancelled.raised = True
            if next(self._ended) == self._pieces:
                self._finish()

    def _finish(self) -> None:
        try:
            if self._end is not None and not self.errors and not self._cancelled.raised:
                self._result = self._end()
        except BaseException as error:
            self.errors[self._pieces] = error
        finally:
            del self._work, self._end  # and what they hold
            self._running.release()

    def wait(self) -> Any:
        """The result, when all pieces are done; raises an interrupt, or the error of the first that
        failed."""
        with self._running:
            pass
        if self.errors:
            errors, self.errors = self.errors, {}
            try:
                raise min(errors.items(), key=_order)[1]
            finally:
                del errors  # which this frame, and so the error itself, would hold
        result, self._result = self._result, None
        return result


def _order(item: tuple[int, BaseException]) -> tuple[bool, int]:
    return isinstance(item[1], Exception), item[0]


def _tells(error: BaseException) -> bool:
    """Whether an error's text says all there is to know."""
    return isinstance(error, DataError | MachineError)


def alone(error: BaseException) -> BaseException:
    """An error that is kept for another thread, without its frames.

    They hold the batch, the dataset and what keeps the error, in a circle that only the garbage
    collector could break. What they say of a bug becomes a note.
    """
    if not _tells(error):
        lines = traceback.format_tb(error.__traceback__)
        error.add_note("In a thread of the loader:\n" + "".join(lines).rstrip())
    links: list[BaseException | None] = [error]
    seen: set[int] = set()
    while links:
        link = links.pop()
        if link is not None and id(link) not in seen:
            seen.add(id(link))
            link.__traceback__ = None
            links += [link.__cause__, link.__context__]
    return error


class Workers:
    """Some threads; none at all do everything in the calling thread."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.cancelled = Flag()
        self._tasks: SimpleQueue[Task | None] = SimpleQueue()
        self.threads = [
            threading.Thread(
                target=_work, args=(self._tasks,), name=f"{THREAD_NAME}-{i}", daemon=True
            )
            for i in range(count)
        ]
        for thread in self.threads:
            thread.start()

    def share(
        self, pieces: int, work: Callable[[int], None], end: Callable[[], Any] | None = None
    ) -> Task:
        """Begin a task. Without threads it is done when this returns."""
        task = Task(pieces, work, self.cancelled, end)
        for _ in range(min(self.count, pieces)):
            self._tasks.put(task)
        if not self.count or self.cancelled.raised:  # then threads may have ended before it
            task.help(by_caller=not self.count)
        return task

    def cancel(self) -> None:
        """Skip the pieces that have not begun, and end the threads; returns at once.

        A finaliser may call this in any thread: nothing here takes a lock that it could hold.
        """
        if not self.cancelled.raised:
            self.cancelled.raised = True
            for _ in self.threads:
                self._tasks.put(None)

    def close(self) -> None:
        """Cancel, and wait until the threads have ended."""
        self.cancel()
        join(self.threads)


def join(threads: "list[threading.Thread]", patience: float | None = None) -> None:
    """Wait until threads have ended, or for so many seconds."""
    end = None if patience is None else time.monotonic() + patience
    for thread in threads:
        thread.join(None if end is None else max(0.0, end - time.monotonic()))


def _work(tasks: "SimpleQueue[Task | None]") -> None:
    while (task := tasks.get()) is not None:
        task.help()
        del task  # so that an idle thread holds nothing
