"""The block cache: shared, bounded, and never believed unchecked."""

import multiprocessing
import os
import signal
import time
from pathlib import Path

import numpy as np
import pytest

from fastload import Remote
from fastload.storage.errors import DataError
from fastload.storage.remote.blocks import Blocks
from tests.conformance.store import content
from tests.remote.conftest import Make

pytestmark = pytest.mark.timeout(60)
DATA = content(5, 100_000)


def block(seed: int, size: int = 1000) -> np.ndarray:
    return np.frombuffer(content(seed, size), np.uint8)


def kept(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def size_of(folder: Path) -> int:
    return sum(path.stat().st_size for path in kept(folder))


def test_what_was_read_is_not_asked_for_again(faulty: Make, tmp_path: Path) -> None:
    server = faulty({"a.tar": DATA, "fastload.files.json": b'["a.tar"]'})
    for _ in range(2):  # in another process, as far as the store knows
        store = Remote(server.url, cache=tmp_path)
        store.list(".tar")
        before = server.asked_for("a.tar")
        for _ in range(2):
            out = np.empty(5000, np.uint8)
            store.fetch("a.tar", len(DATA), 100, out)
            assert out.tobytes() == DATA[100:5100]
    assert server.asked_for("a.tar") == before
    assert store.counts()["hits"] == 2
    server.files["a.tar"] = DATA[::-1]
    store = Remote(server.url, cache=tmp_path)
    store.list(".tar")
    store.fetch("a.tar", len(DATA), 100, out)
    assert out.tobytes() == DATA[::-1][100:5100]  # a new version is another block


def test_nothing_is_written_unasked(faulty: Make, tmp_path: Path, cache: Path) -> None:
    server = faulty({"a.tar": DATA, "fastload.files.json": b'["a.tar"]'})
    store = Remote(server.url)
    store.list(".tar")
    store.fetch("a.tar", len(DATA), 0, np.empty(10, np.uint8))
    assert kept(cache) == kept(tmp_path) == []


@pytest.mark.parametrize("damage", ["flip", "cut", "longer", "other", "empty", "link"])
def test_a_damaged_block_is_never_served(tmp_path: Path, damage: str) -> None:
    blocks, out = Blocks(str(tmp_path / "c"), 10**7), np.zeros(1000, np.uint8)
    blocks.put("one", block(1))
    (path,) = kept(tmp_path)
    data = path.read_bytes()
    if damage == "flip":
        path.write_bytes(data[:500] + bytes([data[500] ^ 1]) + data[501:])
    elif damage == "cut":
        path.write_bytes(data[:-1])
    elif damage == "longer":
        path.write_bytes(data + b"x")
    elif damage == "empty":
        path.write_bytes(b"")
    elif damage == "link":
        (tmp_path / "target").write_bytes(data)
        path.unlink()
        path.symlink_to(tmp_path / "target")
    else:  # a block of another key, whole in itself
        blocks.put("two", block(2))
        (second,) = [p for p in kept(tmp_path / "c") if p != path]
        path.write_bytes(second.read_bytes())
    assert not blocks.get("one", out)
    blocks.put("one", block(1))
    assert blocks.get("one", out)
    assert out.tobytes() == block(1).tobytes()


def test_every_flipped_bit_is_noticed(tmp_path: Path) -> None:
    blocks, out = Blocks(str(tmp_path), 10**7), np.zeros(20, np.uint8)
    blocks.put("one", block(1, 20))
    (path,) = kept(tmp_path)
    data = path.read_bytes()
    unused = range(8 + 32 + 8 + 4, 64)
    for at in set(range(len(data))) - set(unused):
        for bit in (1, 128):
            path.write_bytes(data[:at] + bytes([data[at] ^ bit]) + data[at + 1 :])
            assert not blocks.get("one", out), at


def test_what_was_used_longest_ago_goes_first(tmp_path: Path) -> None:
    blocks, out = Blocks(str(tmp_path), 100_000), np.zeros(1000, np.uint8)
    for i in range(60):
        blocks.put(str(i), block(i))
    for path in kept(tmp_path):
        os.utime(path, (time.time() - 1000, time.time() - 1000))
    assert blocks.get("3", out)  # which marks it as used
    for i in range(60, 130):
        blocks.put(str(i), block(i))
    assert size_of(tmp_path) <= 100_000
    assert blocks.get("3", out)
    assert blocks.get("129", out)
    assert not blocks.get("4", out)


def write(folder: Path, rounds: int) -> None:
    """Read blocks, and write those that are not there; ends with 1 where a wrong one is served."""
    blocks, out, served = Blocks(str(folder), 400_000), np.zeros(5000, np.uint8), 0
    for _ in range(rounds):
        for i in range(120):
            right = block(i, 5000)
            if not blocks.get(str(i), out):
                blocks.put(str(i), right)
                continue
            served += 1
            if (out != right).any():
                os._exit(1)
    os._exit(0 if served else 2)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_processes_share_it_and_any_may_be_killed(tmp_path: Path) -> None:
    """Several write, read and evict at once, some are killed at any moment: what is served is
    right, the bound holds but for what each may write between two looks, and leftovers go."""
    fork = multiprocessing.get_context("fork")
    sound = [fork.Process(target=write, args=(tmp_path, 12)) for _ in range(2)]
    for process in sound:
        process.start()
    for moment in (0.01, 0.02, 0.03, 0.05, 0.08):
        doomed = fork.Process(target=write, args=(tmp_path, 10**6))
        doomed.start()
        time.sleep(moment)
        os.kill(doomed.pid or 0, signal.SIGKILL)
        doomed.join()
    for process in sound:
        process.join(50)
        assert process.exitcode == 0
    assert size_of(tmp_path) <= 400_000 * (1 + 7 / 32)
    old = tmp_path / "ab" / "left.0123.tmp"
    old.parent.mkdir(exist_ok=True)
    old.write_bytes(b"x")
    os.utime(old, (1, 1))
    Blocks(str(tmp_path), 400_000).sweep()
    assert not old.exists()


@pytest.mark.filterwarnings("error:.*block cache")
def test_a_full_disk_is_done_without(faulty: Make, tmp_path: Path) -> None:
    """By a limit on the size of files, at which each write ends in the middle or fails."""
    import resource

    server = faulty({"a.tar": DATA, "fastload.files.json": b'["a.tar"]'})
    store = Remote(server.url, cache=tmp_path)
    store.list(".tar")
    out = np.empty(5000, np.uint8)
    before, handler = resource.getrlimit(resource.RLIMIT_FSIZE), signal.getsignal(signal.SIGXFSZ)
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
        with pytest.warns(UserWarning, match="block cache cannot be written"):
            store.fetch("a.tar", len(DATA), 0, out)
        for offset in (200, 300):  # without saying so again, which would be an error
            store.fetch("a.tar", len(DATA), offset, out)
            assert out.tobytes() == DATA[offset : offset + 5000]
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
    assert kept(tmp_path) == []


def test_a_folder_that_cannot_be_made_is_done_without(faulty: Make, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    server = faulty({"a.tar": DATA, "fastload.files.json": b'["a.tar"]'})
    store = Remote(server.url, cache=tmp_path / "file" / "below")
    store.list(".tar")
    with pytest.warns(UserWarning, match="block cache cannot be written"):
        store.fetch("a.tar", len(DATA), 0, np.empty(10, np.uint8))
    with pytest.raises(DataError):
        store.bytes("gone.tar", 0, 1)
