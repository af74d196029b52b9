"""Packing by many, on the way to a full disk, and killed at any moment: the same bytes."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fastload import open as open_any
from fastload.cli import main
from fastload.pack import Options, pack
from tests.conformance.packing import bytes_of, reopened
from tests.fastload import made, packable

pytestmark = pytest.mark.timeout(280)
FORK = get_context("fork")
REPOSITORY = Path(__file__).parents[2]
SIZE = (2, 6, 64, 64)
KILLS = 4
MANY = 36


def many() -> Any:
    """Samples that take a while."""
    return packable.dataset(packable.source(MANY, pixels=packable.pixels(MANY, shape=SIZE)))


def slowly(root: Path) -> None:
    """What is killed: twelve shards, by two threads."""
    asked = Options(codec="zstd", level=7, samples_per_shard=3)
    pack(many(), root, asked, executor="threads", workers=2, say=str)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """What an uninterrupted run writes."""
    root = tmp_path_factory.mktemp("whole")
    slowly(root)
    return dict(bytes_of(root))


def shards(root: Path) -> dict[str, bytes]:
    return {name: data for name, data in bytes_of(root).items() if name.endswith(".tar")}


def test_killed_at_any_moment_it_goes_on(tmp_path: Path, whole: dict[str, bytes]) -> None:
    """kill -9, again and again: at once, or some time after the next shard is complete. What is
    there is whole at each time, and in the end every byte is that of a run that nobody killed."""
    rng, before = random.Random(4), 0
    for _ in range(6):
        child = FORK.Process(target=slowly, args=(tmp_path,))
        child.start()
        more = before + rng.randrange(3)
        until = time.monotonic() + 60
        while len(shards(tmp_path)) < min(more, 12) and time.monotonic() < until:
            time.sleep(0.002)
        time.sleep(rng.uniform(0, 0.1))
        assert child.pid is not None
        os.kill(child.pid, signal.SIGKILL)
        child.join()
        there = shards(tmp_path)
        assert there.items() <= whole.items()
        before = len(there)
    assert before > 0
    slowly(tmp_path)
    assert bytes_of(tmp_path) == whole
    assert not list(tmp_path.rglob("*.part"))


def test_a_journal_that_was_cut_is_no_trouble(tmp_path: Path, whole: dict[str, bytes]) -> None:
    slowly(tmp_path)
    journal = tmp_path / "train/fastload.pack.shards.jsonl"
    lines = journal.read_bytes()
    for content in (lines[: len(lines) // 2], lines + b'{"shard": 999, ', b"\x00\n[]\n7\n", b""):
        journal.write_bytes(content)
        slowly(tmp_path)
        assert bytes_of(tmp_path) == whole


COMMAND = ("--modality", "S2L1C", "S1GRD", "--samples-per-shard", "2", "--quiet")


def command(root: Path, *more: str) -> list[str]:
    return [sys.executable, "-m", "fastload", "pack", str(made.root()), str(root), *COMMAND, *more]


@pytest.mark.slow
def test_processes_write_what_threads_write(tmp_path: Path) -> None:
    for executor, workers in (("processes", "1"), ("threads", "2")):
        line = ["pack", str(made.root()), str(tmp_path / executor), *COMMAND]
        assert main([*line, "--executor", executor, "--workers", workers]) == 0
    assert bytes_of(tmp_path / "processes") == bytes_of(tmp_path / "threads")
    assert len(shards(tmp_path / "threads")) == 22


@pytest.mark.long
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("executor", ["processes", "threads"])
def test_the_command_is_killed_at_random_moments(tmp_path: Path, executor: str) -> None:
    """As a user's job is; workers that lost their parent end, too."""
    assert run(tmp_path / "whole", *COMMAND) == 0
    wanted, rng = bytes_of(tmp_path / "whole"), random.Random(1)
    root, line = tmp_path / "killed", command(tmp_path / "killed", "--executor", executor)
    for number in range(KILLS):
        until = len(shards(root)) + rng.randrange(1, 4)
        with subprocess.Popen(line, cwd=REPOSITORY) as child:
            while len(shards(root)) < until and child.poll() is None:
                time.sleep(0.01)
            time.sleep(rng.uniform(0, 0.3))
            child.kill()
        time.sleep(2.0)
        assert shards(root).items() <= shards(tmp_path / "whole").items()
        assert not children_of(root), f"a worker outlived its parent (kill {number})"
    subprocess.run(line, cwd=REPOSITORY, check=True)
    assert bytes_of(root) == wanted


def children_of(root: Path) -> list[str]:
    """Processes that were started to pack there, or have a file there open."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            links = [os.readlink(link) for link in (entry / "fd").iterdir()]
        except OSError:
            continue
        found += [str(entry) for link in links if link.startswith(str(root))]
    return found


@pytest.mark.long
def test_a_worker_that_is_killed_is_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = packable.dataset(Killer(4))
    with pytest.raises(OSError, match="a worker process was killed, perhaps for want of memory"):
        pack(dataset, tmp_path, Options(samples_per_shard=1), workers=1, check_free=False, say=str)
    assert not list(tmp_path.rglob("*.tar"))


class Killer(packable.InMemory):
    """A source that ends the process that reads it, as the kernel does when memory is short."""

    def __init__(self, samples: int) -> None:
        plain = packable.source(samples)
        super().__init__(plain.pixels, [f"{i}" for i in range(samples)])

    def read(self, *_: Any) -> None:
        os.kill(os.getpid(), signal.SIGKILL)


# --- Dask ---


@pytest.fixture(scope="module")
def cluster() -> Iterator[str]:
    """The address of a scheduler with two workers, each a process."""
    distributed = pytest.importorskip("distributed")
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None,
        host="127.0.0.1", silence_logs=50,
    ) as made_cluster:  # fmt: skip
        yield made_cluster.scheduler_address


@pytest.mark.slow
def test_a_dask_cluster_writes_the_same(
    cluster: str, tmp_path: Path, whole: dict[str, bytes]
) -> None:
    """Two workers in processes of their own; errors come back whole."""
    asked = Options(codec="zstd", level=7, samples_per_shard=3)
    done = pack(many(), tmp_path / "dask", asked, executor=cluster, say=str)
    assert done.written == 12
    assert bytes_of(tmp_path / "dask") == whole
    broken = packable.dataset(packable.source(4, broken=packable.damage(2)))
    with pytest.raises(Exception, match="sample 2 at byte 77: a byte is wrong"):
        pack(broken, tmp_path / "broken", executor=cluster, check_free=False, say=str)


@pytest.mark.slow
def test_a_scheduler_that_does_not_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from fastload import crew

    monkeypatch.setattr(crew, "_DASK_TIMEOUT_S", 1)
    with pytest.raises(ConnectionError, match="no Dask scheduler answers at tcp://127"):
        pack(packable.dataset(packable.source(2)), tmp_path, executor="tcp://127.0.0.1:9", say=str)


def test_without_dask_it_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(ImportError, match=r"pip install 'fastload-eo\[dask\]'"):
        pack(packable.dataset(packable.source(2)), tmp_path, executor="tcp://x:1", say=str)


# --- a full disk ---


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 600 kB, on which three of the shards have room."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=600k", "tmpfs", str(folder)]
    try:
        done = subprocess.run(mount, capture_output=True, check=False)
    except FileNotFoundError:
        pytest.skip("needs mount")
    if done.returncode:
        pytest.skip("needs the right to mount a small file system")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk_is_a_sentence(small_disk: Path, whole: dict[str, bytes]) -> None:
    """What is complete stays and is sound, nothing half-written does, and it goes on."""
    asked = Options(codec="zstd", level=7, samples_per_shard=3)
    dataset = many()
    with pytest.raises(OSError, match="are needed for 36 samples, but"):
        pack(dataset, small_disk, asked, executor="threads", say=str)
    with pytest.raises(OSError, match=r"the disk is full; .* of 12 shards are complete and stay"):
        pack(dataset, small_disk, asked, executor="threads", workers=2, check_free=False, say=str)
    there = shards(small_disk)
    assert there
    assert there.items() <= whole.items()
    assert not list(small_disk.rglob("*.part"))
    subprocess.run(["mount", "-o", "remount,size=4m", str(small_disk)], check=True)
    done = pack(dataset, small_disk, asked, executor="threads", say=str)
    assert done.written == 12 - len(there)
    assert bytes_of(small_disk) == whole


# --- the command ---


def run(root: Path, *more: str) -> int:
    line = ["pack", str(made.root()), str(root), "--executor", "threads", "--quiet", *more]
    return main(line)


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """All modalities by default; it says what came of it."""
    assert run(tmp_path) == 0
    out = capsys.readouterr().out
    assert f"{made.LOCATIONS} samples in 1 shards, 1 of them written now" in out
    dataset = open_any(made.root(), modalities=["S1GRD", "S2L1C"], progress=False)
    found = reopened(tmp_path, dataset)
    for name in dataset.modalities:
        np.testing.assert_array_equal(found.read(name, 4), dataset.read(name, 4))
    assert run(tmp_path) == 0
    assert "0 of them written now" in capsys.readouterr().out
    assert run(tmp_path, "--codec", "lz4") == 1
    assert "options.codec is 'lz4hc', asked for 'lz4'" in capsys.readouterr().err


def test_the_commands_choices(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Bands, modality, filters, a crop and 8 bits; what is lost is said on standard error."""
    asked = ["--modality", "S2L1C", "--bands", "B04,B03", "--seasons", "summer", "--dates", "all"]
    assert run(tmp_path, *asked) == 1
    assert "filter: none of the 21 samples fits" in capsys.readouterr().err
    asked = ["--modality", "S2L1C", "--bands", "B04,B03", "--bbox", "-180", "0", "180", "90"]
    assert run(tmp_path, *asked, "--crop", "16", "--uint8", "0", "4000", "--block", "32K",
               "--shuffle-order", "3", "--name", "mine") == 0  # fmt: skip
    said = capsys.readouterr()
    assert "not lossless: cropped to rows 8 to 23" in said.err
    assert "not lossless: S2L1C: kept as 8 bits" in said.err
    whole = open_any(made.root(), bands=["B04", "B03"], progress=False)
    north = whole.filter(bbox=(-180, 0, 180, 90))
    found = reopened(tmp_path, north)
    assert sorted(found.keys.tolist()) == sorted(north.keys.tolist())
    assert found.keys.tolist() != north.keys.tolist()
    i = north.index_of(found.keys[0])
    wanted = np.rint(np.clip(north.read("S2L1C", i)[..., 8:24, 8:24] / 4000, 0, 1) * 255)
    np.testing.assert_array_equal(found.read("S2L1C", 0), wanted.astype(np.uint8))
    says = json.loads((tmp_path / "train/fastload.pack.json").read_text())
    assert says["options"]["block"] == 32768
    assert says["modalities"]["S2L1C"]["bands"] == ["B04", "B03"]
    assert (tmp_path / "train/S2L1C/mine_000001.tar").is_file()


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--uint8", "1"], "--uint8 takes two limits or none"),
        (["--block", "big"], "--block must be a number of bytes such as 65536 or 64K"),
        (["--modality", "S9"], "there is no such folder of shards"),
        (["--bands", "S2L1C="], "--bands must be names, or such as"),
        (["--months", "13"], "months must be from 1 to 12"),
        (["--executor", "fibres"], "executor must be 'processes', 'threads' or the address"),
        (["--split", "test"], "no such folder"),
        (["--crop", "64"], "does not lie in"),
        (["--level", "11"], "level must be a whole number from 0 to 9"),
    ],
)
def test_arguments_that_make_no_sense(
    tmp_path: Path, arguments: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(tmp_path, *arguments) == 1
    assert sentence in capsys.readouterr().err
    assert not list(tmp_path.rglob("*.tar"))


def test_what_is_damaged_in_shards_is_left_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A byte in a chunk, and a whole shard that cannot be indexed."""
    root = made.damaged(tmp_path / "data", sample=2)
    last = sorted((root / "train/S1GRD").glob("*.tar"))[-1]
    last.write_bytes(last.read_bytes()[:700])
    line = ["pack", str(root), str(tmp_path / "out"), "--executor", "threads", "--quiet"]
    assert main(line) == 1
    assert last.name in capsys.readouterr().err
    with pytest.warns(UserWarning, match="1 shards in .* cannot be indexed"):
        assert main([*line, "--on-error", "skip"]) == 0
    assert "19 samples in 1 shards" in (out := capsys.readouterr().out)
    assert "1 damaged ones are left out" in out


@pytest.mark.slow
def test_training_takes_steps_on_packed_shards(tmp_path: Path) -> None:
    from ssl4eo_train.__main__ import main as train
    from tests.ssl4eo_train.runs import losses, words

    assert run(tmp_path / "data", "--modality", "S2L1C") == 0
    assert train(words(tmp_path / "run", "--steps", "2", data=tmp_path / "data")) == 0
    assert [step for step, loss in losses(tmp_path / "run") if np.isfinite(loss)] == [1, 2]
