"""A throttle for storage that is shared with others: bytes and requests per second."""

import os
import threading
import time

_LOCK = threading.Lock()
_KNOWN: dict[tuple[str, float, float], "Throttle"] = {}


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
            now = time.monotonic()
            start = max(now, self._free)
            self._free = start + cost
        if start > now:
            time.sleep(start - now)


def throttle(host: str, bytes_per_s: float, requests_per_s: float) -> Throttle:
    """The process's throttle of a host."""
    with _LOCK:
        key = (host, bytes_per_s, requests_per_s)
        if key not in _KNOWN:
            _KNOWN[key] = Throttle(bytes_per_s, requests_per_s)
        return _KNOWN[key]


def _after_fork() -> None:
    """In a child: no other thread is left that could hold a lock."""
    global _LOCK
    _LOCK = threading.Lock()
    for known in _KNOWN.values():
        known._lock = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
