"""A guest on the machine: what cannot be kept is done without, and that is said once."""

import contextlib
import errno
import fcntl
import json
import os
import shutil
import subprocess
import sys
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fastload import DataLoader
from fastload.storage import notice
from fastload.storage.index import FILE, open_index
from fastload.storage.lock import locked
from fastload.storage.store import Local
from tests.fastload import shardmaker as make
from tests.fastload.conftest import Open
from tests.fastload.made import REPOSITORY

NOBODY = 65534


def folder(root: Path) -> Path:
    return root / "train" / "S2L1C"


@pytest.fixture(autouse=True)
def said() -> Iterator[None]:
    """Each test hears again what was said before."""
    notice._said.clear()
    yield
    notice._said.clear()


def check_pixels(ds: Any) -> None:
    for i in range(len(ds)):
        assert make.same(ds.read("S2L1C", i), make.pixels(f"S2L1C {i}"))


# --- locks (C2, C3) ---


@pytest.mark.parametrize("number", [errno.ENOSYS, errno.ENOLCK, errno.EPERM, errno.EIO])
def test_c2_no_flock(
    tiny: Path, reopen: Open, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def flock(*_: Any) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", flock)
    check_pixels(reopen(tiny))
    assert (folder(tiny) / FILE).is_file()


def test_c3_a_lock_follows_no_link_and_empties_nothing(tiny: Path, reopen: Open) -> None:
    """The index is built all the same."""
    for name, text in (("precious", "kept"), ("fastload.lock", "kept, too")):
        (tiny / name).write_text(text)
    (folder(tiny) / "fastload.lock").symlink_to(tiny / "precious")
    check_pixels(reopen(tiny))
    assert (tiny / "precious").read_text() == "kept"
    (folder(tiny) / "fastload.lock").unlink()
    shutil.copy(tiny / "fastload.lock", folder(tiny))
    (folder(tiny) / FILE).unlink()
    check_pixels(reopen(tiny))
    assert (folder(tiny) / "fastload.lock").read_text() == "kept, too"


def test_c3_an_index_is_written_through_no_link(tiny: Path, reopen: Open) -> None:
    (tiny / "precious").write_text("kept")
    (folder(tiny) / FILE).symlink_to(tiny / "precious")
    with pytest.warns(UserWarning, match="is not a sound index"):
        check_pixels(reopen(tiny))
    assert (tiny / "precious").read_text() == "kept"


def test_c2_a_lock_that_is_held_is_waited_for(tmp_path: Path) -> None:
    path = tmp_path / "x.lock"
    holder = subprocess.Popen(
        [sys.executable, "-c", "import fcntl, sys, time; f = open(sys.argv[1], 'w'); "
         "fcntl.flock(f, fcntl.LOCK_EX); print('held', flush=True); time.sleep(0.5)", str(path)],
        stdout=subprocess.PIPE,
    )  # fmt: skip
    assert holder.stdout is not None
    holder.stdout.readline()
    start = time.monotonic()
    with locked(path) as held:
        assert held
        assert time.monotonic() - start > 0.2
    holder.wait(10)
    holder.stdout.close()


def test_c2_what_cannot_be_locked(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").touch()
    for path in (None, tmp_path / "file" / "x.lock", tmp_path / "folder"):
        with locked(path) as held:
            assert not held


# --- nothing can be written ---


def read_only(*folders: Path) -> tuple[str, ...]:
    """The command that runs another one with folders that nobody can write, be it root."""
    binds = " && ".join(f"mount -o bind {f} {f} && mount -o remount,bind,ro {f}" for f in folders)
    command = ("unshare", "--mount", "sh", "-c", f'{binds} && exec "$@"', "sh")
    works = subprocess.run([*command, "true"], capture_output=True, check=False).returncode == 0
    if os.geteuid() or not works:
        pytest.skip("needs a user who may mount")
    return command


LOADS = """
import json, os, pickle, pwd, sys, warnings

if sys.argv[2] == "nobody":  # has no entry among the users, and so no home
    def unknown(_):
        raise KeyError("getpwuid(): uid not found")
    pwd.getpwuid = unknown
    del os.environ["HOME"]
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    import fastload

    ds = fastload.SSL4EOS12(sys.argv[1], modalities=["S2L1C", "S1GRD"], progress=False)
    keys = [key for batch in fastload.DataLoader(ds, 2, num_workers=1) for key in batch["key"]]
    again = pickle.loads(pickle.dumps(ds))
    same = all(bool((again[i]["S2L1C"] == ds[i]["S2L1C"]).all()) for i in range(len(ds)))
print(json.dumps([fastload.__file__, keys, same, [str(w.message) for w in caught]]))
"""


@pytest.mark.slow
@pytest.mark.timeout(240)
@pytest.mark.parametrize("user", ["somebody", "nobody"])
def test_c2_nothing_writable(tmp_path: Path, user: str) -> None:
    """Read-only data and code, and a home that cannot be made, or none at all."""
    root, code = make.write(tmp_path / "data", ["S2L1C", "S1GRD"]), tmp_path / "code"
    for package in ("fastload", "kernels"):
        shutil.copytree(
            REPOSITORY / package, code / package, ignore=shutil.ignore_patterns("__pycache__")
        )
    (tmp_path / "cwd").mkdir()
    left_out = ("FASTLOAD_CACHE", "XDG_CACHE_HOME", "NUMBA_CACHE_DIR")
    done = subprocess.run(
        [*read_only(root, code), sys.executable, "-c", LOADS, str(root), user],
        cwd=tmp_path / "cwd",
        env={name: value for name, value in os.environ.items() if name not in left_out}
        | {"HOME": "/proc/none", "PYTHONPATH": f"{code}:{code / 'kernels'}"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    where, keys, same, said = json.loads(done.stdout.splitlines()[-1])
    assert Path(where).is_relative_to(code)
    assert keys == list(make.KEYS)
    assert same
    for what in ("the index of", "compiled code"):
        told = [text for text in said if text.startswith(what)]
        assert len(told) == 1, said
        assert "cannot be kept" in told[0]
    assert list((tmp_path / "cwd").iterdir()) == []


def test_c2_a_cache_that_cannot_be_made(
    tiny: Path, reopen: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`Path.home` raises where the user has no entry among the users."""

    def nobody() -> Path:
        raise RuntimeError("Could not determine home directory.")

    for name in ("FASTLOAD_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(Path, "home", nobody)
    folder(tiny).chmod(0o555)
    try:
        with pytest.warns(UserWarning, match="the index of .* cannot be kept") as caught:
            ds, _ = reopen(tiny), reopen(tiny)
        assert len([w for w in caught if "the index of" in str(w.message)]) == 1
        check_pixels(ds)
        loader = DataLoader(ds, 2)
        assert len(list(loader)) == 3
        assert loader.stats()["error_report"] == ""
    finally:
        folder(tiny).chmod(0o755)


def test_c2_the_error_report_is_kept_in_memory(
    tiny: Path, reopen: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    ds = reopen(tiny)
    os.truncate(make.shard(tiny, number=2), 1000)
    loader = DataLoader(ds, 6, on_error="replace", error_report="/dev/null/report.jsonl")
    with pytest.warns(UserWarning, match="error report .*report.jsonl is kept in") as caught:
        list(loader)
    assert len(caught) == 1
    lines = loader.stats()["unwritten"]
    assert [line["index"] for line in lines] == [3, 4, 5]
    assert all(line["shard"].endswith("shard_000002.tar") for line in lines)


@pytest.fixture
def full_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 2 MB that is filled up after `tiny` was put there."""
    place = tmp_path / "disk"
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(place)]
    if os.geteuid() or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("needs a user who may mount")
    try:
        make.write(place / "tiny", keys=make.KEYS[:2], per_shard=2)
        with contextlib.suppress(OSError), (place / "fill").open("wb", 0) as file:
            while True:
                file.write(bytes(4096))
        yield place / "tiny"
    finally:
        subprocess.run(["umount", str(place)], check=True)


def test_c2_disk_full(full_disk: Path, cache: Path, reopen: Open) -> None:
    with pytest.warns(UserWarning, match="is kept in"):
        ds = reopen(full_disk)
    check_pixels(ds)
    assert list((cache / "index").glob("*.index"))
    assert not list(folder(full_disk).glob("*.tmp"))


# --- left-overs (C10), other users (C9) ---


def test_c10_old_left_overs_are_swept(tiny: Path, reopen: Open) -> None:
    old, young = folder(tiny) / "fastload.4711-ab.tmp", folder(tiny) / "fastload.4712-cd.tmp"
    for path in (old, young):
        path.write_bytes(b"FASTLOAD half")
    os.utime(old, (0, time.time() - 2 * 24 * 3600))
    reopen(tiny)
    assert not old.exists()
    assert young.exists()


def test_c9_an_index_of_another_user_is_not_believed(tiny: Path, reopen: Open) -> None:
    if os.geteuid():
        pytest.skip("needs root, to give files away")
    reopen(tiny)
    path = folder(tiny) / FILE
    os.chown(path, NOBODY, NOBODY)
    with pytest.warns(UserWarning, match=f"it is of user {NOBODY}"):
        reopen(tiny)
    assert path.stat().st_uid == os.geteuid()
    os.chown(path, NOBODY, NOBODY)
    for shard in folder(tiny).glob("*.tar"):
        os.chown(shard, NOBODY, NOBODY)
    open_index(Local(folder(tiny)))
    before = path.stat().st_ino
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        reopen(tiny)  # now it is of the shards' owner
    assert path.stat().st_ino == before


def test_a13_same_size_and_time_other_content(tiny: Path, reopen: Open) -> None:
    first = make.shard(tiny)
    keys = make.KEYS[:3]
    make.write_tar(first, {k: make.sample(int(k), lon=1.0) for k in keys})
    assert reopen(tiny).lon[:3].tolist() == [1.0] * 3
    before = first.stat()
    make.write_tar(first, {k: make.sample(int(k), lon=2.0) for k in keys})
    os.utime(first, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert (first.stat().st_size, first.stat().st_mtime_ns) == (before.st_size, before.st_mtime_ns)
    assert reopen(tiny).lon[:3].tolist() == [2.0] * 3
