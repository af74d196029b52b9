"""What goes wrong between here and there, by a server that does it."""

import os
import pickle
import socket
import struct
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fastload import Remote
from fastload.storage.errors import DataError, MachineError, StorageError
from fastload.storage.remote.settings import settings
from fastload.storage.remote.throttle import SharedThrottle
from tests.conformance.store import GUARD, Asked, content, guarded
from tests.remote.conftest import Make
from tests.remote.servers import Faulty

pytestmark = pytest.mark.timeout(60)
DATA = content(5, 100_000)
FILES = {"a.tar": DATA, "fastload.files.json": b'["a.tar"]'}
QUICK: dict[str, Any] = {"backoff": 0.01, "timeout": 0.3, "request_timeout": 1.0, "patience": 3.0}


def first(times: int, do: Callable[..., object]) -> Callable[..., bool]:
    """Do something at the first requests for the shard; later ones are answered well."""
    seen = iter(range(10**6))

    def behave(server: Faulty, wire: socket.socket, path: str, headers: Any, _: int) -> bool:
        if path.startswith("/a.tar") and next(seen) < times:
            do(server, wire, path, headers)
            return True
        return False

    return behave


def close(server: Faulty, wire: socket.socket, path: str, headers: Any) -> None:
    wire.shutdown(socket.SHUT_RDWR)


def stall(server: Faulty, wire: socket.socket, path: str, headers: Any) -> None:
    server.stall(5)
    close(server, wire, path, headers)


def drip(server: Faulty, wire: socket.socket, path: str, headers: Any) -> None:
    """A byte now and then, which no time-out of a single read notices."""
    size = 100_000
    span = f"Content-Range: bytes 0-{size - 1}/{size}"
    wire.sendall(f"HTTP/1.1 206 X\r\nContent-Length: {size}\r\n{span}\r\n\r\n".encode())
    for _ in range(200):
        server.stall(0.05)
        wire.sendall(b"x")


def cut(server: Faulty, wire: socket.socket, path: str, headers: Any) -> None:
    server.serve(wire, path, headers, cut=10)


def unwell(server: Faulty, wire: socket.socket, path: str, headers: Any) -> None:
    server.say(wire, 503, b"busy")


def shifted(server: Faulty, wire: socket.socket, path: str, headers: Any) -> None:
    server.serve(wire, path, headers, span="bytes 7-1006/100000")


def unsaid(server: Faulty, wire: socket.socket, path: str, headers: Any) -> None:
    server.say(wire, 206, DATA[:1000])


def long(server: Faulty, wire: socket.socket, path: str, headers: Any) -> None:
    """More bytes than the range that it names."""
    server.say(wire, 206, DATA[:2000], "Content-Range: bytes 0-999/100000\r\n")


def garbage(server: Faulty, wire: socket.socket, path: str, headers: Any) -> None:
    wire.sendall(b"\0\1\2 what is this\r\n\r\n")
    wire.shutdown(socket.SHUT_RDWR)


FAULTS = [close, stall, drip, cut, unwell, shifted, unsaid, long, garbage]


@pytest.mark.parametrize("fault", FAULTS, ids=lambda f: f.__name__)
def test_what_passes_is_no_error(faulty: Make, fault: Any) -> None:
    store = Remote(faulty(FILES, first(1, fault)).url, **QUICK)
    memory, out = guarded(1000)
    store.fetch("a.tar", len(DATA), 0, out)
    assert out.tobytes() == DATA[:1000]
    assert (np.delete(memory, np.s_[16:1016]) == GUARD).all()


@pytest.mark.parametrize("fault", FAULTS, ids=lambda f: f.__name__)
def test_what_stays_is_an_error_of_the_storage(faulty: Make, fault: Any) -> None:
    """It names URL, place and reason, ends within its time, and delivers nothing elsewhere."""
    server = faulty(FILES, first(10**6, fault))
    store = Remote(f"{server.url}?sig=hush", **(QUICK | {"attempts": 2}))
    start = time.monotonic()
    many = Asked([("a.tar", 0, 1000), ("a.tar", 50_000, 1000)], {"a.tar": len(DATA)})
    failures = many.read(store)
    assert time.monotonic() - start < 8
    assert [type(failures[i]) for i in (0, 1)] == [StorageError, StorageError]
    assert (failures[0].shard, failures[0].offset) == (f"{server.url}/a.tar", 0)
    assert failures[1].offset == 50_000
    assert "hush" not in str(failures[0])
    assert "asked 2 times" in str(failures[0])


def test_retry_after_is_heeded(faulty: Make) -> None:
    waits: list[float] = []

    def busy(server: Faulty, wire: socket.socket, path: str, headers: Any) -> None:
        waits.append(time.monotonic())
        server.say(wire, 503, b"", "Retry-After: 1\r\n")

    store = Remote(faulty(FILES, first(1, busy)).url, **QUICK)
    assert store.bytes("a.tar", 3, 5) == DATA[3:8]
    assert time.monotonic() - waits[0] >= 1
    store = Remote(faulty(FILES, first(9, busy)).url, **(QUICK | {"patience": 0.5}))
    with pytest.raises(StorageError, match="503, which asks to wait 1 s; asked once"):
        store.bytes("a.tar", 3, 5)


def test_many_requests_fail_together_within_the_time_of_one(faulty: Make) -> None:
    """A server that is gone for good costs its patience once, not once a range."""
    server = faulty(FILES, first(10**6, stall))
    store = Remote(server.url, **(QUICK | {"patience": 1.0, "gap": 0, "concurrency": 4}))
    many = Asked([("a.tar", 100 * i, 50) for i in range(40)], {"a.tar": len(DATA)})
    start = time.monotonic()
    assert len(many.read(store)) == 40
    assert time.monotonic() - start < 10


def test_a_server_without_ranges_is_told_of(faulty: Make) -> None:
    def whole(server: Faulty, wire: socket.socket, path: str, headers: Any) -> None:
        server.say(wire, 200, DATA)

    store = Remote(faulty(FILES, first(9, whole)).url, **QUICK)
    with pytest.raises(StorageError, match="knows no byte ranges"):
        store.bytes("a.tar", 100, 5)
    assert store.bytes("a.tar", 0, len(DATA)) == DATA  # which is what was asked for


@pytest.mark.parametrize("listed", [True, False])
def test_a_file_that_changes_is_noticed(faulty: Make, listed: bool) -> None:
    """Same size, other content: never mixed, whether its version was listed or seen first."""
    server = faulty(dict(FILES))
    store = Remote(server.url, **QUICK)
    if listed:
        assert store.list(".tar")["a.tar"].size == len(DATA)
    else:
        store.fetch("a.tar", len(DATA), 0, np.empty(10, np.uint8))
    server.files["a.tar"] = DATA[::-1]
    for other in (store, pickle.loads(pickle.dumps(store))):
        with pytest.raises(DataError, match="has changed since") as caught:
            other.fetch("a.tar", len(DATA), 90, np.empty(10, np.uint8))
        assert not isinstance(caught.value, StorageError)
    failures = Asked([("a.tar", 5, 10), ("a.tar", 70_000, 9)], {"a.tar": len(DATA)}).read(store)
    assert sorted(failures) == [0, 1]


def test_no_access_is_a_sentence(faulty: Make) -> None:
    def denied(server: Faulty, wire: socket.socket, path: str, headers: Any) -> None:
        server.say(wire, 403)

    server = faulty(FILES, first(9, denied))
    with pytest.raises(StorageError, match=r"no access \(HTTP 403\)"):
        Remote(server.url, **QUICK).bytes("a.tar", 0, 5)
    assert server.asked_for("a.tar") == 1  # asking again would not help


def test_nobody_answers() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and nobody listens
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(StorageError, match="connection failed"):
            Remote(url, **QUICK).list()


def test_no_handles_are_the_machines_fault(faulty: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    import resource

    store = Remote(faulty(FILES).url)
    low, high = resource.getrlimit(resource.RLIMIT_NOFILE)
    with open(os.devnull) as file:
        lowest = file.fileno()
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (lowest, high))
        with pytest.raises(MachineError, match="no file handle"):
            Asked([("a.tar", 0, 5)], {"a.tar": len(DATA)}).read(store)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (low, high))
    assert store.bytes("a.tar", 0, 5) == DATA[:5]


def test_near_ranges_are_one_request_and_long_ones_several(faulty: Make) -> None:
    server = faulty(FILES)
    store = Remote(server.url, gap=1000, largest=40_000)
    near = [("a.tar", 10, 100), ("a.tar", 1000, 50), ("a.tar", 1020, 500), ("a.tar", 10, 100)]
    many = Asked([*near, ("a.tar", 5000, 10)], {"a.tar": len(DATA)})
    assert many.read(store) == {}
    assert server.asked_for("a.tar") == 2
    for i, (_, offset, size) in enumerate(near):
        assert many.got(i) == DATA[offset : offset + size]
    whole = Asked([("a.tar", 0, len(DATA))], {"a.tar": len(DATA)})
    assert whole.read(store) == {}
    assert whole.got(0) == DATA
    assert server.asked_for("a.tar") == 2 + 3


def test_requests_are_in_flight_together_and_no_more_than_asked(faulty: Make) -> None:
    now, most, lock = [0], [0], threading.Lock()

    def slow(server: Faulty, wire: Any, path: str, headers: Any, _: int) -> bool:
        with lock:
            now[0] += 1
            most[0] = max(most[0], now[0])
        server.stall(0.05)
        with lock:
            now[0] -= 1
        return False

    store = Remote(faulty(FILES, slow).url, gap=0, concurrency=6)
    many = Asked([("a.tar", 1000 * i, 10) for i in range(30)], {"a.tar": len(DATA)})
    assert many.read(store) == {}
    assert 3 <= most[0] <= 6


def test_connections_are_kept(faulty: Make) -> None:
    server = faulty(FILES)
    store = Remote(server.url)
    for i in range(20):
        assert store.bytes("a.tar", i, 5) == DATA[i : i + 5]
    assert server.opened == 1
    store.close()
    assert store.bytes("a.tar", 1, 5) == DATA[1:6]
    assert server.opened == 2


def test_a_throttle_bounds_bytes_and_requests(faulty: Make) -> None:
    url = faulty(FILES).url
    start = time.monotonic()
    store = Remote(url, bytes_per_s=100_000)
    for i in range(4):
        store.bytes("a.tar", i, 10_000)
    assert time.monotonic() - start >= 0.3
    start, store = time.monotonic(), Remote(url, requests_per_s=20, gap=0)
    many = Asked([("a.tar", 1000 * i, 10) for i in range(9)], {"a.tar": len(DATA)})
    assert many.read(store) == {}
    assert time.monotonic() - start >= 0.4


def test_a_file_shares_a_throttle(tmp_path: Path) -> None:
    """Two throttles, as two processes have them; what an earlier boot left is not waited for."""
    path = tmp_path / "turns"
    path.write_bytes(struct.pack("<d", time.monotonic() + 10**6))
    both = [SharedThrottle(0, 50, str(path)) for _ in range(2)]
    start = time.monotonic()
    for i in range(10):
        both[i % 2].pass_(1)
    assert 0.18 <= time.monotonic() - start < 10


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_a_forked_child_reads_over_connections_of_its_own(faulty: Make) -> None:
    server = faulty(FILES)
    store = Remote(server.url)
    assert store.bytes("a.tar", 0, 5) == DATA[:5]
    child = os.fork()
    if not child:
        many = Asked([("a.tar", 100 * i, 50) for i in range(8)], {"a.tar": len(DATA)})
        sound = many.read(store) == {} and many.got(7) == DATA[700:750]
        os._exit(0 if sound else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert store.bytes("a.tar", 7, 5) == DATA[7:12]


def test_secrets_are_never_shown(faulty: Make) -> None:
    server = faulty(FILES)
    host = server.url.removeprefix("http://")
    store = Remote(f"http://user:pass%20word@{host}?sig=hush", headers={"X-Key": "mine"})
    assert store.bytes("a.tar", 0, 5) == DATA[:5]
    path, headers = server.requests[-1]
    assert path == "/a.tar?sig=hush"
    assert headers["x-key"] == "mine"
    assert headers["authorization"] == "Basic dXNlcjpwYXNzIHdvcmQ="
    with pytest.raises(DataError) as caught:
        store.bytes("gone.tar", 0, 5)
    for text in (str(caught.value), repr(caught.value), store.place, repr(store)):
        assert not any(secret in text for secret in ("user", "pass", "hush", "mine"))


def test_secrets_are_not_sent_to_other_servers(faulty: Make) -> None:
    other = faulty(FILES)

    def move(server: Faulty, wire: socket.socket, path: str, headers: Any) -> None:
        server.say(wire, 302, b"", f"Location: {other.url}/a.tar?signed=1\r\n")

    server = faulty(FILES, first(1, move))
    store = Remote(server.url, headers={"Authorization": "Bearer mine"})
    for i in range(3):
        assert store.bytes("a.tar", i, 5) == DATA[i : i + 5]
    assert server.asked_for("a.tar") == 1  # the way is remembered
    assert server.requests[-1][1]["authorization"] == "Bearer mine"
    assert not any("authorization" in headers for _, headers in other.requests)
    other.behave = first(10**6, lambda s, wire, *_: s.say(wire, 403))  # it expired
    assert store.bytes("a.tar", 9, 5) == DATA[9:14]
    assert server.asked_for("a.tar") == 2


def test_settings_are_checked_and_taken_from_the_environment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with pytest.raises(ValueError, match="unknown setting 'tiemout'"):
        Remote("http://server/x", tiemout=3)
    with pytest.raises(ValueError, match="timeout must be above 0"):
        Remote("http://server/x", timeout=0)
    monkeypatch.setenv("FASTLOAD_REMOTE_TIMEOUT", "7")
    monkeypatch.setenv("FASTLOAD_BLOCK_CACHE", "/somewhere")
    assert (settings({}).timeout, settings({}).cache) == (7.0, "/somewhere")
    assert settings({"timeout": 8}).timeout == 8
    monkeypatch.setenv("FASTLOAD_REMOTE_CONCURRENCY", "many")
    with pytest.raises(ValueError, match="FASTLOAD_REMOTE_CONCURRENCY must be a number"):
        settings({})
