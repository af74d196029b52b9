"""An iteration: a producer that makes batches ahead of time, and the iterator that takes them."""

import atexit
import os
import threading
import weakref
from collections import deque
from queue import Empty, SimpleQueue
from typing import Any

from fastload.engines import Load, Mover, Pending, Target
from fastload.engines.batch import Request
from fastload.engines.workers import THREAD_NAME, Workers, alone, join
from fastload.plan import Indices, Step

Made = Pending | BaseException
PATIENCE_S = 0.25
"""How long an interrupt, and the end of the process, wait for threads that read or compute."""


class Ring:
    """What the threads of an iteration share. It does not know the iterator, nor the loader."""

    def __init__(self, mover: Mover, target: Target, workers: int, epoch: int) -> None:
        self._mover, self._target, self._epoch = mover, target, epoch
        self._steps: SimpleQueue[Indices | None] = SimpleQueue()
        self._made: SimpleQueue[Made] = SimpleQueue()
        self.workers = Workers(workers)
        self._producer: threading.Thread | None = None
        if workers:
            self._producer = threading.Thread(
                target=self._produce, name=f"{THREAD_NAME}-producer", daemon=True
            )
            self._producer.start()
            self.process = os.getpid()
            _LIVE.add(self)

    def ask(self, samples: Indices) -> None:
        """Ask for a batch."""
        self._steps.put(samples)

    def take(self) -> dict[str, Any]:
        """The next batch that was asked for; without threads it is made here."""
        if self._producer is None:
            samples = self._steps.get()
            assert samples is not None
            request = self._target.draw(self._epoch, samples)
            load = self._mover.begin(request, self.workers)
            return self._target.make(request, load, self.workers).wait()
        made = self._made.get()
        if isinstance(made, BaseException):
            try:
                raise made
            finally:
                del made  # which this frame, and so the error itself, would hold
        return made.wait()

    def _produce(self) -> None:
        """Make what is asked for, in order; the bytes of the next batch move meanwhile."""
        begun: deque[tuple[Request, Load]] = deque()
        try:
            while not self.workers.cancelled.raised:
                try:
                    samples = self._steps.get(block=not begun)
                except Empty:
                    samples = None
                if samples is not None:
                    request = self._target.draw(self._epoch, samples)
                    begun.append((request, self._mover.begin(request, self.workers)))
                if begun and (samples is None or len(begun) > 1):
                    self._made.put(self._target.make(*begun.popleft(), self.workers))
        except BaseException as error:
            self._made.put(alone(error))
        finally:
            # What a batch holds that is given up must outlive the device's work on it.
            self._target.drain()
            begun.clear()

    def cancel(self) -> None:
        """Give up what is not made yet; returns at once, and may be called by a finaliser."""
        self.workers.cancel()
        self._steps.put(None)

    def close(self, patience: float | None = None) -> None:
        """Cancel, and wait until all threads have ended, or for so many seconds."""
        self.cancel()
        producer = [] if self._producer is None else [self._producer]
        join([*producer, *self.workers.threads], patience)
        self._target.drain()


_LIVE: "weakref.WeakSet[Ring]" = weakref.WeakSet()


@atexit.register
def _leave() -> None:
    """Let no thread compute while the interpreter goes away, nor wait for what is stuck."""
    for ring in list(_LIVE):
        if ring.process == os.getpid():
            ring.cancel()
    mine = [t for t in threading.enumerate() if t.daemon and t.name.startswith(THREAD_NAME)]
    join(mine, PATIENCE_S)


class Iteration:
    """Batches in the order of the steps, while `depth` more are in the making.

    The steps are asked for in the thread that iterates. `close` waits for all threads to end;
    being collected only tells them to.
    """

    def __init__(
        self, mover: Mover, target: Target, workers: int, depth: int, epoch: int, steps: Step
    ) -> None:
        self._ring = Ring(mover, target, workers, epoch)
        self._steps, self._ahead = steps, depth if workers else 0
        self._asked = self._taken = 0
        self._process, self._closed = os.getpid(), False
        self._cancel = weakref.finalize(self, self._ring.cancel)
        self._cancel.atexit = False  # `_leave` does that

    def __iter__(self) -> "Iteration":
        """Itself."""
        return self

    def __next__(self) -> dict[str, Any]:
        """The next batch.

        Raises:
            RuntimeError: in a forked child, which has none of the threads.
        """
        if self._closed:
            raise StopIteration
        if os.getpid() != self._process:
            raise RuntimeError(
                "an iterator of a DataLoader cannot go on in a forked process, which has none of "
                "its threads; call iter() there"
            )
        try:
            while self._asked <= self._taken + self._ahead:
                samples = self._steps(self._asked)
                if samples is None:
                    break
                self._ring.ask(samples)
                self._asked += 1
            if self._taken == self._asked:
                raise StopIteration
            batch = self._ring.take()
        except BaseException as error:
            # Whoever interrupts does not want to wait until storage answers.
            self._close(None if isinstance(error, Exception) else PATIENCE_S)
            raise
        self._taken += 1
        return batch

    def close(self) -> None:
        """End the iteration: what is made is given up, and all threads have ended on return."""
        self._close(None)

    def _close(self, patience: float | None) -> None:
        if not self._closed and os.getpid() == self._process:
            self._closed = True
            self._cancel.detach()
            self._ring.close(patience)
