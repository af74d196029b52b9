"""Ending a long command: once politely, twice at once."""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def polite() -> Iterator[None]:
    """Make the first interrupt or SIGTERM a KeyboardInterrupt, after which a command may finish
    what is in flight; the second one ends the process. Outside of the main thread nothing changes.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def first(number: int, frame: FrameType | None) -> None:
        for one in _SIGNALS:
            signal.signal(one, lambda number, frame: os._exit(128 + number))
        raise KeyboardInterrupt

    before = {one: signal.signal(one, first) for one in _SIGNALS}
    try:
        yield
    finally:
        for one, handler in before.items():
            signal.signal(one, handler)
