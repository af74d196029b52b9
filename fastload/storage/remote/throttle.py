"""A throttle for storage that is shared with others: bytes and requests per second."""

import fcntl
import os
import struct
import threading
import time

_LOCK = threading.Lock()
_KNOWN: dict[tuple[str, float, float], "Throttle"] = {}
_TIME = struct.Struct("<d")
_FARTHEST_S = 3600.0
"""A turn that is further ahead was taken before the machine started anew, with its clock."""


class Throttle:
    """Lets requests pass at a rate, in the order in which they come; safe in threads."""

    def __init__(self, bytes_per_s: float, requests_per_s: float) -> None:
        self._byte = 1 / bytes_per_s if bytes_per_s else 0.0
        self._request = 1 / requests_per_s if requests_per_s else 0.0
        self._lock, self._free = threading.Lock(), 0.0

    def pass_(self, nbytes: int) -> None:
        """Wait until a request for so many bytes may go."""
        cost = max(self._request, nbytes * self._byte)
        if not cost:
            return
        with self._lock:
            wait = self._turn(cost)
        if wait > 0:
            time.sleep(wait)

    def _turn(self, cost: float) -> float:
        """Seconds until the turn that is taken herewith."""
        now = time.monotonic()
        start = max(now, self._free)
        self._free = start + cost
        return start - now


class SharedThrottle(Throttle):
    """A throttle that the processes of a machine share through a file.

    It holds from when on the next request may go, on the clock that they have in common.
    """

    def __init__(self, bytes_per_s: float, requests_per_s: float, path: str) -> None:
        super().__init__(bytes_per_s, requests_per_s)
        self._file = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)

    def _turn(self, cost: float) -> float:
        fcntl.flock(self._file, fcntl.LOCK_EX)
        try:
            kept, now = os.pread(self._file, _TIME.size, 0), time.monotonic()
            start = max(now, _TIME.unpack(kept)[0]) if len(kept) == _TIME.size else now
            start = start if start - now < _FARTHEST_S else now
            os.pwrite(self._file, _TIME.pack(start + cost), 0)
        finally:
            fcntl.flock(self._file, fcntl.LOCK_UN)
        return start - now


def throttle(
    host: str, bytes_per_s: float, requests_per_s: float, path: str | None = None
) -> Throttle:
    """The process's throttle of a host; with the path of a file that of a machine, of all hosts."""
    limits = (bytes_per_s, requests_per_s)
    with _LOCK:
        key = (path or host, *limits)
        if key not in _KNOWN:
            _KNOWN[key] = SharedThrottle(*limits, path) if path else Throttle(*limits)
        return _KNOWN[key]


def _after_fork() -> None:
    """In a child: no other thread is left that could hold a lock."""
    global _LOCK
    _LOCK = threading.Lock()
    for known in _KNOWN.values():
        known._lock = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
