"""Trouble of the machine and of the storage: handles, memory, disks, files that change."""

import errno
import io
import json
import os
import random
import resource
import shutil
import subprocess
import tarfile
import threading
import time
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fastload.storage.store
from fastload import SSL4EOS12, DataError, DataLoader
from fastload.storage.errors import (
    MachineError,
    StorageError,
    is_scarce,
    is_storage,
    scarce,
    unreadable,
)
from fastload.storage.handles import HANDLES, budget
from tests.fastload import shardmaker
from tests.fastload.faulty import ALWAYS, Faults, child, descriptors, shim, tell

pytestmark = pytest.mark.timeout(120)

MODALITIES = ("S2L1C", "S2L2A", "S2RGB", "S1GRD", "NDVI", "LULC", "DEM")


def opened(root: str, modalities: Sequence[str] = ("S2L1C",)) -> SSL4EOS12:
    return SSL4EOS12(root, modalities=modalities, progress=False)


def loader(data: SSL4EOS12, engine: Any, batch: int = 2, **options: Any) -> DataLoader:
    return DataLoader(data, batch, engine=engine, **{"num_workers": 2} | options)


# --- handles ---


def many(root: Path, modalities: Sequence[str], shards: int) -> Path:
    """Shards of one tiny sample each, which differ in their keys alone."""
    content = shardmaker.zipped(shardmaker.group(shardmaker.pixels(1, (1, 1, 8, 8))))
    for modality in modalities:
        folder = shardmaker.shard(root, modality).parent
        folder.mkdir(parents=True)
        for number in range(shards):
            info = tarfile.TarInfo(f"{number:07d}.zarr.zip")
            info.size = len(content)
            with tarfile.open(folder / f"shard_{number:06d}.tar", "w") as tar:
                tar.addfile(info, io.BytesIO(content))
    return root


def reopening(root: str, modalities: list[str], limit: int, turns: int, engines: list[Any]) -> None:
    """What a notebook does that runs a cell again and again: the same names, bound anew."""
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
    assert budget() == limit // 2
    open_files, most, failed, replaced = [], 0, 0, 0
    loaders: dict[int, DataLoader] = {}
    iterators: dict[int, Any] = {}
    for turn in range(turns):
        for i, engine in enumerate(engines):
            data = opened(root, modalities)
            loaders[i] = loader(
                data, engine, 16, shuffle=True, seed=turn, on_error="replace",
                error_report=Path(root) / "report.jsonl",
            )  # fmt: skip
            iterators[i] = iter(loaders[i])
        steps = len(loaders[0])
        # Now and then whole epochs, else a part; the last two are always left in the middle.
        ends = [steps, steps, steps // 2, steps // 2] if turn % 20 == 0 else [4, 4, 3, 3]
        for step in range(max(ends)):
            for i, end in enumerate(ends):
                if step < end:
                    next(iterators[i])
            held = HANDLES.held()
            most = max(most, descriptors(".tar"), held)
        open_files.append(descriptors())
        failed += sum(loaders[i].stats()["errors"] for i in loaders)
        replaced += sum(loaders[i].stats()["replaced"] for i in loaders)
    tell({"open": open_files, "most": most, "errors": failed, "replaced": replaced})


def check_reopening(
    tmp_path: Path, modalities: Sequence[str], shards: int, limit: int, turns: int
) -> None:
    root = many(tmp_path, modalities, shards)
    engines = ["threads", "dali", "threads", "dali"]
    if not installed("dali"):
        engines = ["threads"] * 4
    found = child(reopening, root, list(modalities), limit, turns, engines, limit=500).result()
    assert (found["errors"], found["replaced"]) == (0, 0)
    assert found["most"] <= limit // 2
    assert max(found["open"]) < limit
    # Flat: what is open is what the budget allows and what the process had, from early on.
    early, late = found["open"][1 : 1 + turns // 5], found["open"][-(turns // 5) :]
    assert max(late) <= max(early) + 4, found["open"]


def installed(engine: str) -> bool:
    if engine != "dali":
        return True
    try:
        import nvidia.dali  # noqa: F401
    except ImportError:
        return False
    return True


def test_handles_stay_within_a_budget(tmp_path: Path) -> None:
    check_reopening(tmp_path, MODALITIES[:3], shards=60, limit=128, turns=10)


@pytest.mark.long
@pytest.mark.timeout(600)
def test_handles_of_a_whole_archive_stay_within_a_budget(tmp_path: Path) -> None:
    """Seven modalities of 477 shards, four loaders at once, opened anew 50 times."""
    check_reopening(tmp_path, MODALITIES, shards=477, limit=256, turns=50)


def fill() -> list[int]:
    """Take all handles that the process may still have."""
    taken = []
    while True:
        try:
            taken.append(os.open("/dev/null", os.O_RDONLY))
        except OSError:
            return taken


def without_handles(root: str, engine: Any, workers: int) -> None:
    """No handle is left in the process: an error of the machine, and only while that lasts."""
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, 256))
    options = {"num_workers": workers, "on_error": "replace", "error_report": f"{root}/report"}
    expected = [b["key"] for b in loader(opened(root), engine, **options)]  # warm, and gone again
    used = loader(opened(root), engine, **options)
    assert [b["key"] for b in used] == expected
    assert HANDLES.held() == 2
    fresh = loader(opened(root), engine, **options)
    taken = fill()
    # What idles is given up for what is wanted.
    assert [b["key"] for b in fresh] == expected
    del used, fresh
    assert HANDLES.held() == 0
    for _ in range(8):
        os.close(taken.pop())
    poor = opened(root)
    loaders = [loader(poor, engine, **options | {"on_error": how}) for how in ("raise", "replace")]
    taken += fill()
    errors = []
    for some in loaders:
        try:
            list(some)
        except Exception as error:
            errors.append([type(error).__name__, isinstance(error, OSError), str(error)])
    try:
        poor[0]
    except MachineError as error:
        errors.append(["item", True, str(error)])
    for fd in taken:
        os.close(fd)
    again = [[b["key"] for b in some] for some in loaders]
    assert again == [expected, expected]
    stats = [some.stats() for some in loaders]
    tell([errors, [[s["errors"], s["replaced"]] for s in stats], Path(root, "report").exists()])


ENGINES = [
    pytest.param("threads", 0, marks=pytest.mark.long), ("threads", 2), ("dali", 2),
]  # fmt: skip


@pytest.mark.parametrize(("engine", "workers"), ENGINES)
def test_no_handle_left_is_not_the_datas_fault(tiny: Path, engine: Any, workers: int) -> None:
    errors, counts, reported = child(without_handles, tiny, engine, workers).result()
    assert [kind for kind, _, _ in errors] == ["MachineError", "MachineError", "item"]
    for _, is_os_error, text in errors:
        assert is_os_error
        assert "no file handle is left (see `ulimit -n`)" in text
        assert ".tar" in text
    assert counts == [[0, 0], [0, 0]]
    assert not reported


@pytest.mark.parametrize(
    ("number", "kind"),
    [
        (errno.EMFILE, MachineError),
        (errno.ENFILE, MachineError),
        (errno.ENOMEM, MachineError),
        (errno.ENOBUFS, MachineError),
        (errno.EIO, StorageError),
        (errno.ESTALE, StorageError),
        (errno.ETIMEDOUT, StorageError),
        (errno.ECONNRESET, StorageError),
        (errno.EREMOTEIO, StorageError),
        (errno.ENOENT, DataError),
        (errno.EACCES, DataError),
        (errno.EISDIR, DataError),
    ],
)
def test_kinds_of_errors(number: int, kind: type[Exception]) -> None:
    error = OSError(number, os.strerror(number))
    assert is_scarce(error) == (kind is MachineError)
    assert is_storage(error) == (kind is StorageError)
    named = scarce(error, "a.tar") if is_scarce(error) else unreadable(error, "a.tar", 7)
    assert type(named) is kind
    assert "a.tar" in str(named)
    if isinstance(named, MachineError):
        assert named.errno == number
        assert not isinstance(named, DataError)
        assert ("ulimit" in str(named)) == (number in (errno.EMFILE, errno.ENFILE))
    else:
        assert os.strerror(number) in str(named)


# --- reads that fail ---


def failing(
    root: str, engine: Any, workers: int, on_error: Any, number: int, times: int, quick: bool
) -> None:
    """An epoch while the second shard's reads fail."""
    if quick:
        fastload.storage.store.RETRIES_S = (0.01, 0.02, 0.04)
    faults, report = Faults(), Path(root) / "report.jsonl"
    some = loader(opened(root), engine, num_workers=workers, on_error=on_error, error_report=report)
    expected = [b["key"] for b in some]
    faults.fail("shard_000002", number, times)
    seen, kind, shard, text = [], "", "", ""
    try:
        for batch in some:
            seen.append(batch["key"])
    except Exception as error:
        kind, text, shard = type(error).__name__, str(error), getattr(error, "shard", "")
    met = faults.met
    faults.stop()
    stats = some.stats()
    assert [b["key"] for b in some] == expected  # all is well again
    lines = [json.loads(x) for x in report.read_text().splitlines()] if report.exists() else []
    tell({
        "same": seen == expected, "keys": seen, "kind": kind, "shard": shard, "text": text,
        "met": met, "lines": lines,
        "counts": [stats[name] for name in ("errors", "storage_errors", "replaced")],
    })  # fmt: skip


def fail(tiny: Path, *arguments: Any) -> dict[str, Any]:
    found: dict[str, Any] = child(failing, tiny, *arguments, LD_PRELOAD=shim()).result()
    return found


@pytest.mark.parametrize(
    ("engine", "workers", "number"),
    [("threads", 0, errno.ESTALE), ("threads", 2, errno.EIO), ("dali", 2, errno.EIO)],
)
def test_a_failing_disk_raises(tiny: Path, engine: Any, workers: int, number: int) -> None:
    found = fail(tiny, engine, workers, "raise", number, ALWAYS, True)
    assert found["kind"] == "StorageError", found
    assert found["shard"] == str(shardmaker.shard(tiny, number=2))
    for part in (found["shard"], os.strerror(number), ".zarr.zip/bands/"):
        assert part in found["text"]
    assert found["counts"][2] == 0
    assert found["counts"][0] == found["counts"][1] == len(found["lines"]) > 0
    assert all(x["kind"] == "storage" and x["replaced_by"] is None for x in found["lines"])


@pytest.mark.parametrize(("engine", "workers"), ENGINES)
def test_samples_of_a_failing_disk_are_replaced(tiny: Path, engine: Any, workers: int) -> None:
    found = fail(tiny, engine, workers, "replace", errno.EIO, ALWAYS, True)
    assert found["kind"] == ""
    keys = [k for batch in found["keys"] for k in batch]
    assert keys[:3] == list(shardmaker.KEYS[:3])
    assert set(keys) == set(shardmaker.KEYS[:3])
    assert found["counts"] == [3, 3, 3]
    assert sorted(x["index"] for x in found["lines"]) == [3, 4, 5]
    for line in found["lines"]:
        assert line["kind"] == "storage"
        assert line["shard"] == str(shardmaker.shard(tiny, number=2))
        assert os.strerror(errno.EIO) in line["reason"]
        assert line["replaced_by"] in (0, 1, 2)


@pytest.mark.parametrize(
    ("engine", "on_error", "times"), [("threads", "raise", 1), ("dali", "replace", 2)]
)
def test_a_fault_that_goes_away_is_none(tiny: Path, engine: Any, on_error: str, times: int) -> None:
    found = fail(tiny, engine, 2, on_error, errno.EIO, times, False)
    assert found["met"] == times
    assert found["same"]
    assert found["kind"] == ""
    assert found["counts"] == [0, 0, 0]
    assert not found["lines"]


@pytest.mark.parametrize(
    ("engine", "on_error", "number"),
    [("threads", "replace", errno.ENOMEM), ("dali", "raise", errno.ENOBUFS)],
)
def test_no_memory_is_not_the_datas_fault(
    tiny: Path, engine: Any, on_error: str, number: int
) -> None:
    found = fail(tiny, engine, 2, on_error, number, ALWAYS, True)
    assert found["kind"] == "MachineError"
    assert "no memory is left" in found["text"]
    assert found["counts"] == [0, 0, 0]
    assert not found["lines"]


def on_a_broken_device(root: str, image: str, engine: Any) -> None:
    """The file system's device ends before the file does: a true EIO of the block layer."""
    fastload.storage.store.RETRIES_S = (0.01, 0.02)
    import fcntl
    import struct

    def first_block(path: Path) -> int:
        with path.open("rb") as file:
            found = fcntl.ioctl(file, 1, struct.pack("i", 0))  # FIBMAP
        return int(struct.unpack("i", found)[0])

    data = opened(root)
    shards = {shardmaker.shard(Path(root), number=n): n for n in (1, 2)}
    victim = max(shards, key=first_block)
    report = Path(image).parent / "report.jsonl"
    size = os.statvfs(root).f_bsize
    os.truncate(image, (first_block(victim) + 1) * size)
    with victim.open("rb") as file:
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    with pytest.raises(DataError) as caught:
        list(loader(data, engine, error_report=report))
    assert caught.value.shard == str(victim)
    kind, reason = type(caught.value).__name__, str(caught.value)
    some = loader(data, engine, on_error="replace", error_report=report)
    list(some)
    stats = some.stats()
    tell([kind, reason, [stats[x] for x in ("errors", "storage_errors", "replaced")]])


def test_a_broken_block_device(tiny: Path, tmp_path: Path, engine: Any) -> None:
    """A file system on a loop device, whose image is cut under it; in a mount namespace."""
    needed = ("unshare", "mount", "umount", "mkfs.ext4", "losetup")
    if os.geteuid() or not all(map(shutil.which, needed)) or not Path("/dev/loop-control").exists():
        pytest.skip("needs root, loop devices and ext4")
    image, mounted = tmp_path / "image", tmp_path / "mounted"
    mounted.mkdir()
    with image.open("wb") as file:
        file.truncate(2**24)
    script = (
        f"mkfs.ext4 -q -F {image} && mount -o loop {image} {mounted} && "
        f"cp -r {tiny}/train {mounted}/ && umount {mounted} && "
        f'mount -o loop,ro {image} {mounted} || exit 99; "$@"'
    )
    ended = child(
        on_a_broken_device,
        mounted,
        image,
        engine,
        before=("unshare", "-m", "sh", "-c", script, "-"),
    )
    if ended.code == 99:
        pytest.skip(f"cannot mount: {ended.err}")
    kind, reason, counts = ended.result()
    assert kind == "StorageError", (kind, reason)
    assert os.strerror(errno.EIO) in reason
    assert counts[0] == counts[1] == counts[2] > 0


# --- files that change under a run ---

TARGETS = ("halved", "emptied", "copied over, same size", "copied over, other size", "renamed over")


def change(kind: str, shard: Path, other: Path) -> None:
    if kind == "halved":
        os.truncate(shard, shard.stat().st_size // 2)
    elif kind == "emptied":
        os.truncate(shard, 0)
    elif kind == "renamed over":
        shutil.copyfile(other, shard.with_suffix(".new"))
        shard.with_suffix(".new").replace(shard)
    else:
        subprocess.run(["cp", str(other), str(shard)], check=True)


def changing(root: str, engine: Any, rounds: int, seed: int) -> None:
    """Rounds of loading over and over, in each of which a shard is changed at some moment."""
    warnings.simplefilter("ignore")
    rng, folder = random.Random(seed), Path(root)
    shard, report = shardmaker.shard(folder, number=2), folder / "report.jsonl"
    keep, same, larger = (folder / name for name in ("keep", "same", "larger"))
    outcomes: dict[str, dict[str, int]] = {}
    truth = {
        b["key"][0]: b["S2L1C"].numpy().tobytes()
        for b in loader(opened(root), engine, 1, num_workers=0)
    }

    def one(kind: str, on_error: Any) -> str:
        done = threading.Event()

        def meddle() -> None:
            time.sleep(rng.random() ** 2 * 0.1)
            change(kind, shard, larger if "other" in kind else same)
            done.set()

        some = loader(
            opened(root), engine, on_error=on_error, error_report=report, shuffle=True, seed=seed
        )
        meddler = threading.Thread(target=meddle)
        meddler.start()
        try:
            after = 0
            while after < 2:  # whole epochs after the change
                after += done.is_set()
                for batch in some:
                    for k, pixels in zip(batch["key"], batch["S2L1C"], strict=True):
                        assert pixels.numpy().tobytes() == truth[k], "wrong pixels"
        except DataError as error:
            return type(error).__name__ if error.shard == str(shard) else str(error)
        finally:
            meddler.join()
            shutil.copy2(keep, shard.with_suffix(".back"))
            shard.with_suffix(".back").replace(shard)
        stats = some.stats()
        assert stats["errors"] == stats["replaced"]
        assert not stats["storage_errors"]
        return "replaced" if stats["errors"] else "untouched"

    for kind in TARGETS:
        for on_error in ("raise", "replace"):
            for _ in range(rounds):
                found = outcomes.setdefault(f"{kind}, {on_error}", {})
                outcome = one(kind, on_error)
                found[outcome] = found.get(outcome, 0) + 1
    tell(outcomes)


def check_changes(root: Path, engine: Any, rounds: int, limit: int) -> None:
    shardmaker.write(root, keys=[f"{i:07d}" for i in range(9)])
    shard = shardmaker.shard(root, number=2)
    shutil.copy2(shard, root / "keep")
    content = bytearray(shard.read_bytes())
    rng = np.random.default_rng(1)
    noise = rng.integers(0, 256, len(content), np.uint8).tobytes()
    (root / "same").write_bytes(noise)
    (root / "larger").write_bytes(noise + bytes(5120))
    found = child(changing, root, engine, rounds, 3, limit=limit).result()
    for kind in TARGETS:
        raised, replaced = found[f"{kind}, raise"], found[f"{kind}, replace"]
        if kind == "renamed over":  # the file that is open stays whole
            continue
        assert raised == {"DataError": rounds}, found
        assert replaced == {"replaced": rounds}, found


def test_shards_that_change_under_a_run(tmp_path: Path, engine: Any) -> None:
    check_changes(tmp_path, engine, rounds=3, limit=100)


@pytest.mark.long
@pytest.mark.timeout(500)
def test_shards_that_change_at_many_moments(tmp_path: Path, engine: Any) -> None:
    check_changes(tmp_path, engine, rounds=20, limit=450)
