"""Threads that share out the pieces of a task, and end when they are told to.

They are daemons, and nothing joins them but `close`: a process that ends does not wait for what is
queued, and a finaliser only cancels.
"""

import itertools
import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any

THREAD_NAME = "fastload"


class Flag:
    """Raised once, by whoever; no lock, so that a finaliser may raise it."""

    raised = False


class Cancelled(RuntimeError):
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

    def help(self) -> None:
        """Do pieces until none is left. An error of a piece is kept; nothing is raised."""
        # `next` on a counter is atomic, so no two threads get the same number.
        while (piece := next(self._next)) < self._pieces:
            try:
                if self._cancelled.raised:
                    raise Cancelled
                self._work(piece)
            except BaseException as error:
                self.errors[piece] = error
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
        """The result, when all pieces are done; raises the error of the first that failed."""
        with self._running:
            pass
        if self.errors:
            raise self.errors[min(self.errors)]
        result, self._result = self._result, None
        return result


class Workers:
    """Some threads; none at all do everything in the calling thread."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.cancelled = Flag()
        self._tasks: SimpleQueue[Task | None] = SimpleQueue()
        self._threads = [
            threading.Thread(
                target=_work, args=(self._tasks,), name=f"{THREAD_NAME}-{i}", daemon=True
            )
            for i in range(count)
        ]
        for thread in self._threads:
            thread.start()

    def share(
        self, pieces: int, work: Callable[[int], None], end: Callable[[], Any] | None = None
    ) -> Task:
        """Begin a task. Without threads it is done when this returns."""
        task = Task(pieces, work, self.cancelled, end)
        for _ in range(min(self.count, pieces)):
            self._tasks.put(task)
        if not self.count or self.cancelled.raised:  # then threads may have ended before it
            task.help()
        return task

    def cancel(self) -> None:
        """Skip the pieces that have not begun, and end the threads; returns at once.

        A finaliser may call this in any thread: nothing here takes a lock that it could hold.
        """
        if not self.cancelled.raised:
            self.cancelled.raised = True
            for _ in self._threads:
                self._tasks.put(None)

    def close(self) -> None:
        """Cancel, and wait until the threads have ended."""
        self.cancel()
        for thread in self._threads:
            thread.join()


def _work(tasks: "SimpleQueue[Task | None]") -> None:
    while (task := tasks.get()) is not None:
        task.help()
        del task  # so that an idle thread holds nothing
