"""Doing many waits at once, in threads that last no longer than the call."""

import itertools
import threading
from collections.abc import Callable

THREAD_NAME = "fastload-remote"


def together(count: int, work: Callable[[int], None], most: int) -> None:
    """Do pieces 0 to `count` in up to `most` threads, of which the calling one is one.

    The threads are daemons and are started anew each time: a request takes hundreds of times as
    long, and nothing is left that a fork, a pickle or the process's end would have to heed.

    Raises:
        BaseException: the first error of a piece; the pieces that have not begun are given up then.
    """
    numbers, errors = itertools.count(), list[BaseException]()

    def run() -> None:
        # `next` on a counter is atomic, so no two threads get the same number.
        while not errors and (piece := next(numbers)) < count:
            try:
                work(piece)
            except BaseException as error:
                errors.append(error)

    threads = [
        threading.Thread(target=run, name=f"{THREAD_NAME}-{i}", daemon=True)
        for i in range(min(count, most) - 1)
    ]
    for i, thread in enumerate(threads):
        try:
            thread.start()
        except RuntimeError:  # no more threads: those that there are do it all
            threads = threads[:i]
            break
    try:
        run()
        for thread in threads:
            thread.join()
    except BaseException as error:  # an interrupt: nobody waits for what is under way
        errors.append(error)
        raise
    if errors:
        raise errors[0]
