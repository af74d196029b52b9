"""What was made of a file, kept for those who want it next, within a bound of bytes."""

from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Future
from threading import Lock
from typing import Any

from numpy.typing import NDArray

Array = NDArray[Any]


class Kept:
    """Arrays by name, the last used ones; safe in threads. An array is made once, however many
    threads want it at a time. It pickles without its arrays.

    Args:
        most_bytes: bound on what is kept. One that is larger is made each time.
    """

    def __init__(self, most_bytes: int) -> None:
        self.most_bytes = most_bytes
        self._empty()

    def _empty(self) -> None:
        self._lock, self._bytes = Lock(), 0
        self._arrays: OrderedDict[str, Future[Array]] = OrderedDict()

    def __getstate__(self) -> int:
        return self.most_bytes

    def __setstate__(self, most_bytes: int) -> None:
        self.most_bytes = most_bytes
        self._empty()

    def get(self, name: str, make: Callable[[], Array]) -> Array:
        """The array of a name, which `make` makes if it is not kept; not to be written to.

        Raises:
            Exception: what `make` raises; the next call makes it again.
        """
        with self._lock:
            found = self._arrays.get(name)
            if found is not None:
                self._arrays.move_to_end(name)
            else:
                mine = self._arrays[name] = Future()
        return self._made(name, mine, make) if found is None else found.result()

    def _made(self, name: str, mine: "Future[Array]", make: Callable[[], Array]) -> Array:
        try:
            array = make()
        except BaseException as error:
            with self._lock:
                del self._arrays[name]
            mine.set_exception(error)
            raise
        mine.set_result(array)
        with self._lock:
            self._bytes += array.nbytes
            self._drop()
        return array

    def _drop(self) -> None:
        """Forget those that were not used for the longest time; those in the making stay."""
        for name, future in list(self._arrays.items()):
            if self._bytes <= self.most_bytes:
                return
            if future.done():
                self._bytes -= future.result().nbytes
                del self._arrays[name]
